"""What an update maximizes: a step against plain Python floats, and the numbers that are refused."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from fea.errors import FEAError
from fea.grpo import GRPOModule
from fea.rollouts.buffer import Pack
from fea.rollouts.drift import Drift
from fea.training.objective import Objective

# Two completions of 3 and 2 tokens, sampled, as training computed them before the updates, now, and under the reference.
TOKENS = {
    "mask": [[1, 1, 1], [1, 1, 0]],
    "sampled": [[-1.0, -2.0, -0.5], [-2.6, -0.4, 0.0]],
    "old": [[-1.1, -1.2, -0.6], [-2.2, -0.5, 0.0]],
    "now": [[-0.6, -1.5, -0.7], [-0.9, -0.3, 0.0]],
    "reference": [[-1.5, -1.4, -0.2], [-2.0, -0.9, 0.0]],
    "advantages": [[0.9, 0.9, 0.4], [-0.7, -0.7, 0.0]],
}


def entropy_of(logp: Any) -> Any:
    """That of a token, in these tests: any function of its log-probability serves."""
    return logp * logp / 2


def plain_step(now: list[list[float]], goal: Objective) -> float:
    """The loss of a step whose tokens all weigh 0.2, in plain Python. What carries no gradient is that of TOKENS."""
    loss, fixed = 0.0, TOKENS["now"]
    means = [sum(fixed[n][t] - TOKENS["old"][n][t] for t in range(length)) / length for n, length in enumerate([3, 2])]
    for n, t in ((n, t) for n in range(2) for t in range(3) if TOKENS["mask"][n][t]):
        sampled, old, reference, a = (TOKENS[name][n][t] for name in ("sampled", "old", "reference", "advantages"))
        correction = min(math.exp(old - sampled), goal.cap) if goal.cap else 1.0
        of_token, d = math.exp(now[n][t] - old), reference - now[n][t]
        ratio = math.exp(means[n] + now[n][t] - fixed[n][t]) if goal.surrogate == "gspo" else of_token
        gain = min(ratio * a, min(max(ratio, 1 - goal.clip_low), 1 + goal.clip_high) * a)
        gain = max(gain, goal.clip_dual * a) if goal.clip_dual and a < 0 else gain
        if goal.surrogate == "cispo":
            weight = math.exp(fixed[n][t] - old)
            gain = min(max(weight, 1 - goal.clip_low), 1 + goal.clip_high) * a * now[n][t]
        kl = (math.exp(d) - d - 1) * (of_token * correction if goal.kl == "corrected" else 1.0)
        loss += 0.2 * (goal.beta * kl - correction * gain - goal.entropy * entropy_of(now[n][t]))
    return loss


@pytest.mark.parametrize("cap", [2.0, 1.3, None])
@pytest.mark.parametrize("kl", ["k3", "corrected"])
@pytest.mark.parametrize("clip_dual", [3.0, None])
def test_loss_and_gradient_of_a_step_equal_plain_python(cap: float | None, kl: Any, clip_dual: float | None) -> None:
    """Sampler, policy before its updates, policy now and reference all differ; ratios lie on both sides of every bound."""
    logged = compare_step(Objective(beta=0.5, kl=kl, cap=cap, clip_dual=clip_dual, clip_high=0.3))
    assert float(logged["train/clipped_dual"]) == (pytest.approx(0.2) if clip_dual else 0)


@pytest.mark.parametrize("clip_dual", [2.0, None])
@pytest.mark.parametrize("clip_high", [0.02, 0.04])
def test_a_step_with_the_ratios_of_completions_equals_plain_python(clip_high: float, clip_dual: float | None) -> None:
    """The completions' are 1.034 with positive advantages and 2.117 with negative ones."""
    goal = Objective(
        beta=0.5, kl="corrected", surrogate="gspo", clip_low=0.01, clip_high=clip_high, clip_dual=clip_dual
    )
    logged = compare_step(goal)
    assert float(logged["train/clipped_high"]) == pytest.approx(0.6 if clip_high < 0.034 else 0)
    assert float(logged["train/clipped_dual"]) == pytest.approx(0.4 if clip_dual else 0)


@pytest.mark.parametrize("weight", [0.01, 1.5])
@pytest.mark.parametrize("surrogate", ["clip", "gspo", "cispo"])
def test_a_step_with_a_bonus_for_entropy_equals_plain_python(weight: float, surrogate: Any) -> None:
    logged = compare_step(Objective(beta=0.5, entropy=weight, surrogate=surrogate))
    mean = sum(entropy_of(TOKENS["now"][n][t]) for n, t in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]) / 5
    assert float(logged["train/entropy"]) == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("clip_low", [0.2, 1.0])
def test_a_step_of_cispo_equals_plain_python(clip_low: float) -> None:
    logged = compare_step(Objective(beta=0.5, surrogate="cispo", clip_low=clip_low, clip_high=0.3))
    assert float(logged["train/clipped_high"]) == pytest.approx(0.4)
    assert float(logged["train/clipped_low"]) == pytest.approx(0.2 if clip_low < 1 else 0.0)
    assert float(logged["train/clipped_dual"]) == 0


