"""A trained model in use: faces in, answers out.

`inputs` says what is asked about, `loading` brings it to the model with the frames of `films`, `looking` decides what of a
picture is shown, `analyzer` asks, `votes` counts several answers, and `likelihood` weighs the words that might have been
answered. A `tables.Result` is what is told of a face; `layout`
makes rows of it, `foreign` those of other programs, `writing` keeps them on the disk so that a run can be gone on with, and
`album` draws them. To add the columns of another program: a list and a function in `foreign`. To add a kind of input: a case in
`inputs` and its pools in `loading`.
"""
