"""Policies that do not look at the face, or forget a class, are told of within twenty rollouts; those that do, never."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fea.callbacks import Watch
from fea.data.example import Example
from fea.drawn.drawing import DRAWN_AUS
from fea.drawn.faces import EMOTIONS, sample_expression
from fea.evaluation import looking
from fea.prompts.answer import Answer, parse, render
from fea.rollouts.rollout import Rollout

FACES, GROUP, ROLLOUTS = 16, 8, 20  # of a rollout of the demo, and the rollouts within which it has to be told
Units = frozenset[int]
Policy = Callable[[Example, np.random.Generator], tuple[Units, str]]


def drawn(rng: np.random.Generator, dataset: str = "faces") -> Example:
    """The labels of a drawn face."""
    emotion, grades = sample_expression(rng)
    aus, coded = frozenset(f"AU{n}" for n in grades), frozenset(DRAWN_AUS)
    return Example("", dataset, "", "", "", aus, coded, (emotion,), EMOTIONS, None, {}, None, None, "")


POPULATION = [drawn(np.random.default_rng([1, number])) for number in range(400)]
RATES = {n: float(np.mean([n in face.present for face in POPULATION])) for n in DRAWN_AUS}
COMMON = frozenset(sorted(RATES, key=lambda n: -RATES[n])[:7])
ALL = frozenset(range(1, 67))


def any_emotion(rng: np.random.Generator) -> str:
    return str(rng.choice(EMOTIONS))


def marginal(rng: np.random.Generator) -> Units:
    """Units as often as they occur."""
    return frozenset(n for n, rate in RATES.items() if rng.random() < rate)


def mostly_happy(rng: np.random.Generator) -> str:
    return "happiness" if rng.random() < 0.75 else any_emotion(rng)


def seen(face: Example, rng: np.random.Generator, share: float) -> tuple[Units, str]:
    """Reads some of the faces, and some units wrong; guesses the others."""
    if rng.random() < share:
        return frozenset(n for n in DRAWN_AUS if (n in face.present) != (rng.random() < 0.08)), face.labels[0]
    return marginal(rng), any_emotion(rng)


BLIND: dict[str, tuple[Policy, set[str]]] = {
    "seven units, any emotion": (lambda face, rng: (COMMON, any_emotion(rng)), {"au", "emotion"}),
    "seven units, mostly one emotion": (lambda face, rng: (COMMON, mostly_happy(rng)), {"au", "emotion"}),
    "no unit, any emotion": (lambda face, rng: (frozenset(), any_emotion(rng)), {"au", "emotion"}),
    "one answer": (lambda face, rng: (COMMON, "sadness"), {"au", "emotion"}),
    "as often as they occur": (lambda face, rng: (marginal(rng), any_emotion(rng)), {"au", "emotion"}),
    "every unit there is": (lambda face, rng: (ALL, any_emotion(rng)), {"au", "emotion"}),
    "seven units, the right emotion": (lambda face, rng: (COMMON, face.labels[0]), {"au"}),
    "the right units, any emotion": (lambda face, rng: (face.present, any_emotion(rng)), {"emotion"}),
    "a look at one face in twenty": (lambda face, rng: seen(face, rng, 0.05), {"au", "emotion"}),
}
HONEST: dict[str, Policy] = {
    "always right": lambda face, rng: (face.present, face.labels[0]),
    "often right": lambda face, rng: seen(face, rng, 0.6),
    "poor": lambda face, rng: seen(face, rng, 0.2),
}


def text_of(units: Units, emotion: str) -> str:
    return render(" ".join(f"(AU{n})" for n in sorted(units)) or "At rest.", emotion)


@cache
def read(text: str) -> Answer:
    return parse(text, EMOTIONS)


def rollout_of(policy: Policy, rng: np.random.Generator, readable: float = 1.0, faces: int = FACES) -> Rollout:
    """A rollout of a policy; some of its answers cannot be read."""
    shown = [drawn(rng) for _ in range(faces)]
    texts = [
        text_of(*policy(face, rng)) if rng.random() < readable else "<think>The" for face in shown for _ in range(GROUP)
    ]
    answers = [read(text) for text in texts]
    mask = torch.ones(len(texts), 20, dtype=torch.long)
    completions = SimpleNamespace(mask=mask, logps=-1.0 * mask, truncated=torch.zeros(len(texts)), texts=texts)
    return Rollout([SimpleNamespace(example=face) for face in shown], GROUP, completions, answers)  # type: ignore[arg-type]


def told(watching: Watch, policy: Policy, seed: int, **options: float) -> dict[str, int]:
    """By kind of what is told of looking, the rollout after which it first is."""
    rng, found = np.random.default_rng(seed), dict[str, int]()
    for number in range(1, ROLLOUTS + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            watching.on_rollout(SimpleNamespace(global_step=number), None, rollout_of(policy, rng, **options), {})  # type: ignore[arg-type]
        for kind in watching.warned:
            found.setdefault(kind, number)
    return {kind.removeprefix("blind "): number for kind, number in found.items() if kind.startswith("blind ")}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", BLIND)
def test_a_policy_that_does_not_look_is_told_of(name: str, seed: int) -> None:
    policy, kinds = BLIND[name]
    found = told(Watch(), policy, seed)
    print(f"{name}: {found}")
    assert found.keys() == kinds
    assert max(found.values()) <= ROLLOUTS


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", HONEST)
def test_a_policy_that_looks_is_left_in_peace(name: str, seed: int) -> None:
    assert told(Watch(), HONEST[name], seed) == {}


def test_one_that_still_learns_to_write_is_not_asked_to_look() -> None:
    policy, _ = BLIND["as often as they occur"]
    assert told(Watch(), policy, 0, readable=0.6) == {}
    assert told(Watch(), policy, 0, readable=0.9) != {}


def test_one_that_looks_has_to_earn_more_than_one_answer_to_all_in_the_end() -> None:
    watching = Watch(window=2)
    assert told(watching, HONEST["poor"], 0) == {}
    assert watching.warned == {"below au"}  # of the emotions it knows a few more than one word does
    watching = Watch(window=5)
    told(watching, HONEST["poor"], 0)
    assert watching.warned == set()
    watching = Watch(window=2)
    told(watching, HONEST["often right"], 0)
    assert watching.warned == set()


def test_it_is_told_in_words_and_in_the_log() -> None:
    watching, rng, logged = Watch(), np.random.default_rng(0), dict[str, float]()
    module: Any = SimpleNamespace(log_dict=logged.update)
    trainer: Any = SimpleNamespace(global_step=7)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(10):
            watching.on_train_batch_end(trainer, module)
            assert logged == {}
            watching.on_rollout(trainer, module, rollout_of(BLIND["seven units, any emotion"][0], rng), {})
    watching.on_train_batch_end(trainer, module)
    messages = sorted(str(warning.message) for warning in caught if "do not depend" in str(warning.message))
    assert [message.partition(": the ")[0] for message in messages] == ["step 7", "step 7"]
    assert (
        "the answered emotions do not depend on the face: 15% are right, 14% would be about other faces" in messages[0]
    )
    assert "the claimed Action Units do not depend on the face: their F1 is 0.3" in messages[1]
    assert logged["watch/warnings"] == len(caught)
    assert (
        logged["watch/au_f1_constant"]
        >= logged["watch/au_f1"]
        == pytest.approx(logged["watch/au_f1_elsewhere"], abs=1e-9)
    )
    assert abs(logged["watch/au_look"]) < 1e-9
    assert abs(logged["watch/emotion_look"]) < 0.05


def test_the_faces_of_all_processes_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process has fourteen faces, the second one seven."""
    rng, trainer = np.random.default_rng(0), SimpleNamespace(global_step=0)
    policy, whole, first = HONEST["often right"], Watch(window=1), Watch(window=1)
    parts = [rollout_of(policy, rng, faces=faces) for faces in (14, 7)]
    tensors = {
        name: torch.cat([getattr(p.completions, name) for p in parts]) for name in ("mask", "logps", "truncated")
    }
    joined = (
        [*parts[0].prompts, *parts[1].prompts],
        GROUP,
        SimpleNamespace(**tensors),
        parts[0].answers + parts[1].answers,
    )
    whole.on_rollout(trainer, None, Rollout(*joined), {})  # type: ignore[arg-type]

    other: list[Any] = []
    monkeypatch.setattr("fea.callbacks.watch.gathered", lambda own: other.append(own) or [own])
    Watch(window=1).on_rollout(trainer, None, parts[1], {})  # type: ignore[arg-type]
    monkeypatch.setattr("fea.callbacks.watch.gathered", lambda own: [own, *other])
    first.on_rollout(trainer, None, parts[0], {})  # type: ignore[arg-type]
    assert first.state_dict() == whole.state_dict()
    assert len(first.said[0]) == first.vanishing.recent[0]["AU4"][0] == 21


