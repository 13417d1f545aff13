"""`Prompt`: the record that batches are made of, one face as a model reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fea.data.example import Example
from fea.prompts.answer import Form
from fea.prompts.numbers import Numbers

# Of a preference pair: the prompt that its text answers; the same text behind a rejected image, behind a rejected question.
Side = Literal["", "chosen", "image", "question"]
_NO_TEXT = torch.empty(0, dtype=torch.long)


class Seen(NamedTuple):
    """What a vision tower makes of one image.

    Attributes:
        tokens: (visual tokens, width), in the places of the image's tokens.
        layers: of the same shape each, which the first layers of the language model add there; none in most families.
    """

    tokens: Tensor
    layers: tuple[Tensor, ...] = ()


class Prompt(NamedTuple):
    """One prompt, unpadded. P tokens, S image patches of C values.

    A token of text, an image of one row and two columns of visual tokens (id 9), and two more of text; merging four patches
    each, the image has eight:

    >>> prompt = Prompt(
    ...     example=None, ids=torch.tensor([1, 9, 9, 2, 3]),
    ...     positions=torch.tensor([[0, 1, 1, 3, 4], [0, 1, 1, 3, 4], [0, 1, 2, 3, 4]]),
    ...     pixels=torch.zeros(8, 1176), grid=torch.tensor([1, 2, 4]), target=torch.tensor([5, 6, 7]),
    ... )
    >>> targets([prompt, prompt._replace(target=torch.tensor([5]))])[1].tolist()
    [[1, 1, 1], [1, 0, 0]]

    Attributes:
        example: what it was made from.
        ids: (P,) token ids, one placeholder per merged patch.
        positions: (3, P) time, height and width of M-RoPE.
        pixels: (S, C) normalized patches.
        grid: (3,) frames, rows and columns of patches.
        target: (T,) ids of the analysis with its end token; empty where none is needed.
        features: of the image, where a frozen vision tower has seen it already.
        given: what the processor of another family makes of the image, by the names that its network knows, one image each;
            then there are no pixels, no grid and no positions beside it.
        form: of the answer that it asks for.
        numbers: that it asks for beside the words.
        side: which part of a preference pair it is; "" outside of pairs.
        rejected: (T,) like the target, of the text that is to be less likely than that; empty where there is none.
    """

    example: Example
    ids: Tensor
    positions: Tensor
    pixels: Tensor
    grid: Tensor
    target: Tensor
    features: Seen | None = None
    given: Mapping[str, Tensor] | None = None
    form: Form = "after_thinking"
    numbers: Numbers = ()
    side: Side = ""
    rejected: Tensor = _NO_TEXT

    @property
    def picture(self) -> tuple[object, ...]:
        """What it shows: two prompts with the same one have the same pixels. Those of a pair may be blurred, or a crop."""
        own = (self.example.place, self.side == "image") if self.side else ()
        return self.example.image, self.example.flipped, *own


def targets(prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """The analyses as completions: ids and mask, (B, T) each."""
    ids = pad_sequence([prompt.target for prompt in prompts], batch_first=True)
    mask = pad_sequence([torch.ones_like(prompt.target) for prompt in prompts], batch_first=True)
    return ids, mask
