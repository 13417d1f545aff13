"""Numbers of several processes are those of one that has done all of it, however unequal their shares."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fea.drawn.faces import EMOTIONS
from fea.losses import importance_ratio, policy_loss
from fea.prompts.answer import parse
from fea.rollouts import statistics
from fea.rollouts.rollout import Rollout, Scores

GROUP, LONGEST = 4, 6
WORDS = ("(AU6) (AU12)|happiness", "(AU4) (AU43)|anger", "|neutral", "(AU12)|sadness", "(AU1)|fear")
WEIGHTS = torch.tensor([1.0, 0.5])


def part_of(examples: list[Any], seed: int) -> tuple[Rollout, Scores, Tensor]:
    """A rollout about some faces, its scores and its advantages."""
    torch.manual_seed(seed)
    count = len(examples) * GROUP
    lengths = torch.randint(1, LONGEST + 1, (count, 1))
    mask = (torch.arange(LONGEST) < lengths).long()
    chosen = [WORDS[number].partition("|") for number in torch.randint(len(WORDS), (count,)).tolist()]
    texts = [f"<think>{think or 'At rest.'}</think><answer>{emotion}</answer>" for think, _, emotion in chosen]
    prompts = [SimpleNamespace(example=example, ids=torch.zeros(7 + number)) for number, example in enumerate(examples)]
    completions = SimpleNamespace(mask=mask, truncated=torch.rand(count) < 0.3, texts=texts)
    rewards = torch.rand(len(examples), GROUP, 2)
    rewards[:1, :, 1] = torch.nan
    scores = Scores(rewards, WEIGHTS, ["one", "two"], ["all", "all"], {"two": len(examples)})
    answers = [parse(text, EMOTIONS) for text in texts]
    return Rollout(prompts, GROUP, completions, answers), scores, torch.randn(count, LONGEST) * mask  # type: ignore[arg-type]


def joined(
    first: tuple[Rollout, Scores, Tensor], second: tuple[Rollout, Scores, Tensor]
) -> tuple[Rollout, Scores, Tensor]:
    """Both, as one process would have had them."""
    (one, scores, advantages), (other, more, others) = first, second
    parts = [rollout.completions for rollout in (one, other)]
    completions = SimpleNamespace(
        mask=torch.cat([part.mask for part in parts]), truncated=torch.cat([part.truncated for part in parts])
    )
    rollout = Rollout([*one.prompts, *other.prompts], GROUP, completions, one.answers + other.answers)  # type: ignore[arg-type]
    rewards, late = torch.cat([scores.rewards_BGK, more.rewards_BGK]), {"two": scores.late["two"] + more.late["two"]}
    return rollout, scores._replace(rewards_BGK=rewards, late=late), torch.cat([advantages, others])


def test_two_unequal_shares_of_a_rollout_make_the_numbers_of_the_whole(
    examples: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = part_of(examples[:5], 1), part_of(examples[5:6], 2)
    whole = statistics.report(*joined(first, second), EMOTIONS, statistics.Clock())
    shares = [statistics.share(*part, EMOTIONS, statistics.Clock()) for part in (first, second)]
    monkeypatch.setattr(statistics, "gathered", lambda own: shares)
    found = statistics.report(*first, EMOTIONS, statistics.Clock())
    del whole["memory/peak_gib"], found["memory/peak_gib"]
    assert found == pytest.approx(whole, rel=1e-5)
    assert found["reward/two_late"] == 6
    assert found["rollout/uncoded"] > 0


def test_speeds_add_up_and_the_fullest_memory_counts() -> None:
    one: Any = SimpleNamespace(times={"time/train": 2.0, "time/tokens_per_second": 100.0}, memory=1.0)
    other: Any = SimpleNamespace(times={"time/train": 4.0, "time/tokens_per_second": 50.0}, memory=3.0)
    assert statistics.machine_numbers([one, other]) == {
        "time/train": 3.0, "time/tokens_per_second": 150.0, "memory/peak_gib": 3.0,
    }  # fmt: skip


def numbers_of(packs: list[Any]) -> dict[str, Any]:
    """What processes with one of these packs each report together."""
    stacks: list[Tensor] = []

    def total(sums: Tensor) -> Tensor:
        stacks.append(sums)
        return torch.stack(stacks).sum(dim=0)

    found: dict[str, Any] = {}
    for pack in packs:
        policy = policy_loss(importance_ratio(pack.logps, pack.old_logps), pack.advantages, pack.weights, 0.2, 0.2, 1.5)
        found = statistics.update_numbers(3 * policy.loss, policy, {"entropy": pack.entropies}, pack, total)
    return {name: float(value) for name, value in found.items()}


def pack_of(rows: int, weighs: bool = True) -> Any:
    torch.manual_seed(rows)
    mask = (torch.arange(LONGEST) < torch.randint(1, LONGEST + 1, (rows, 1))).float()
    fields = {name: torch.randn(rows, LONGEST) for name in ("logps", "old_logps", "advantages", "entropies")}
    return SimpleNamespace(mask=mask, weights=mask / 10 * weighs, **fields)


def test_two_unequal_packs_make_the_numbers_of_one() -> None:
    first, second = pack_of(5), pack_of(2)
    whole = SimpleNamespace(**{name: torch.cat([value, vars(second)[name]]) for name, value in vars(first).items()})
    assert numbers_of([first, second]) == pytest.approx(numbers_of([whole]), rel=1e-5)
    numbers = numbers_of([whole])
    assert 0 < numbers["train/clipped_dual"] != numbers["train/clipped_low"] != numbers["train/clipped_high"] > 0


def test_the_part_of_the_rewards_is_told_beside_the_whole_loss() -> None:
    pack = pack_of(5)
    expected = policy_loss(importance_ratio(pack.logps, pack.old_logps), pack.advantages, pack.weights, 0.2, 0.2, 1.5)
    numbers = numbers_of([pack])
    assert numbers["train/policy_loss"] == pytest.approx(float(expected.loss), rel=1e-5)
    assert numbers["train/loss"] == pytest.approx(3 * float(expected.loss), rel=1e-5)
    for name in ("clipped_low", "clipped_high", "clipped_dual"):
        assert numbers[f"train/{name}"] == pytest.approx(float(getattr(expected, name)), rel=1e-5)


def test_a_stand_in_counts_only_where_there_is_nothing_else() -> None:
    pack, stand_in = pack_of(5), pack_of(2, weighs=False)
    assert numbers_of([pack, stand_in]) == pytest.approx(numbers_of([pack]), rel=1e-6)
    alone = numbers_of([stand_in])
    assert alone["train/entropy"] == pytest.approx(
        float((stand_in.entropies * stand_in.mask).sum() / stand_in.mask.sum()), rel=1e-5
    )
    assert alone["train/clipped_low"] == alone["train/loss"] == 0
