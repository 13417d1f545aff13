"""What is told of a face."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from fea.prompts.answer import Answer
from fea.prompts.numbers import grade_of

NO_FACE = "no face"
COLUMNS = ("image", "AUs", "emotion", "reasoning", "valid", "text", "error")


class Result(NamedTuple):
    """What a model says of an image, or why it says nothing.

    Example:
        Result("a.jpg", ("AU6", "AU12"), "happiness", "The cheeks are up (AU6), ...", True, "<think>...", "")

    Attributes:
        image: the file.
        aus: codes of the Action Units that the answer claims, by number.
        emotion: the answer's, in the words of the allowed emotions; "" if it names none of them.
        reasoning: the thinking, without its tags.
        valid: whether the answer is well-formed; the emotion of a well-formed answer may still be none of the allowed.
        text: the answer as it was written.
        error: why the image could not be read, or `NO_FACE`; "" if it was answered.
        face_id: of the faces of an image, from 0: the largest comes first.
        box: of the face: left, top, width and height in pixels of the upright image; None where faces were not looked for.
        score: how sure the detector is, from 0 to 1; None if it does not say.
        votes: by code of an Action Unit, the share of answers that claim it; None without samples.
        emotion_votes: by emotion, the share of answers that name it; None without samples.
        frame: of a film, from 0; None for a picture.
        time: of the frame, in seconds from the start of the film.
        likelihood: by allowed emotion, its share among these (`fea.rollouts.likelihood`); None where it was not asked for,
            empty where the answer never came to an emotion.
        valence: that the answer tells, in [-1, 1]; None if it tells none.
        arousal: likewise.
        intensities: by code of a claimed unit, the grade that the answer tells, 1 (A) to 5 (E).
        cut: whether the answer reached the length limit before its end.
    """

    image: str
    aus: tuple[str, ...] = ()
    emotion: str = ""
    reasoning: str = ""
    valid: bool = False
    text: str = ""
    error: str = ""
    face_id: int = 0
    box: tuple[int, int, int, int] | None = None
    score: float | None = None
    votes: Mapping[str, float] | None = None
    emotion_votes: Mapping[str, float] | None = None
    frame: int | None = None
    time: float | None = None
    likelihood: Mapping[str, float] | None = None
    valence: float | None = None
    arousal: float | None = None
    intensities: Mapping[str, float] = MappingProxyType({})
    cut: bool = False

    @property
    def affect(self) -> dict[str, float]:
        """Valence and arousal by name, as far as the answer tells them."""
        told = {"valence": self.valence, "arousal": self.arousal}
        return {name: value for name, value in told.items() if value is not None}

    @property
    def unread(self) -> bool:
        """Whether the image could not be read; one without a face could."""
        return self.error not in ("", NO_FACE)

    @property
    def row(self) -> dict[str, Any]:
        """The same as a row of a table, by column."""
        return dict(zip(COLUMNS, self, strict=False)) | {"AUs": list(self.aus)}


class Tally(NamedTuple):
    """What of results is worth a word at the end.

    Attributes:
        unread: images that could not be read.
        malformed: answers that are not well-formed.
        cut: those of them that reached the length limit.
        strange: well-formed answers whose emotion is none of the allowed.
    """

    unread: int = 0
    malformed: int = 0
    cut: int = 0
    strange: int = 0

    def plus(self, results: Iterable[Result]) -> Tally:
        """The same with more results."""
        found = [
            (one.unread, not (one.valid or one.error), one.cut and not one.valid, one.valid and not one.emotion)
            for one in results
        ]
        return Tally(*map(sum, zip(self, *found, strict=True)))

    def told(self, max_tokens: int) -> list[str]:
        """In words, what there is any of.

        Args:
            max_tokens: length limit of the answers.
        """
        said = [f"{self.unread} of the images could not be read"] if self.unread else []
        if self.malformed:
            limit = f", {self.cut} of them cut off at --max_tokens {max_tokens}" if self.cut else ""
            said.append(f"answers that are not well-formed: {self.malformed}{limit}")
        if self.strange:
            said.append(f"answers whose emotion is none of the allowed: {self.strange}")
        return said


def result_of(image: str, answer: Answer, emotions: Collection[str]) -> Result:
    """The result of an image that was answered.

    Args:
        image: the file.
        answer: about it.
        emotions: the allowed ones; whatever else it says is left to its text.
    """
    return Result(
        image=image,
        aus=tuple(f"AU{number}" for number in sorted(answer.aus)),
        emotion=answer.emotion if answer.emotion and answer.emotion in emotions else "",
        reasoning=(answer.think or "").strip(),
        valid=answer.well_formed,
        text=answer.text,
        valence=answer.valence,
        arousal=answer.arousal,
        intensities={f"AU{m.number}": grade_of(m.grade) for m in answer.mentions if m.claimed and m.grade},
    )


def failure_of(image: str, skipped: Iterable[str]) -> Result:
    """The result of an image that could not be read.

    Args:
        image: the file.
        skipped: what the loader says of all images that it skipped.
    """
    place = f"{image}: "
    reason = next(reason for reason in skipped if reason.startswith(place))
    return Result(image, error=reason.removeprefix(place).rpartition("; ")[0])  # the advice is for data files