def compare_step(goal: Objective) -> dict[str, Tensor]:
    """Holds that the loss of a step and its gradient are those of plain Python; returns what it logs."""
    tensors = {name: torch.tensor(values) for name, values in TOKENS.items()}
    now = tensors["now"].requires_grad_()
    pack = Pack(
        prompts=[cast(Any, None)], ids=torch.zeros(2, 3), mask=tensors["mask"], advantages=tensors["advantages"],
        weights=0.2 * tensors["mask"], sampled_logps=tensors["sampled"], old_logps=tensors["old"],
        ref_logps=tensors["reference"], signal=True, replay=[], metrics={},
    )  # fmt: skip
    logged: dict[str, Tensor] = {}

    def logps(*_: Any, entropy_gradient: bool) -> tuple[Tensor, Tensor]:
        return now, entropy_of(now if entropy_gradient else now.detach())

    stage: Any = SimpleNamespace(
        objective=goal, policy=SimpleNamespace(logps=logps), drift=Drift(), microbatches=1,
        generation=SimpleNamespace(temperature=1.0), trainer=SimpleNamespace(accumulate_grad_batches=1, world_size=1),
        _log=lambda values, pack: logged.update(values),
    )  # fmt: skip
    loss = GRPOModule.training_step(stage, pack, 0)
    loss.backward()
    assert loss.item() == pytest.approx(plain_step(TOKENS["now"], goal), abs=1e-6)
    assert now.grad is not None
    for n, t in ((n, t) for n in range(2) for t in range(3)):
        up, down = ([list(row) for row in TOKENS["now"]] for _ in range(2))
        up[n][t] += 1e-6
        down[n][t] -= 1e-6
        slope = (plain_step(up, goal) - plain_step(down, goal)) / 2e-6
        assert now.grad[n, t].item() == pytest.approx(slope, abs=1e-5), (n, t)
    assert stage.drift.told(several=True)["train/sampling_ratio_max"] == pytest.approx(math.exp(0.8))
    return logged


def test_the_spread_of_the_batch_is_that_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside this process one with the same rewards: as many degrees of freedom as completions, less one."""
    monkeypatch.setattr("fea.grpo.total", lambda value: 2 * value)
    rewards = torch.tensor([[0.0, 1.0, 0.5], [2.0, 2.5, 4.0]])
    for advantage in ("sum_then_normalize", "normalize_then_sum"):
        stage: Any = SimpleNamespace(
            objective=Objective(advantage=advantage, scale="batch"),  # type: ignore[arg-type]
            policy=SimpleNamespace(tokens_until=None), device="cpu",
        )  # fmt: skip
        stage._compare = partial(GRPOModule._compare, stage)
        rollout: Any = SimpleNamespace(
            completions=SimpleNamespace(mask=torch.ones(6, 1, dtype=torch.long)),
            regions=lambda _: {"all": torch.tensor([[0, 1]] * 6)},
        )
        scores: Any = SimpleNamespace(rewards_BGK=rewards[..., None], weights_K=torch.ones(1), regions=["all"])
        found = GRPOModule._advantages(stage, rollout, scores)
        std = torch.cat([rewards, rewards]).std() + 1e-4
        less_mean = rewards - rewards.mean(dim=1, keepdim=True)
        torch.testing.assert_close(found, (less_mean / std).view(6, 1), rtol=1e-5, atol=1e-6)
        stage.objective = Objective(advantage=advantage, scale="none", baseline="leave_one_out")  # type: ignore[arg-type]
        found = GRPOModule._advantages(stage, rollout, scores)
        torch.testing.assert_close(found, (3 / 2 * less_mean).view(6, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("cap", 0.0), ("cap", -2.0), ("cap", 0.99), ("cap", math.nan), ("cap", math.inf), ("clip_dual", 1.0),
     ("clip_dual", -3.0), ("clip_dual", math.nan), ("clip_dual", math.inf), ("beta", -0.1), ("beta", math.nan),
     ("entropy", -0.01), ("entropy", math.nan),
     ("clip_low", -0.2), ("clip_high", -0.2)],
)  # fmt: skip
def test_a_bound_that_cannot_be_is_named(setting: str, value: float) -> None:
    with pytest.raises(FEAError, match=rf"^model\.objective\.{setting}: {value}; .*give a number"):
        Objective(**{setting: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", ["group", "batch"])
def test_leaving_one_out_of_what_is_made_of_one_size_is_refused(scale: Any) -> None:
    with pytest.raises(
        FEAError, match=rf"^model\.objective\.baseline: leave_one_out with scale {scale} .*scale to none"
    ):
        Objective(baseline="leave_one_out", scale=scale)
    Objective(baseline="leave_one_out", scale="none")


def test_a_power_of_no_balance_or_out_of_range_is_named() -> None:
    with pytest.raises(
        FEAError, match=r"^model\.objective\.balance_power: 0\.5, but nothing .* set model\.objective\.balance"
    ):
        Objective(balance_power=0.5)
    for power in (-0.1, 1.1, math.nan):
        with pytest.raises(FEAError, match=rf"^model\.objective\.balance_power: {power}; give 0 .* 1"):
            Objective(balance="au", balance_power=power)


def test_bounds_at_their_edges_and_none_at_all_are_taken() -> None:
    Objective(cap=1.0, clip_dual=1.01, beta=0.0, clip_low=0.0, clip_high=math.inf)
    Objective(cap=None, clip_dual=None)
