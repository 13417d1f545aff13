"""Advantages against plain Python floats, away from the trivial point."""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from fea.advantages import Scale, mean_of_others, normalize_then_sum, sum_then_normalize, token_advantages

NAN = float("nan")
SCALES: tuple[Scale, ...] = ("group", "batch", "none")

# Two prompts, four completions of each, three rewards; the second prompt has no reward of the second kind.
REWARDS = [
    [[1.0, 0.25, 1.0], [0.0, 0.75, 1.0], [0.5, 0.0, 1.0], [1.0, 1.0, 1.0]],
    [[0.0, NAN, 0.3], [1.0, NAN, 0.9], [1.0, NAN, 0.1], [1.0, NAN, 0.2]],
]
WEIGHTS = [1.0, 0.5, 2.0]


def normalized(values: list[float], divisor: float | None = None) -> list[float]:
    known = [value for value in values if not math.isnan(value)]
    if not known or max(known) - min(known) <= 1e-6:
        return [0.0] * len(values)
    mean, divisor = statistics.fmean(known), divisor or statistics.stdev(known) + 1e-4
    return [0.0 if math.isnan(value) else (value - mean) / divisor for value in values]


def divisor_of(groups: list[list[float]], scale: Scale) -> float | None:
    """None for each group's own."""
    known = [value for group in groups for value in group if not math.isnan(value)]
    return {"group": None, "batch": statistics.stdev(known) + 1e-4 if scale == "batch" else None, "none": 1.0}[scale]


@pytest.mark.parametrize("scale", SCALES)
def test_sum_then_normalize_equals_plain_python(scale: Scale) -> None:
    totals = [
        [sum(0.0 if math.isnan(r) else w * r for w, r in zip(WEIGHTS, row, strict=True)) for row in group]
        for group in REWARDS
    ]
    found = sum_then_normalize(torch.tensor(REWARDS), torch.tensor(WEIGHTS), scale)
    expected = [normalized(group, divisor_of(totals, scale)) for group in totals]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)


def test_sum_then_normalize_refuses_a_reward_that_applies_to_part_of_a_group() -> None:
    rewards = torch.tensor(REWARDS)
    rewards[0, 1, 2] = NAN
    with pytest.raises(ValueError, match="only some completions"):
        sum_then_normalize(rewards, torch.tensor(WEIGHTS))


@pytest.mark.parametrize("scale", SCALES)
def test_normalize_then_sum_equals_plain_python_and_leaves_out_what_does_not_apply(scale: Scale) -> None:
    rewards = [[list(row) for row in group] for group in REWARDS]
    rewards[0][2][1] = NAN  # of one completion only: the mean and the deviation are of the other three
    columns = [[[row[k] for row in group] for group in rewards] for k in range(len(WEIGHTS))]
    expected = [
        list(zip(*(normalized(column[b], divisor_of(column, scale)) for column in columns), strict=True))
        for b in range(len(rewards))
    ]
    found = normalize_then_sum(torch.tensor(rewards), torch.tensor(WEIGHTS), scale)
    torch.testing.assert_close(found, torch.tensor(expected) * torch.tensor(WEIGHTS), rtol=0, atol=1e-6)
    assert found[0, :, 2].eq(0).all()  # all the same: ranks nothing
    assert found[1, :, 1].eq(0).all()  # unknown: ranks nothing


def test_rewards_by_hand_under_each_scale() -> None:
    """Groups (1, 0, 0, 1) and (3, 3, 7, 3): means 0.5 and 4, squared distances 1 and 12, and 36.875 from the common 2.25."""
    rewards, less_mean = [[1.0, 0.0, 0.0, 1.0], [3.0, 3.0, 7.0, 3.0]], [[0.5, -0.5, -0.5, 0.5], [-1.0, -1.0, 3.0, -1.0]]
    by_hand: dict[Scale, list[float]] = {"group": [(1 / 3) ** 0.5, 2.0], "batch": [(37.5 / 7) ** 0.5] * 2}
    for scale in SCALES:
        divisors = [std + 1e-4 for std in by_hand[scale]] if scale != "none" else [1.0, 1.0]
        expected = torch.tensor(less_mean) / torch.tensor(divisors)[:, None]
        found = sum_then_normalize(torch.tensor(rewards)[..., None], torch.ones(1), scale)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def less_others(values: list[float]) -> list[float]:
    """Each known one less the mean of the other known ones; 0 if they are all the same."""
    known = [number for number, value in enumerate(values) if not math.isnan(value)]
    if max((values[n] for n in known), default=0.0) - min((values[n] for n in known), default=0.0) <= 1e-6:
        return [0.0] * len(values)
    return [
        value - statistics.fmean(values[n] for n in known if n != number) if number in known else 0.0
        for number, value in enumerate(values)
    ]


