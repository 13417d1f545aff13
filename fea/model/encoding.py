"""From an `Example` to what the model reads: token ids, positions and image patches of one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fea.data.example import Example
from fea.data.images import MOST_PIXELS, load_image
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.model.families.family import Family
from fea.prompts.prompt import Knowledge, system_prompt, user_prompt


class Encoder:
    """Turns examples into prompts. It holds no weights, so that loader workers can carry it.

    Attributes:
        max_image_pixels: that an image may have to be read at all.
    """

    def __init__(self, family: Family, tokenizer: Any, image_processor: Any, knowledge: Knowledge):
        self.family, self.knowledge = family, knowledge
        self.tokenizer, self.image_processor = tokenizer, image_processor
        self.image_token: int = tokenizer.convert_tokens_to_ids(family.image_token)
        self.end_token: int = tokenizer.convert_tokens_to_ids(family.end_token)
        self.special_tokens: list[str] = tokenizer.all_special_tokens
        self.max_image_pixels = MOST_PIXELS
        self._texts: dict[tuple[str, tuple[str, ...]], list[int]] = {}

    def __call__(self, example: Example, with_target: bool = False) -> Prompt:
        """Reads the image and writes the prompt.

        Raises:
            FEAError: the image cannot be read, or a text holds one of the model's special tokens.
        """
        self._refuse_special(example, "question", example.question)
        image = load_image(
            example.image,
            example.place,
            example.flipped,
            self.max_image_pixels,
            self.image_processor.size["longest_edge"],
        )
        features = self.image_processor(images=[image], return_tensors="pt")
        grid = features["image_grid_thw"][0]
        ids, positions = self._around(example.question, example.emotions, grid)
        target = torch.empty(0, dtype=torch.long)
        if with_target and example.analysis:
            self._refuse_special(example, "description", example.analysis)
            target = self.target(example.analysis)
        return Prompt(example, ids, positions, features["pixel_values"], grid, target)

    def ask(self, prompt: Prompt, question: str) -> Prompt:
        """The same face with another question; its example stays as it is."""
        ids, positions = self._around(question, prompt.example.emotions, prompt.grid.cpu())
        return prompt._replace(ids=ids.to(prompt.ids.device), positions=positions.to(prompt.ids.device))

    def most_tokens(self, example: Example) -> int:
        """Length of the example's prompt with the largest image that is allowed."""
        text = self._text_ids(example.question, example.emotions)
        return len(text) - 1 + int(self.image_processor.size["longest_edge"]) // self.family.pixels

    def _around(self, question: str, emotions: Sequence[str], grid: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and positions of the prompt around an image of a (3,) grid of patches."""
        merge = self.family.merge
        ids = expand(self._text_ids(question, emotions), self.image_token, int(grid.prod()) // merge**2)
        return ids, self.family.positions(ids, grid, self.image_token, merge)

    def _refuse_special(self, example: Example, key: str, text: str) -> None:
        """An image placeholder in a text would stand for an image that is not there; an end token would end the turn."""
        if found := [token for token in self.special_tokens if token in text]:
            raise FEAError(
                f"{example.place}: key '{key}' holds '{found[0]}', a special token of the model; take it out"
            )

    def target(self, text: str) -> Tensor:
        """(T,) ids of an answer, end token included."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor([*ids, self.end_token])

    def _text_ids(self, question: str, emotions: Sequence[str]) -> list[int]:
        """Ids of the prompt with a single image placeholder; most examples share their question, so they are kept."""
        key = (question, tuple(emotions))
        if key not in self._texts:
            if len(self._texts) > 1000:  # a data set with a question for each face
                self._texts.clear()
            asked = [{"type": "image"}, {"type": "text", "text": user_prompt(question, emotions)}]
            messages = [
                {"role": "system", "content": system_prompt(self.knowledge)},
                {"role": "user", "content": asked},
            ]
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            self._texts[key] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._texts[key]


def expand(text_ids: Sequence[int], image_token: int, count: int) -> Tensor:
    """Repeats the one image placeholder as often as the image has merged patches."""
    at = list(text_ids).index(image_token)
    return torch.tensor([*text_ids[:at], *[image_token] * count, *text_ids[at + 1 :]])
