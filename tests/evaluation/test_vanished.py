"""A class that a policy forgets is found within twenty rollouts of 16 faces, and what is no forgetting is left in peace."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fea.evaluation import vanished
from fea.evaluation.looking import Said
from fea.evaluation.vanished import Vanishing

FACES, GROUP, WINDOW = 16, 8, 10
# As uneven as published counts are: emotions, and units that are labeled apart from each other.
EMOTIONS = {
    "happiness": 0.35, "neutral": 0.3, "sadness": 0.14, "surprise": 0.1, "fear": 0.07, "disgust": 0.03, "contempt": 0.01,
}  # fmt: skip
UNITS = {25: 0.5, 12: 0.35, 4: 0.2, 17: 0.1, 20: 0.06, 23: 0.02}
Rate = Callable[[int, str], float]  # of what it told at the start, how much a policy tells in a rollout, by class


def steady(rollout: int, name: str) -> float:
    return 1.0


def rollout_of(rng: np.random.Generator, number: int, rate: Rate = steady, alike: bool = False) -> list[Said]:
    """A rollout of a policy that is right in most answers; if they are alike, all answers about a face are the same."""
    words, shares = list(EMOTIONS), list(EMOTIONS.values())
    faces = []
    for _ in range(FACES):
        label = str(rng.choice(words, p=shares))
        present = [unit for unit, share in UNITS.items() if rng.random() < share]
        said, claimed = [], []
        for _ in range(1 if alike else GROUP):
            word = label if rng.random() < 0.6 else str(rng.choice(words, p=shares))
            said.append(word if rng.random() < rate(number, word) else "happiness")
            seen = [u for u, share in UNITS.items() if rng.random() < (0.6 if u in present else 0.3 * share)]
            claimed.append([unit for unit in seen if rng.random() < rate(number, f"AU{unit}")])
        times = GROUP if alike else 1
        faces.append(Said("", present, sorted(UNITS), [label], claimed * times, [True] * GROUP, said * times))
    return faces


def followed(rate: Rate, rollouts: int, seed: int = 0, alike: bool = False) -> tuple[Vanishing, dict[str, int]]:
    """By class, the rollout after which it was first called lost."""
    rng, watching, found = np.random.default_rng(seed), Vanishing(WINDOW), dict[str, int]()
    for number in range(1, rollouts + 1):
        watching.add(rollout_of(rng, number, rate, alike))
        for name in watching.gone:
            found.setdefault(name, number)
    return watching, found


def without(*names: str, after: int) -> Rate:
    return lambda rollout, name: float(rollout <= after or name not in names)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lost", [("fear",), ("AU20",), ("surprise", "AU17"), ("sadness", "fear", "AU4")])
def test_what_vanishes_is_named_within_twenty_rollouts_and_nothing_else_is(lost: tuple[str, ...], seed: int) -> None:
    watching, found = followed(without(*lost, after=30), 55, seed)
    print(found)
    assert set(found) == set(lost)
    assert all(30 < number <= 50 for number in found.values())
    for name in lost:
        assert 26 <= watching.gone[name].since <= 35


@pytest.mark.parametrize(("name", "within"), [("disgust", 60), ("AU23", 100)])
def test_a_rare_class_takes_longer(name: str, within: int) -> None:
    assert set(followed(without(name, after=30), 30 + within)[1]) == {name}


def test_a_slow_decline_is_found() -> None:
    """From rollout 20 on; a twentieth of what it was is left at rollout 65."""

    def fading(rollout: int, name: str) -> float:
        return math.exp(-max(0, rollout - 20) / 15) if name in ("surprise", "AU17") else 1.0

    found = followed(fading, 85)[1]
    assert set(found) == {"surprise", "AU17"}


LEFT_IN_PEACE: dict[str, Rate] = {
    "no change": steady,
    "more careful": lambda rollout, name: max(0.5, 1 - rollout / 60),
    "less of one": lambda rollout, name: max(0.5, 1 - rollout / 30) if name in ("fear", "AU20") else 1.0,
    "away for a while": lambda rollout, name: float(name != "surprise" or rollout < 30 or rollout > 33),
}


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("name", LEFT_IN_PEACE)
def test_what_is_no_forgetting_is_left_in_peace(name: str, alike: bool) -> None:
    for seed in range(4):
        assert followed(LEFT_IN_PEACE[name], 70, seed, alike)[1] == {}, seed


def told(counts: dict[str, tuple[float, float]], rollouts: int, watching: Vanishing) -> Vanishing:
    """Rollouts in all of which so many faces are labeled with a class, and so many are told to show it."""
    for _ in range(rollouts):
        faces = []
        for n in range(FACES):
            present = [int(name[2:]) for name, (labels, _) in counts.items() if n < labels]
            claimed = [int(name[2:]) for name, (_, claims) in counts.items() if n < claims]
            faces.append(Said("", present, [int(name[2:]) for name in counts], [], [claimed], [True], [""]))
        watching.add(faces)
    return watching


def test_who_gives_up_what_was_invented_has_lost_nothing() -> None:
    """Claimed on half of the faces and there on one; then claimed on that one."""
    watching = told({"AU12": (1, 8)}, 20, Vanishing(WINDOW))
    assert told({"AU12": (1, 1)}, 60, watching).gone == {}
    assert told({"AU12": (1, 0)}, 20, watching).gone.keys() == {"AU12"}


def test_what_is_told_on_a_quarter_of_its_faces_is_not_lost_however_often_it_was_told_before() -> None:
    watching = told({"AU12": (4, 12)}, 20, Vanishing(WINDOW))
    assert told({"AU12": (4, 1)}, 80, watching).gone == {}


def test_the_start_has_a_window_of_rollouts() -> None:
    watching = told({"AU12": (12, 12)}, 3, Vanishing(WINDOW))
    assert told({"AU12": (12, 0)}, 16, watching).gone == {}
    assert told({"AU12": (12, 0)}, 1, watching).gone.keys() == {"AU12"}


def test_what_the_labels_no_longer_hold_is_not_lost() -> None:
    watching = told({"AU12": (3, 3)}, 20, Vanishing(WINDOW))
    assert told({"AU12": (0, 0)}, 60, watching).gone == {}


def test_what_the_start_policy_never_told_is_not_lost() -> None:
    assert told({"AU12": (3, 0)}, 80, Vanishing(WINDOW)).gone == {}


def test_a_unit_that_nobody_looks_for_anymore_is_not_lost() -> None:
    watching = told({"AU12": (3, 3), "AU4": (2, 2)}, 20, Vanishing(WINDOW))
    assert told({"AU4": (2, 2)}, 60, watching).gone == {}


def test_answers_that_cannot_be_read_say_nothing_about_classes() -> None:
    watching, rng = Vanishing(WINDOW), np.random.default_rng(0)
    for number in range(20):
        watching.add(rollout_of(rng, number))
    for number in range(40):
        faces = rollout_of(rng, number)
        silent = [face._replace(thinking=[False] * GROUP, emotions=[""] * GROUP) for face in faces]
        watching.add([face._replace(claimed=[[]] * GROUP) for face in silent])
    assert watching.gone == {}


def test_shares_are_told_of_the_start_of_now_and_of_the_labels() -> None:
    watching = told({"AU12": (4, 2)}, 15, Vanishing(WINDOW))
    told({"AU12": (4, 0)}, 20, watching)
    (lost,) = watching.gone.values()
    assert lost.since in (15, 16)
    assert (lost.start, lost.labels) == (2 / 16, 4 / 16)
    assert lost.now <= 0.1 * lost.start


def test_what_comes_back_can_vanish_again() -> None:
    watching = told({"AU12": (4, 4)}, 20, Vanishing(WINDOW))
    assert told({"AU12": (4, 0)}, 300, watching).gone.keys() == {"AU12"}  # however long ago
    assert watching.start["AU12"][vanished._TOLD] == 40  # and no part of the start
    assert told({"AU12": (4, 1)}, 9, watching).gone == {}
    assert told({"AU12": (4, 1)}, 60, watching).gone == {}
    assert told({"AU12": (4, 0)}, 20, watching).gone.keys() == {"AU12"}
    assert 385 <= watching.gone["AU12"].since <= 390


def test_a_slip_is_no_return_and_neither_is_a_time_without_such_faces() -> None:
    watching = told({"AU12": (4, 4)}, 20, Vanishing(WINDOW))
    told({"AU12": (4, 0)}, 20, watching)
    assert told({"AU12": (0, 0)}, 30, watching).gone.keys() == {"AU12"}
    told({"AU12": (4, 0)}, 10, watching)
    assert told({"AU12": (4, 1)}, 1, watching).gone.keys() == {"AU12"}


def test_the_time_without_a_rare_class_is_no_part_of_its_start() -> None:
    watching = told({"AU12": (1, 1)}, 12, Vanishing(WINDOW))
    told({"AU12": (1, 0)}, 60, watching)
    assert watching.gone.keys() == {"AU12"}
    before = watching.start["AU12"]
    assert before[vanished._TOLD] < vanished._ENOUGH
    assert told({"AU12": (1, 0)}, 60, watching).start["AU12"] == before


def test_emotions_with_several_labels_share_a_face() -> None:
    face = Said("", [], [], ["fear", "surprise"], [[], []], [True, True], ["fear", ""])
    assert vanished._counted([face, face._replace(labels=[])], {"anger": 0, "AU4": 0}) == {
        "anger": [1, 0, 0, 0], "fear": [1, 0.5, 1, 1], "surprise": [1, 0.5, 0, 0],
    }  # fmt: skip


def test_units_are_counted_where_they_were_looked_for() -> None:
    face = Said("", [4], [4, 12], [], [[4], [4, 12, 1], [12]], [True, True, False], ["", "", ""])
    # Two of the three answers have a thinking; one of these claims AU12, about either face.
    assert vanished._counted([face, face._replace(coded=[12], present=[])], {}) == {
        "AU4": [1, 1, 1, 1], "AU12": [2, 0, 0.5 + 0.5, 0.25 + 0.25],
    }  # fmt: skip


@pytest.mark.parametrize(("before", "since"), [((160, 10, 9), (200, 11, 0)), ((160, 10, 9), (240, 20, 0.5))])
def test_the_evidence_is_a_ratio_of_likelihoods(before: tuple[float, ...], since: tuple[float, ...]) -> None:
    """Of Poisson counts: two rates, against the second being half of the first, and against half of that of the labels."""

    def logp(count: float, mean: float) -> float:
        return (count * math.log(mean) if count else 0) - mean - math.lgamma(count + 1)

    one = (before[2] + since[2]) / (before[0] + since[0] / 2)
    two = logp(before[2], before[2]) + logp(since[2], max(since[2], 1e-300))
    expected = min(
        two - logp(before[2], one * before[0]) - logp(since[2], one * since[0] / 2),
        logp(since[2], max(since[2], 1e-300)) - logp(since[2], since[1] / 2),
    )
    found = vanished._evidence(np.array([before]), np.array([since]))
    assert found[0] == pytest.approx(expected, abs=1e-6)


def claiming(watching: Vanishing, rollouts: int, answers: list[int]) -> int:
    """Rollouts in each of which one face of 16 shows AU12, claimed by so many of 8 answers; the next face has the next number.

    Returns:
        The number of those after which AU12 was lost; all if it was not.
    """
    for number in range(rollouts):
        times = answers[number % len(answers)]
        seen = Said("", [12], [12], [], [[12]] * times + [[]] * (GROUP - times), [True] * GROUP, [""] * GROUP)
        watching.add([seen, *[seen._replace(present=[], claimed=[[]] * GROUP)] * (FACES - 1)])
        if watching.gone:
            return number + 1
    return rollouts


def test_the_more_answers_about_a_face_differ_the_sooner_a_class_is_missed() -> None:
    """Half of the answers claim the unit at the start: all about every second face, or half about each."""
    took = {}
    for start in ([8, 0], [6, 2], [4, 4]):
        watching = Vanishing(WINDOW)
        assert claiming(watching, 40, start) == 40
        took[start[0]] = claiming(watching, 90, [0])
    assert took[8] > took[6] > took[4] > WINDOW


def test_a_told_face_is_as_many_events_as_its_share_varies_less_than_all_or_nothing() -> None:
    """Of shares of 1/2 and 0, and so on: their mean over the mean of their squares."""
    counts = np.array([[160, 9, 4, 2], [160, 9, 4, 4], [160, 9, 3, 0.75 + 0.5625]])
    assert vanished._worth(counts) == pytest.approx([2, 1, 16 / 7])


def test_a_checkpoint_of_an_earlier_release_takes_a_told_face_for_one_event() -> None:
    watching = told(
        {"AU12": (4, 4)}, 20, Vanishing(WINDOW)
    )  # all or nothing, so that squares are what they are themselves
    state = watching.state_dict()
    old = {**state, "start": {name: row[:3] for name, row in state["start"].items()}}
    old["recent"] = [{name: [*row[:3], row[4]] for name, row in rows.items()} for rows in state["recent"]]
    resumed = Vanishing(WINDOW)
    resumed.load_state_dict(old)
    assert resumed.state_dict() == state


def test_a_resumed_run_goes_on_counting() -> None:
    rate = without("surprise", "AU17", after=25)
    whole, _ = followed(rate, 50)
    rng, first = np.random.default_rng(0), Vanishing(WINDOW)
    for number in range(1, 51):
        if number in (18, 30, 45):
            stream = io.BytesIO()
            torch.save(first.state_dict(), stream)
            stream.seek(0)
            state: dict[str, Any] = torch.load(stream, weights_only=True)
            first = Vanishing(WINDOW)
            first.load_state_dict(state)
        first.add(rollout_of(rng, number, rate))
    assert first.state_dict() == whole.state_dict()
    assert first.gone.keys() == {"surprise", "AU17"}


def test_a_state_is_not_changed_by_what_comes_after() -> None:
    watching = told({"AU12": (4, 4)}, 20, Vanishing(WINDOW))
    told({"AU12": (4, 0)}, 20, watching)
    state = watching.state_dict()
    kept = repr(state)
    told({"AU12": (4, 4)}, 20, watching)
    assert repr(state) == kept
