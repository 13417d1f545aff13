"""Rewards for valence, arousal and grades: against plain computations off the trivial point, and in two processes as in one."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fea.callbacks import CCCReward, CRPSReward, DimensionReward, IntensityReward
from fea.data.example import Example
from fea.errors import FEAError
from fea.facs import EMOTION_SETS
from fea.prompts.answer import Answer, parse
from fea.prompts.numbers import GRADES, NUMBERS
from fea.rollouts.rollout import Rollout

GROUP, TINY = 4, 1e-6
BASIC = EMOTION_SETS["basic7"]


def face(valence: float | None = 0.4, arousal: float | None = -0.2, grades: dict[int, float] | None = None) -> Example:
    there = grades or {}
    aus, intensities = frozenset(f"AU{n}" for n in there), {f"AU{n}": grade for n, grade in there.items()}
    coded = frozenset({1, 4, 6, 12, 25}) if grades is not None else frozenset[int]()
    labels = ("happiness",)
    return Example(
        "7", "", "", "", "", aus if coded else None, coded, labels, BASIC, None, intensities, valence, arousal, "{}"
    )


def said(valence: float | None, arousal: float | None, units: str = "At rest.") -> Answer:
    parts = [f"{name} {value}" for name, value in (("valence", valence), ("arousal", arousal)) if value is not None]
    text = f"<think>{units}</think><answer>{'; '.join(['happiness', *parts])}</answer>"
    return parse(text, BASIC, numbers=NUMBERS)


def rollout(faces: list[Example], answers: list[Answer]) -> Rollout:
    prompts = [SimpleNamespace(example=example) for example in faces]
    return Rollout(prompts, len(answers) // len(faces), None, answers)  # type: ignore[arg-type]


def drawn(rng: np.random.Generator, faces: int = 5) -> Rollout:
    """Faces of which some have no valence or no arousal, and answers of which some cannot be read."""
    shown: list[Example] = []
    answers: list[Answer] = []
    for _ in range(faces):
        numbers: Any = rng.uniform(-1, 1, 2).round(2).tolist()
        shown.append(face(*(None if rng.random() < 0.2 else number for number in numbers)))
        for _ in range(GROUP):
            near: Any = np.clip(np.array(numbers) + rng.normal(0.1, 0.4, 2), -1, 1).round(1).tolist()
            answers.append(said(*(None if rng.random() < 0.1 else number for number in near)))
    return rollout(shown, answers)


def told(answer: Answer, name: str) -> float:
    value = getattr(answer, name)
    return 0.0 if value is None else float(value)


@pytest.mark.parametrize("tau", [0.25, 0.6])
def test_points_are_worth_what_the_formula_says(tau: float) -> None:
    shown, answer = face(0.4, -0.2), said(0.1, 0.3)
    expected = (math.exp(-((0.3 / tau) ** 2)) + math.exp(-((0.5 / tau) ** 2))) / 2
    assert DimensionReward(tau=tau).reward(answer, shown, "") == pytest.approx(expected, abs=TINY)
    assert DimensionReward(("valence",), tau).reward(answer, shown, "") == pytest.approx(math.exp(-((0.3 / tau) ** 2)))
    unread = said(None, None)
    expected = (math.exp(-((0.4 / tau) ** 2)) + math.exp(-((0.2 / tau) ** 2))) / 2  # the middle of the range
    assert DimensionReward(tau=tau).reward(unread, shown, "") == pytest.approx(expected, abs=TINY)
    assert DimensionReward(tau=tau).reward(answer, face(None, None), "") is None
    assert DimensionReward(("valence",)).reward(answer, face(None, 0.3), "") is None
    assert DimensionReward().reward(parse("<answer>fear</answer>", BASIC), shown, "") is None  # nobody asked


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ("AU6B and AU12D.", [1.0, 1.0]),
        ("AU6D, AU12D.", [1 - 2 / 5, 1.0]),
        ("AU12D.", [1 - 2 / 5, 1.0]),
        ("AU6B, AU12D, AU25A.", [1.0, 1.0, 1 - 1 / 5]),
        ("AU6B, AU12D, AU25E.", [1.0, 1.0, 0.0]),
        ("AU6 and AU12.", [1 - 1 / 5, 1 - 1 / 5]),
        ("AU9E, AU6B, AU12D.", [1.0, 1.0]),
        ("Nothing.", [1 - 2 / 5, 1 - 4 / 5]),
    ],
)
def test_grades_are_ordinal_and_inventing_costs(units: str, expected: list[float]) -> None:
    """Claims without a letter count as C, and what nobody coded is not judged."""
    earned = IntensityReward().reward(said(0.1, 0.1, units), face(grades={6: 2, 12: 4}), "")
    assert earned == pytest.approx(sum(expected) / len(expected), abs=TINY)


def test_faces_and_answers_without_grades() -> None:
    reward = IntensityReward()
    assert reward.reward(said(0, 0), face(grades={}), "") == 1.0
    assert reward.reward(said(0, 0, "AU6E."), face(grades={}), "") == 0.0
    assert reward.reward(said(0, 0), face(grades=None), "") is None
    assert reward.reward(parse("<answer>fear</answer>", BASIC, numbers=NUMBERS), face(grades={6: 2}), "") == 0.0
    assert reward.reward(parse("<think>AU6B</think><answer>fear</answer>", BASIC), face(grades={6: 2}), "") is None
    alone = parse("<answer>fear; valence 0; arousal 0</answer>", BASIC, form="only", numbers=("valence", "arousal"))
    assert reward.reward(alone, face(grades={6: 2}), "") is None
    ungraded = face(grades={6: 2})._replace(intensities={})
    assert reward.reward(said(0, 0, "AU6B."), ungraded, "") is None
    assert [GRADES.index(letter) + 1 for letter in "ACE"] == [1, 3, 5]


def ccc(pairs: list[tuple[float, float, float]]) -> float:
    """Of (told, true, weight), from the definition."""
    weight = sum(w for *_, w in pairs)
    mean = [sum(p[i] * p[2] for p in pairs) / weight for i in (0, 1)]
    var = [sum(p[2] * (p[i] - mean[i]) ** 2 for p in pairs) / weight for i in (0, 1)]
    both = sum(p[2] * (p[0] - mean[0]) * (p[1] - mean[1]) for p in pairs) / weight
    return 2 * both / (var[0] + var[1] + (mean[0] - mean[1]) ** 2) if var[0] > 1e-12 else 0.0


def pairs_of(seen: Rollout, name: str, weight: float = 1.0) -> list[tuple[float, float, float] | None]:
    found: list[tuple[float, float, float] | None] = []
    for number, answer in enumerate(seen.answers):
        truth = getattr(seen.prompts[number // GROUP].example, name)
        found.append(None if truth is None else (told(answer, name), truth, weight))
    return found


@pytest.mark.parametrize(("half_life", "seed"), [(0.0, 1), (8.0, 2), (8.0, 3)])
def test_concordance_is_credited_by_leaving_an_answer_out(half_life: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    earlier, latest, other = drawn(rng), drawn(rng), drawn(rng)
    for name in ("valence", "arousal"):
        reward = CCCReward((name,), half_life)  # type: ignore[arg-type]
        reward.on_answers(earlier)
        reward.on_answers(latest)
        own = pairs_of(latest, name)
        fade = 0.5 ** (sum(pair is not None for pair in own) / GROUP / half_life) if half_life else 0.0
        older = [pair for pair in pairs_of(earlier, name, fade) if pair] if fade else []
        for seen, inside in ((latest, True), (other, False)):
            worth = reward.rewards(seen).flatten()
            for number, pair in enumerate(pairs_of(seen, name)):
                if pair is None:
                    assert worth[number].isnan()
                    continue
                if inside:
                    others = [*older, *(one for i, one in enumerate(own) if one and i != number)]
                else:
                    others = [*older, *(one for one in own if one)]
                every = [*others, pair]
                expected = sum(w for *_, w in every) * (ccc(every) - ccc(others))
                assert worth[number].item() == pytest.approx(expected, abs=TINY)


def test_what_tells_faces_apart_earns_more_than_what_is_usual() -> None:
    faces = [face(valence, 0.1) for valence in (-0.8, -0.4, 0.5, 0.7)]
    answers = [said(value, 0.1) for true in (-0.8, -0.4, 0.5, 0.7) for value in (true, 0.0, 0.0, -true)]
    seen = rollout(faces, answers)
    reward = CCCReward(("valence",), 0.0)
    reward.on_answers(seen)
    worth = reward.rewards(seen)
    assert (worth[:, 0] > worth[:, 1]).all()
    assert (worth[:, 1] > worth[:, 3]).all()


def test_the_answers_of_all_processes_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, whole, first = np.random.default_rng(4), CCCReward(half_life=8.0), CCCReward(half_life=8.0)
    for _ in range(3):
        parts = [drawn(rng, 4), drawn(rng, 2)]
        answers = [*parts[0].answers, *parts[1].answers]
        joined = rollout([p.example for part in parts for p in part.prompts], answers)
        whole.on_answers(joined)
        other: list[Any] = []
        monkeypatch.setattr("fea.callbacks.ccc_reward.gathered", lambda own: other.append(own) or [own])  # noqa: B023
        CCCReward().on_answers(parts[1])
        monkeypatch.setattr("fea.callbacks.ccc_reward.gathered", lambda own: [own, *other])  # noqa: B023
        first.on_answers(parts[0])
        monkeypatch.setattr("fea.callbacks.ccc_reward.gathered", lambda own: [own])
        np.testing.assert_allclose(np.array(first.sums), np.array(whole.sums), rtol=1e-12)
        found, expected = first.rewards(parts[0]), whole.rewards(joined)[:4]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9, equal_nan=True)


def test_a_run_that_goes_on_adds_to_the_same_bits() -> None:
    rng = np.random.default_rng(2)
    whole, again = CCCReward(half_life=8.0), CCCReward(half_life=8.0)
    again.load_state_dict(CCCReward().state_dict())
    assert again.sums is None
    for number in range(4):
        seen = drawn(rng)
        whole.on_answers(seen)
        if number == 1:
            again.load_state_dict(whole.state_dict())
        if number > 1:
            again.on_answers(seen)
            assert torch.equal(again.rewards(seen).nan_to_num(), whole.rewards(seen).nan_to_num())
    assert again.state_dict() == whole.state_dict()


def integral(values: list[float], truth: float) -> float:
    """CRPS from its definition: the integral of (F(z) - [y <= z])^2, piece by piece."""
    ends = sorted([*values, truth])
    steps = [
        (sum(value <= low for value in values) / len(values) - (truth <= low)) ** 2 * (high - low)
        for low, high in itertools.pairwise(ends)
    ]
    return sum(steps)


def fair(values: list[float], truth: float) -> float:
    """The integral, less what it holds too much of the spread, for the values are draws (Ferro, 2014)."""
    count = len(values)
    if count < 2:
        return integral(values, truth)
    spread = sum(abs(a - b) for a in values for b in values)
    return integral(values, truth) - spread / (2 * count**2 * (count - 1))


def test_crps_is_credited_by_leaving_an_answer_out() -> None:
    seen = drawn(np.random.default_rng(5), 8)
    for name in ("valence", "arousal"):
        worth = CRPSReward((name,)).rewards(seen)  # type: ignore[arg-type]
        for number, (prompt, answers) in enumerate(zip(seen.prompts, seen.by_prompt, strict=True)):
            truth = getattr(prompt.example, name)
            if truth is None:
                assert worth[number].isnan().all()
                continue
            values = [told(answer, name) for answer in answers]
            for i in range(GROUP):
                without = fair(values[:i] + values[i + 1 :], truth)
                expected = (GROUP - 1) * (without - fair(values, truth))
                assert worth[number, i].item() == pytest.approx(expected, abs=TINY)
    known = [n for n, prompt in enumerate(seen.prompts) if len(prompt.example.affect) == 2]
    both = [CRPSReward((name,)).rewards(seen)[known] for name in ("valence", "arousal")]  # type: ignore[arg-type]
    torch.testing.assert_close(CRPSReward().rewards(seen)[known], (both[0] + both[1]) / 2)


def test_an_answer_that_differs_is_paid_where_the_others_are_wrong_alike() -> None:
    seen = rollout([face(0.5, None)], [said(value, 0.0) for value in (-0.4, -0.4, -0.4, 0.2)])
    worth = CRPSReward().rewards(seen)[0]
    assert worth.argmax() == 3
    single = rollout([face(0.5, None)], [said(0.2, 0.0)])
    assert CRPSReward().rewards(single).item() == pytest.approx(-0.3)


def test_settings_that_make_no_sense_are_refused() -> None:
    for kind in (DimensionReward, CCCReward, CRPSReward):
        for of in ((), ("intensity",), ("pain", "valence")):
            with pytest.raises(FEAError, match=rf"{kind.__name__}\.of: .*valence or arousal"):
                kind(of)  # type: ignore[arg-type]
    for tau in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(FEAError, match=r"DimensionReward\.tau"):
            DimensionReward(tau=tau)
    for half_life in (-1.0, math.inf, math.nan):
        with pytest.raises(FEAError, match=r"CCCReward\.half_life"):
            CCCReward(half_life=half_life)
