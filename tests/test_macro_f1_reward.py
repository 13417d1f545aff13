"""What an answer adds to the macro F1 of many: against counting them again without it, and what pays."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_corrected_rewards import SEVEN, UNITS, face

from fea.callbacks import MacroF1Reward
from fea.data.example import Example
from fea.errors import FEAError
from fea.evaluation.counts import au_scores, count_aus, count_emotions, emotion_scores, pooled
from fea.prompts.answer import parse, render
from fea.rollouts.rollout import Rollout

GROUP = 4
JUNK = ("", "<think>AU12", render("AU12", "boredom"), render("AU20", "fear, anger"))


def rollout(faces: list[Example], texts: list[str]) -> Rollout:
    prompts = [SimpleNamespace(example=example) for example in faces]
    group = len(texts) // len(faces)
    answers = [parse(text, faces[number // group].emotions) for number, text in enumerate(texts)]
    return Rollout(prompts, group, SimpleNamespace(texts=texts), answers)  # type: ignore[arg-type]


def drawn(rng: np.random.Generator, faces: int = 6) -> Rollout:
    """Skewed faces, of which some are not coded, or not labeled, and answers of every kind."""
    shown, texts = [], []
    for _ in range(faces):
        labels = tuple(rng.choice(SEVEN, rng.integers(0, 3), replace=False, p=[0.05, 0, 0.05, 0.6, 0.1, 0.1, 0.1]))
        aus = tuple(u for u, q in zip(UNITS, (0.02, 0.3, 0.5, 0.5, 0.1, 0.05), strict=True) if rng.random() < q)
        coded = UNITS if rng.random() < 0.5 else tuple(sorted({*aus, 4, 12}))
        shown.append(face(None, labels, ()) if rng.random() < 0.2 else face(aus, labels, coded))
        for _ in range(GROUP):
            claims = " ".join(f"AU{u}" for u in (*UNITS, 9) if rng.random() < 0.3) or "At rest."
            text = render(claims, str(rng.choice(SEVEN)))
            texts.append(str(rng.choice(JUNK)) if rng.random() < 0.2 else text)
    return rollout(shown, texts)


def fitted(of: Any, **options: Any) -> MacroF1Reward:
    reward = MacroF1Reward(of, **options)
    data = SimpleNamespace(all_emotions=SEVEN)
    reward.setup(SimpleNamespace(datamodule=data), None, "fit")  # type: ignore[arg-type]
    return reward


Said = list[tuple[float, set[Any], set[Any]]]  # how much an answer counts, what it claims and what is there


def heard(of: str, seen: Rollout, weight: float) -> list[tuple[float, set[Any], set[Any]] | None]:
    """Each answer; None where the face says nothing."""
    found: list[tuple[float, set[Any], set[Any]] | None] = []
    for prompt, answers in zip(seen.prompts, seen.by_prompt, strict=True):
        example = prompt.example
        for answer in answers:
            if of == "au":
                found.append((weight, set(answer.aus & example.coded), set(example.present)) if example.coded else None)
            elif example.labels:
                right = answer.emotion if answer.emotion in example.labels else example.labels[0]
                said = {answer.emotion} & set(example.emotions)
                found.append((weight, said, {right}))
            else:
                found.append(None)
    return found


def macro_f1(said: Said, classes: set[Any]) -> float:
    scores = []
    for c in classes:
        hits = sum(w for w, claimed, there in said if c in claimed and c in there)
        both = sum(w * ((c in claimed) + (c in there)) for w, claimed, there in said)
        scores.append(2 * hits / max(1.0, both))
    return sum(scores) / len(scores)


@pytest.mark.parametrize("of", ["emotion", "au"])
@pytest.mark.parametrize("half_life", [6.0, 320.0])
def test_an_answer_earns_what_the_counts_lose_without_it(of: str, half_life: float) -> None:
    rng, reward, past = np.random.default_rng(3), fitted(of, half_life=half_life), Said()
    for _ in range(4):
        seen = drawn(rng)
        reward.on_answers(seen)
        own = heard(of, seen, 1.0)
        labeled = sum(one is not None for one in own) / GROUP
        past = [(w * 0.5 ** (labeled / half_life), claimed, there) for w, claimed, there in past]
        every = [*past, *(one for one in own if one)]
        classes, total = {c for _, _, there in every for c in there}, sum(w for w, _, _ in every)
        got = reward.rewards(seen).flatten().tolist()
        for number, one in enumerate(own):
            if one is None:
                assert math.isnan(got[number])
                continue
            others = [*past, *(o for place, o in enumerate(own) if o and place != number)]
            worth = total * (macro_f1(every, classes) - macro_f1(others, classes))
            assert got[number] == pytest.approx(worth, abs=1e-6)
        past = every


@pytest.mark.parametrize("of", ["emotion", "au"])
def test_the_number_is_the_one_that_is_reported(of: str) -> None:
    """Of all answers but one, by the ruler of validation."""
    seen = drawn(np.random.default_rng(0), 20)
    examples = [prompt.example for prompt in seen.prompts for _ in range(GROUP)]
    reward = fitted(of)
    reward.on_answers(seen)
    got = reward.rewards(seen).flatten()

    def reported(kept: list[int]) -> float:
        faces, answers = [examples[n] for n in kept], [[seen.answers[n]] for n in kept]
        if of == "au":
            return float(au_scores(pooled(count_aus(faces, answers)))["au_f1"])
        return float(emotion_scores(pooled(count_emotions(faces, answers, SEVEN)), SEVEN)["emotion_f1"])

    everyone = list(range(len(examples)))
    known = [n for n in everyone if (examples[n].coded if of == "au" else examples[n].labels)]
    for number in known[::7]:
        without = reported([n for n in everyone if n != number])
        assert float(got[number]) == pytest.approx(len(known) * (reported(everyone) - without), abs=1e-6)


def test_its_size_does_not_depend_on_the_number_of_answers() -> None:
    faces = [face((6, 12), ("happiness",), UNITS)] * 9 + [face((20,), ("fear",), UNITS)]
    texts = [render("AU12", "happiness")] * 19 + [render("AU20", "fear")]
    earned = []
    for times in (10, 100):
        reward, seen = fitted("au"), rollout(faces * times, texts * times)
        reward.on_answers(seen)
        earned.append(reward.rewards(seen)[9].tolist())
    assert earned[1] == pytest.approx(earned[0], rel=0.1)


def test_a_claim_pays_from_half_of_the_f1_of_its_class_on_and_the_more_the_rarer_it_is() -> None:
    """AU12 is named well, by an F1 of 0.8, and AU20 badly, by 0.2. Somebody claims one more, about a face of its own."""
    common = [face((12,), (), UNITS)] * 100
    rare = [face((20,), (), UNITS)] * 10
    texts = [render("AU12" if n % 5 else "At rest.", "fear") for n in range(100)]
    texts += [render("AU20" if n == 0 else "At rest.", "fear") for n in range(10)]
    reward, seen = fitted("au"), rollout([*common, *rare], texts)
    reward.on_answers(seen)
    f1 = {12: 2 * 80 / 180, 20: 2 * 1 / 11}

    def worth(unit: int, there: bool) -> float:
        """Of the claim alone: what the answer earns more than one that is silent."""
        shown = face((unit,) if there else (), (), UNITS)
        claim, silence = (
            reward.rewards(rollout([shown], [render(said, "fear")])).item() for said in (f"AU{unit}", "Rest.")
        )
        return claim - silence

    for unit, size in ((12, 180), (20, 11)):
        paid, cost = worth(unit, True), -worth(unit, False)
        assert cost / (paid + cost) == pytest.approx(f1[unit] / 2, abs=0.06)  # the probability from which on it pays
        assert paid + cost == pytest.approx(111 / 2 * 2 / size, rel=0.15)  # n / C times 2 / (claimed + present)


def test_units_that_nobody_coded_and_unreadable_answers_claim_nothing() -> None:
    shown = face((12,), ("happiness",), (4, 12))
    seen = rollout([shown], [render("AU12", "happiness"), render("AU12 AU9 AU20", "happiness"), *JUNK[:2]])
    reward = fitted("au")
    reward.on_answers(seen)
    one, more, *junk = reward.rewards(seen)[0].tolist()
    assert one == more > 0 > junk[0] == junk[1]
    silent = rollout([shown], [render("At rest.", "happiness")])
    assert reward.rewards(silent).item() == pytest.approx(reward.rewards(rollout([shown], [""])).item())


def test_answers_that_are_not_trained_on_are_not_added() -> None:
    rng, reward = np.random.default_rng(1), fitted("emotion")
    first, other = drawn(rng), drawn(rng)
    assert reward.rewards(first).isfinite().any()  # before any rollout: among themselves
    reward.on_answers(first)
    before, scores = reward.state_dict(), reward.rewards(first)
    would = reward.rewards(other)
    assert reward.state_dict() == before
    assert torch.allclose(reward.rewards(first), scores, rtol=0, atol=0, equal_nan=True)
    own = [one for one in heard("emotion", first, 1.0) if one]
    for number, one in enumerate(heard("emotion", other, 1.0)):
        if one:
            every = [*own, one]
            classes = {c for _, _, there in every for c in there}
            worth = len(every) * (macro_f1(every, classes) - macro_f1(own, classes))
            assert would.flatten()[number].item() == pytest.approx(worth, abs=1e-6)


@pytest.mark.parametrize("of", ["emotion", "au"])
def test_a_run_that_goes_on_counts_to_the_same_bits(of: str) -> None:
    rng = np.random.default_rng(2)
    rollouts, whole, again = [drawn(rng) for _ in range(6)], fitted(of), fitted(of)
    fresh = fitted(of)
    fresh.load_state_dict(fitted(of).state_dict())
    assert fresh.sums is None
    for number, seen in enumerate(rollouts):
        whole.on_answers(seen)
        if number == 2:
            again.load_state_dict(whole.state_dict())
        if number > 2:
            again.on_answers(seen)
            assert torch.equal(again.rewards(seen).nan_to_num(), whole.rewards(seen).nan_to_num())
    assert again.state_dict() == whole.state_dict()


@pytest.mark.parametrize("of", ["emotion", "au"])
def test_the_answers_of_all_processes_are_counted(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, whole, first = np.random.default_rng(4), fitted(of), fitted(of)
    for _ in range(3):
        parts = [drawn(rng, 4), drawn(rng, 2)]
        joined = Rollout(
            [*parts[0].prompts, *parts[1].prompts],
            GROUP,
            None,
            parts[0].answers + parts[1].answers,  # type: ignore[arg-type]
        )
        whole.on_answers(joined)
        other: list[Any] = []
        monkeypatch.setattr("fea.callbacks.macro_f1_reward.gathered", lambda own: other.append(own) or [own])  # noqa: B023
        fitted(of).on_answers(parts[1])
        monkeypatch.setattr("fea.callbacks.macro_f1_reward.gathered", lambda own: [own, *other])  # noqa: B023
        first.on_answers(parts[0])
        monkeypatch.setattr("fea.callbacks.macro_f1_reward.gathered", lambda own: [own])
        assert first.state_dict() == whole.state_dict()
        assert torch.equal(first.rewards(parts[0]).nan_to_num(), whole.rewards(joined)[:4].nan_to_num())


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(FEAError, match=r"MacroF1Reward.of: there is no kind 'units'; use emotion or au"):
        MacroF1Reward("units")  # type: ignore[arg-type]
    for half_life in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(FEAError, match=r"MacroF1Reward.half_life"):
            MacroF1Reward("au", half_life)
    assert [(r.name, r.region) for r in (MacroF1Reward("emotion"), MacroF1Reward("au"))] == [
        ("EmotionMacroF1", "all"), ("AUMacroF1", "think"),
    ]  # fmt: skip
    with pytest.raises(FEAError, match=r"reward 'EmotionMacroF1': it counts the emotions.*trainer.callbacks"):
        MacroF1Reward("emotion").rewards(drawn(np.random.default_rng(0)))
