"""Faces in photographs: where they are, what of them a model is shown, and the Action Units that follow from measurements.

`detectors` finds them, by Haar cascades or a model file, and `crops` cuts them out, alike in training and in use. To add a
detector: a class with `find`, as the protocol `Detector` has it, and the SHA-256 of its file in `detector`.

`blendshapes` names what is measured, `landmarker` measures it with MediaPipe, `measurements` keeps it. `rules` and `readout`
make Action Units of it, `silver` puts these into lines; `learning` makes a readout of coded faces, by `logistic`. To add
another way of measuring: a class with `measure`, as the protocol `Measurer` has it; another way of reading: one with `units`,
`meta` and `shown`, as `Reads` has it.
"""