def test_the_leave_one_out_baseline_equals_plain_python() -> None:
    rewards = [[list(row) for row in group] for group in REWARDS]
    totals = [
        [sum(0.0 if math.isnan(r) else w * r for w, r in zip(WEIGHTS, row, strict=True)) for row in group]
        for group in rewards
    ]
    found = sum_then_normalize(torch.tensor(rewards), torch.tensor(WEIGHTS), "none", "leave_one_out")
    torch.testing.assert_close(found, torch.tensor([less_others(group) for group in totals]), rtol=0, atol=1e-6)
    rewards[0][2][1] = NAN  # the others of that reward are two, not three
    columns = [[less_others([row[k] for row in group]) for group in rewards] for k in range(len(WEIGHTS))]
    found = normalize_then_sum(torch.tensor(rewards), torch.tensor(WEIGHTS), "none", "leave_one_out")
    expected = torch.tensor(columns).permute(1, 2, 0) * torch.tensor(WEIGHTS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_the_leave_one_out_baseline_by_hand() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 3.0, 7.0, 3.0]])
    others = torch.tensor([[1 / 3, 2 / 3, 2 / 3, 1 / 3], [13 / 3, 13 / 3, 3.0, 13 / 3]])
    torch.testing.assert_close(mean_of_others(rewards), others, rtol=0, atol=1e-6)
    for advantage in (sum_then_normalize, lambda *given: normalize_then_sum(*given).sum(-1)):
        alone, centered = (
            advantage(rewards[..., None], torch.ones(1), "none", kind) for kind in ("leave_one_out", "mean")
        )
        torch.testing.assert_close(alone, rewards - others, rtol=0, atol=1e-6)
        torch.testing.assert_close(alone, 4 / 3 * centered, rtol=0, atol=1e-6)


def test_the_leave_one_out_gradient_is_unbiased_for_every_size_of_a_group_and_that_of_the_mean_is_not() -> None:
    """Exact expectations over all groups of two answers of a policy of three."""
    logits, rewards = (
        torch.tensor([0.3, -0.4, 1.1], dtype=torch.float64, requires_grad=True),
        torch.tensor([1.0, 0.2, 0.5]),
    )
    p = logits.softmax(0)
    (slope,) = torch.autograd.grad((p * rewards).sum(), logits, retain_graph=True)
    found = {kind: torch.zeros_like(slope) for kind in ("leave_one_out", "mean")}
    for kind in found:
        for a in range(3):
            for b in range(3):
                group = rewards[[a, b]][None, :, None]
                advantage = sum_then_normalize(group, torch.ones(1), "none", kind)[0]  # type: ignore[arg-type]
                loss = (advantage * p[[a, b]].log()).mean()
                found[kind] += (p[a] * p[b]).detach() * torch.autograd.grad(loss, logits, retain_graph=True)[0]
    torch.testing.assert_close(found["leave_one_out"], slope, rtol=0, atol=1e-7)
    torch.testing.assert_close(found["mean"], slope / 2, rtol=0, atol=1e-7)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("advantage", [sum_then_normalize, lambda *given: normalize_then_sum(*given).sum(-1)])
