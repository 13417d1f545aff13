"""Layers of the language model taken out: which ones hardly matter, by seven criteria, and the folder of what is left.

PIP (perturbation-based iterative pruning, arXiv 2501.15278) looks at a text and at a perturbed one, and takes out what hardly
tells them apart. What the paper leaves open is marked "our reading" where it is decided. To add a criterion: a name in
`settings`, its formula in `criteria`.

    faces          calibration    stratified, with the text that is read about each
    pairs          edits, views   x and x~: the text with as many tokens edited, the face without a unit
    gradients      gradients      of each layer, in fp32, in bf16 and in 4 bits, one backward pass for each pair
    scores         criteria       of each layer, the same question for all seven
    rounds         rounds         score, take out the least of the inner layers, number the rest anew, draw x~ again
    rounds kept    journal        beside the folder, until it is there
    files          starting, writing      a stock folder with fewer layers, read back before it is there
    numbers        measuring      parameters, planned memory, tokens a second, time to the first token
"""
