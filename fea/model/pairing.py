"""From a preference pair to what a model reads: the prompt of its text, and those of this text behind what is rejected."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageFilter

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.model.encoding import Encoder
from fea.prompts.answer import reordered

# "pairs": the image that the pair names; "crop": a part of its own image, whatever it names; None: no rejected image.
Images = Literal["pairs", "crop"]
# Of the area of an image: what mDPO (arXiv 2406.11839, section 4.2) leaves of it.
_CROPS = (0.01, 0.2)
# Of the longer side, in which a Gaussian blur spreads: 0.5 pixels of a drawn face, so light that no unit vanishes.
_BLUR = 0.0045


class PairEncoder:
    """Turns a preference pair into its prompts, and any other example into one. It holds no weights.

    Args:
        encoder: of the policy.
        images: where rejected images are from; None leaves them out.
        questions: whether rejected questions are taken.
        blur: share of the pairs of which both images are blurred, so that no trace of how one of them was made tells it.
    """

    def __init__(self, encoder: Encoder, images: Images | None, questions: bool, blur: float):
        self.encoder, self.images, self.questions, self.blur = encoder, images, questions, blur

    def __call__(self, example: Example) -> list[Prompt]:
        """The chosen prompt, with both texts; then, with its text, those with the rejected image and the rejected question.

        Raises:
            FEAError: an image cannot be read.
        """
        rejected = example.rejected
        if rejected is None:
            return [self.encoder(example)]
        # Chance belongs to the pair: whenever it is shown, and wherever a run was resumed, it is shown alike.
        line = f"{example.place.rpartition(':')[2]}:{example.id}"
        chance = np.random.default_rng(list(hashlib.sha256(line.encode()).digest()[:8]))
        blurred, picture = chance.random() < self.blur, self.encoder.picture(example)
        other = self._other(example, picture, chance)
        if other and blurred:
            picture, other = _blurred(picture), _blurred(other)
        chosen = self.encoder.of(example, picture, with_target=True)
        prompts = [chosen._replace(side="chosen", rejected=self._text(example, rejected.description))]
        if other:
            prompts.append(self.encoder.of(example, other, with_target=True)._replace(side="image"))
        if self.questions and rejected.question:
            asked = self.encoder.ask(chosen, rejected.question)
            prompts.append(asked._replace(side="question"))
        return prompts

    def _text(self, example: Example, text: str | None) -> torch.Tensor:
        if text is None:
            return torch.empty(0, dtype=torch.long)
        return self.encoder.target(reordered(text, self.encoder.form_of(example)))

    def _other(self, example: Example, picture: Image.Image, chance: np.random.Generator) -> Image.Image | None:
        """The rejected picture."""
        if self.images == "crop":
            return _cropped(picture, chance)
        named = example.rejected and example.rejected.image
        return self.encoder.picture(example._replace(image=named)) if named and self.images else None


def _cropped(picture: Image.Image, chance: np.random.Generator) -> Image.Image:
    """A part of a picture, of its shape, anywhere in it."""
    side = float(np.sqrt(chance.uniform(*_CROPS)))
    width, height = (max(1, round(side * length)) for length in picture.size)
    left, top = chance.integers(picture.width - width + 1), chance.integers(picture.height - height + 1)
    return picture.crop((int(left), int(top), int(left) + width, int(top) + height))


def _blurred(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(_BLUR * max(picture.size)))
