"""Every formula of GRPO against plain Python floats, away from the trivial point; values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fea.advantages import sum_then_normalize
from fea.losses import (
    Normalizer,
    cispo_loss,
    importance_ratio,
    kl_corrected,
    kl_k3,
    policy_loss,
    sampling_correction,
    sequence_ratio,
    token_weights,
)

NAN = float("nan")
NORMALIZERS: tuple[Normalizer, ...] = ("grpo", "dapo", "dr_grpo")

# Completions of 3, 5 and 1 tokens. The log-ratios -0.5, 0.4 and so on lie on both sides of the clip range, with advantages of
# both signs; the reference differs from both policies.
MASK = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]
LOGPS = [[-1.0, -2.1, -0.3, 0.0, 0.0], [-0.7, -1.9, -0.2, -3.0, -1.1], [-2.5, 0.0, 0.0, 0.0, 0.0]]
OLD = [[-0.5, -2.5, -0.35, 0.0, 0.0], [-1.2, -1.4, -0.25, -2.9, -1.6], [-2.0, 0.0, 0.0, 0.0, 0.0]]
REF = [[-1.3, -1.0, -0.9, 0.0, 0.0], [-0.6, -2.2, -0.1, -2.0, -1.5], [-3.5, 0.0, 0.0, 0.0, 0.0]]
ADVANTAGES = [[1.2, 1.2, 0.4, 0.0, 0.0], [-0.8, -0.8, -0.8, -0.1, 0.6], [-0.9, 0.0, 0.0, 0.0, 0.0]]
LOW, HIGH, BETA, MAX_TOKENS = 0.2, 0.3, 0.04, 7


# --- plain Python ---


def plain_weight(row: int, normalizer: str) -> float:
    if normalizer == "grpo":
        return 1 / sum(MASK[row]) / len(MASK)
    return 1 / sum(map(sum, MASK)) if normalizer == "dapo" else 1 / (len(MASK) * MAX_TOKENS)


def plain_loss(logps: list[list[float]], normalizer: str, beta: float, dual: float = math.inf) -> float:
    total = 0.0
    for n, row in enumerate(MASK):
        for t in range(sum(row)):
            ratio = math.exp(logps[n][t] - OLD[n][t])
            clipped = min(max(ratio, 1 - LOW), 1 + HIGH)
            d = REF[n][t] - logps[n][t]
            gain = min(ratio * ADVANTAGES[n][t], clipped * ADVANTAGES[n][t])
            if ADVANTAGES[n][t] < 0:
                gain = max(gain, dual * ADVANTAGES[n][t])
            total += plain_weight(n, normalizer) * (beta * (math.exp(d) - d - 1) - gain)
    return total


def plain_gradient(normalizer: str, beta: float, dual: float = math.inf, step: float = 1e-6) -> list[list[float]]:
    """Central differences."""

    def moved(n: int, t: int, by: float) -> float:
        changed = [list(row) for row in LOGPS]
        changed[n][t] += by
        return plain_loss(changed, normalizer, beta, dual)

    return [
        [(moved(n, t, step) - moved(n, t, -step)) / (2 * step) for t in range(len(row))] for n, row in enumerate(LOGPS)
    ]


# --- loss ---


def loss_of(logps: Tensor, normalizer: Normalizer, beta: float, dual: float | None = None) -> Tensor:
    mask = torch.tensor(MASK)
    weights = token_weights(mask, normalizer, len(MASK), int(mask.sum()), MAX_TOKENS)
    loss = policy_loss(
        importance_ratio(logps, torch.tensor(OLD)), torch.tensor(ADVANTAGES), weights, LOW, HIGH, dual
    ).loss
    return loss + beta * (kl_k3(logps, torch.tensor(REF)) * weights).sum()


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize(("beta", "dual"), [(0.0, None), (BETA, None), (1.5, None), (0.0, 1.5), (BETA, 1.6)])
def test_loss_and_gradient_equal_plain_python(normalizer: Normalizer, beta: float, dual: float | None) -> None:
    logps, bound = torch.tensor(LOGPS, requires_grad=True), dual or math.inf
    loss = loss_of(logps, normalizer, beta, dual)
    loss.backward()
    assert loss.item() == pytest.approx(plain_loss(LOGPS, normalizer, beta, bound), abs=1e-6)
    torch.testing.assert_close(logps.grad, torch.tensor(plain_gradient(normalizer, beta, bound)), rtol=0, atol=1e-6)


def test_the_table_above_clips_on_all_sides() -> None:
    mask = torch.tensor(MASK)
    share = torch.tensor(MASK) / mask.sum()
    ratio = importance_ratio(torch.tensor(LOGPS), torch.tensor(OLD))
    found = policy_loss(ratio, torch.tensor(ADVANTAGES), share, LOW, HIGH, 1.5)
    assert found.clipped_dual.item() == pytest.approx(1 / 9)  # above 1.5 with a negative advantage
    assert found.clipped_low.item() == pytest.approx(2 / 9)  # ratio below 0.8 with a negative advantage
    assert found.clipped_high.item() == pytest.approx(2 / 9)  # above 1.3 with a positive one


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [  # clips 0.2 and 0.3, dual clip 3; the slope is that of the loss in the log-probability
        (0.5, -2.0, 1.6, 0.0),
        (1.0, -2.0, 2.0, 2.0),
        (2.9, -2.0, 5.8, 5.8),
        (3.1, -2.0, 6.0, 0.0),
        (400.0, -2.0, 6.0, 0.0),
        (0.5, 2.0, -1.0, -1.0),
        (3.1, 2.0, -2.6, 0.0),
        (3.1, 0.0, 0.0, 0.0),
    ],
)
def test_the_dual_clip_bounds_the_loss_of_negative_advantages(
    ratio: float, advantage: float, loss: float, slope: float
) -> None:
    """max(min(r A, clip(r) A), 3 A) for A < 0, as in arXiv 1912.09729; positive ones are left as they are."""
    logps = torch.tensor([math.log(ratio) - 1], requires_grad=True)
    of_token = importance_ratio(logps, torch.tensor([-1.0]))
    found = policy_loss(of_token, torch.tensor([advantage]), torch.ones(1), LOW, HIGH, 3.0)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(loss, abs=1e-5)
    assert logps.grad is not None
    assert logps.grad.item() == pytest.approx(slope, abs=1e-5)
    assert found.clipped_dual.item() == (ratio > 3 and advantage < 0)


def test_without_a_dual_clip_the_loss_grows_with_the_ratio() -> None:
    found = policy_loss(torch.tensor([400.0]), torch.tensor([-2.0]), torch.ones(1), LOW, HIGH, None)
    assert found.loss.item() == pytest.approx(800, rel=1e-5)
    assert found.clipped_dual.item() == 0


# --- CISPO ---


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("low", [LOW, 1.0])
def test_cispo_equals_plain_python_and_drops_no_token(normalizer: Normalizer, low: float) -> None:
    logps, mask = torch.tensor(LOGPS, requires_grad=True), torch.tensor(MASK)
    weights = token_weights(mask, normalizer, len(MASK), int(mask.sum()), MAX_TOKENS)
    ratio = importance_ratio(logps, torch.tensor(OLD))
    found = cispo_loss(logps, ratio, torch.tensor(ADVANTAGES), weights, low, HIGH)
    found.loss.backward()
    loss, slopes, below, above = 0.0, [[0.0] * 5 for _ in range(3)], 0.0, 0.0
    for n, t in torch.tensor(MASK).nonzero().tolist():
        r, weight = math.exp(LOGPS[n][t] - OLD[n][t]), plain_weight(n, normalizer)
        slopes[n][t] = -weight * min(max(r, 1 - low), 1 + HIGH) * ADVANTAGES[n][t]
        loss += slopes[n][t] * LOGPS[n][t]
        below, above = below + weight * (r < 1 - low), above + weight * (r > 1 + HIGH)
    assert found.loss.item() == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(logps.grad, torch.tensor(slopes), rtol=0, atol=1e-6)
    assert all(slope for row, kept in zip(slopes, MASK, strict=True) for slope in row[: sum(kept)])
    whole = weights.sum().item()
    assert [part.item() for part in found[1:]] == pytest.approx([below / whole, above / whole, 0.0], abs=1e-6)
    assert (below > 0) == (low < 1)
    assert above > 0


def test_where_nothing_is_clipped_cispo_has_the_gradient_of_ppo() -> None:
    logps, mask = torch.tensor(LOGPS, requires_grad=True), torch.tensor(MASK)
    ratio = importance_ratio(logps, torch.tensor(OLD))
    given = torch.tensor(ADVANTAGES), mask / 9, 1.0, 9.0
    gradients = [
        torch.autograd.grad(loss, logps, retain_graph=True)[0]
        for loss in (policy_loss(ratio, *given).loss, cispo_loss(logps, ratio, *given).loss)
    ]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-6, atol=1e-6)


# --- ratios of whole completions ---


def sequence_ratios(logps: list[list[float]]) -> list[float]:
    """exp of the mean difference over the tokens of each completion."""
    found = []
    for n, row in enumerate(MASK):
        differences = [logps[n][t] - OLD[n][t] for t in range(sum(row))]
        found.append(math.exp(sum(differences) / len(differences)))
    return found


def test_the_ratio_of_a_completion_is_the_geometric_mean_of_those_of_its_tokens() -> None:
    padded = torch.tensor(LOGPS).masked_fill(torch.tensor(MASK) == 0, -7.0)  # what stands there must not count
    found = sequence_ratio(padded, torch.tensor(OLD), torch.tensor(MASK))
    expected = torch.tensor(sequence_ratios(LOGPS))[:, None].expand(3, 5)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert sequence_ratios(LOGPS) == pytest.approx([math.exp(-0.05 / 3), math.exp(0.45 / 5), math.exp(-0.5)], abs=1e-9)
    extreme = sequence_ratio(
        torch.tensor([[0.0, -900.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [-900.0, 0.0]]), torch.ones(2, 2)
    )
    assert extreme.isfinite().all()
    assert sequence_ratio(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2)).eq(1).all()  # no token at all


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_where_the_advantages_of_a_completion_are_equal_the_gradient_is_the_one_through_the_mean(
    normalizer: Normalizer,
) -> None:
    """GSPO's objective in plain Python, min(s A, clip(s) A) of each completion, and its central differences."""
    of_completion, low, high = [1.2, -0.8, -0.9], 0.01, 0.02

    def plain(logps: list[list[float]]) -> float:
        gains = [
            min(s * a, min(max(s, 1 - low), 1 + high) * a)
            for s, a in zip(sequence_ratios(logps), of_completion, strict=True)
        ]
        return -sum(sum(MASK[n]) * plain_weight(n, normalizer) * gain for n, gain in enumerate(gains))

    logps, mask = torch.tensor(LOGPS, requires_grad=True), torch.tensor(MASK)
    weights = token_weights(mask, normalizer, len(MASK), int(mask.sum()), MAX_TOKENS)
    ratio = sequence_ratio(logps, torch.tensor(OLD), mask)
    found = policy_loss(ratio, torch.tensor(of_completion)[:, None].expand(3, 5), weights, low, high)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(plain(LOGPS), abs=1e-6)
    assert logps.grad is not None
    for n, t in ((n, t) for n in range(3) for t in range(5)):
        up, down = ([list(row) for row in LOGPS] for _ in range(2))
        up[n][t] += 1e-6
        down[n][t] -= 1e-6
        assert logps.grad[n, t].item() == pytest.approx((plain(up) - plain(down)) / 2e-6, abs=1e-6), (n, t)
    assert logps.grad[1, 0] != 0  # 1.09 with a negative advantage counts
    assert logps.grad[2].eq(0).all()  # 0.61 with a negative one does not


