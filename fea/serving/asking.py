"""What is asked of the faces in a picture, from the fields of a request to orders, and from what was said to JSON."""

from __future__ import annotations

import base64
import hashlib
import io
from threading import Lock
from typing import Any, NamedTuple

from PIL import Image

from fea.analysis.layout import Layout
from fea.analysis.looking import Look, Shown
from fea.analysis.tables import Result, result_of
from fea.data.example import Example
from fea.evaluation.votes import vote
from fea.faces.crops import Faces, cropped
from fea.faces.detectors import detector
from fea.facs import emotion_set
from fea.images.opening import MOST_PIXELS
from fea.model.encoding import Encoder
from fea.model.sampling import Generation, noise
from fea.pictures.schematic import strength_of
from fea.prompts.answer import FORMS, Form
from fea.prompts.mentions import find_mentions
from fea.serving.fields import Fields, check_characters
from fea.serving.service import Order, Said

ANALYZE = (
    "image", "faces", "question", "emotions", "answer", "samples", "seed", "max_tokens", "stream", "shown", "likelihood"
)  # fmt: skip
FACES: tuple[Faces, ...] = ("none", "largest", "all")
MOST_SAMPLES = 64  # answers to a face: shares are then off by 0.06, and more would keep all others waiting
_MOST_EMOTIONS = 64
_SHOWN = 512  # pixels of the longer side of a picture that is sent back


class Question(NamedTuple):
    """What is asked of the faces in a picture.

    Attributes:
        faces: that are shown.
        text: "" for the default question.
        emotions: allowed ones.
        group: answers.
        generation: their length and temperature.
        seed: of sampled answers; None for greedy ones.
        form: of the answer; None for that of the run.
        likelihood: whether each allowed emotion gets its likelihood as the answer.
    """

    faces: Faces
    text: str
    emotions: tuple[str, ...]
    group: int
    generation: Generation
    seed: int | None
    form: Form | None = None
    likelihood: bool = False


class Face(NamedTuple):
    """A face that is asked about.

    Attributes:
        order: what the model is asked.
        shown: where it is in the picture.
        picture: what the model is shown, or smaller.
    """

    order: Order
    shown: Shown
    picture: Image.Image


