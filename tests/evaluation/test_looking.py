"""How far answers depend on the face: against all ways to deal the answers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from statistics import fmean, pstdev

import pytest

from fea.evaluation import looking
from fea.evaluation.looking import Look, Said, claims, emotions

# Five faces of one data set, with one answer each: some right, some wrong, none the same.
FACES = [
    Said("d", [6, 12], [1, 4, 6, 12], ["happiness"], [[6, 12]], [True], ["happiness"]),
    Said("d", [4], [1, 4, 6, 12], ["anger"], [[4, 1]], [True], ["anger"]),
    Said("d", [1, 4], [1, 4, 6, 12], ["sadness", "fear"], [[12]], [True], ["anger"]),
    Said("d", [], [1, 4, 6, 12], ["neutral"], [[6]], [True], ["neutral"]),
    Said("d", [12], [1, 4, 6, 12], ["happiness"], [[12, 4]], [False], ["fear"]),
]


def f1(face: Said, claimed: list[int], thinks: bool) -> float:
    both = len(face.present) + len(set(claimed) & set(face.coded))
    return thinks * (2 * len(set(face.present) & set(claimed)) / both if both else 1.0)


def score(part: str, face: Said, answer: Said) -> float:
    if part == "emotions":
        return float(answer.emotions[0] in face.labels)
    return f1(face, answer.claimed[0], answer.thinking[0])


@pytest.fixture(autouse=True)
def five_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_FEWEST", 5)  # the ways to deal out more would be too many to count


@pytest.mark.parametrize("part", [claims, emotions])
def test_a_look_is_the_gain_over_answers_that_are_dealt_out(part: Callable[[Sequence[Said]], Look | None]) -> None:
    look = part(FACES)
    assert look is not None
    dealt = [
        fmean(score(part.__name__, *pair) for pair in zip(FACES, order, strict=True)) for order in permutations(FACES)
    ]
    others = [score(part.__name__, face, answer) for face in FACES for answer in FACES if face is not answer]
    assert look.here == pytest.approx(dealt[0], abs=1e-12)
    assert look.elsewhere == pytest.approx(fmean(others), abs=1e-12)
    assert look.error == pytest.approx(pstdev(dealt), abs=1e-12)
    assert 0 < look.share < 1


def test_right_answers_look_wholly_and_one_answer_to_all_not_at_all() -> None:
    right = [face._replace(claimed=[face.present], thinking=[True], emotions=face.labels[:1]) for face in FACES]
    same = [face._replace(claimed=[[12]], thinking=[True], emotions=["happiness"]) for face in FACES]
    for part in (claims, emotions):
        seen, blind = part(right), part(same)
        assert seen is not None
        assert blind is not None
        assert (seen.share, blind.share) == pytest.approx((1, 0), abs=1e-12)
        assert blind.here == pytest.approx(blind.elsewhere, abs=1e-12)
        assert blind.constant >= blind.here
