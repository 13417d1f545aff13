"""What was said of each face, read strictly or leniently, as cases of a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fea.data.example import Example
from fea.facs import emotion_name
from fea.prompts.answer import Answer, Form, parse
from fea.prompts.numbers import MIDDLE, Numbers
from fea.protocols.cases import Case, case_of, said
from fea.protocols.fitting import Fitted
from fea.protocols.foreign import Said
from fea.protocols.known import Protocol
from fea.protocols.published import published_answer

SILENT = "the text says nothing that can be read (counts as wrong)"
NO_COLUMN = "there is no column for the unit (counts as not claimed)"


def answer_of(
    protocol: Protocol,
    text: str,
    emotions: Sequence[str],
    lenient: bool,
    form: Form = "after_thinking",
    numbers: Numbers = (),
) -> Answer:
    """What a text says by the rules of a protocol.

    Args:
        protocol: with its way of reading.
        text: as it was written.
        emotions: the allowed ones.
        lenient: read a text without blocks as free text; the published rules do so as it is.
        form: that was asked for.
        numbers: likewise.
    """
    if protocol.reading == "facial-r1":
        return published_answer(text, emotions)._replace(form=form, numbers=numbers)
    answer = parse(text, emotions, lenient, form, numbers)
    if lenient and not (answer.think or "").strip():  # it need not have the form to be right
        return answer._replace(think=text.strip() or None)
    return answer


def cases_of(
    protocol: Protocol, fitted: Fitted, answers: Mapping[str, Said], lenient: bool
) -> tuple[list[Case], dict[str, list[str]]]:
    """The cases of a file of answers.

    Args:
        protocol: by which they are scored.
        fitted: the faces that it judges.
        answers: by the place of a face, what was said of it; one that is missing is an empty text.
        lenient: how texts are read.

    Returns:
        The cases, and by reason the names of what counts as wrong, or is not claimed.
    """
    cases, silent = [], []
    labeled = [one for one in answers.values() if one.text is None]
    spoken: frozenset[int] | None = frozenset(
        unit for one in labeled for unit in (fitted.units if one.spoken is None else one.spoken)
    )
    emotions = any(one.emotions for one in labeled)
    units = any(one.aus is not None for one in labeled)
    for truth in fitted.truths:
        one = answers.get(truth.example.place) or Said("", "", "", "" if not labeled else None)
        if one.text is not None:
            answer = answer_of(protocol, one.text, fitted.emotions, lenient, one.form, one.numbers)
            case = case_of(truth.example, answer, truth.fold)
            if (
                one.place
                and not case.answer.aus
                and case.answer.emotion not in fitted.emotions
                and not case.answer.think
            ):
                silent.append(truth.example.id)
        else:
            says = frozenset(name for name, there in (("AUs", units), ("emotion", emotions)) if there)
            case = _labeled(truth.example, one, fitted.emotions, truth.fold)._replace(says=says)
        cases.append(
            case._replace(
                valence=case.valence if one.valence is None else one.valence,
                arousal=case.arousal if one.arousal is None else one.arousal,
                votes=one.votes,
            )
        )
    missing = [f"AU{unit}" for unit in fitted.units if units and unit not in (spoken or ())]
    return _with_middles(cases), {SILENT: silent, NO_COLUMN: missing}


def _with_middles(cases: list[Case]) -> list[Case]:
    """Where some texts tell valence or arousal, those that do not count as the middle of the range: it was asked of all."""
    said = [case for case in cases if case.answer.text]
    valence, arousal = (any(getattr(case, name) is not None for case in said) for name in ("valence", "arousal"))
    return [
        case._replace(
            valence=MIDDLE["valence"] if valence and case.valence is None else case.valence,
            arousal=MIDDLE["arousal"] if arousal and case.arousal is None else case.arousal,
        )
        for case in cases
    ]


def _labeled(example: Example, one: Said, emotions: Sequence[str], fold: int | None) -> Case:
    """A case whose answer is a row of labels."""
    emotion = None if one.emotion is None else emotion_name(one.emotion, emotions)
    case = case_of(example, said("", one.aus or (), emotion, emotions, lenient=True), fold)
    grades = {unit: grade for unit, grade in one.grades.items() if unit in example.coded}
    return case._replace(grades=grades)