def test_tokens_with_advantages_of_their_own_are_credited_for_these() -> None:
    logps, mask = torch.tensor(LOGPS, requires_grad=True), torch.tensor(MASK)
    ratio = sequence_ratio(logps, torch.tensor(OLD), mask)
    policy_loss(ratio, torch.tensor(ADVANTAGES), mask / 9, 0.9, 0.9).loss.backward()
    expected = [
        [-a * s * m / 9 for a, m in zip(*rows, strict=True)]
        for s, *rows in zip(sequence_ratios(LOGPS), ADVANTAGES, MASK, strict=True)
    ]
    torch.testing.assert_close(logps.grad, torch.tensor(expected), rtol=0, atol=1e-6)


def test_dr_grpo_as_a_whole() -> None:
    """Its gradient at the sampling policy: sum of (R - mean of R) grad logp over all tokens / (completions * longest)."""
    rewards, mask = torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 3.0, 7.0, 3.0]]), torch.ones(8, 5)
    mask[3, 2:] = mask[6, 1:] = 0
    logps = torch.full((8, 5), -1.3, requires_grad=True)
    advantages = sum_then_normalize(rewards[..., None], torch.ones(1), "none").view(8, 1).expand(8, 5)
    weights = token_weights(mask, "dr_grpo", 8, int(mask.sum()), MAX_TOKENS)
    policy_loss(importance_ratio(logps, logps.detach()), advantages, weights, LOW, HIGH).loss.backward()
    expected = torch.tensor([0.5, -0.5, -0.5, 0.5, -1.0, -1.0, 3.0, -1.0])[:, None] * mask / (8 * MAX_TOKENS)
    torch.testing.assert_close(logps.grad, -expected, rtol=0, atol=1e-7)


