"""Every formula of GRPO against plain Python floats, away from the trivial point; values and gradients."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fea.advantages import normalize_then_sum, sum_then_normalize, token_advantages
from fea.losses import Normalizer, kl_k3, log_distribution, policy_loss, token_logps, token_weights

NAN = float("nan")
NORMALIZERS: tuple[Normalizer, ...] = ("grpo", "dapo", "dr_grpo")

# Two prompts, four completions of each, three rewards; the second prompt has no reward of the second kind.
REWARDS = [
    [[1.0, 0.25, 1.0], [0.0, 0.75, 1.0], [0.5, 0.0, 1.0], [1.0, 1.0, 1.0]],
    [[0.0, NAN, 0.3], [1.0, NAN, 0.9], [1.0, NAN, 0.1], [1.0, NAN, 0.2]],
]
WEIGHTS = [1.0, 0.5, 2.0]

# Completions of 3, 5 and 1 tokens. The log-ratios -0.5, 0.4 and so on lie on both sides of the clip range, with advantages of
# both signs; the reference differs from both policies.
MASK = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]
LOGPS = [[-1.0, -2.1, -0.3, 0.0, 0.0], [-0.7, -1.9, -0.2, -3.0, -1.1], [-2.5, 0.0, 0.0, 0.0, 0.0]]
OLD = [[-0.5, -2.5, -0.35, 0.0, 0.0], [-1.2, -1.4, -0.25, -2.9, -1.6], [-2.0, 0.0, 0.0, 0.0, 0.0]]
REF = [[-1.3, -1.0, -0.9, 0.0, 0.0], [-0.6, -2.2, -0.1, -2.0, -1.5], [-3.5, 0.0, 0.0, 0.0, 0.0]]
ADVANTAGES = [[1.2, 1.2, 0.4, 0.0, 0.0], [-0.8, -0.8, -0.8, -0.1, 0.6], [-0.9, 0.0, 0.0, 0.0, 0.0]]
LOW, HIGH, BETA, MAX_TOKENS = 0.2, 0.3, 0.04, 7


# --- plain Python ---


def normalized(values: list[float]) -> list[float]:
    known = [value for value in values if not math.isnan(value)]
    if not known or max(known) - min(known) <= 1e-6:
        return [0.0] * len(values)
    mean, std = statistics.fmean(known), statistics.stdev(known)
    return [0.0 if math.isnan(value) else (value - mean) / (std + 1e-4) for value in values]


def plain_weight(row: int, normalizer: str) -> float:
    if normalizer == "grpo":
        return 1 / sum(MASK[row]) / len(MASK)
    return 1 / sum(map(sum, MASK)) if normalizer == "dapo" else 1 / (len(MASK) * MAX_TOKENS)


def plain_loss(logps: list[list[float]], normalizer: str, beta: float) -> float:
    total = 0.0
    for n, row in enumerate(MASK):
        for t in range(sum(row)):
            ratio = math.exp(logps[n][t] - OLD[n][t])
            clipped = min(max(ratio, 1 - LOW), 1 + HIGH)
            d = REF[n][t] - logps[n][t]
            gain = min(ratio * ADVANTAGES[n][t], clipped * ADVANTAGES[n][t])
            total += plain_weight(n, normalizer) * (beta * (math.exp(d) - d - 1) - gain)
    return total


def plain_gradient(normalizer: str, beta: float, step: float = 1e-6) -> list[list[float]]:
    """Central differences."""

    def moved(n: int, t: int, by: float) -> float:
        changed = [list(row) for row in LOGPS]
        changed[n][t] += by
        return plain_loss(changed, normalizer, beta)

    return [
        [(moved(n, t, step) - moved(n, t, -step)) / (2 * step) for t in range(len(row))] for n, row in enumerate(LOGPS)
    ]


# --- advantages ---


def test_sum_then_normalize_equals_plain_python() -> None:
    totals = [
        [sum(0.0 if math.isnan(r) else w * r for w, r in zip(WEIGHTS, row, strict=True)) for row in group]
        for group in REWARDS
    ]
    found = sum_then_normalize(torch.tensor(REWARDS), torch.tensor(WEIGHTS))
    torch.testing.assert_close(found, torch.tensor([normalized(group) for group in totals]), rtol=0, atol=1e-6)


def test_sum_then_normalize_refuses_a_reward_that_applies_to_part_of_a_group() -> None:
    rewards = torch.tensor(REWARDS)
    rewards[0, 1, 2] = NAN
    with pytest.raises(ValueError, match="only some completions"):
        sum_then_normalize(rewards, torch.tensor(WEIGHTS))


def test_normalize_then_sum_equals_plain_python_and_leaves_out_what_does_not_apply() -> None:
    rewards = [[list(row) for row in group] for group in REWARDS]
    rewards[0][2][1] = NAN  # of one completion only: the mean and the deviation are of the other three
    expected = [
        list(zip(*(normalized([row[k] for row in group]) for k in range(len(WEIGHTS))), strict=True))
        for group in rewards
    ]
    found = normalize_then_sum(torch.tensor(rewards), torch.tensor(WEIGHTS))
    torch.testing.assert_close(found, torch.tensor(expected) * torch.tensor(WEIGHTS), rtol=0, atol=1e-6)
    assert found[0, :, 2].eq(0).all()  # all the same: ranks nothing
    assert found[1, :, 1].eq(0).all()  # unknown: ranks nothing


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


# --- loss ---


def loss_of(logps: Tensor, normalizer: Normalizer, beta: float) -> Tensor:
    mask = torch.tensor(MASK)
    weights = token_weights(mask, normalizer, len(MASK), int(mask.sum()), MAX_TOKENS)
    loss = policy_loss(logps, torch.tensor(OLD), torch.tensor(ADVANTAGES), weights, LOW, HIGH).loss
    return loss + beta * (kl_k3(logps, torch.tensor(REF)) * weights).sum()


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("beta", [0.0, BETA, 1.5])
def test_loss_and_gradient_equal_plain_python(normalizer: Normalizer, beta: float) -> None:
    logps = torch.tensor(LOGPS, requires_grad=True)
    loss = loss_of(logps, normalizer, beta)
    loss.backward()
    assert loss.item() == pytest.approx(plain_loss(LOGPS, normalizer, beta), abs=1e-6)
    torch.testing.assert_close(logps.grad, torch.tensor(plain_gradient(normalizer, beta)), rtol=0, atol=1e-6)


def test_the_table_above_clips_on_both_sides() -> None:
    mask = torch.tensor(MASK)
    share = torch.tensor(MASK) / mask.sum()
    found = policy_loss(torch.tensor(LOGPS), torch.tensor(OLD), torch.tensor(ADVANTAGES), share, LOW, HIGH)
    assert found.clipped_low.item() == pytest.approx(2 / 9)  # ratio below 0.8 with a negative advantage
    assert found.clipped_high.item() == pytest.approx(2 / 9)  # above 1.3 with a positive one


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_weights_of_packs_add_up_to_those_of_the_whole_step(normalizer: Normalizer) -> None:
    mask = torch.tensor(MASK)
    whole = token_weights(mask, normalizer, 3, 9, MAX_TOKENS)
    parts = [token_weights(part, normalizer, 3, 9, MAX_TOKENS) for part in mask.split(1)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=0)
    assert whole.sum().item() == pytest.approx(9 / 21 if normalizer == "dr_grpo" else 1)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_step_without_tokens_weighs_nothing_and_is_finite(normalizer: Normalizer) -> None:
    weights = token_weights(torch.zeros(2, 3, dtype=torch.long), normalizer, 2, 0, 3)
    logps = torch.full((2, 3), -1.0, requires_grad=True)
    found = policy_loss(logps, torch.zeros(2, 3), torch.ones(2, 3), weights, LOW, HIGH)
    found.loss.backward()
    assert [part.item() for part in found] == [0.0, 0.0, 0.0, 0.0]
    assert logps.grad is not None
    assert logps.grad.eq(0).all()


def test_an_extreme_ratio_stays_finite() -> None:
    logps = torch.tensor([-1.0, -200.0, 0.0], requires_grad=True)
    old = torch.tensor([-200.0, -1.0, -150.0])
    found = policy_loss(logps, old, torch.tensor([-1.0, 1.0, -1.0]), torch.ones(3), LOW, HIGH).loss
    (found + kl_k3(logps, old).sum()).backward()
    assert found.isfinite()
    assert logps.grad is not None
    assert logps.grad.isfinite().all()


def test_kl_is_never_negative_and_exactly_zero_between_equals() -> None:
    logps = torch.linspace(-9, 0, 50)
    assert kl_k3(logps, logps.clone()).eq(0).all()
    assert (kl_k3(logps, logps.flip(0)) >= 0).all()


def test_bfloat16_log_probabilities_are_compared_in_float32() -> None:
    logps, old = torch.tensor([-1.5], dtype=torch.bfloat16), torch.tensor([-1.5009765625])
    loss = policy_loss(logps, old, torch.ones(1), torch.ones(1), LOW, HIGH).loss
    assert loss.item() == pytest.approx(-math.exp(0.0009765625), abs=1e-7)
    assert kl_k3(logps, old).dtype == torch.float32


# --- TRL's published formula: pinned numbers ---

TRL_REWARDS = [[1.0, 0.0, 0.5], [2.0, 2.0, 0.5]]
TRL_MASK = [[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0], [1, 1, 1]]
TRL_LOGPS = [[-0.5, -1.5, -2.5], [-1, 0, 0], [-0.2, -0.9, 0], [-1.1, -0.4, -3], [-2, -0.7, 0], [-0.6, -1.2, -0.1]]
TRL_OLD = [[-0.9, -1.4, -2.0], [-0.5, 0, 0], [-0.3, -0.8, 0], [-1.5, -0.4, -2.2], [-1.9, -1.3, 0], [-1.0, -1.1, -0.6]]
TRL_REF = [[-0.7, -1.0, -2.2], [-1.3, 0, 0], [-0.4, -1.1, 0], [-1.2, -0.1, -2.6], [-2.4, -0.9, 0], [-0.3, -1.7, -0.2]]


@pytest.mark.parametrize(
    ("normalizer", "pinned"), [("grpo", 0.060613500), ("dapo", 0.006029840), ("dr_grpo", 0.002813925)]
)
def test_trls_published_loss_on_pinned_numbers(normalizer: Normalizer, pinned: float) -> None:
    """As TRL's documentation states it for loss types grpo, bnpo (dapo over one batch) and dr_grpo.

    per_token = -min(r A, clip(r, 0.8, 1.2) A) + beta (exp(ref - p) - (ref - p) - 1), A = (R - mean) / (std + 1e-4)
    grpo: mean over sequences of the mean over tokens; bnpo: sum / tokens; dr_grpo: sum / (sequences * max length)
    """
    logps, mask = torch.tensor(TRL_LOGPS, dtype=torch.float32), torch.tensor(TRL_MASK)
    advantages = sum_then_normalize(torch.tensor(TRL_REWARDS)[..., None], torch.ones(1)).view(-1, 1).expand(-1, 3)
    weights = token_weights(mask, normalizer, len(mask), int(mask.sum()), max_tokens=5)
    loss = policy_loss(logps, torch.tensor(TRL_OLD), advantages, weights, 0.2, 0.2).loss
    loss = loss + 0.1 * (kl_k3(logps, torch.tensor(TRL_REF)) * weights).sum()
    assert loss.item() == pytest.approx(pinned, abs=1e-6)


# --- the output head ---


@pytest.mark.parametrize("chunk", [1, 4, 7, 512])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_chunked_head_equals_the_naive_one(chunk: int, temperature: float) -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(7, 8), torch.randn(20, 8)
    targets, forbidden, weights = torch.tensor([0, 3, 19, 5, 5, 11, 2]), torch.tensor([1, 18]), torch.randn(7)

    def results(function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
        h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        logps, entropies = function(h, w)
        return logps, entropies, *torch.autograd.grad((logps * weights).sum(), (h, w))

    def naive(h: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        kept = torch.tensor([token not in (1, 18) for token in range(20)])
        log_p = (h @ w.T / temperature)[:, kept].log_softmax(-1)
        columns = torch.tensor([sum(kept[:t]) for t in targets.tolist()])
        return log_p[torch.arange(7), columns], torch.distributions.Categorical(logits=log_p).entropy()

    chunked = results(lambda h, w: token_logps(h, w, targets, forbidden, temperature, chunk))
    for found, expected in zip(chunked, results(naive), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)
    assert not chunked[1].requires_grad


def test_the_softmax_runs_in_float32() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = log_distribution(logits, None, 1.0)
    torch.testing.assert_close(found, logits.double().log_softmax(-1).float(), rtol=0, atol=1e-6)


def test_no_positions_give_no_log_probabilities() -> None:
    logps, entropies = token_logps(torch.zeros(0, 8), torch.zeros(20, 8), torch.zeros(0, dtype=torch.long))
    assert logps.shape == entropies.shape == (0,)
