"""Pictures of what a model says of a face: the photograph, a face drawn from the claims, bars of votes, the text in colors.

`composing` lays a picture out once, from what the font of this machine measures; `png` and `svg` render the same layout, and
`saved` names the files.
"""
