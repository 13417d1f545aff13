"""Evaluations of made-up answers about drawn faces, as `fea score` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fea.data.example import Example
from fea.facs import ACTION_UNITS, EMOTION_SETS
from fea.prompts.answer import parse, render
from fea.protocols.cases import Case, case_of
from fea.protocols.fitting import fitted
from fea.protocols.known import PROTOCOLS
from fea.protocols.scored import Scored, write
from fea.protocols.scoring import score

WORDS = EMOTION_SETS["basic7"]
NASTY = "<script>document.title='broken'</script><img src=x onerror=alert(1)>\"'&"


def answered(examples: Sequence[Example], wrong: int, **meta: str) -> list[Case]:
    """Answers of which every so many-th names another emotion and one unit too many; faces of few people."""
    cases = []
    for number, example in enumerate(examples):
        bad = number % wrong == 0
        units = sorted(example.present | ({min(example.coded - example.present)} if bad else set()))
        think = " ".join(f"The {ACTION_UNITS[unit].name} shows (AU{unit})." for unit in units) or "Nothing moves."
        label = example.labels[0]
        word = WORDS[(WORDS.index(label) + 1) % len(WORDS)] if bad else label
        known = {"subject": f"p{number % 8}", "gender": ("women", "men")[number % 2], **meta}
        if number % 12 == 5:
            known["pose"] = "profile"
        elif number % 12 > 5:
            known["pose"] = "frontal"
        told = example._replace(meta=json.dumps(known), emotions=WORDS)
        cases.append(case_of(told, parse(render(think, word), WORDS))._replace(votes=(4 + number % 5) / 8))
    return cases


def evaluation(
    folder: Path,
    cases: Sequence[Case],
    protocol: str = "fea20k",
    draws: int = 200,
    unmatched: Mapping[str, Sequence[str]] | None = None,
    model: Mapping[str, object] | None = None,
    lenient: bool = False,
) -> Scored:
    """Writes both files, and returns what is in the first."""
    by = PROTOCOLS[protocol]._replace(texts=False)
    fit = fitted(by, [case.example for case in cases])
    judged = [case._replace(example=truth.example) for case, truth in zip(cases, fit.truths, strict=True)]
    scored = score(judged, by, fit, unmatched or {}, lenient, model, draws)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, scored, judged)
    return scored
