"""Does the thinking carry the answer: likelihoods without the image, what is made of them, and the reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import SMALL, small_config
from strangers import write_stranger

from fea.callbacks import ConsistencyReward
from fea.data.example import Example
from fea.errors import FEAError
from fea.evaluation.carried import Carried, carried_scores, carried_worth, count_carried
from fea.grpo import GRPOModule
from fea.model.policy import Policy
from fea.prompts.answer import parse, render
from fea.rollouts.consistency import CarriedScores, carried, thinking_of
from fea.rollouts.likelihood import completion
from fea.rollouts.rollout import Rollout, parse_all

SMILE = "The mouth corners are up (AU12)"
TEXTS = [
    render(f"{SMILE}. This points to happiness.", "happiness"),
    render("The brows are low (AU4).", "anger"),
    "<think>cut off",
    render("This is fear.", "fear"),
    render(f"{SMILE}. This points to happiness.", "sadness"),
    "<answer>fear</answer>",
]


@pytest.fixture(scope="module")
def sharp() -> Policy:
    """A policy that prefers some words."""
    return Policy(small_config(tiny=replace(SMALL, spread=0.3)), {}).eval()


def rollout(policy: Policy, faces: Sequence[Example], texts: Sequence[str] = TEXTS) -> Rollout:
    prompts = policy.look([policy.encoder(face) for face in faces])
    none: Any = None
    return Rollout(prompts, len(texts) // len(faces), none, parse_all(texts, prompts))


def plainly(policy: Policy, face: Example, before: str) -> list[float]:
    """Each word by itself, token by token from the whole distribution, behind a prompt that the template wrote anew."""
    encoder, sums = policy.encoder, []
    shown = encoder._text_ids(face.question, face.emotions, "after_thinking")
    text = encoder.tokenizer.decode(shown)
    begin, _, end = text.partition("<|image_pad|>")
    assert begin.endswith("<|vision_start|>")
    unseen = begin.removesuffix("<|vision_start|>") + end.removeprefix("<|vision_end|>")
    prompt = encoder.without_image(encoder(face), "after_thinking")
    assert encoder.tokenizer.decode(prompt.ids) == unseen
    for word in face.emotions:
        ids = encoder.target(f"{before}<answer>{word}</answer>")[:-1]
        logps_TV = policy.road.distributions(prompt, ids)
        logps_TV[:, policy.network.forbidden] = -torch.inf
        sums.append(logps_TV.log_softmax(dim=-1).gather(1, ids[:, None]).double().sum().item())
    top = max(sums)
    weights = [math.exp(value - top) for value in sums]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("layout", ["tree", "group", "rows"])
def test_an_answer_is_weighed_behind_its_thinking_without_the_image(
    sharp: Policy, examples: list[Example], layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharp, "config", replace(sharp.config, layout=layout))
    face = examples[0]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    found = carried(sharp, rollout(sharp, examples[:2]), evidence=False)
    cut = carried(sharp, rollout(sharp, examples[:2]), evidence=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert [bool(likely) for likely in found] == [True, True, False, True, True, False]
    smile = plainly(sharp, face, f"<think>{SMILE}. This points to happiness.</think>")
    assert list(found[0]) == list(face.emotions)
    assert list(found[0].values()) == pytest.approx(smile, abs=1e-5)
    assert found[4] == found[0]  # whatever was answered, and about whichever face
    assert list(cut[0].values()) == pytest.approx(plainly(sharp, face, f"<think>{SMILE}.</think>"), abs=1e-5)
    assert list(cut[3].values()) == pytest.approx(plainly(sharp, face, "<think></think>"), abs=1e-5)
    assert cut[1] == pytest.approx(found[1], abs=1e-6)
    assert max(abs(a - b) for a, b in zip(found[0].values(), found[1].values(), strict=True)) > 0.01


def test_where_numbers_follow_the_word_it_is_weighed_up_to_them(sharp: Policy) -> None:
    ids = completion(sharp, "<think></think>", "fear", "after_thinking", ("valence", "intensity"))
    assert sharp.network.tokenizer.decode(ids) == "<think></think><answer>fear; valence"
    alone = completion(sharp, "", "fear", "first", ("intensity",))
    assert sharp.network.tokenizer.decode(alone) == "<answer>fear</answer><think>"


def test_the_thinking_is_read_as_it_stands_or_without_what_names_an_emotion() -> None:
    words = ("happiness", "fear")
    text = f"<answer>happiness</answer><think>{SMILE}. So a happy face! No frown (AU4); hardly surprised.</think>"
    answer = parse(text, words, form="first")
    assert thinking_of(answer, words, False) == f"<think>{answer.think}</think>"
    assert thinking_of(answer, words, True) == f"<think>{SMILE}. No frown (AU4);</think>"
    assert thinking_of(parse(render(SMILE, "rage"), words), words, False) is None  # which may not be answered
    assert thinking_of(parse("<answer>fear</answer>", words, form="only"), words, False) is None


@pytest.mark.parametrize("kind", ["smolvlm", "gemma3"])
def test_on_the_general_road_it_is_the_same(kind: str, examples: list[Example], tmp_path: Path) -> None:
    policy = Policy(small_config(base=str(write_stranger(kind, tmp_path))), {}).eval()
    face = examples[0]
    text = policy.encoder.tokenizer.decode(policy.encoder.unseen(face, "after_thinking"))
    assert "What is the emotion of this face?" in text
    assert policy.encoder.family.image_token not in text
    found = carried(policy, rollout(policy, examples[:2]), evidence=True)
    prompt = policy.encoder.without_image(policy.encoder(face), "after_thinking")
    sums = []
    for word in face.emotions:
        ids = policy.encoder.target(f"<think>{SMILE}.</think><answer>{word}</answer>")[:-1]
        logps_TV = policy.road.distributions(prompt, ids)
        logps_TV[:, policy.network.forbidden] = -torch.inf
        sums.append(logps_TV.log_softmax(dim=-1).gather(1, ids[:, None]).double().sum())
    assert list(found[0].values()) == pytest.approx(torch.stack(sums).softmax(dim=0).tolist(), abs=1e-5)
    assert [bool(likely) for likely in found] == [True, True, False, True, True, False]


WORDS = ("anger", "fear", "happiness")
SHARES = [
    {"anger": 0.7, "fear": 0.2, "happiness": 0.1},
    {"anger": 0.25, "fear": 0.5, "happiness": 0.25},
    {"anger": 0.4, "fear": 0.4, "happiness": 0.2},
    {},
]
SAID = [parse(render("AU4", word), WORDS) for word in ("anger", "happiness", "fear")]
SAID += [parse("<think>cut off", WORDS), parse("<answer>fear</answer>", WORDS, form="only")]


def test_the_numbers_are_those_of_plain_sums() -> None:
    found = carried_scores(count_carried(SAID, [*SHARES, {}], WORDS), "consistency")
    prior = {word: (SHARES[0][word] + SHARES[1][word] + SHARES[2][word]) / 3 for word in WORDS}
    gains = [
        math.log(likely[word] / prior[word])
        for likely, word in zip(SHARES, ("anger", "happiness", "fear"), strict=False)
    ]
    # Four had to think: one answered what is likeliest, one something else, one a tie, and one nothing that can be read.
    assert found == pytest.approx({"consistency": 1 / 4, "consistency_gain": sum(gains) / 3}, abs=1e-6)
    halves = [count_carried(SAID[part], [*SHARES, {}][part], WORDS) for part in (slice(0, 1), slice(1, 5))]
    assert carried_scores(Carried.plus(*halves), "consistency") == pytest.approx(found, abs=1e-12)
    assert carried_scores(count_carried(SAID[4:], [{}], WORDS), "consistency") == {}
    mute = carried_scores(count_carried(SAID[3:], [{}, {}], WORDS), "evidence")
    assert mute == {"evidence": 0.0}


def test_the_prior_of_an_emotion_is_of_the_faces_that_allow_it() -> None:
    two = {"anger": 0.5, "fear": 0.5}
    found = carried_scores(count_carried(SAID[:2], [two, SHARES[1]], WORDS), "x")
    gains = math.log(0.5 / 0.375) + math.log(0.25 / 0.25)
    assert found["x_gain"] == pytest.approx(gains / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("emotion", "likely", "worth"),
    [
        ("anger", SHARES[0], 1 + math.log(0.7) / math.log(3)),
        ("happiness", {"happiness": 1.0, "fear": 0.0}, 1.0),
        ("happiness", {"happiness": 0.5, "fear": 0.5}, 0.0),
        ("happiness", {"happiness": 0.01, "fear": 0.99}, -1.0),
        ("happiness", {"happiness": 0.0, "fear": 1.0}, -1.0),
        ("happiness", {"happiness": 1.0}, None),
        ("rage", SHARES[0], None),
        (None, SHARES[0], None),
        ("anger", {}, None),
    ],
)
def test_what_a_carried_answer_earns(emotion: str | None, likely: dict[str, float], worth: float | None) -> None:
    assert carried_worth(emotion, likely) == (None if worth is None else pytest.approx(worth, abs=1e-6))


def rewarded(policy: Policy, advantage: str) -> ConsistencyReward:
    module = GRPOModule(policy=policy.config)
    module.policy = policy
    module.objective = replace(module.objective, advantage=advantage)
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        precision_plugin=SimpleNamespace(forward_context=torch.no_grad), strategy=SimpleNamespace()
    )
    reward = ConsistencyReward()
    reward.setup(SimpleNamespace(datamodule=None), module, "fit")  # type: ignore[arg-type]
    return reward


def test_the_reward_is_that_of_each_answer_alone(sharp: Policy, examples: list[Example]) -> None:
    whole = rollout(sharp, examples[:2])
    reward = rewarded(sharp, "normalize_then_sum")
    scores = reward.rewards(whole)
    likely = carried(sharp, whole, evidence=True)
    for score, answer, shares in zip(scores.flatten().tolist(), whole.answers, likely, strict=True):
        if shares:
            assert score == pytest.approx(max(-1, 1 + math.log(shares[answer.emotion or ""]) / math.log(7)), abs=1e-6)
    assert scores.isnan().tolist() == [[False, False, True], [False, False, True]]
    # As two processes would have them, each with one face.
    parts = [reward.rewards(rollout(sharp, [examples[n]], TEXTS[3 * n : 3 * n + 3])) for n in range(2)]
    torch.testing.assert_close(torch.cat(parts), scores, rtol=0, atol=1e-5, equal_nan=True)
    summed = rewarded(sharp, "sum_then_normalize").rewards(whole)
    assert summed.isnan().all()


def test_the_reward_needs_a_module() -> None:
    with pytest.raises(FEAError, match=r"it asks the policy of a module; list it under trainer\.callbacks"):
        ConsistencyReward().rewards(None)  # type: ignore[arg-type]


def test_scores_add_up_over_batches(sharp: Policy, examples: list[Example]) -> None:
    one, several = CarriedScores(examples[0].emotions), CarriedScores(examples[0].emotions)
    one.add(sharp, rollout(sharp, examples[:2]))
    for n in range(2):
        several.add(sharp, rollout(sharp, [examples[n]], TEXTS[3 * n : 3 * n + 3]))
    first = one.compute()
    assert list(first) == ["consistency", "consistency_gain", "evidence", "evidence_gain"]
    assert several.compute() == pytest.approx(first, abs=1e-5)
    assert one.compute() == {}  # begins anew
