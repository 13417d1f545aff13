"""`Scored`: what `fea test --protocol` and `fea score` find, and its file `metrics.json`.

Beside it lies `predictions.jsonl`, a line a face (`fea.protocols.cases`). Both are what a report or a comparison reads: `read`
brings them back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fea.errors import FEAError
from fea.protocols.cases import Case, read_cases, write_cases
from fea.system.files import write_atomically

METRICS = "metrics.json"  # in the folder of a run, or where --out says
PREDICTIONS = "predictions.jsonl"  # beside it

Numbers = Mapping[str, float]
Intervals = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Scored:
    """The scores of answers by a protocol. Scores are in [0, 1], but for those that say otherwise.

    Attributes:
        protocol: its name.
        source: where its rules were published.
        faces: that were judged.
        subjects: people among them, as far as they are known.
        resampled: what bootstrap draws are made of, "subjects" or "faces".
        lenient: whether answers were read as free text where they have no blocks.
        scores: by name, as `measuring.scores_of` has them.
        intervals: by name, the ends of the 95 % bootstrap interval, [low, high].
        units: by code, f1, precision, recall, and the faces that show it (support) and of which it is known (coded); where
            intensities are told icc, pcc and mae. Means of the folds, support and coded sums.
        emotions: by word, f1, precision, recall and support.
        confusion: "labels", "answers" (the last is "other") and "counts", a row a label; empty without emotions.
        folds: by number, scores; empty without folds.
        baselines: "majority" and "blind", scores without looking.
        subgroups: by key of meta_info and value, "faces", "scores" and "intervals".
        unmatched: by reason, how many ("count") and which ("examples") are not judged, or count as wrong for it.
        model: what is known of whoever answered.
        thinking: how far it carries the answers, as `fea.evaluation.carried` has it: consistency, consistency_gain (in nats),
            evidence and evidence_gain; empty where no policy was at hand to be asked, or none of it was asked for.
        calibration: "error" and "bins" of the votes of sampled answers, as `calibration` has them; empty without votes.
        notes: what is to be known beside the numbers, a sentence each.
    """

    protocol: str
    source: str
    faces: int
    subjects: int
    resampled: str
    lenient: bool
    scores: Numbers
    intervals: Intervals
    units: Mapping[str, Numbers] = field(default_factory=dict)
    emotions: Mapping[str, Numbers] = field(default_factory=dict)
    confusion: Mapping[str, Any] = field(default_factory=dict)
    folds: Mapping[str, Numbers] = field(default_factory=dict)
    baselines: Mapping[str, Numbers] = field(default_factory=dict)
    subgroups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unmatched: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    thinking: Numbers = field(default_factory=dict)
    notes: Sequence[str] = ()


def write(folder: Path, scored: Scored, cases: Sequence[Case]) -> None:
    """Writes `predictions.jsonl`, then `metrics.json`, each whole or not at all."""
    write_cases(folder / PREDICTIONS, cases)
    write_atomically(folder / METRICS, (json.dumps(asdict(scored), ensure_ascii=False, indent=1) + "\n").encode())


def read_scored(folder: Path) -> Scored:
    """Reads `metrics.json`.

    Args:
        folder: that it lies in, or the file itself.

    Raises:
        FEAError: there is none, or it is something else.
    """
    file = folder / METRICS if folder.is_dir() else folder
    if not file.is_file():
        raise FEAError(f"'{folder}' holds no {METRICS}; write it with fea test --protocol NAME, or with fea score")
    try:
        return Scored(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise FEAError(
            f"'{file}' is no {METRICS} of fea ({error}); write it again with fea test or fea score"
        ) from None


def read(folder: Path) -> tuple[Scored, list[Case]]:
    """Reads both files of a folder.

    Raises:
        FEAError: one is not there, or is something else.
    """
    scored = read_scored(folder)
    words = scored.confusion.get("labels", ())
    return scored, read_cases(folder / PREDICTIONS, words, scored.lenient)
