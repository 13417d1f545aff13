"""From an `Example` to what the model reads: token ids, positions and image patches of one prompt.

Text is text: a question, an emotion or an analysis that spells a special token is read as the characters it is made of. Only
the chat template writes special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from fea.data.example import Example
from fea.data.prompt import Prompt, Seen
from fea.faces.crops import Crop
from fea.images.opening import MOST_PIXELS, load_image
from fea.model.families.family import Family
from fea.prompts.answer import Form, render, reordered
from fea.prompts.numbered import numbered
from fea.prompts.numbers import AFFECT, Numbers
from fea.prompts.prompt import Knowledge, system_prompt, user_prompt

# Of an answer. Where a model has tokens for these, it is to write them, whether it calls them special or not.
TAGS = frozenset(re.findall("<.*?>", render("", "")))

# Marks a place between two characters that no token may join: half of a surrogate pair, which no text holds.
_CUT = "\ud800"


class Encoder:
    """Turns examples into prompts. It holds no weights, so that loader workers can carry it.

    Attributes:
        max_image_pixels: that an image may have to be read at all.
        crop: what of an upright RGB picture is shown; None: all of it.
    """

    def __init__(
        self,
        family: Family,
        tokenizer: Any,
        image_processor: Any,
        knowledge: Knowledge,
        form: Form,
        numbers: Numbers = (),
    ):
        self.family, self.knowledge, self.form, self.numbers = family, knowledge, form, numbers
        self.tokenizer, self.image_processor = tokenizer, image_processor
        self.image_token: int = tokenizer.convert_tokens_to_ids(family.image_token)
        self.end_token: int = tokenizer.convert_tokens_to_ids(family.end_token)
        self._reserved = _reserved(tokenizer)
        self.max_image_pixels = MOST_PIXELS
        self.crop: Crop | None = None
        self._texts: dict[tuple[Form, str, tuple[str, ...], bool], list[int]] = {}

    def __call__(self, example: Example, with_target: bool = False) -> Prompt:
        """Reads the image and writes the prompt.

        Raises:
            FEAError: the image cannot be read.
        """
        return self.of(example, self.picture(example), with_target)

    def picture(self, example: Example) -> Image.Image:
        """What is shown of an example: its image, or the face in it.

        Raises:
            FEAError: the image cannot be read.
        """
        enough = None if self.crop else self.enough
        image = load_image(example.image, example.place, False, self.max_image_pixels, enough)
        image = self.crop(image) if self.crop else image
        return ImageOps.mirror(image) if example.flipped else image  # at last: a mirrored face may be found elsewhere

    @property
    def enough(self) -> int | None:
        """Pixels of an image that are looked at; None if only a processor knows."""
        most: int = self.image_processor.size["longest_edge"]
        return most

    def of(self, example: Example, image: Image.Image, with_target: bool = False) -> Prompt:
        """The prompt of an example that is shown as this RGB picture."""
        features = self.image_processor(images=[image], return_tensors="pt")
        grid = features["image_grid_thw"][0]
        form = self.form_of(example)
        ids, positions = self._around(example.question, example.emotions, grid, form)
        target = self.taught(example, with_target)
        numbers = self.numbers_of(form)
        return Prompt(example, ids, positions, features["pixel_values"], grid, target, form=form, numbers=numbers)

    def form_of(self, example: Example) -> Form:
        """The form in which an example is asked about: its own, or that of the policy."""
        return example.form or self.form

    def numbers_of(self, form: Form) -> Numbers:
        """The numbers that are asked for in a form: where the answer stands alone, no grades of units."""
        return tuple(name for name in self.numbers if name in AFFECT or form != "only")

    def ask(self, prompt: Prompt, question: str) -> Prompt:
        """The same face with another question; its example stays as it is."""
        ids, positions = self._around(question, prompt.example.emotions, prompt.grid.cpu(), prompt.form)
        return prompt._replace(ids=ids.to(prompt.ids.device), positions=positions.to(prompt.ids.device))

    def without_image(self, prompt: Prompt, form: Form) -> Prompt:
        """The same question about no image at all, which nothing but what is written behind it can answer."""
        ids = self.unseen(prompt.example, form).to(prompt.ids.device)
        positions = torch.arange(len(ids), device=ids.device).expand(3, -1)
        none, nothing = torch.empty(0, device=ids.device), torch.zeros_like(ids[:0])
        numbers = self.numbers_of(form)
        return Prompt(prompt.example, ids, positions, none, nothing, nothing, Seen(none), form=form, numbers=numbers)

    def unseen(self, example: Example, form: Form) -> Tensor:
        """(P,) ids of the prompt of an example without its image."""
        return torch.tensor(self._text_ids(example.question, example.emotions, form, shown=False))

    def words(self, asked: str, told: str = "") -> Tensor:
        """(P,) ids of a prompt of words alone, without an image.

        Args:
            asked: by the user.
            told: before it, as the system; by default what the model knows of faces.
        """
        messages = [
            {"role": "system", "content": told or self.told(self.form)},
            {"role": "user", "content": [{"type": "text", "text": self.cut(asked)}]},
        ]
        return torch.tensor(
            self._ids(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        )

    def most_tokens(self, example: Example) -> int:
        """Length of the example's prompt with the largest image that is allowed."""
        text = self._text_ids(example.question, example.emotions, self.form_of(example))
        size = self.image_processor.size
        return len(text) - 1 + self.family.most_visual_tokens(size["shortest_edge"], size["longest_edge"])

    def _around(self, question: str, emotions: Sequence[str], grid: Tensor, form: Form) -> tuple[Tensor, Tensor]:
        """Ids and positions of the prompt around an image of a (3,) grid of patches."""
        merge = self.family.merge
        ids = expand(self._text_ids(question, emotions, form), self.image_token, int(grid.prod()) // merge**2)
        return ids, self.family.positions(ids, grid, self.image_token, merge)

    def told(self, form: Form) -> str:
        """What is said before a face is shown."""
        return system_prompt(self.knowledge, form, self.numbers_of(form))

    def asked(self, question: str, emotions: tuple[str, ...]) -> str:
        """What a question says beside the image, as a reader who knows nothing of `fea` is to say it."""
        return user_prompt(question, emotions)

    def taught(self, example: Example, with_target: bool) -> Tensor:
        """(T,) ids of the example's analysis in the form that is asked for; none if it has none, or is not to have any."""
        told = self.analysis(example) if with_target else None
        return self.target(told) if told else torch.empty(0, dtype=torch.long)

    def analysis(self, example: Example) -> str | None:
        """The example's analysis in the form that is asked for; None without one."""
        form, told = self.form_of(example), example.analysis
        if told and self.numbers:
            told = numbered(told, self.numbers_of(form), example.grades, example.affect)
        return reordered(told, form) if told else None

    def target(self, text: str) -> Tensor:
        """(T,) ids of an answer, end token included."""
        return torch.tensor([*self._ids(self.cut(text)), self.end_token])

    def _text_ids(self, question: str, emotions: Sequence[str], form: Form, shown: bool = True) -> list[int]:
        """Ids of the prompt with a single image placeholder, if any is shown.

        Most examples share their question, so they are kept.
        """
        key = (form, question, tuple(emotions), shown)
        if key not in self._texts:
            if len(self._texts) > 1000:  # a data set with a question for each face
                self._texts.clear()
            image = [{"type": "image"}] if shown else []
            asked = [*image, {"type": "text", "text": self.cut(user_prompt(question, emotions))}]
            messages = [
                {"role": "system", "content": self.told(form)},
                {"role": "user", "content": asked},
            ]
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            self._texts[key] = self._ids(text)
        return self._texts[key]

    def cut(self, text: str, mark: str = _CUT) -> str:
        """A text of others, cut apart within whatever would be read as a special token; most texts are not cut at all."""
        return self._reserved.sub(rf"\g<0>{mark}", text.replace(mark, ""))

    def _ids(self, text: str) -> list[int]:
        """Ids of a text whose parts between cuts are read one by one."""
        return [
            token for part in text.split(_CUT) for token in self.tokenizer(part, add_special_tokens=False)["input_ids"]
        ]


def _reserved(tokenizer: Any) -> re.Pattern[str]:
    """Finds the first character of every special token that a text spells, of those that overlap too.

    All tokens beside the tokenizer's vocabulary of text count, whether marked as special or not, but for the tags of an
    answer.
    """
    words = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens} - TAGS
    return re.compile(rf"(?={'|'.join(map(re.escape, sorted(words)))}).", re.DOTALL)


def expand(text_ids: Sequence[int], image_token: int, count: int) -> Tensor:
    """Repeats the one image placeholder as often as the image has merged patches."""
    at = list(text_ids).index(image_token)
    return torch.tensor([*text_ids[:at], *[image_token] * count, *text_ids[at + 1 :]])
