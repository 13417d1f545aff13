"""Cases in, `Scored` out: everything that is reported of answers by a protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fea.evaluation import texts
from fea.evaluation.counts import Floats, f1, pooled, recall
from fea.evaluation.dimensional import Moments
from fea.evaluation.numbers import GRADED, mean_known
from fea.protocols.blind import baselines
from fea.protocols.calibration import calibration_of
from fea.protocols.cases import Case
from fea.protocols.fitting import Fitted
from fea.protocols.known import Protocol
from fea.protocols.measuring import Rows, by_fold, intervals, numbers, plain_numbers, resampled_by, rows_of, scores_of
from fea.protocols.scored import Scored

DRAWS = 2000  # they leave the ends uncertain by 1.5 % of the interval's width
_VALUES = 12  # of a subgroup: a key with more tells faces apart, and not groups
_EXAMPLES = 5  # that are named of each reason
_PEOPLE = 10  # of fewer the bootstrap misses more than 5 % of the spread of a mean: it is short by sqrt((n - 1) / n)
_FEWEST = 2  # faces of a subgroup that is told of


def score(
    cases: Sequence[Case],
    protocol: Protocol,
    fitted: Fitted,
    unmatched: Mapping[str, Sequence[str]],
    lenient: bool = False,
    model: Mapping[str, Any] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Scored:
    """Scores answers.

    Args:
        cases: the faces that the protocol judges, each with its answer; what was not answered stands there as an empty one.
        protocol: by which they are scored.
        fitted: its units and emotions.
        unmatched: by reason, the names of what is not judged, or counts as wrong for it.
        lenient: whether answers were read leniently.
        model: what is known of whoever answered.
        draws: of the bootstrap; 0 for no intervals.
        seed: of the draws.
    """
    by = resampled_by(cases)
    compared = compared_texts(cases, protocol)
    rows = rows_of(cases, fitted.emotions, fitted.units, compared, by)
    return Scored(
        protocol=protocol.name,
        source=protocol.source,
        faces=len(cases),
        subjects=len({case.subject for case in cases} - {None}),
        resampled=by,
        lenient=lenient,
        scores=plain_numbers(numbers(rows)),
        intervals=intervals(rows, draws, seed) if draws else {},
        units=_units(rows),
        emotions=_emotions(rows),
        confusion=_confusion(rows),
        folds={str(fold): plain_numbers(scores_of(rows, taken)) for fold, taken in by_fold(rows) if protocol.folds},
        baselines=baselines(rows),
        subgroups=_subgroups(cases, fitted, compared, draws, seed),
        unmatched=_told({**fitted.left_out, **unmatched, **_missing_folds(protocol, rows)}),
        model=dict(model or {}),
        calibration=calibration_of(cases),
        notes=[*_notes(cases, protocol, by if draws else None)],
    )


def _notes(cases: Sequence[Case], protocol: Protocol, drawn: str | None) -> Iterator[str]:
    """What one should know before the numbers are laid beside others; another data set by name was refused by `fitted`."""
    about, nameless = " or ".join(protocol.datasets), sum(not case.example.dataset for case in cases)
    if about and nameless:
        yield (
            f"{nameless} of {len(cases)} faces do not say of which data set they are ('dataset'): if not of {about}, the "
            "numbers are not comparable with published ones"
        )
    people = len({case.subject for case in cases})
    if drawn == "subjects" and people < _PEOPLE:
        yield f"intervals are drawn over {people} people; of fewer than {_PEOPLE} they are too narrow"


def compared_texts(cases: Sequence[Case], protocol: Protocol) -> dict[str, Floats]:
    """Scores of each text against its reference, NaN where there is none; empty where nothing is to be compared."""
    references = [(case.example.analysis or "") if protocol.texts else "" for case in cases]
    if not any(references) or not any(case.answer.text for case in cases) or not texts.available():
        return {}
    whole = protocol.reading == "facial-r1"  # there, texts were compared with their tags
    measures = {"rouge_l": texts.rouge_l()} | ({} if whole else {"rouge_l_rege": texts.rege_text()})
    shown = (lambda text: text) if whole else texts.plain
    pairs = [(shown(case.answer.text), shown(reference)) for case, reference in zip(cases, references, strict=True)]
    return {
        name: np.array([measure(text, reference) if reference else np.nan for text, reference in pairs])
        for name, measure in measures.items()
    }


def _units(rows: Rows) -> dict[str, dict[str, float]]:
    folds = [pooled(rows.aus, taken) for _, taken in by_fold(rows)]
    grades = Moments(*(part.sum(axis=0) for part in rows.grades))
    found: dict[str, dict[str, float]] = {}
    for column, unit in enumerate(rows.units):
        counts = [(sums.hits[0, unit], sums.claimed[0, unit], sums.present[0, unit]) for sums in folds]
        found[f"AU{unit}"] = _class(counts) | {"coded": int(sum(sums.coded[0, unit] for sums in folds))}
        own = Moments(*(part[column] for part in grades))
        if own.n:
            values = {name: float(measure(own)) for name, measure in GRADED.items()}
            found[f"AU{unit}"] |= {name: value for name, value in values.items() if not np.isnan(value)}
    return found


def _emotions(rows: Rows) -> dict[str, dict[str, float]]:
    folds = [pooled(rows.emotions, taken).confusion[0] for _, taken in by_fold(rows)]
    return {
        word: _class([(c[n, n], c[:, n].sum(), c[n].sum()) for c in folds])
        for n, word in enumerate(rows.words)
        if any(c[n].sum() + c[:, n].sum() for c in folds)
    }


def _class(folds: Sequence[tuple[float, float, float]]) -> dict[str, float]:
    """Means over the folds of hits, claims and occurrences; the support is their sum."""
    hits, claimed, present = (np.array(counts) for counts in zip(*folds, strict=True))
    values = {"f1": f1(hits, claimed, present), "precision": recall(hits, claimed), "recall": recall(hits, present)}
    return {name: float(mean_known(value)) for name, value in values.items()} | {"support": int(present.sum())}


def _confusion(rows: Rows) -> dict[str, Any]:
    counts = rows.emotions.confusion.sum(axis=0).astype(int).tolist()
    return {"labels": list(rows.words), "answers": [*rows.words, "other"], "counts": counts} if rows.words else {}


def _subgroups(
    cases: Sequence[Case], fitted: Fitted, compared: Mapping[str, Floats], draws: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Scores by what faces are told apart by, where that is said of some and there are at least two values."""
    found: dict[str, dict[str, Any]] = {}
    for key in sorted({key for case in cases for key in case.groups}):
        values = Counter(case.groups[key] for case in cases if key in case.groups)
        if 1 < len(values) <= _VALUES:
            found[key] = {
                value: _subgroup(cases, key, value, fitted, compared, draws, seed)
                for value, count in sorted(values.items())
                if count >= _FEWEST
            }
    return found


def _subgroup(
    cases: Sequence[Case], key: str, value: str, fitted: Fitted, compared: Mapping[str, Floats], draws: int, seed: int
) -> dict[str, Any]:
    inside = [number for number, case in enumerate(cases) if case.groups.get(key) == value]
    chosen = [cases[number] for number in inside]
    own = {name: values[inside] for name, values in compared.items()}
    rows = rows_of(chosen, fitted.emotions, fitted.units, own, resampled_by(chosen))
    ends = intervals(rows, draws, seed) if draws else {}
    return {"faces": len(chosen), "scores": plain_numbers(numbers(rows)), "intervals": ends}


def _missing_folds(protocol: Protocol, rows: Rows) -> dict[str, list[str]]:
    missing = [str(fold) for fold in range(1, len(protocol.folds) + 1) if fold not in rows.folds]
    return {"folds without a face": missing} if missing else {}


def _told(unmatched: Mapping[str, Iterable[str]]) -> dict[str, dict[str, Any]]:
    named = {reason: list(names) for reason, names in unmatched.items()}
    return {reason: {"count": len(names), "examples": names[:_EXAMPLES]} for reason, names in named.items() if names}
