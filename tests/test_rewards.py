"""What texts earn: one table, and the rules of the callback."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from fea.callbacks import AUReward, EmotionReward, FormatReward
from fea.data.example import Example
from fea.errors import FEAError
from fea.prompts.answer import Answer, parse
from fea.rewards import RewardCallback, check_applies, check_groups, rewards_of, scored
from fea.rollouts.rollout import Rollout
from fea.system.waiting import Patience

BASIC = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")


def example(
    aus: frozenset[str] | None = frozenset({"AU6", "AU12"}),
    coded: tuple[int, ...] = (1, 4, 6, 12, 25),
    labels: tuple[str, ...] = ("happiness",),
) -> Example:
    return Example("7", "", "", "", "", aus, frozenset(coded), labels, BASIC, None, {}, None, None, "{}")


SMILE = example()
SIDED = example(frozenset({"AUL12", "AU6"}))
CALM = example(frozenset(), labels=("neutral",))
UNCODED = example(None, ())
UNLABELLED = example(labels=())
PARTLY = example(frozenset({"AU12"}), (12, 25))  # nobody looked at AU6
EITHER = example(labels=("fear", "surprise"))


def said(think: str, answer: str = "happiness") -> str:
    return f"<think>{think}</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("text", "face", "au", "emotion", "form"),
    [
        pytest.param(said("AU6 and AU12"), SMILE, 1.0, 1.0, 1.0, id="all right"),
        pytest.param(said("AU6, AU12, AU12 again"), SMILE, 1.0, 1.0, 1.0, id="repeating a unit earns nothing more"),
        pytest.param(said("AU12"), SMILE, 2 / 3, 1.0, 1.0, id="one unit missed"),
        pytest.param(said("AU1 AU4 AU6 AU12 AU25"), SMILE, 4 / 7, 1.0, 1.0, id="naming everything costs"),
        pytest.param(said("AU12L and AU06"), SIDED, 1.0, 1.0, 1.0, id="sides and zeros do not matter"),
        pytest.param(said("no AU6, but AU12"), SMILE, 2 / 3, 1.0, 1.0, id="a denied unit is not claimed"),
        pytest.param(said("AU12, maybe AU6"), SMILE, 2 / 3, 1.0, 1.0, id="a hedged unit is not claimed"),
        pytest.param(said("AU6, AU12 and AU9"), SMILE, 1.0, 1.0, 1.0, id="a unit that nobody coded is not judged"),
        pytest.param(said("AU6 and AU12"), PARTLY, 1.0, 1.0, 1.0, id="partly coded: only coded units count"),
        pytest.param(said("AU25"), PARTLY, 0.0, 1.0, 1.0, id="partly coded: a coded absent unit is wrong"),
        pytest.param(said("AU6 and AU12"), UNCODED, None, 1.0, 1.0, id="unknown units earn nothing"),
        pytest.param(said("AU6 and AU12"), UNLABELLED, 1.0, None, 1.0, id="unknown emotion earns nothing"),
        pytest.param(said("a calm face", "neutral"), CALM, 1.0, 1.0, 1.0, id="nothing there, nothing claimed"),
        pytest.param(said("AU1", "neutral"), CALM, 0.0, 1.0, 1.0, id="nothing there, one claimed"),
        pytest.param(said("a smile"), SMILE, 0.0, 1.0, 1.0, id="no unit claimed"),
        pytest.param(said("AU6 AU12", "Happy."), SMILE, 1.0, 1.0, 1.0, id="synonyms"),
        pytest.param(said("AU6 AU12", "sadness"), SMILE, 1.0, 0.0, 1.0, id="wrong emotion"),
        pytest.param(said("AU6 AU12", "surprise"), EITHER, 1.0, 1.0, 1.0, id="any of several labels"),
        pytest.param(said("AU6 AU12", "a happy, sad face"), SMILE, 1.0, 0.0, 1.0, id="two emotions are none"),
        pytest.param("<answer>neutral</answer>", CALM, 0.0, 1.0, 0.0, id="no think block"),
        pytest.param(said("", "neutral"), CALM, 0.0, 1.0, 0.0, id="empty think block"),
        pytest.param(said(" \n", "neutral"), CALM, 0.0, 1.0, 0.0, id="blank think block"),
        pytest.param("<think>calm<answer>neutral</answer>", CALM, 1.0, 1.0, 0.0, id="unclosed think block"),
        pytest.param("<think>AU6 AU12</think>", SMILE, 1.0, 0.0, 0.0, id="no answer block"),
        pytest.param(said("AU6 AU12", ""), SMILE, 1.0, 0.0, 0.0, id="empty answer block"),
        pytest.param("AU6 AU12 happiness", SMILE, 0.0, 0.0, 0.0, id="no tags at all"),
        pytest.param(said("a smile") + " AU6 AU12", SMILE, 0.0, 1.0, 0.0, id="units outside the think block"),
        pytest.param("So: " + said("AU6 AU12"), SMILE, 1.0, 1.0, 0.0, id="words before"),
        pytest.param(said("AU6 AU12") * 2, SMILE, 1.0, 1.0, 0.0, id="everything twice"),
        pytest.param(
            "<think>AU6 AU12</think><answer>happiness</answer><answer>fear</answer>", SMILE, 1.0, 0.0, 0.0,
            id="several answers that disagree",
        ),
        pytest.param("", SMILE, 0.0, 0.0, 0.0, id="nothing"),
        pytest.param("\x00�</think><think></answer>", SMILE, 0.0, 0.0, 0.0, id="rubbish"),
    ],
)  # fmt: skip
def test_what_a_text_earns(text: str, face: Example, au: float | None, emotion: float | None, form: float) -> None:
    answer = parse(text, face.emotions)
    earned = [kind().reward(answer, face, text) for kind in (AUReward, EmotionReward, FormatReward)]
    assert earned == [None if au is None else pytest.approx(au, abs=1e-12), emotion, form]


def rollout(texts: list[str], faces: list[Example]) -> Rollout:
    prompts = [SimpleNamespace(example=face) for face in faces]
    return Rollout(prompts, len(texts) // len(faces), SimpleNamespace(texts=texts), [parse(t, BASIC) for t in texts])  # type: ignore[arg-type]


class Length(RewardCallback):
    """A reward of a whole rollout."""

    def rewards(self, rollout: Rollout) -> torch.Tensor:
        return torch.tensor([len(answer.text) for answer in rollout.answers]).view(-1, rollout.group)


def test_scores_of_a_rollout_stand_by_face_completion_and_reward() -> None:
    texts = [said("AU12"), said("AU6 AU12"), said("AU1", "fear"), ""]
    table = scored(
        [AUReward(), EmotionReward(), Length(), FormatReward()], rollout(texts, [SMILE, UNCODED])
    ).rewards_BGK
    nan = torch.nan
    expected = [
        [[2 / 3, 1, len(texts[0]), 1], [1, 1, len(texts[1]), 1]],
        [[nan, 0, len(texts[2]), 1], [nan, 0, 0, 0]],
    ]
    torch.testing.assert_close(table, torch.tensor(expected), rtol=0, atol=1e-6, equal_nan=True)


class Flat(RewardCallback):
    """Forgets the groups."""

    def rewards(self, rollout: Rollout) -> torch.Tensor:
        return torch.zeros(len(rollout.answers))


def test_a_reward_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(FEAError, match=r"reward 'Flat'.*\(4,\), expected \(2, 2\)"):
        scored([Flat()], rollout([""] * 4, [SMILE, CALM]))


# --- whatever a reward of the user's own does ---


class Says(RewardCallback):
    """Returns what it is given, or raises it; like many, it does not call the constructor of its base."""

    def __init__(self, value: Any):
        self.value = value

    def reward(self, answer: Answer, example: Example, text: str) -> Any:
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


class Table(Says):
    """The same for a whole rollout."""

    def rewards(self, rollout: Rollout) -> Any:
        return self.reward(rollout.answers[0], SMILE, "")


class Rude:
    """Cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __float__(self) -> float:
        return 1.0


