"""Rewards that are corrected for how frequent labels are: each formula in plain Python, and what not looking earns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fea.callbacks import AUReward, EmotionReward
from fea.data.example import Example
from fea.data.shares import Shares
from fea.errors import FEAError
from fea.facs import ACTION_UNITS, EMOTION_SETS
from fea.prompts.answer import Answer, parse, render
from fea.rewards import RewardCallback

SEVEN, EIGHT = EMOTION_SETS["basic7"], EMOTION_SETS["basic8"]
UNITS = (1, 4, 6, 12, 15, 20)
POWERS = (0.0, 0.5, 1.0)
Drawn = list[tuple[Example, float]]  # faces, and how often each is drawn


def face(
    aus: tuple[int, ...] | None, labels: tuple[str, ...], coded: tuple[int, ...], emotions: Any = SEVEN
) -> Example:
    """A face; of one without units nobody coded any."""
    present = None if aus is None else frozenset(f"AU{n}" for n in aus)
    return Example("", "", "", "", "", present, frozenset(coded), labels, emotions, None, {}, None, None, "{}")


# Happiness on half of the faces and fear on one; AU20 on one, AU1 on none, AU4 on all of the second file; two files with their
# own emotions and units, some faces without the one or the other, and one with two right emotions. The second file is drawn
# more often.
FACES: Drawn = [
    *[(face((6, 12), ("happiness",), UNITS), 1.0)] * 9,
    *[(face((12,), ("neutral",), UNITS), 1.0)] * 4,
    (face((4, 15), ("sadness",), UNITS), 1.0),
    (face((4, 15, 6), ("anger", "sadness"), UNITS), 1.0),
    (face((20, 4), ("fear",), UNITS), 1.0),
    (face(None, ("surprise",), ()), 1.0),
    (face((), (), UNITS), 1.0),
    (face((4,), ("contempt",), (4, 15), EIGHT), 2.5),
    *[(face((4, 15), ("happiness",), (4, 15), EIGHT), 2.5)] * 3,
]


def share(right: Any, among: Any) -> float:
    return sum(w for f, w in FACES if among(f) and right(f)) / sum(w for f, w in FACES if among(f))


def p(word: str, emotions: Any) -> float:
    return share(lambda f: word in f.labels, lambda f: f.labels and f.emotions == emotions)


def q(unit: int) -> float:
    return share(lambda f: unit in f.present, lambda f: unit in f.coded)


OCCURRING = {emotions: [word for word in emotions if p(word, emotions)] for emotions in (SEVEN, EIGHT)}
SHOWN = [unit for unit in UNITS if q(unit)]
SHARES = Shares(
    emotions={emotions: {word: p(word, emotions) for word in words} for emotions, words in OCCURRING.items()},
    units={unit: q(unit) for unit in SHOWN},
    coded={unit: share(lambda f: unit in f.coded, lambda f: bool(f.coded)) for unit in UNITS},  # noqa: B023
)


def fitted(reward: RewardCallback) -> RewardCallback:
    """As a trainer sets it up, with data of which the shares are known."""
    data = SimpleNamespace(shares=lambda: SHARES)
    reward.setup(SimpleNamespace(datamodule=data), None, "fit")  # type: ignore[arg-type]
    return reward


def earned(reward: RewardCallback, text: str, example: Example) -> float | None:
    answer: Answer = parse(text, example.emotions)
    return reward.reward(answer, example, text)


def mean(reward: RewardCallback, policy: list[tuple[float, str]]) -> float:
    """What a policy earns that says a text so often whatever the face is: over all faces and texts, not a sample."""
    known = [(f, w) for f, w in FACES if earned(reward, "", f) is not None]
    total = sum(w * often * (earned(reward, text, f) or 0.0) for f, w in known for often, text in policy)
    return total / sum(w for _, w in known)


# --- emotions ---


@pytest.mark.parametrize("balance", POWERS)
@pytest.mark.parametrize("corrected", [False, True])
def test_an_emotion_earns_its_weight_less_what_guessing_it_does(corrected: bool, balance: float) -> None:
    reward = fitted(EmotionReward(corrected=corrected, balance=balance))
    for example, word in itertools.product([f for f, _ in FACES], EIGHT):
        got = earned(reward, render("A face.", word), example)
        if not example.labels:
            assert got is None
            continue
        words = OCCURRING[example.emotions]
        w = {k: (1 / (len(words) * p(k, example.emotions))) ** balance for k in words}
        if word in words:
            expected = w[word] * ((word in example.labels) - corrected * p(word, example.emotions))
        else:  # allowed and on no face, such as disgust; or not allowed, as contempt in the first file
            expected = -max(w[k] * p(k, example.emotions) for k in words) if corrected else 0.0
        assert got == pytest.approx(expected, abs=1e-6)


def test_by_hand() -> None:
    smile, contempt = FACES[0][0], FACES[18][0]  # of 17 labeled faces that allow seven emotions 9 are happy, in 6 words
    assert p("happiness", SEVEN) == 9 / 17
    assert len(OCCURRING[SEVEN]) == 6
    happy, afraid = render("A face.", "happiness"), render("A face.", "fear")
    plain, even = (fitted(EmotionReward(corrected=True, balance=b)) for b in (0.0, 1.0))
    assert (earned(plain, happy, smile), earned(plain, afraid, smile)) == (
        pytest.approx(8 / 17),
        pytest.approx(-1 / 17),
    )
    assert earned(even, happy, smile) == pytest.approx(17 / 54 - 1 / 6)
    assert earned(even, afraid, smile) == pytest.approx(-1 / 6)
    # In the other file 1 of 4 shows contempt and the others happiness, each drawn as often.
    assert earned(plain, render("A face.", "contempt"), contempt) == pytest.approx(3 / 4)
    assert earned(even, render("A face.", "contempt"), contempt) == pytest.approx(2 - 1 / 2)


def test_balanced_in_full_the_mean_is_the_average_recall_less_chance() -> None:
    """Of a policy that is right about most smiles and half of the rest, on faces with one label each."""
    reward = fitted(EmotionReward(corrected=True, balance=1.0))
    single = [f for f, _ in FACES if len(f.labels) == 1 and f.emotions == SEVEN]
    words = sorted({f.labels[0] for f in single})
    known = {word: sum(f.labels[0] == word for f in single) / len(single) for word in words}
    reward.data = SimpleNamespace(shares=lambda: Shares({SEVEN: known}, {}, {}))  # type: ignore[assignment]
    said = [f.labels[0] if number % 3 else words[number % len(words)] for number, f in enumerate(single)]
    recalls = [
        sum(s == word for s, f in zip(said, single, strict=True) if f.labels[0] == word) / (known[word] * len(single))
        for word in words
    ]
    scores = [earned(reward, render("A face.", s), f) for s, f in zip(said, single, strict=True)]
    assert sum(filter(None, scores)) / len(scores) == pytest.approx(
        sum(recalls) / len(words) - 1 / len(words), abs=1e-6
    )


# --- units ---


def scale(unit: int, balance: float) -> float:
    return (1 / (q(unit) * (1 - q(unit)))) ** balance


def true_mean(balance: float) -> float:
    coded = [(f, w) for f, w in FACES if f.coded]
    total = sum(w * scale(u, balance) * (1 - q(u)) for f, w in coded for u in f.present)
    return total / sum(w for _, w in coded)


@pytest.mark.parametrize("balance", POWERS)
def test_claims_earn_what_they_tell_beyond_guessing(balance: float) -> None:
    reward, dearest = fitted(AUReward(corrected=True, balance=balance)), max(scale(u, balance) * q(u) for u in SHOWN)
    claims = ((), (12,), (6, 12), (4, 15), (1, 20), UNITS)
    for (example, _), claimed in itertools.product(FACES, claims):
        got = earned(reward, render(" ".join(f"AU{n}" for n in claimed) or "At rest.", "neutral"), example)
        if not example.coded:
            assert got is None
            continue
        expected = sum(
            scale(u, balance) * ((u in example.present) - q(u)) if u in SHOWN else -dearest
            for u in set(claimed) & example.coded
        )
        assert got == pytest.approx(expected / true_mean(balance), abs=1e-6)


@pytest.mark.parametrize("balance", POWERS)
def test_the_true_units_earn_one_on_average_and_silence_nothing(balance: float) -> None:
    reward = fitted(AUReward(corrected=True, balance=balance))
    coded = [(f, w) for f, w in FACES if f.coded]
    texts = [render(" ".join(f"AU{n}" for n in sorted(f.present)) or "At rest.", "fear") for f, _ in coded]
    scores = [earned(reward, text, f) or 0.0 for text, (f, _) in zip(texts, coded, strict=True)]
    weights = [w for _, w in coded]
    total = sum(w * score for w, score in zip(weights, scores, strict=True))
    assert total / sum(weights) == pytest.approx(1.0, abs=1e-6)
    assert earned(reward, render("At rest.", "fear"), FACES[0][0]) == 0.0
    if balance == 1.0:  # each unit that varies earns the same share, however rare
        for u in SHOWN:
            part = sum(w * scale(u, 1.0) * (1 - q(u)) for f, w in coded if u in f.present) / sum(weights)
            assert part == pytest.approx(SHARES.coded[u], abs=1e-6)


@pytest.mark.parametrize("balance", POWERS)
@pytest.mark.parametrize("claimed", [(12,), (6, 12), (12, 15), (1,), (1, 12), UNITS])
def test_a_balanced_f1_counts_a_unit_by_its_rarity(claimed: tuple[int, ...], balance: float) -> None:
    rarest = max(q(u) ** -balance for u in SHOWN)
    v = {u: q(u) ** -balance if u in SHOWN else rarest for u in UNITS}
    for example in (FACES[0][0], FACES[13][0], FACES[15][0]):
        hits = sum(v[u] for u in claimed if u in example.present)
        both = sum(v[u] for u in claimed) + sum(v[u] for u in example.present)
        text = render(" ".join(f"AU{n}" for n in claimed), "fear")
        assert earned(fitted(AUReward(balance=balance)), text, example) == pytest.approx(2 * hits / both, abs=1e-6)


def test_the_empty_cases_of_a_balanced_f1_are_those_of_the_plain_one() -> None:
    reward, rest = fitted(AUReward(balance=0.5)), FACES[17][0]
    assert earned(reward, render("At rest.", "fear"), rest) == 1.0
    assert earned(reward, "<answer>fear</answer>", rest) == 0.0
    assert earned(reward, render("AU12", "fear"), FACES[16][0]) is None
    strict = fitted(AUReward(balance=0.5, uncoded_penalty=0.1))
    assert earned(strict, render("AU9, AU10", "fear"), rest) == pytest.approx(0.8)


def test_a_penalty_takes_a_corrected_reward_below_zero() -> None:
    reward = fitted(AUReward(corrected=True, uncoded_penalty=0.1))
    assert earned(reward, render("AU9, AU10", "fear"), FACES[0][0]) == pytest.approx(-0.2)


# --- what all have in common ---

BOTH = [{"corrected": True, "balance": balance} for balance in POWERS]


def marginal() -> Iterator[tuple[float, str]]:
    """Each unit as often as it occurs, independently of the others; one that no face shows, never."""
    for claims in itertools.product((False, True), repeat=len(SHOWN)):
        units = [u for u, claim in zip(SHOWN, claims, strict=True) if claim]
        often = math.prod(q(u) if u in units else 1 - q(u) for u in SHOWN)
        yield often, " ".join(f"AU{u}" for u in units) or "At rest."


def spoken(words: dict[str, float], thoughts: Any) -> list[tuple[float, str]]:
    """A policy whose emotion and whose units are independent of each other, too."""
    return [(a * b, render(thought, word)) for word, a in words.items() for b, thought in thoughts]


ANY = dict.fromkeys(OCCURRING[SEVEN], 1 / 6)
MOSTLY = {word: 0.75 * (word == "happiness") + 0.25 / 6 for word in OCCURRING[SEVEN]}
FIXED = [(1.0, " ".join(f"AU{u}" for u in SHOWN))]
BLIND = {
    "fixed units, any emotion": spoken(ANY, FIXED),
    "fixed units, mostly one emotion": spoken(MOSTLY, FIXED),
    "no unit, any emotion": spoken(ANY, [(1.0, "At rest.")]),
    "one answer": spoken({"fear": 1.0}, FIXED),
    "the most frequent answer": spoken({"happiness": 1.0}, [(1.0, "AU6 AU12")]),
    "a rare answer": spoken({"fear": 1.0}, [(1.0, "AU20")]),
    "as often as they occur": spoken({word: p(word, SEVEN) for word in OCCURRING[SEVEN]}, marginal()),
}
EVERY = " ".join(f"AU{n}" for n in ACTION_UNITS)
BROKEN = {
    "AU1 to AU66": spoken({"happiness": 1.0}, [(1.0, EVERY)]),
    "everything": [(1.0, render(EVERY, ", ".join(SEVEN)))],
    "nothing": [(1.0, "")],
    "no blocks": [(1.0, "AU6 AU12 happiness")],
    "no thinking": [(1.0, "<answer>happiness, fear</answer>")],
    "no end": [(1.0, "<think>The cheeks")],
    "no answer": [(1.0, "<think>AU12</think>")],
    "an empty answer": [(1.0, render("AU12", ""))],
    "another word": [(1.0, render("AU12", "boredom"))],
    "an emotion that nobody shows": [(1.0, render("AU1", "disgust"))],
}


def blind_part(reward: RewardCallback, policy: list[tuple[float, str]], emotions: Any) -> float:
    """Over the faces that allow the same emotions."""
    known = [(f, w) for f, w in FACES if f.emotions == emotions and earned(reward, "", f) is not None]
    total = sum(w * often * (earned(reward, text, f) or 0.0) for f, w in known for often, text in policy)
    return total / sum(w for _, w in known)


@pytest.mark.parametrize("options", BOTH, ids=str)
@pytest.mark.parametrize("name", BLIND)
def test_a_policy_that_does_not_look_earns_nothing(name: str, options: dict[str, Any]) -> None:
    aus, emotion = fitted(AUReward(**options)), fitted(EmotionReward(**options))
    assert mean(aus, BLIND[name]) == pytest.approx(0.0, abs=1e-6)
    assert blind_part(emotion, BLIND[name], SEVEN) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("options", BOTH, ids=str)
def test_no_emotion_is_better_to_guess_than_another(options: dict[str, Any]) -> None:
    reward = fitted(EmotionReward(**options))
    for emotions, words in OCCURRING.items():
        for word in words:
            assert blind_part(reward, [(1.0, render("A face.", word))], emotions) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("options", BOTH, ids=str)
@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_form_never_pays(name: str, options: dict[str, Any]) -> None:
    aus, emotion = fitted(AUReward(**options)), fitted(EmotionReward(**options))
    assert mean(aus, BROKEN[name]) <= 1e-6
    assert mean(emotion, BROKEN[name]) <= 1e-6


@pytest.mark.parametrize("options", BOTH, ids=str)
def test_what_cannot_be_right_is_no_way_around_a_wrong_answer(options: dict[str, Any]) -> None:
    aus, emotion = fitted(AUReward(**options)), fitted(EmotionReward(**options))
    for example in [f for f, _ in FACES if f.labels]:
        wrong = [w for w in OCCURRING[example.emotions] if w not in example.labels]
        least = min(earned(emotion, render("A face.", word), example) or 0.0 for word in wrong)
        for text in ("", render("A face.", "boredom"), render("A face.", "disgust"), render("A face.", "fear, anger")):
            assert (earned(emotion, text, example) or 0.0) <= least
            assert (earned(emotion, text, example) or 0.0) < 0
    smile = FACES[0][0]
    for text in ("", "AU12", "<answer>happiness</answer>", render(" ", "happiness"), "<think>AU12"):
        assert earned(aus, text, smile) == -1.0
    for shown in SHOWN:  # nor is a unit that nobody shows a cheaper one to invent
        claims = [earned(aus, render(f"AU{u}", "fear"), FACES[17][0]) or 0.0 for u in (1, shown)]
        assert claims[0] <= claims[1]


def test_where_nothing_varies_nothing_is_earned() -> None:
    shares = Shares({SEVEN: {"happiness": 1.0}}, {6: 1.0, 12: 1.0}, {6: 1.0, 12: 1.0})
    smile = face((6, 12), ("happiness",), (6, 12))
    for options in BOTH:
        for reward in (AUReward(**options), EmotionReward(**options)):
            reward.data = SimpleNamespace(shares=lambda: shares)  # type: ignore[assignment]
            assert earned(reward, render("AU6 AU12", "happiness"), smile) == pytest.approx(0.0, abs=1e-12)


def test_without_these_options_nothing_is_counted_and_all_is_as_before() -> None:
    for reward in (AUReward(), EmotionReward()):
        assert earned(reward, render("AU6 AU12", "happiness"), FACES[0][0]) == 1.0
    for reward in (
        AUReward(corrected=True),
        AUReward(balance=0.5),
        EmotionReward(corrected=True),
        EmotionReward(balance=1),
    ):
        with pytest.raises(FEAError, match=r"reward '\w+': it depends on how frequent labels are.*trainer.callbacks"):
            earned(reward, render("AU6 AU12", "happiness"), FACES[0][0])


@pytest.mark.parametrize("power", [-0.5, 1.5, math.nan])
def test_powers_that_make_no_sense_are_refused(power: float) -> None:
    for kind in (AUReward, EmotionReward):
        with pytest.raises(FEAError, match=f"{kind.__name__}.balance: "):
            kind(balance=power)