# --- what is forgotten ---


def forgetful(face: Example, rng: np.random.Generator) -> tuple[Units, str]:
    """Sees all but AU4, and takes fear for surprise."""
    return face.present - {4}, "surprise" if face.labels[0] == "fear" else face.labels[0]


def watched(watching: Watch, policy: Policy, rollouts: int, rng: np.random.Generator) -> list[str]:
    """What is told of vanished classes in so many rollouts."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(rollouts):
            watching.on_rollout(SimpleNamespace(global_step=7), None, rollout_of(policy, rng), {})  # type: ignore[arg-type]
    return [str(warning.message) for warning in caught if "has vanished" in str(warning.message)]


def test_a_class_that_vanishes_is_named_once_until_it_comes_back() -> None:
    watching, rng = Watch(), np.random.default_rng(0)
    assert watched(watching, HONEST["always right"], 20, rng) == []
    assert watching.numbers["watch/vanished"] == 0
    messages = sorted(watched(watching, forgetful, 20, rng))
    assert [message.split(" has")[0] for message in messages] == ["step 7: AU4", "step 7: fear"]
    assert re.fullmatch(
        r"step 7: fear has vanished: \d+\.\d% of the answers said fear at the start, \d\.\d% since rollout (19|20|21), and "
        r"\d+\.\d% of the faces are labeled so; go back to an earlier checkpoint, and show it "
        r"more often: data.balance: both, with a higher data.balance_power; fea.callbacks.MacroF1Reward helps, too",
        messages[1],
    )
    assert "of the answers claimed AU4 at the start" in messages[0]
    assert "of the faces show it; go back" in messages[0]
    assert watching.numbers["watch/vanished"] == 2
    assert {"vanished fear", "vanished AU4"} <= watching.warned
    assert watched(watching, forgetful, 10, rng) == []
    assert watched(watching, HONEST["always right"], 20, rng) == []
    assert watching.numbers["watch/vanished"] == 0
    assert len(watched(watching, forgetful, 20, rng)) == 2


def test_a_resumed_watch_remembers_what_it_has_named() -> None:
    watching, rng = Watch(), np.random.default_rng(0)
    watched(watching, HONEST["always right"], 20, rng)
    watched(watching, forgetful, 20, rng)
    resumed = Watch()
    resumed.load_state_dict(watching.state_dict())
    assert resumed.state_dict() == watching.state_dict()
    assert watched(resumed, forgetful, 10, rng) == []
    assert resumed.numbers["watch/vanished"] == 2


def test_a_watch_of_an_earlier_release_takes_the_policy_of_now_for_that_of_the_start() -> None:
    watching, rng = Watch(), np.random.default_rng(0)
    watched(watching, HONEST["always right"], 20, rng)
    before = watching.state_dict()
    del before["vanishing"]
    resumed = Watch()
    resumed.load_state_dict(before)
    assert resumed.rollouts == 20
    assert watched(resumed, forgetful, 30, rng) == []


# --- the measure ---


def said_of(faces: list[Example], units: list[Units], emotions: list[str]) -> list[looking.Said]:
    answers: list[Answer] = [parse(text_of(*both), EMOTIONS) for both in zip(units, emotions, strict=True)]
    return [looking.said(face, [answer]) for face, answer in zip(faces, answers, strict=True)]


def test_the_labels_look_in_full_and_one_answer_not_at_all() -> None:
    right = said_of(POPULATION, [face.present for face in POPULATION], [face.labels[0] for face in POPULATION])
    same = said_of(POPULATION, [COMMON] * 400, ["fear"] * 400)
    for measure in (looking.claims, looking.emotions):
        looks = measure(right), measure(same)
        assert looks[0] is not None
        assert looks[1] is not None
        assert looks[0].here == pytest.approx(1.0)
        assert looks[0].share == pytest.approx(1.0)
        assert (looks[1].share, looks[1].doubt) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-9))


def test_the_best_answer_for_all_is_the_best_of_every_set_of_units() -> None:
    """Of four units, tried in full."""
    four = DRAWN_AUS[:4]
    faces = [
        face._replace(aus=frozenset(f"AU{n}" for n in face.present & set(four)), coded=frozenset(four))
        for face in POPULATION[:40]
    ]
    look = looking.claims(said_of(faces, [frozenset()] * 40, ["fear"] * 40))
    assert look is not None
    sets = [frozenset(n for bit, n in enumerate(four) if row >> bit & 1) for row in range(16)]
    f1 = [
        np.mean([2 * len(s & f.present) / (len(s) + len(f.present)) if s or f.present else 1 for f in faces])
        for s in sets
    ]
    assert look.constant == pytest.approx(max(f1))


def test_the_doubt_is_the_spread_of_answers_that_are_dealt_out_at_random() -> None:
    rng = np.random.default_rng(0)
    faces = POPULATION[:30]
    units, emotions = [marginal(rng) for _ in faces], [any_emotion(rng) for _ in faces]
    here = []
    for _ in range(400):
        order = rng.permutation(30)
        dealt = [looking.said(face, []) for face in faces]
        dealt = [s._replace(claimed=[sorted(units[n])], thinking=[True]) for s, n in zip(dealt, order, strict=True)]
        here.append(looking.claims([s._replace(emotions=[emotions[0]]) for s in dealt]).here)  # type: ignore[union-attr]
    look = looking.claims(said_of(faces, units, emotions))
    assert look is not None
    assert look.error == pytest.approx(np.std(here), rel=0.15)


def test_what_the_data_set_gives_away_is_not_taken_for_looking() -> None:
    rng = np.random.default_rng(0)
    smiles = [drawn(rng, "smiles")._replace(labels=("happiness",)) for _ in range(20)]
    frowns = [drawn(rng, "frowns")._replace(labels=(("anger", "sadness")[n % 2],)) for n in range(20)]
    emotions = ["happiness"] * 20 + ["anger"] * 20
    look = looking.emotions(said_of([*smiles, *frowns], [frozenset()] * 40, emotions))
    assert look is not None
    assert look.share == pytest.approx(0.0, abs=1e-9)
    assert (
        looking.emotions(said_of(smiles, [frozenset()] * 20, emotions[:20])) is None
    )  # there is nothing to tell apart


@pytest.mark.parametrize("faces", [0, 1, 19])
def test_of_too_few_faces_nothing_is_said(faces: int) -> None:
    found = said_of(POPULATION[:faces], [frozenset({1})] * faces, ["fear"] * faces)
    assert looking.claims(found) is None
    assert looking.emotions(found) is None
    unknown = [face._replace(coded=[], labels=[]) for face in said_of(POPULATION[:40], [COMMON] * 40, ["fear"] * 40)]
    assert looking.claims(unknown) is None
    assert looking.emotions(unknown) is None