NUMBERS = [
    1,
    True,
    0.25,
    -3,
    np.float32(0.5),
    np.int64(2),
    np.bool_(True),
    np.array(0.5),
    torch.tensor(1),
    Fraction(1, 2),
]


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: f"{type(value).__name__} {value}")
def test_a_reward_may_return_any_single_number(value: Any) -> None:
    assert scored([Says(value)], rollout([""], [SMILE])).rewards_BGK.item() == float(value)


REFUSED = [
    ("good", "'good' (a str)"), ("0.5", "'0.5' (a str)"), (np.str_("1"), "str_)"), (math.inf, "inf (a float)"),
    (-math.inf, "-inf (a float)"), (1e39, "1e+39 (a float)"), (10**400, "(an int)"), (1j, "1j (a complex)"),
    (torch.tensor(1j), "(a Tensor)"), (np.complex64(1), "(a complex64)"), (np.zeros(2), "array([0., 0.]) (a ndarray)"),
    (torch.zeros(1), "tensor([0.]) (a Tensor)"), ([1.0], "[1.0] (a list)"), ({"score": 1}, "{'score': 1} (a dict)"),
    (Rude(), "a value (a Rude)"), ((), "() (a tuple)"), (torch.empty((), device="meta"), "(a Tensor)"),
    (Decimal("Infinity"), "(a Decimal)"), ("long " * 99, "long long... (a str)"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_what_is_no_number_is_told_with_reward_value_and_face(value: Any, told: str) -> None:
    with pytest.raises(FEAError) as refused:
        scored([Says(value)], rollout(["", ""], [SMILE, CALM]))
    message = str(refused.value)
    assert message.startswith("reward 'Says': reward() returned ")
    assert f"{told} for the face '7'; return a finite number, or None" in message
    assert "\n" not in message
    assert len(message) < 400


RAISED = [
    (ZeroDivisionError("by zero"), "ZeroDivisionError (by zero)"), (KeyError("score"), "KeyError ('score')"),
    (SystemExit(3), "SystemExit (3)"), (GeneratorExit(), "GeneratorExit"),
    (ValueError("two\n lines"), "ValueError (two lines)"),
    (FEAError("a file of it"), "FEAError (a file of it)"), (TimeoutError(), "TimeoutError"),
]  # fmt: skip


@pytest.mark.parametrize("timeout", [None, 5.0])
@pytest.mark.parametrize(("error", "told"), RAISED, ids=[told for _, told in RAISED])
def test_what_it_raises_is_told_with_the_line_that_did(error: BaseException, told: str, timeout: float | None) -> None:
    reward = Says(error)
    reward.patience = Patience(timeout) if timeout else None
    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "raise self.value" in text)
    with pytest.raises(FEAError) as refused:
        scored([reward], rollout([""], [SMILE]))
    assert str(refused.value) == (
        f"reward 'Says': reward() raised {told} at {__file__}:{line} for the face '7'; mend it there"
    )
    with pytest.raises(FEAError, match=r"reward 'Table': rewards\(rollout\) raised"):
        scored([Table(error)], rollout([""], [SMILE]))


class Reads(RewardCallback):
    """A mistake that shows in a library."""

    def reward(self, answer: Answer, example: Example, text: str) -> float:
        return float(json.loads(text))


def test_the_line_is_the_user_s_own_and_not_that_of_a_library() -> None:
    with pytest.raises(FEAError, match=r"raised JSONDecodeError \(Expecting value: .*\) at .*test_rewards.py:\d+ for"):
        scored([Reads()], rollout(["no"], [SMILE]))


def test_whoever_stops_the_run_is_not_taken_for_the_reward() -> None:
    with pytest.raises(KeyboardInterrupt):
        scored([Says(KeyboardInterrupt())], rollout([""], [SMILE]))


@pytest.mark.parametrize(
    "value", [torch.tensor([[1, 0]]), np.array([[1.0, 0.0]]), [[True, False]], torch.tensor([[1.0, 0.0]])]
)
def test_a_table_of_scores_may_be_of_any_numbers(value: Any) -> None:
    assert scored([Table(value)], rollout(["", ""], [SMILE])).rewards_BGK.tolist() == [[[1.0], [0.0]]]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "returned None; return a tensor of shape (1, 2)"), ([[1.0, None]], "return a tensor of shape (1, 2)"),
        ("good", "returned 'good' (a str)"), ({}, "returned {} (a dict)"), (1.0, "returned shape (), expected (1, 2)"),
        ([1.0], "returned shape (1,), expected (1, 2)"), (torch.ones(1, 2) * 1j, "complex"),
        (torch.tensor([[0.0, math.inf]]), "returned inf for the face '7'; return finite numbers"),
        (torch.tensor([[0.0, -1e300]], dtype=torch.float64), "returned -inf for the face '7'"),
        (torch.empty(1, 2, device="meta"), "return a tensor of shape (1, 2)"),
    ],
)  # fmt: skip
def test_a_table_of_anything_else_is_told(value: Any, told: str) -> None:
    with pytest.raises(FEAError, match=r"^reward 'Table': rewards\(rollout\) ") as refused:
        scored([Table(value)], rollout(["", ""], [SMILE]))
    assert told in str(refused.value)


