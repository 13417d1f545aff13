"""`Family`: what differs between vision-language models, as one record. Settings ask it too, so it needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Protocol

from fea.model.families.general import Manner


class Anatomy(Protocol):
    """What every family is asked, known by name (`Family`) or not (`fea.model.families.general.General`)."""

    @property
    def image_token(self) -> str:
        """Stands for an image in a text, once for every visual token."""

    @property
    def end_token(self) -> str:
        """Ends a turn."""

    @property
    def never_sampled(self) -> Mapping[str, str]:
        """Attributes of the config that hold ids of tokens which are no text, with these tokens."""

    @property
    def language_model(self) -> str:
        """Dotted path of the part that reads and writes."""

    @property
    def head(self) -> str:
        """Dotted path of what maps hidden states to the vocabulary."""

    @property
    def seeing(self) -> tuple[str, ...]:
        """Dotted paths of all that an image goes through before the language model."""

    @property
    def lora_targets(self) -> str:
        """Regular expression of the linear layers of the language model."""

    @property
    def manner(self) -> Manner:
        """How a question is told to its chat template."""


@dataclass(frozen=True)
class Dimensions:
    """How large a model is, in the words of its `config.json`.

    Attributes:
        text: of the language model, as in `text_config`.
        vision: of the vision tower, as in `vision_config`.
        tied: whether the output head is the embedding.
    """

    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    tied: bool


@dataclass(frozen=True)
class Tiny:
    """What the tiny model of a family is made from, beside its `fea.model.config.TinySize`.

    Attributes:
        special_tokens: of the tokenizer; the first one is padding.
        chat_template: Jinja, how the family writes turns.
        image_processor_class: in transformers, in the version that needs no torchvision.
        image_processor: its settings, where they are not its own.
        dimensions: of hidden, layers, heads, vision_hidden and vision_layers of `TinySize`, in this order.
    """

    special_tokens: tuple[str, ...]
    chat_template: str
    image_processor_class: str
    image_processor: Mapping[str, Any]
    dimensions: Callable[[int, int, int, int, int], Dimensions]


@dataclass(frozen=True)
class Family:
    """One family of models.

    Attributes:
        model_type: what a `config.json` calls it.
        title: what people call it.
        config_class: of the whole model, in transformers.
        model_class: of the whole model with its output head, in transformers.
        image_token: stands for an image in a text, once for every visual token.
        end_token: ends a turn.
        never_sampled: attributes of the config that hold ids of tokens that would break the next forward pass if they were
            sampled as text, with these tokens.
        language_model: dotted path of the part that reads and writes, from the whole model.
        vision_tower: dotted path of the part that sees.
        vision_blocks: name of the list of layers within the tower.
        head: dotted path of what maps hidden states to the vocabulary.
        patch: pixels along each side of what the tower takes in as one.
        merge: patches along each side that become one visual token.
        deepstack: attribute of the vision config that lists those layers of the tower whose features the first layers of the
            language model are given as well (DeepStack, arXiv 2406.04334); "" where there are none.
        longest_side: of an image that its image processor takes, times the shorter side.
        kept_whole: dotted paths of what is not quantized.
        lora_targets: regular expression of the linear layers of the language model.
        positions: from (P,) token ids of a prompt with one image, its (3,) grid of frames, rows and columns of patches, the id
            of the image placeholder and `merge` to the (3, P) positions in time, height and width.
        published: dimensions of its models by hub name, so that memory can be planned before anything is downloaded.
        licenses: of these, by hub name.
        tiny: for the tiny model.
    """

    model_type: str
    title: str
    config_class: str
    model_class: str
    image_token: str
    end_token: str
    never_sampled: Mapping[str, str]
    language_model: str
    vision_tower: str
    vision_blocks: str
    head: str
    patch: int
    merge: int
    deepstack: str
    longest_side: int
    kept_whole: tuple[str, ...]
    lora_targets: str
    positions: Callable[[Any, Any, int, int], Any]
    published: Mapping[str, Dimensions]
    licenses: Mapping[str, str]
    tiny: Tiny

    @property
    def manner(self) -> Manner:
        """How a question is told to its chat template: these read plain text, too."""
        return "text"

    @property
    def seeing(self) -> tuple[str, ...]:
        """Dotted paths of all that an image goes through before the language model: the tower, and what fits it on."""
        return tuple(path for path in self.kept_whole if path != self.head)

    @property
    def pixels(self) -> int:
        """Of one visual token."""
        return (self.patch * self.merge) ** 2

    def most_visual_tokens(self, least: int, most: int) -> int:
        """That an image of any shape can have, however it is rounded to whole tokens.

        Rounding down, a strip keeps one row; rounding up, one that needs little more than k - 1 rows gets k.

        Args:
            least: pixels that smaller images are enlarged to.
            most: pixels that larger images are reduced to.
        """
        lower, upper = least / self.pixels, most / self.pixels
        reduced = max(upper, sqrt(upper * self.longest_side))
        thinnest = sqrt(lower / self.longest_side)  # rows of the longest strip, before they are rounded
        enlarged = [k * (1 + int(lower / max(k - 1, thinnest))) for k in range(1, 2 + int(sqrt(lower)))]
        return max(int(reduced), *enlarged)
