"""A family that is not among those known by name: what can be read off any model, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# How a question is told to a chat template: what the system says as a list of parts, as plain text, or, where a template knows
# no system, at the head of the user's turn.
Manner = Literal["parts", "text", "folded"]


@dataclass(frozen=True)
class General:
    """What `fea.model.outline` reads off a base. Fields of the same name as those of `Family` mean the same.

    Attributes:
        model_type: what its `config.json` calls it.
        image_token: stands for an image in a text, once for every visual token.
        place: stands for a whole image in what its chat template writes.
        end_token: ends a turn, as its chat template writes it.
        never_sampled: attributes of the config that hold ids of tokens that stand for something else than text, with these.
        language_model: dotted path of the part that reads and writes.
        head: dotted path of what maps hidden states to the vocabulary.
        seeing: dotted paths of all other parts, which images go through before the language model.
        lora_targets: regular expression of all linear layers of the language model.
        manner: how its chat template is told a question.
        shares: whether completions can share their prompt: images are read at the image tokens and nowhere else, and the
            language model is causal, with one position a token.
    """

    model_type: str
    image_token: str
    place: str
    end_token: str
    never_sampled: Mapping[str, str]
    language_model: str
    head: str
    seeing: tuple[str, ...]
    lora_targets: str
    manner: Manner
    shares: bool

    @property
    def kept_whole(self) -> tuple[str, ...]:
        """Dotted paths of what is not quantized."""
        return (*self.seeing, self.head)