def test_what_is_unknown_or_the_same_changes_no_other_group(advantage: Callable[..., Tensor], scale: Scale) -> None:
    """Faces without labels leave the spread of the batch as it is; those whose answers score the same get exactly 0."""
    known = torch.tensor([[[0.0, 0.5], [1.0, 0.5], [0.2, 0.5]], [[5.0, 0.1], [5.5, 0.9], [7.0, 0.4]]])
    weights = torch.tensor([1.0, 0.0])  # the second is only watched, so a face with nothing else has no reward
    unlabeled = torch.stack([torch.full((3,), NAN), torch.tensor([0.3, 0.6, 0.3])], dim=-1)
    alone = advantage(known, weights, scale)
    found = advantage(torch.cat([known, unlabeled[None], torch.full((1, 3, 2), NAN)]), weights, scale)
    torch.testing.assert_close(found[:2], alone, rtol=0, atol=0)
    assert alone.ne(0).all()
    assert found[2:].eq(0).all()
    same = torch.tensor([[[9.0, 0.5], [9.0 + 5e-7, 0.5], [9.0, 0.5]]])
    assert advantage(torch.cat([known, same]), weights, scale)[2].eq(0).all()


@pytest.mark.parametrize("advantage", [sum_then_normalize, normalize_then_sum])
def test_two_processes_divide_by_the_spread_of_all_their_groups(advantage: Callable[..., Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = torch.rand(5, 4, 2, generator=generator) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])[:, None, None] + 100
    rewards[1, :, 1] = NAN
    weights, barrier, sums = torch.tensor([1.0, 0.5]), threading.Barrier(2), dict[int, Tensor]()

    def process(part: Tensor) -> Tensor:
        def total(value: Tensor) -> Tensor:
            sums[threading.get_ident()] = value
            barrier.wait(10)
            added = torch.stack(list(sums.values())).sum(dim=0)
            barrier.wait(10)
            return added

        return advantage(part, weights, "batch", "mean", total)

    with ThreadPoolExecutor(2) as pool:
        found = torch.cat(list(pool.map(process, [rewards[:4], rewards[4:]])))
    torch.testing.assert_close(found, advantage(rewards, weights, "batch"), rtol=1e-4, atol=1e-6)
    assert (found[4] - advantage(rewards[4:], weights, "batch")[0]).abs().max() > 0.1


@pytest.mark.parametrize("advantage", [sum_then_normalize, lambda r, w: normalize_then_sum(r, w).sum(-1)])
@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ([0.3, 0.3, 0.3], [0.0, 0.0, 0.0]),
        ([0.3, 0.3 + 5e-7, 0.3], [0.0, 0.0, 0.0]),  # rounding is no lesson
        ([NAN, NAN, NAN], [0.0, 0.0, 0.0]),
        ([0.0, 1.0], [-0.5 / (0.5**0.5 + 1e-4), 0.5 / (0.5**0.5 + 1e-4)]),  # G = 2, unbiased deviation
    ],
)
def test_edges_of_the_group_advantage(
    advantage: Callable[[Tensor, Tensor], Tensor], group: list[float], expected: list[float]
) -> None:
    found = advantage(torch.tensor(group)[None, :, None], torch.ones(1))
    torch.testing.assert_close(found, torch.tensor([expected]), rtol=0, atol=1e-6)


def test_token_advantages_average_each_reward_over_its_own_region() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]])
    regions = torch.tensor([[[0, 5], [0, 2], [3, 5], [2, 2]], [[0, 2], [0, 1], [1, 2], [2, 2]]])
    advantages = torch.tensor([[0.7, -1.1, 0.4, 9.0], [-0.3, 0.9, 1.6, 9.0]])
    expected = [[0.0] * 6, [0.0] * 6]
    for n in range(2):
        length = int(mask[n].sum())
        for k, (start, end) in enumerate(regions[n].tolist()):
            for t in range(start, end):
                expected[n][t] += advantages[n, k].item() * length / (end - start)
    found = token_advantages(advantages, regions, mask)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)
    # The mean over tokens is the sum of the regions' means: a short answer does not starve beside a long analysis.
    torch.testing.assert_close(found.sum(1) / mask.sum(1), advantages[:, :3].sum(1), rtol=0, atol=1e-6)


def test_a_region_never_reaches_into_the_padding() -> None:
    found = token_advantages(torch.tensor([[1.0]]), torch.tensor([[[1, 9]]]), torch.tensor([[1, 1, 1, 0]]))
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.5, 1.5, 0.0]]), rtol=0, atol=0)