# --- between sampler and trainer ---


def test_the_correction_is_the_truncated_ratio_of_trainer_to_sampler() -> None:
    trainer = torch.tensor([-1.0, -1.0, -1.0, -0.2, -2.0], requires_grad=True)
    sampler = torch.tensor([-1.0, -1.5, -0.4, -4.0, -2.0 - math.log(2.0)])
    found = sampling_correction(trainer, sampler, 2.0)
    expected = [1.0, math.exp(0.5), math.exp(-0.6), 2.0, 2.0]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-6, atol=0)
    assert not found.requires_grad
    assert sampling_correction(trainer, sampler, 1.25).max() == 1.25
    assert sampling_correction(trainer, sampler, None).eq(1).all()


def test_where_sampler_and_trainer_agree_the_correction_is_one() -> None:
    trainer = torch.linspace(-30, 0, 100)
    assert sampling_correction(trainer, trainer.clone(), 2.0).eq(1).all()
    rounded = trainer * (1 + 1e-7)
    torch.testing.assert_close(sampling_correction(trainer, rounded, 2.0), torch.ones(100), rtol=0, atol=1e-5)


@pytest.mark.parametrize("cap", [2.0, 1e9, None])
def test_an_absurd_sampler_leaves_the_loss_finite(cap: float | None) -> None:
    sampler = torch.tensor([NAN, math.inf, -math.inf, -1e30, 1e30, -500.0])
    logps = torch.full((6,), -1.0, requires_grad=True)
    correction = sampling_correction(logps, sampler, cap)
    ratio = importance_ratio(logps, logps.detach())
    loss = policy_loss(ratio, torch.ones(6) * correction, torch.ones(6), LOW, HIGH, 3.0).loss
    (loss + kl_corrected(logps, torch.full((6,), -3.0), logps.detach(), correction).sum()).backward()
    assert loss.isfinite()
    assert logps.grad is not None
    assert logps.grad.isfinite().all()
    if cap == 2.0:
        assert correction.tolist() == pytest.approx([1.0, 0.0, 2.0, 2.0, 0.0, 2.0], abs=1e-6)
        assert (correction > 0).all()  # a token that taught a little still has the sign of its advantage


