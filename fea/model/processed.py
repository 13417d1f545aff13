"""From an `Example` to what the model reads, by the processor of a base whose family is not known by name."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.fabric.utilities import move_data_to_device
from PIL import Image
from torch import Tensor

from fea.data.example import NOBODY, Example
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.facs import EMOTION_SETS
from fea.model.chat import conversation, written
from fea.model.encoding import Encoder
from fea.model.families.family import Family
from fea.model.families.general import General
from fea.prompts.answer import Form
from fea.prompts.numbers import Numbers
from fea.prompts.prompt import DEFAULT_QUESTION, Knowledge, user_prompt

# A word joiner, which shows nothing: put into a special token that a text spells, it leaves the characters that one sees. The
# processor reads the whole prompt at once, and would not stop at the mark that `Encoder` cuts at.
_JOINER = "\u2060"

# Of a portrait, to tell how long a prompt gets with an image.
_PORTRAIT = (448, 448)


class Processed(Encoder):
    """As `Encoder`; images are sized, cut into tiles and put into the text as the base's own processor does it.

    Args:
        general: what is known of the base.
        processor: of the base.
        knowledge: in the prompt.
        form: of the answer.
        numbers: that are asked for beside the words.
    """

    def __init__(self, general: General, processor: Any, knowledge: Knowledge, form: Form, numbers: Numbers = ()):
        # Of a family it is asked for two tokens alone.
        super().__init__(
            cast(Family, general), processor.tokenizer, processor.image_processor, knowledge, form, numbers
        )
        self.general, self.processor = general, processor

    enough = None

    def of(self, example: Example, image: Image.Image, with_target: bool = False) -> Prompt:
        """As that of `Encoder`."""
        return self._prompt(example, image, example.question)._replace(target=self.taught(example, with_target))

    def ask(self, prompt: Prompt, question: str) -> Prompt:
        """The same face with another question; its image is read again."""
        asked: Prompt = move_data_to_device(
            self._prompt(prompt.example, self.picture(prompt.example), question), prompt.ids.device
        )
        return asked._replace(target=prompt.target)

    def without_image(self, prompt: Prompt, form: Form) -> Prompt:
        """As that of `Encoder`."""
        return super().without_image(prompt, form)._replace(given={})

    def unseen(self, example: Example, form: Form) -> Tensor:
        """As that of `Encoder`; the processor, which is for images, is not asked."""
        text = self.text(example.question, example.emotions, form, shown=False)
        ids: Tensor = self.tokenizer(text, return_tensors="pt", add_special_tokens=self._begins(text))["input_ids"][0]
        return ids

    def most_tokens(self, example: Example) -> int:
        """Length of the example's prompt with an image of usual size."""
        return len(self._read(example, example.question, Image.new("RGB", _PORTRAIT))[0])

    def blank(self, form: Form, side: int) -> Prompt:
        """Of an ordinary question about nobody: what is known of prompts before there are any.

        Args:
            form: of the answer.
            side: of the square image, in pixels.
        """
        asked = NOBODY._replace(emotions=EMOTION_SETS["basic8"], form=form)
        return self._prompt(asked, Image.new("RGB", (side, side)), DEFAULT_QUESTION)

    def _prompt(self, example: Example, image: Image.Image, question: str) -> Prompt:
        form = self.form_of(example)
        ids, given = self._read(example, question, image)
        none = torch.empty(0)
        positions = torch.arange(len(ids)).expand(3, -1)  # as if all were text: its network makes its own
        nothing = torch.zeros(3, dtype=torch.long)
        return Prompt(
            example, ids, positions, none, nothing, none.long(), given=given, form=form, numbers=self.numbers_of(form)
        )

    def _read(self, example: Example, question: str, image: Image.Image) -> tuple[Tensor, dict[str, Tensor]]:
        """Ids of the prompt, and what the network is given beside them."""
        text = self.text(question, example.emotions, self.form_of(example))
        try:
            found = self.processor(
                text=[text],
                images=[image],
                return_tensors="pt",
                add_special_tokens=self._begins(text),
            )
        except (ValueError, TypeError, ZeroDivisionError) as error:
            why = " ".join(str(error).split())
            raise FEAError(
                f"{example.place}: image '{example.image}' is refused by the processor of the base ({why}); take it out, or "
                "change its size"
            ) from error
        given = {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}
        given.pop("attention_mask", None)
        return given.pop("input_ids")[0], given

    def _begins(self, text: str) -> bool:
        """Whether the token that begins a text is still to be added: a template may have written it."""
        begin = self.tokenizer.bos_token
        return not (begin and text.startswith(begin))

    def text(self, question: str, emotions: tuple[str, ...], form: Form, shown: bool = True) -> str:
        """The prompt as the chat template of the base writes it, with one place for the image if any is shown."""
        asked = self.asked(question, emotions)
        messages = conversation(self.general.manner, self.told(form), asked, shown)
        return written(self.tokenizer, messages, answer=True)

    def asked(self, question: str, emotions: tuple[str, ...]) -> str:
        """As that of `Encoder`, and what is said here, too."""
        return self.cut(user_prompt(question, emotions), _JOINER)
