"""`Case`: a face, what is known of it and what was said about it; the line of `predictions.jsonl`, which holds all of it.

    {"id": "1", "image": "a.jpg", "text": "<think>...", "AUs": ["AU6"], "emotion": "happiness",
     "labels": ["happiness"], "true_AUs": ["AU6", "AU12"], "AUs_coded": ["AU4", "AU6", "AU12"], "subject": "SN001"}

`AUs: null`, or no key `emotion`: who answered never speaks of these, as a table without such columns; that is not judged.
`emotion: null` is an answer that names none, which is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from fea.data.example import Example
from fea.datasets.json_files import objects_of
from fea.errors import FEAError
from fea.evaluation.numbers import told_affect, told_grades
from fea.facs import au_number
from fea.prompts.answer import Answer, Form, parse
from fea.records.person import person
from fea.system.files import whole
from fea.system.lines import jsonl

# Keys of `meta_info` by which scores are told apart; what else stands there may be as different as the faces.
GROUPS = (
    *("gender", "sex", "age", "age_group", "race", "ethnicity", "skin_tone", "skin", "country", "culture"),
    *("pose", "occlusion", "glasses", "lighting", "quality", "camera", "task"),
)


class Case(NamedTuple):
    """A face and the answer about it.

    Attributes:
        example: what is known of the face, restricted to what a protocol judges.
        answer: what was said.
        says: of "AUs" and "emotion", what the one who answered speaks of at all.
        grades: by FACS number, the intensity (0 to 5) of each unit whose intensity was told; those that are not claimed
            are 0. Empty if the answer tells none.
        valence: that was told; None for none.
        arousal: likewise.
        subject: the person; None if nobody says.
        fold: that tests on this face, from 1; None without folds.
        votes: the share of sampled answers that agree with this one; None if it was not sampled.
        groups: by key, what the face is told apart by.
    """

    example: Example
    answer: Answer
    says: frozenset[str] = frozenset(("AUs", "emotion"))
    grades: Mapping[int, float] = MappingProxyType({})
    valence: float | None = None
    arousal: float | None = None
    subject: str | None = None
    fold: int | None = None
    votes: float | None = None
    groups: Mapping[str, str] = MappingProxyType({})


def meta_of(example: Example) -> dict[str, Any]:
    """The free-form information of an example; empty where it is no object."""
    found = json.loads(example.meta or "{}")
    return found if isinstance(found, dict) else {}


def case_of(example: Example, answer: Answer, fold: int | None = None) -> Case:
    """The case of a face and a parsed text."""
    meta = meta_of(example)
    groups = {key: str(meta[key]) for key in GROUPS if meta.get(key) not in (None, "")}
    groups |= {"dataset": example.dataset} if example.dataset else {}
    affect = told_affect(answer)
    says = frozenset(("emotion",) if answer.form == "only" else ("AUs", "emotion"))
    return Case(
        example, answer, says, told_grades(answer, example.coded), affect.get("valence"), affect.get("arousal"),
        person(meta.get("subject")) or None, fold, groups=groups,
    )  # fmt: skip


# --- lines ------------------------------------------------------------------------------------------------------------


def line_of(case: Case) -> dict[str, Any]:
    """A case as a line: keys that say nothing are left out, but for those that every line has."""
    example, answer = case.example, case.answer
    known = {
        "form": answer.form if answer.form != "after_thinking" else None,
        "dataset": example.dataset,
        "subject": case.subject,
        "fold": case.fold,
        "votes": case.votes,
        "intensities": {f"AU{number}": grade for number, grade in sorted(case.grades.items())},
        "valence": case.valence,
        "arousal": case.arousal,
        "true_intensities": dict(example.intensities),
        "true_valence": example.valence,
        "true_arousal": example.arousal,
        "description": example.analysis,
        "groups": {key: value for key, value in case.groups.items() if key != "dataset"},
    }
    return {
        "id": example.id,
        "image": example.image,
        "text": answer.text,
        "AUs": codes(answer.aus) if "AUs" in case.says else None,
        **({"emotion": answer.emotion} if "emotion" in case.says else {}),
        "labels": list(example.labels),
        "true_AUs": codes(example.present) if example.coded else None,
        "AUs_coded": codes(example.coded),
        **{key: value for key, value in known.items() if value not in (None, "", {})},
    }


def codes(numbers: Iterable[int]) -> list[str]:
    """Codes of units in the order of their numbers."""
    return [f"AU{number}" for number in sorted(numbers)]


def write_cases(file: Path, cases: Sequence[Case]) -> None:
    """Writes `predictions.jsonl`, whole or not at all."""
    with whole(file) as stream:
        for case in cases:
            stream.write(jsonl([line_of(case)]))


def read_cases(file: Path, emotions: Sequence[str], lenient: bool = False) -> list[Case]:
    """Reads `predictions.jsonl`.

    Args:
        file: that `write_cases` wrote.
        emotions: the allowed ones.
        lenient: whether the answers were read leniently: a text without blocks may then be right.

    Raises:
        FEAError: it is no such file.
    """
    return list(_read(file, tuple(emotions), lenient))


def _read(file: Path, emotions: tuple[str, ...], lenient: bool) -> Iterator[Case]:
    for number, line in objects_of(file):
        place = f"{file}:{number}"
        try:
            yield case_of_line(line, place, emotions, lenient)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FEAError(
                f"{place}: no line of predictions ({error!r}); give a file that fea test or fea score wrote"
            ) from None


def case_of_line(line: Mapping[str, Any], place: str, emotions: tuple[str, ...], lenient: bool = False) -> Case:
    """The case that `line_of` made a line of.

    Args:
        line: the object.
        place: file and line, for messages.
        emotions: the allowed ones.
        lenient: whether the answer was read leniently.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is no such line.
    """
    meta = {key: line[key] for key in ("subject", "fold") if key in line} | line.get("groups", {})
    example = Example(
        id=line["id"],
        dataset=line.get("dataset", ""),
        image=line["image"],
        place=place,
        question="",
        aus=None if line["true_AUs"] is None else frozenset(line["true_AUs"]),
        coded=frozenset(map(au_number, line["AUs_coded"])),
        labels=tuple(line["labels"]),
        emotions=emotions,
        analysis=line.get("description"),
        intensities=line.get("true_intensities", {}),
        valence=line.get("true_valence"),
        arousal=line.get("true_arousal"),
        meta=json.dumps(meta),
    )
    groups = dict(line.get("groups", {})) | ({"dataset": example.dataset} if example.dataset else {})
    says = frozenset(key for key, there in (("AUs", line["AUs"] is not None), ("emotion", "emotion" in line)) if there)
    return Case(
        example,
        said(
            line["text"],
            map(au_number, line["AUs"] or ()),
            line.get("emotion"),
            emotions,
            lenient,
            line.get("form", "after_thinking"),
        ),
        says,
        {au_number(code): grade for code, grade in line.get("intensities", {}).items()},
        line.get("valence"),
        line.get("arousal"),
        line.get("subject"),
        line.get("fold"),
        line.get("votes"),
        groups,
    )


def said(
    text: str,
    aus: Iterable[int],
    emotion: str | None,
    emotions: Sequence[str],
    lenient: bool,
    form: Form = "after_thinking",
) -> Answer:
    """An answer of which it is known what it says: read by other rules than `parse`, or a row of a table.

    Args:
        text: as it was written; "" for a row of a table.
        aus: FACS numbers that it claims.
        emotion: that it names.
        emotions: the allowed ones.
        lenient: whether it is no matter that the text has no think block; a row of a table never has one.
        form: that was asked for.
    """
    read = parse(text, emotions, form=form)
    think = read.think if (read.think or "").strip() or not (lenient or not text) else text or "a row of a table"
    return read._replace(aus=frozenset(aus), emotion=emotion, think=think)
