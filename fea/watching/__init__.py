"""Faces in motion: a film or a camera, whose faces keep their numbers and of which is told what lasts.

`sources` takes frames of a film or a camera, `tracking` finds a face of one frame again in the next, `smoothing` weighs what is
said of it over time, `following` does both for the results of `analysis`, and `window` shows them. To add a source: a class
with `batches`, as the protocol `Source` has it, and a case in `source_of`.
"""
