"""What texts earn: one table, and the rules of the callback."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from fea.callbacks import AUReward, EmotionReward, FormatReward, OverlongPenalty
from fea.data.example import Example
from fea.errors import FEAError
from fea.prompts.answer import parse
from fea.rewards import RewardCallback, rewards_of, scored
from fea.rollouts.rollout import Rollout

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


@pytest.mark.parametrize("margin", [0.2, 0.5, 1.0])
def test_a_long_completion_costs_more_the_nearer_it_comes_to_the_limit(margin: float) -> None:
    lengths, limit = [1, 50, 79, 80, 81, 90, 99, 100, 100], 100
    cut = [False] * 8 + [True]
    mask = torch.tensor([[1] * length + [0] * (limit - length) for length in lengths])
    written = rollout([""] * 9, [SMILE, CALM, UNCODED])._replace(
        completions=SimpleNamespace(mask=mask, truncated=torch.tensor(cut))  # type: ignore[arg-type]
    )
    penalty = OverlongPenalty(margin=margin)
    with pytest.raises(FEAError, match=r"reward 'OverlongPenalty': the limit is that of a module.*trainer.callbacks"):
        penalty.rewards(written)
    module = SimpleNamespace(generation=SimpleNamespace(max_tokens=limit))
    penalty.setup(SimpleNamespace(datamodule=None), module, "fit")  # type: ignore[arg-type]
    start, cache = (1 - margin) * limit, margin * limit
    expected = [
        -1.0 if c or t >= limit else 0.0 if t <= start else (start - t) / cache
        for t, c in zip(lengths, cut, strict=True)
    ]
    assert penalty.rewards(written).flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert penalty.rewards(written).shape == (3, 3)


def test_one_that_is_cut_off_costs_all_however_short_it_is() -> None:
    """A limit of a module may be above that of what was written, as for answers of another one."""
    written = rollout(["", ""], [SMILE])._replace(
        completions=SimpleNamespace(mask=torch.ones(2, 5), truncated=torch.tensor([True, False]))  # type: ignore[arg-type]
    )
    penalty = OverlongPenalty()
    penalty.limit = 100
    assert penalty.rewards(written).tolist() == [[-1.0, 0.0]]


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.1, math.nan])
def test_a_margin_that_makes_no_sense_is_refused(margin: float) -> None:
    with pytest.raises(FEAError, match=r"OverlongPenalty.margin"):
        OverlongPenalty(margin=margin)


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
