"""Whatever a reward of the user's own returns or raises, and however long it takes."""

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
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from test_rewards import BASIC, CALM, SMILE, rollout

from fea.callbacks import FormatReward
from fea.data.example import Example
from fea.errors import FEAError
from fea.prompts.answer import Answer, parse
from fea.rewards import RewardCallback, check_applies, check_groups, scored
from fea.rollouts.rollout import Rollout
from fea.system.waiting import Patience


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
    with pytest.raises(FEAError, match=r"raised JSONDecodeError \(Expecting value: .*\) at .*test_values.py:\d+ for"):
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
@pytest.mark.parametrize("kind", [Table])
def test_a_reward_that_never_says_anything_is_refused(kind: type[Says], value: float | None) -> None:
    reward = kind(value if kind is Says else torch.full((2, 2), torch.nan))
    with pytest.raises(
        FEAError, match=rf"^reward '{kind.__name__}' returned None or NaN for every answer of the first rollout"
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
    with pytest.warns(match=r"^reward 'Shipped' returned None or NaN for every answer .* labels say nothing about it"):
        first(Shipped(None), [SMILE] * 3)


def test_a_reward_of_some_answers_about_a_face_is_named() -> None:
    found = rollout(["a", "", "", ""], [SMILE, CALM])
    scores = scored([FormatReward(), Table([[1.0, math.nan], [math.nan, math.nan]])], found)
    with pytest.raises(FEAError, match=r"^reward 'Table' returned None for 1 of 2 answers about the face '7'"):
        check_groups(scores, found)
    check_groups(scored([FormatReward(), Table(torch.full((2, 2), math.nan))], found), found)
