"""What is asked of a face, from the fields of a request to orders, and from what was said to JSON."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Callable
from threading import Lock
from typing import Any, NamedTuple

from PIL import Image

from fea.analysis.tables import Result, result_of
from fea.data.example import Example
from fea.facs import emotion_set
from fea.images.opening import MOST_PIXELS
from fea.model.encoding import Encoder
from fea.model.sampling import Generation, noise
from fea.pictures.schematic import strength_of
from fea.prompts.answer import Answer
from fea.prompts.mentions import find_mentions
from fea.serving.fields import Fields, check_characters
from fea.serving.service import Order, Said

ANALYZE = ("image", "question", "emotions", "samples", "seed", "max_tokens", "stream", "shown")
MOST_SAMPLES = 64  # answers to a face: shares are then off by 0.06, and more would keep all others waiting
MOST_EMOTIONS = 64
_THUMBNAIL = 512  # pixels of the longer side of a picture that is sent back


class Question(NamedTuple):
    """A face, and what is asked of it.

    Attributes:
        image: upright RGB.
        question: "" for the default question.
        emotions: allowed ones.
        group: answers.
        generation: their length and temperature.
        seed: of sampled answers; None for greedy ones.
    """

    image: Image.Image
    question: str
    emotions: tuple[str, ...]
    group: int
    generation: Generation
    seed: int | None


class Asker:
    """Reads questions, and makes orders of them.

    Args:
        encoder: of the model.
        allowed: emotions that it was trained with.
        max_tokens: of an answer, unless less is asked for; no more is allowed.
    """

    def __init__(self, encoder: Encoder, allowed: tuple[str, ...], max_tokens: int):
        self.encoder, self.allowed, self.max_tokens = encoder, allowed, max_tokens
        # Photographs are decoded one at a time, however many are sent: one of 64 megapixels takes 200 MB.
        self._alone = Lock()

    def analyze(self, fields: Fields) -> Question:
        """The question of a body of `/analyze`.

        Raises:
            FEAError: a field is not as it should be.
        """
        samples = fields.whole("samples", 0, 0, MOST_SAMPLES)
        seed = fields.whole("seed", 0, 0, 2**31 - 1)
        generation = Generation(fields.whole("max_tokens", self.max_tokens, 1, self.max_tokens))
        question, emotions = fields.text("question"), self.emotions(fields)
        image = self.image(fields, "image")
        return Question(image, question, emotions, max(1, samples), generation, seed if samples else None)

    def image(self, fields: Fields, name: str, only_url: bool = False) -> Image.Image:
        """What the model is shown of a picture in a field."""
        crop = self.encoder.crop
        with self._alone:
            image = fields.image(name, MOST_PIXELS, None if crop else self.encoder.enough, only_url)
            return crop(image) if crop else image

    def emotions(self, fields: Fields) -> tuple[str, ...]:
        """The allowed emotions: a preset, a list, or those that the model was trained with."""
        if not fields.has("emotions"):
            return self.allowed
        found = fields.found["emotions"]
        if isinstance(found, str):
            return emotion_set(found)
        words = fields.items("emotions", MOST_EMOTIONS)
        if not all(isinstance(word, str) and len(word) <= 80 for word in words):
            fields.refuse("emotions", "give words of at most 80 characters")
        check_characters("emotions", "".join(words))
        return emotion_set(words)

    def order(self, question: Question) -> Order:
        """What the model is asked; the picture is made ready for it.

        Raises:
            FEAError: the processor of the base refuses the picture.
        """
        name = hashlib.sha256(question.image.tobytes()).hexdigest()[:16]  # chance belongs to the picture
        example = Example(
            name, "", "image", "request", question.question, None, frozenset(), (), question.emotions, None, {}, None,
            None, "{}",
        )  # fmt: skip
        with self._alone:
            prompt = self.encoder.of(example, question.image)
        length = question.generation.max_tokens
        drawn = None if question.seed is None else noise([name], question.group, length, question.seed, 0)
        return Order(prompt, question.group, question.generation, drawn)


def told(said: Said, counted: bool) -> dict[str, Any]:
    """What was said of a face, as JSON.

    Args:
        said: the answers.
        counted: whether shares of them are told.
    """
    result = result_of("", said.answers[0])
    row = {name: value for name, value in result.row.items() if name not in ("image", "error")}
    if counted:
        row |= {"votes": _shares(said, lambda answer: [f"AU{n}" for n in sorted(answer.aus)])}
        row |= {"emotion_votes": _shares(said, lambda answer: [answer.emotion] if answer.emotion else [])}
    row["mentions"] = [
        {"AU": f"AU{m.number}", "start": m.span[0], "end": m.span[1], "claimed": m.claimed, "grade": m.grade}
        for m in find_mentions(result.reasoning)
    ]
    row["strengths"] = _strengths(result)
    row["truncated"] = said.cut[0]
    return row


def _shares(said: Said, named: Callable[[Answer], list[str]]) -> dict[str, float]:
    counts = Counter(name for answer in said.answers for name in named(answer))
    return {name: counts[name] / len(said.answers) for name in sorted(counts)}


def _strengths(result: Result) -> dict[str, float]:
    """By code, how strongly the schematic face is to show it."""
    grades = dict.fromkeys(result.aus, "")
    found = {f"AU{m.number}": m.grade for m in find_mentions(result.reasoning) if m.claimed and m.grade}
    return {code: round(strength_of(found.get(code, grade)), 3) for code, grade in grades.items()}


def thumbnail(image: Image.Image) -> str:
    """A picture as a data: address."""
    small = image.copy()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
