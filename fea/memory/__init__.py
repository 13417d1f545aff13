"""The memory that a run will need, before it starts.

When memory runs out: `fea plan --config ... --gpu 24GB` names what to change, and until when it is enough. It tries, in this
order, what costs time first and what changes the result last:

    data.eval_batch_size down                    answers of a validation that are written at once
    trainer.accumulate_grad_batches up           a step in more packs: the same gradient, fewer tokens at a time
    model.microbatches up                        a group in parts, its prompt read once: the same gradient
    model.policy.checkpointing true              activations are computed again instead of kept
    --config configs/fsdp.yaml               several cards hold together what each would have to hold
    model.policy.four_bit true                   a base in 4 bits; needs `policy.lora`
    model.optimization.eight_bit true            the optimizer's moments in 8 bits
    data.batch_size, policy.max_pixels, generation.max_tokens down

The largest part is in the table of the plan: weights ask for 4 bits or a smaller base, the rollout for fewer or shorter
completions, the update for more packs. A run that ends for want of memory says the setting to change, and goes on with it by
`--resume`; settings that would move its place in the data (`data.batch_size`) need a new run.
"""
