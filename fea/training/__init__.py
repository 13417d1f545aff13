"""What every fit has: policy, optimizer, checkpoints, validation, and a folder of its own.

From one GPU to many:

    --config configs/ddp.yaml     each card has the whole model, and its share of the faces; the gradients are added up
    --config configs/fsdp.yaml    cards share the weights of a base that is too large for each; not in 4 bits

`data.batch_size` counts the faces of one card: N cards learn from N times as many in a step, so each face is seen as often in
an Nth of the steps. For the steps of a single card divide `data.batch_size` by N: the gradient is a mean over all faces, on
whatever card they are. A run is resumed with as many processes as it began with. Training faces too few for a batch on each
card are one sentence before the work. Completions of a group lie on one card; a rollout ends when the slowest card has written
its last answer. Several nodes: head of `configs/fsdp.yaml`.
"""
