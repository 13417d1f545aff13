"""How groups of completions become rows of tokens.

A group is one prompt with its completions; it is never split. In the `rows` layout every completion follows its own copy of
the prompt: [prompt | c1], [prompt | c2], ... Positions continue from the prompt's largest; rows are padded on the right, where
causal attention never looks.

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion, R rows, L their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fea.data.encoding import Prompt


class Layout(NamedTuple):
    """Rows ready for the model, and where their completions are predicted.

    Attributes:
        ids: (R, L) token ids, 0 in the padding.
        positions: (3, R, L) M-RoPE positions.
        images: for each row, the prompt whose image it shows.
        scored: flat index into (R, L) of the position that predicts each completion token, in the order of the mask.
        targets: the tokens predicted there.
    """

    ids: Tensor
    positions: Tensor
    images: list[int]
    scored: Tensor
    targets: Tensor


def rows(prompts: Sequence[Prompt], ids_NT: Tensor, mask_NT: Tensor) -> Layout:
    """One row a completion.

    Args:
        prompts: B prompts.
        ids_NT: completions, those of one prompt next to each other.
        mask_NT: 1 for their tokens; completions are padded on the right.
    """
    group = len(ids_NT) // len(prompts)
    lengths = mask_NT.sum(dim=1).tolist()
    images = [prompt for prompt in range(len(prompts)) for _ in range(group)]
    width = max(len(prompts[b].ids) + length for b, length in zip(images, lengths, strict=True))
    ids = ids_NT.new_zeros(len(ids_NT), width)
    positions = ids_NT.new_zeros(3, len(ids_NT), width)
    scored = []
    for row, (b, length) in enumerate(zip(images, lengths, strict=True)):
        prompt, start = prompts[b], len(prompts[b].ids)
        ids[row, :start], ids[row, start : start + length] = prompt.ids, ids_NT[row, :length]
        positions[:, row, :start] = prompt.positions
        positions[:, row, start : start + length] = next_positions(prompt, length)
        scored.append(torch.arange(length, device=ids.device) + row * width + start - 1)
    return Layout(ids, positions, images, torch.cat(scored), ids_NT[mask_NT.bool()])


def next_positions(prompt: Prompt, length: int) -> Tensor:
    """(length,) positions of the tokens that follow a prompt, the same in all three rows."""
    return torch.arange(length, device=prompt.positions.device) + prompt.positions.max() + 1