@pytest.mark.parametrize("advantage", [1.5, -1.5])
def test_a_factor_of_the_advantages_is_one_of_the_whole_policy_term(advantage: float) -> None:
    ratio = torch.linspace(-2, 2, 41).exp()
    factor, ones = torch.linspace(0.1, 2.0, 41), torch.ones(41)
    inside = policy_loss(ratio, advantage * factor, ones, LOW, HIGH, 3.0)
    outside = policy_loss(ratio, advantage * ones, factor, LOW, HIGH, 3.0)
    torch.testing.assert_close(inside.loss, outside.loss, rtol=1e-6, atol=0)


def true_kl(logits: Tensor, reference: Tensor) -> Tensor:
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * (log_p - reference.log_softmax(-1))).sum()


def test_the_corrected_kl_has_the_gradient_of_the_kl_and_k3_has_not() -> None:
    """Exact expectations over a vocabulary of 5; policy, the policy before its updates, sampler and reference all differ."""
    torch.manual_seed(0)
    policy, old, sampler, reference = torch.randn(4, 5, dtype=torch.float64)
    sampler = old + 0.2 * sampler  # near the trainer's, so that the correction is not truncated

    def expectation(estimate: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        logits = policy.clone().requires_grad_()
        log_p, log_old, log_s, log_ref = (z.log_softmax(-1) for z in (logits, old, sampler, reference))
        mean = (log_s.exp() * estimate(log_p, log_ref, log_old, sampling_correction(log_old, log_s, 2.0))).sum()
        return mean.detach(), torch.autograd.grad(mean, logits)[0]

    logits = policy.clone().requires_grad_()
    exact = true_kl(logits, reference)
    (slope,) = torch.autograd.grad(exact, logits)
    value, gradient = expectation(kl_corrected)
    torch.testing.assert_close(value, exact.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-6)
    for biased in (
        lambda p, ref, _old, _correction: kl_k3(p, ref),
        lambda p, ref, old, correction: kl_corrected(p, ref, old, torch.ones_like(correction)),
        lambda p, ref, old, correction: importance_ratio(p.detach(), old) * correction * kl_k3(p, ref),
    ):
        assert (expectation(biased)[1] - slope).norm() > 0.05 * slope.norm()


def test_at_the_sampling_policy_the_gradient_of_the_corrected_kl_is_the_log_ratio() -> None:
    logps = torch.tensor([-1.0, -0.3, -4.0], requires_grad=True)
    reference = torch.tensor([-2.0, -0.3, -1.0])
    kl_corrected(logps, reference, logps.detach(), torch.ones(3)).sum().backward()
    torch.testing.assert_close(logps.grad, (logps - reference).detach(), rtol=1e-6, atol=1e-6)


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
    found = policy_loss(importance_ratio(logps, torch.zeros(2, 3)), torch.ones(2, 3), weights, LOW, HIGH)
    found.loss.backward()
    assert [part.item() for part in found] == [0.0, 0.0, 0.0, 0.0]
    assert logps.grad is not None
    assert logps.grad.eq(0).all()


def test_an_extreme_ratio_stays_finite() -> None:
    logps = torch.tensor([-1.0, -200.0, 0.0], requires_grad=True)
    old = torch.tensor([-200.0, -1.0, -150.0])
    advantages = torch.tensor([-1.0, 1.0, -1.0])
    found = policy_loss(importance_ratio(logps, old), advantages, torch.ones(3), LOW, HIGH).loss
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
    loss = policy_loss(importance_ratio(logps, old), torch.ones(1), torch.ones(1), LOW, HIGH).loss
    assert loss.item() == pytest.approx(-math.exp(0.0009765625), abs=1e-7)
    assert kl_k3(logps, old).dtype == importance_ratio(logps, logps).dtype == torch.float32


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
    loss = policy_loss(importance_ratio(logps, torch.tensor(TRL_OLD)), advantages, weights, 0.2, 0.2).loss
    loss = loss + 0.1 * (kl_k3(logps, torch.tensor(TRL_REF)) * weights).sum()
    assert loss.item() == pytest.approx(pinned, abs=1e-6)
