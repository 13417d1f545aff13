"""What can be asked for. Read for help, so it needs no torch."""

from __future__ import annotations

from typing import Literal

Criterion = Literal["pip", "bi", "cosine_block", "perplexity", "taylor", "last", "random"]

# What a score means, by criterion; the least is taken out.
MEANING: dict[Criterion, str] = {
    "pip": "norm of the difference of gradients between text and perturbed text, over the norm of the weights",
    "bi": "1 - cosine of what a layer is given and what it makes of it",
    "cosine_block": "angle, over pi, between what a block of layers is given and what it makes of it, at the last token",
    "perplexity": "nats a token that the loss grows by without the layer",
    "taylor": "sum of |gradient x weight|",
    "last": "layers from here to the end",
    "random": "a number drawn by the seed",
}
# A layer a round, with new scores in between: the others are published as one look at the whole model.
ITERATIVE: frozenset[Criterion] = frozenset({"pip", "perplexity"})
