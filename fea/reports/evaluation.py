"""`report.html` of an evaluation: one file that asks nobody for anything, made of `metrics.json` and `predictions.jsonl`.

Every number on it is one of `metrics.json`, or is counted from `predictions.jsonl` by the same rules. A group of few faces gets
its count and no score. What stands where is in `evaluation.html.jinja`; here it gets its values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fea.facs import ACTION_UNITS, au_number
from fea.protocols.calibration import Bin, bins_of, calibration_error
from fea.protocols.cases import Case
from fea.protocols.scored import Scored
from fea.reports import faces
from fea.reports.numbers import FEWEST, HEADLINE, LESS, in_order, shown, title, told
from fea.reports.rendering import rendered
from fea.system.files import write_atomically

REPORT = "report.html"
_FACES = 12  # of each kind: four rows of three
_GRADED = ("icc", "pcc", "mse", "mae")  # of units whose intensity was told
_BASELINES = {
    "majority": "the most frequent answer, for every face",
    "blind": "the most that an answer can earn that does not look at the face",
}
INTENDED = (
    "An expression is not a feeling: these are visible movements and what annotators call them, not what a person feels, "
    "thinks or intends. For research and as an aid to annotators; not for decisions about people."
)


def write_evaluation(
    file: Path,
    scored: Scored,
    cases: Sequence[Case],
    pictures: bool = True,
    judgment: Mapping[str, Any] | None = None,
) -> None:
    """Writes the page of an evaluation.

    Args:
        file: where, beside `predictions.jsonl`.
        scored: the scores.
        cases: the faces with their answers.
        pictures: whether small pictures of the faces that are shown stand in the file, too.
        judgment: what `fea judge` wrote into OUT.summary.json; None for none.
    """
    said = any(case.answer.text.strip() for case in cases)
    content = rendered(
        "evaluation.html.jinja",
        scored=scored,
        intended=INTENDED,
        model=_model(scored.model),
        headline=[name for name in HEADLINE if name in scored.scores],
        baselines={name: (scores, _BASELINES.get(name, "")) for name, scores in scored.baselines.items() if scores},
        rows=[_row(name, scored) for name in in_order(scored.scores)],
        units=[_class(code, _unit_name(code), numbers) for code, numbers in scored.units.items()],
        graded=[name for name in _GRADED if any(name in numbers for numbers in scored.units.values())],
        emotions=[_class(word, "", numbers) for word, numbers in scored.emotions.items()],
        confusion=_confusion(scored.confusion),
        folds={name: [n for n in HEADLINE if n in scores] for name, scores in scored.folds.items()},
        subgroups=scored.subgroups,
        group_scores=[name for name in HEADLINE[1:] if name in scored.scores],
        votes=_votes(cases),
        judgment=judgment,
        kinds=[
            (heading, about, [faces.shown(case, file.parent, pictures) for case in chosen])
            for heading, about, chosen in _chosen(cases)
        ],
        texts=said,
        pictures=pictures,
        fewest=FEWEST,
        shown=shown,
        title=title,
    )
    write_atomically(file, content)


def _chosen(cases: Sequence[Case]) -> list[tuple[str, str, list[Case]]]:
    worst = faces.worst(cases, _FACES)
    return [
        (
            "Worst faces",
            "The lowest means of AU F1 and of whether the emotion is right, a face each. They are what to look at first, "
            "and say nothing of the whole.",
            worst,
        ),
        ("Examples", "Drawn by chance from all faces, whatever their scores.", faces.drawn(cases, _FACES)),
    ]


def _model(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of the model, in words."""
    return [(name.replace("_", " "), _words(value)) for name, value in model.items() if value not in (None, "", [], {})]


def _words(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Row(NamedTuple):
    """A score of the long table; where it is a share, its place on a line from 0 to 1."""

    name: str
    title: str
    told: str
    value: float
    interval: Sequence[float]
    baselines: Mapping[str, float | None]
    share: bool


def _row(name: str, scored: Scored) -> _Row:
    interval = scored.intervals.get(name, ())
    baselines = {key: scores.get(name) for key, scores in scored.baselines.items() if scores}
    numbers = [scored.scores[name], *interval, *(value for value in baselines.values() if value is not None)]
    whole = all(0 <= number <= 1 for number in numbers) and name not in LESS
    return _Row(name, title(name), told(name), scored.scores[name], interval, baselines, whole)


class _Class(NamedTuple):
    """A unit or an emotion with its bar; pale where few faces show it."""

    code: str
    name: str
    numbers: Mapping[str, float]
    few: bool


def _class(code: str, name: str, numbers: Mapping[str, float]) -> _Class:
    return _Class(code, name, numbers, numbers.get("support", 0) < FEWEST)


def _unit_name(code: str) -> str:
    unit = ACTION_UNITS.get(au_number(code))
    return unit.name if unit else ""


class _Confused(NamedTuple):
    """A row of the confusion matrix: of the faces with a label, how many got which answer, and as which share."""

    label: str
    total: int
    cells: list[tuple[str, int, float]]


def _confusion(confusion: Mapping[str, Any]) -> list[_Confused]:
    found = []
    for label, counts in zip(confusion.get("labels", ()), confusion.get("counts", ()), strict=True):
        total = sum(counts)
        cells = [
            (answer, count, count / total if total else 0.0)
            for answer, count in zip(confusion["answers"], counts, strict=True)
        ]
        found.append(_Confused(label, total, cells))
    return found if any(row.total for row in found) else []


class _Votes(NamedTuple):
    """Calibration of votes: its bins, how many faces they hold, and the mean gap, None where there are too few."""

    bins: list[Bin]
    faces: int
    gap: float | None


def _votes(cases: Sequence[Case]) -> _Votes | None:
    bins = bins_of(cases)
    count = sum(one.faces for one in bins)
    return _Votes(bins, count, calibration_error(bins) if count >= FEWEST else None) if bins else None