# --- a reward that takes too long ---


class Slow(RewardCallback):
    """Waits for a service that never answers about a smile."""

    def reward(self, answer: Answer, example: Example, text: str) -> float:
        threading.Event().wait(30 if example is SMILE else 0)
        return 1.0


@pytest.mark.filterwarnings("ignore:reward 'Slow' took longer")
def test_a_face_that_takes_too_long_is_unknown_and_counted() -> None:
    began = time.monotonic()
    scores = scored([Slow(timeout=0.2)], rollout([""] * 4, [SMILE, CALM]))
    assert time.monotonic() - began < 5  # the second answer about the smile is not waited for
    torch.testing.assert_close(scores.rewards_BGK[..., 0], torch.tensor([[torch.nan] * 2, [1.0, 1.0]]), equal_nan=True)
    assert scores.late == {"Slow": 1}
    assert scored([FormatReward()], rollout([""], [SMILE])).late == {}


def test_it_is_told_once_until_it_is_over() -> None:
    reward = Slow(timeout=0.1)
    with pytest.warns(match=r"reward 'Slow' took longer than its timeout of 0.1 s for 1 of 2 faces.*reward/Slow_late"):
        scored([reward], rollout([""] * 2, [SMILE, CALM]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored([reward], rollout([""], [SMILE]))


class SlowTable(RewardCallback):
    """A whole rollout at a time."""

    def rewards(self, rollout: Rollout) -> torch.Tensor:
        threading.Event().wait(30)
        return torch.ones(2, 1)


@pytest.mark.filterwarnings("ignore:reward 'SlowTable' took longer")
def test_a_rollout_that_takes_too_long_is_unknown() -> None:
    scores = scored([SlowTable(timeout=0.1)], rollout([""] * 2, [SMILE, CALM]))
    assert scores.rewards_BGK.isnan().all()
    assert scores.late == {"SlowTable": 2}


def test_nobody_waits_for_it_at_the_end() -> None:
    script = "import time; from fea.system.waiting import Late, Patience\n"
    script += "try: Patience(0.1)(time.sleep, 60)\nexcept Late: print('late')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "late\n"


# --- one that says nothing ---


class Valence(RewardCallback):
    """Applies to few faces."""

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        return None if example.valence is None else 1.0


class Prompted(NamedTuple):
    """Stands for a prompt."""

    example: Example


def first(reward: RewardCallback, faces: list[Example]) -> None:
    begun = Rollout([Prompted(SMILE)] * 2, 2, None, [parse("", BASIC)] * 4)  # type: ignore[list-item, arg-type]
    check_applies([reward], scored([reward], begun), begun, faces)


@pytest.mark.parametrize("value", [None, math.nan])
@pytest.mark.parametrize("kind", [Says, Table])
def test_a_reward_that_never_says_anything_is_refused(kind: type[Says], value: float | None) -> None:
    reward = kind(value if kind is Says else torch.full((2, 2), torch.nan))
    with pytest.raises(
        FEAError, match=rf"^reward '{kind.__name__}' returned None for every answer of the first rollout"
    ):
        first(reward, [SMILE] * 200)


@pytest.mark.parametrize("place", [0, 6, 99])
def test_one_that_says_something_of_other_faces_is_kept(place: int) -> None:
    faces = [SMILE] * 100
    faces[place] = faces[place + 1 if place < 99 else 98] = SMILE._replace(valence=0.5)
    first(Valence(), faces)


@pytest.mark.filterwarnings("ignore:reward 'Slow")
def test_one_that_was_late_is_kept() -> None:
    first(Slow(timeout=0.1), [SMILE] * 3)
    first(SlowTable(timeout=0.1), [SMILE] * 3)


class Shipped(Says):
    """As if it came with the package."""

    __module__ = "fea.callbacks.shipped"


def test_one_of_the_package_may_say_nothing_and_is_told() -> None:
    with pytest.warns(match=r"^reward 'Shipped' returned None for every answer .* labels say nothing about it"):
        first(Shipped(None), [SMILE] * 3)


def test_a_reward_of_some_answers_about_a_face_is_named() -> None:
    found = rollout(["a", "", "", ""], [SMILE, CALM])
    scores = scored([FormatReward(), Table([[1.0, math.nan], [math.nan, math.nan]])], found)
    with pytest.raises(FEAError, match=r"^reward 'Table' returned None for 1 of 2 answers about the face '7'"):
        check_groups(scores, found)
    check_groups(scored([FormatReward(), Table(torch.full((2, 2), math.nan))], found), found)


def test_a_reward_without_a_method_says_what_to_write() -> None:
    with pytest.raises(FEAError, match="Mute has to define reward"):
        scored([type("Mute", (RewardCallback,), {})()], rollout([""], [SMILE]))


def test_defaults_are_equal_weights_and_the_paper_s_regions() -> None:
    rewards = [AUReward(), EmotionReward(), FormatReward()]
    assert [(r.weight, r.name, r.region) for r in rewards] == [
        (1.0, "AUReward", "think"), (1.0, "EmotionReward", "all"), (1.0, "FormatReward", "all"),
    ]  # fmt: skip


@pytest.mark.parametrize(("penalty", "earned"), [(0.0, 1.0), (0.1, 0.8), (0.5, 0.0), (9.0, 0.0)])
def test_claims_of_what_nobody_coded_may_cost(penalty: float, earned: float) -> None:
    reward = AUReward(uncoded_penalty=penalty)
    told = {"two uncoded": "AU6, AU12, AU9 and AU7", "none": "AU6 and AU12"}
    scores = [reward.reward(parse(said(text), BASIC), SMILE, "") for text in told.values()]
    assert scores == [pytest.approx(earned), 1.0]
    assert reward.reward(parse(said("AU9"), BASIC), UNCODED, "") is None


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_settings_of_a_reward_that_make_no_sense_are_refused(value: float) -> None:
    with pytest.raises(FEAError, match="uncoded_penalty"):
        AUReward(uncoded_penalty=value)
    with pytest.raises(FEAError, match="timeout"):
        FormatReward(timeout=value)


def test_two_rewards_of_one_class_keep_their_states_apart() -> None:
    assert AUReward(name="strict").state_key != AUReward().state_key


@pytest.mark.parametrize(
    ("callbacks", "told"),
    [
        ([], "needs a reward"),
        ([AUReward(), FormatReward(), AUReward(0.5)], "two rewards are named 'AUReward'"),
        ([AUReward(name="total")], "a reward is named 'total'"),
        ([AUReward(math.nan)], "reward 'AUReward': its weight is nan"),
        ([AUReward(region="thinking")], "reward 'AUReward': there is no region 'thinking'"),  # type: ignore[arg-type]
    ],
)
def test_rewards_that_cannot_be_used_as_they_are_are_refused(callbacks: list[RewardCallback], told: str) -> None:
    with pytest.raises(FEAError, match=told):
        rewards_of(SimpleNamespace(callbacks=callbacks))  # type: ignore[arg-type]


def test_rewards_are_found_in_their_order_among_other_callbacks() -> None:
    first, second = FormatReward(), AUReward()
    assert rewards_of(SimpleNamespace(callbacks=[object(), first, object(), second])) == [first, second]  # type: ignore[arg-type]
