"""From an `Example` to what the model reads: token ids, positions and image patches of one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fea.data.example import Example
from fea.data.images import load_image
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.prompts.prompt import Knowledge, system_prompt, user_prompt


class Encoder:
    """Turns examples into prompts. It holds no weights, so that loader workers can carry it."""

    def __init__(
        self,
        tokenizer: Any,
        image_processor: Any,
        chat_template: str,
        image_token: int,
        end_token: int,
        knowledge: Knowledge,
    ):
        self.tokenizer, self.image_processor, self.chat_template = tokenizer, image_processor, chat_template
        self.image_token, self.end_token, self.knowledge = image_token, end_token, knowledge
        self.special_tokens: list[str] = tokenizer.all_special_tokens
        self._texts: dict[tuple[str, tuple[str, ...]], list[int]] = {}

    def __call__(self, example: Example, with_target: bool = False) -> Prompt:
        """Reads the image and writes the prompt.

        Raises:
            FEAError: the image cannot be read, or a text holds one of the model's special tokens.
        """
        self._refuse_special(example, "question", example.question)
        image = load_image(example.image, example.place, example.flipped)
        features = self.image_processor(images=[image], return_tensors="pt")
        grid = features["image_grid_thw"][0]
        merge = int(self.image_processor.merge_size)
        text = self._text_ids(example.question, example.emotions)
        ids = expand(text, self.image_token, int(grid.prod()) // merge**2)
        positions = rope_positions(ids, grid, self.image_token, merge)
        target = torch.empty(0, dtype=torch.long)
        if with_target and example.analysis:
            self._refuse_special(example, "description", example.analysis)
            target = self.target(example.analysis)
        return Prompt(example, ids, positions, features["pixel_values"], grid, target)

    def ask(self, prompt: Prompt, question: str) -> Prompt:
        """The same face with another question; its example stays as it is."""
        merge = int(self.image_processor.merge_size)
        text, grid = self._text_ids(question, prompt.example.emotions), prompt.grid.cpu()
        ids = expand(text, self.image_token, int(grid.prod()) // merge**2)
        positions = rope_positions(ids, grid, self.image_token, merge)
        return prompt._replace(ids=ids.to(prompt.ids.device), positions=positions.to(prompt.ids.device))

    def most_tokens(self, example: Example) -> int:
        """Length of the example's prompt with the largest image that is allowed."""
        side = int(self.image_processor.patch_size) * int(self.image_processor.merge_size)
        text = self._text_ids(example.question, example.emotions)
        return len(text) - 1 + int(self.image_processor.size["longest_edge"]) // side**2

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
            text = self.tokenizer.apply_chat_template(
                messages, chat_template=self.chat_template, tokenize=False, add_generation_prompt=True
            )
            self._texts[key] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._texts[key]


def expand(text_ids: Sequence[int], image_token: int, count: int) -> Tensor:
    """Repeats the one image placeholder as often as the image has merged patches."""
    at = list(text_ids).index(image_token)
    return torch.tensor([*text_ids[:at], *[image_token] * count, *text_ids[at + 1 :]])


def rope_positions(ids: Tensor, grid: Tensor, image_token: int, merge: int) -> Tensor:
    """M-RoPE positions of a prompt with one image (Qwen2-VL, arXiv 2409.12191, section 2.1).

    Text counts up in all three rows; the image holds its first position in time and spreads over height and width; the text
    after it goes on from the larger of the two.

    Args:
        ids: (P,) token ids.
        grid: (3,) frames, rows and columns of patches.
        image_token: id of the placeholder.
        merge: patches merged along each side.

    Returns:
        (3, P).
    """
    at = int((ids == image_token).nonzero()[0])
    rows, columns = int(grid[1]) // merge, int(grid[2]) // merge
    after = len(ids) - at - rows * columns
    height, width = torch.arange(rows), torch.arange(columns)
    time = torch.zeros(rows * columns, dtype=torch.long)
    image = torch.stack([time, height.repeat_interleave(columns), width.repeat(rows)]) + at
    before = torch.arange(at).expand(3, -1)
    rest = (torch.arange(after) + at + max(rows, columns)).expand(3, -1)
    return torch.cat([before, image, rest], dim=1)
