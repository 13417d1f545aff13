"""How faces are asked about."""

from __future__ import annotations

from dataclasses import dataclass

from fea.errors import FEAError
from fea.faces.crops import Faces
from fea.images.opening import MOST_PIXELS, check_most_pixels
from fea.prompts.answer import FORMS, MOST_TOKENS, Form

MOST_SAMPLES = 1000  # answers to a face: shares are then off by 0.016, which no further ones would make much less


@dataclass(frozen=True)
class Asking:
    """How faces are asked about; `Analyzer.analyze` explains what each of it is.

    Attributes:
        question: "" for the default question.
        emotions: allowed ones; empty: those the model was trained with.
        batch_size: images at a time.
        num_workers: processes that read images ahead.
        max_tokens: length limit of an answer.
        max_image_pixels: an image with more is not read.
        faces: that are shown; None: as in training.
        face_model: file of the model that finds them; None: as in training.
        samples: answers to each face; 0 for the likeliest alone.
        every: of a film, every n-th frame.
        answer: form that is asked for; None: that of the run.
        likelihood: whether each allowed emotion gets its likelihood.
    """

    question: str = ""
    emotions: tuple[str, ...] = ()
    batch_size: int = 32
    num_workers: int = 2
    max_tokens: int = 256
    max_image_pixels: int = MOST_PIXELS
    faces: Faces | None = None
    face_model: str | None = None
    samples: int = 0
    every: int = 1
    answer: Form | None = None
    likelihood: bool = False

    def __post_init__(self) -> None:
        """Refuses numbers that nothing can be done with.

        Raises:
            FEAError: naming the first one.
        """
        for name in ("batch_size", "num_workers", "max_tokens", "samples", "every"):
            if not isinstance(getattr(self, name), int):
                raise FEAError(f"{name}: {getattr(self, name)!r}; give a whole number")
        for name in ("batch_size", "max_tokens", "every"):
            if getattr(self, name) < 1:
                raise FEAError(f"{name}: {getattr(self, name)}; give at least 1")
        if self.max_tokens > MOST_TOKENS:
            raise FEAError(f"max_tokens: {self.max_tokens}; give at most {MOST_TOKENS}")
        if not 0 <= self.samples <= MOST_SAMPLES:
            raise FEAError(
                f"samples: {self.samples}; give a number of answers up to {MOST_SAMPLES}, or 0 for the likeliest one"
            )
        check_most_pixels("max_image_pixels", self.max_image_pixels)
        if self.faces not in (None, "none", "largest", "all"):
            raise FEAError(f"faces: '{self.faces}'; choose none, largest or all")
        if self.answer not in (None, *FORMS):
            raise FEAError(f"answer: '{self.answer}'; choose {', '.join(FORMS)}")
        if self.face_model is not None and self.faces == "none":
            raise FEAError("face_model: faces are not looked for with faces none; leave one of the two out")