class Asker:
    """Reads questions, and makes orders of them.

    Args:
        encoder: of the model.
        allowed: emotions that it was trained with.
        max_tokens: of an answer, unless less is asked for; no more is allowed.
        faces: that are shown, unless others are asked for.
        face_model: file of the model that finds them; None for Haar cascades.

    Raises:
        FEAError: faces are to be found, and a library or the file is missing.
    """

    def __init__(
        self,
        encoder: Encoder,
        allowed: tuple[str, ...],
        max_tokens: int,
        faces: Faces = "none",
        face_model: str | None = None,
    ):
        self.encoder, self.allowed, self.max_tokens = encoder, allowed, max_tokens
        self.faces, self.face_model = faces, face_model
        if faces != "none":
            detector(face_model)
        # Photographs are decoded one at a time, however many are sent: one of 64 megapixels takes 200 MB.
        self._alone = Lock()

    def question(self, fields: Fields) -> Question:
        """The question of a body of `/analyze`.

        Raises:
            FEAError: a field is not as it should be.
        """
        faces = next((faces for faces in FACES if faces == fields.text("faces", self.faces)), None)
        if faces is None:
            fields.refuse("faces", f"choose {', '.join(FACES)}")
        if faces == "all" and fields.flag("stream"):
            fields.refuse("stream", "the words of one face at a time can be told; choose faces none or largest")
        form = next((form for form in FORMS if form == fields.text("answer")), None)
        if fields.has("answer") and form is None:
            fields.refuse("answer", f"choose {', '.join(FORMS)}")
        samples = fields.whole("samples", 0, 0, MOST_SAMPLES)
        seed = fields.whole("seed", 0, 0, 2**31 - 1)
        generation = Generation(fields.whole("max_tokens", self.max_tokens, 1, self.max_tokens))
        text, emotions = fields.text("question"), self.emotions(fields)
        chance = seed if samples else None
        return Question(faces, text, emotions, max(1, samples), generation, chance, form, fields.flag("likelihood"))

    def emotions(self, fields: Fields) -> tuple[str, ...]:
        """The allowed emotions: a preset, a list, or those that the model was trained with.

        Raises:
            FEAError: they are no words.
        """
        if not fields.has("emotions"):
            return self.allowed
        found = fields.found["emotions"]
        if isinstance(found, str):
            return emotion_set(found[:80])
        words = fields.items("emotions", _MOST_EMOTIONS)
        if not all(isinstance(word, str) and len(word) <= 80 for word in words):
            fields.refuse("emotions", "give words of at most 80 characters")
        check_characters("emotions", "".join(words))
        return emotion_set(words)

    def look(self, fields: Fields, name: str, question: Question, only_url: bool = False) -> list[Face]:
        """The faces of the picture in a field, the largest first, ready for the model.

        Args:
            fields: that it is in.
            name: of the field.
            question: what is asked of them.
            only_url: refuse base64 alone.

        Raises:
            FEAError: the picture cannot be read or shows no face, or a library for finding faces is missing.
        """
        with self._alone:  # the first that looks for faces imports what finds them, which two may not do at a time
            finder = None if question.faces == "none" else detector(self.face_model)
            image = fields.image(name, MOST_PIXELS, None if finder else self.encoder.enough, only_url)
            # A name of its own, since pictures of one name are looked at once; and chance belongs to it, so that the same
            # picture gets the same answers again.
            id_ = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
            example = Example(
                id_, "", id_, name, question.text, None, frozenset(), (), question.emotions, None, {}, None, None, "0",
                form=question.form,
            )  # fmt: skip
            prompts = Look(self.encoder, question.faces, finder, MOST_PIXELS, {id_: image})(example)
            found = []
            for prompt in prompts:
                shown, length = Shown.of(prompt), question.generation.max_tokens
                picture = cropped(image, shown.box) if shown.box else image.copy()
                picture.thumbnail((_SHOWN, _SHOWN))
                seed, chance = question.seed, None
                if seed is not None:
                    chance = noise([prompt.example.id], question.group, length, seed, 0)
                order = Order(prompt, question.group, question.generation, chance, question.likelihood)
                found.append(Face(order, shown, picture))
            return found


def told(face: Face, said: Said, with_picture: bool) -> dict[str, Any]:
    """What was said of a face, as JSON.

    Args:
        face: that was asked about.
        said: the answers.
        with_picture: whether what was shown is sent back.
    """
    voted, sampled = vote(said.answers), face.order.noise is not None
    result = result_of("", voted.answer, face.order.prompt.example.emotions)._replace(
        face_id=face.shown.face_id, box=face.shown.box, score=face.shown.score, likelihood=said.likelihood
    )
    if sampled:
        result = result._replace(votes=voted.units, emotion_votes=voted.emotions)
    layout = Layout(
        faces=face.shown.box is not None,
        samples=sampled,
        likelihood=face.order.likelihood,
        numbers=face.order.prompt.numbers,
    )
    if voted.answer.form == "only":  # nobody asked for units
        layout = layout._replace(known=frozenset())
    record = layout.record(result)
    del record["image"], record["error"]
    record["mentions"] = [
        {"AU": f"AU{m.number}", "start": m.span[0], "end": m.span[1], "claimed": m.claimed, "grade": m.grade}
        for m in find_mentions(result.reasoning)
    ]
    record["strengths"] = _strengths(result)
    record["truncated"] = said.cut[said.answers.index(voted.answer)]
    return record | ({"shown": address_of(face.picture)} if with_picture else {})


def _strengths(result: Result) -> dict[str, float]:
    """By code, how strongly the schematic face is to show it."""
    grades = {f"AU{m.number}": m.grade for m in find_mentions(result.reasoning) if m.claimed and m.grade}
    return {code: round(strength_of(grades.get(code, "")), 3) for code in result.aus}


def address_of(picture: Image.Image) -> str:
    """A picture as a data: address."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
