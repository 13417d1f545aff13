"""What can be measured on the faces of plain photographs, and the Action Units that follow from it: silver labels.

`blendshapes` names what is measured, `landmarker` measures it with MediaPipe, `measurements` keeps it. `rules` and `readout`
make Action Units of it, `silver` puts these into lines; `learning` makes a readout of coded faces, by `logistic`. To add
another way of measuring: a class with `measure`, as the protocol `Measurer` has it; another way of reading: one with `units`,
`meta` and `shown`, as `Reads` has it.
"""
