"""What an update maximizes: a step against plain Python floats, and the numbers that are refused."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fea.errors import FEAError
from fea.grpo import GRPOModule
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


def plain_step(now: list[list[float]], goal: Objective) -> float:
    """The loss of a step whose tokens all weigh 0.2, in plain Python."""
    loss = 0.0
    for n, t in ((n, t) for n in range(2) for t in range(3) if TOKENS["mask"][n][t]):
        sampled, old, reference, a = (TOKENS[name][n][t] for name in ("sampled", "old", "reference", "advantages"))
        correction = min(math.exp(old - sampled), goal.cap) if goal.cap else 1.0
        ratio, d = math.exp(now[n][t] - old), reference - now[n][t]
        gain = min(ratio * a, min(max(ratio, 1 - goal.clip_low), 1 + goal.clip_high) * a)
        gain = max(gain, goal.clip_dual * a) if goal.clip_dual and a < 0 else gain
        kl = (math.exp(d) - d - 1) * (ratio * correction if goal.kl == "corrected" else 1.0)
        loss += 0.2 * (goal.beta * kl - correction * gain)
    return loss


@pytest.mark.parametrize("cap", [2.0, 1.3, None])
@pytest.mark.parametrize("kl", ["k3", "corrected"])
@pytest.mark.parametrize("clip_dual", [3.0, None])
def test_loss_and_gradient_of_a_step_equal_plain_python(cap: float | None, kl: Any, clip_dual: float | None) -> None:
    """Sampler, policy before its updates, policy now and reference all differ; ratios lie on both sides of every bound."""
    goal = Objective(beta=0.5, kl=kl, cap=cap, clip_dual=clip_dual, clip_high=0.3)
    tensors = {name: torch.tensor(values) for name, values in TOKENS.items()}
    now = tensors["now"].requires_grad_()
    pack: Any = SimpleNamespace(
        prompts=[None], ids=None, mask=tensors["mask"], advantages=tensors["advantages"], weights=0.2 * tensors["mask"],
        sampled_logps=tensors["sampled"], old_logps=tensors["old"], ref_logps=tensors["reference"], signal=True,
        replay=[], metrics={},
    )  # fmt: skip
    logged: dict[str, Tensor] = {}
    stage: Any = SimpleNamespace(
        objective=goal, policy=SimpleNamespace(logps=lambda *_: (now, torch.zeros(2, 3))), drift=Drift(),
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
    assert float(logged["train/clipped_dual"]) == (pytest.approx(0.2) if clip_dual else 0)
    assert stage.drift.told(several=True)["train/sampling_ratio_max"] == pytest.approx(math.exp(0.8))


def test_the_spread_of_the_batch_is_that_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside this process one with the same rewards: as many degrees of freedom as completions, less one."""
    monkeypatch.setattr("fea.grpo.total", lambda value: 2 * value)
    rewards = torch.tensor([[0.0, 1.0, 0.5], [2.0, 2.5, 4.0]])
    for advantage in ("sum_then_normalize", "normalize_then_sum"):
        stage: Any = SimpleNamespace(
            objective=Objective(advantage=advantage, scale="batch"),  # type: ignore[arg-type]
            policy=SimpleNamespace(tokens_until=None), device="cpu",
        )  # fmt: skip
        rollout: Any = SimpleNamespace(
            completions=SimpleNamespace(mask=torch.ones(6, 1, dtype=torch.long)),
            regions=lambda _: {"all": torch.tensor([[0, 1]] * 6)},
        )
        scores: Any = SimpleNamespace(rewards_BGK=rewards[..., None], weights_K=torch.ones(1), regions=["all"])
        found = GRPOModule._advantages(stage, rollout, scores)
        std = torch.cat([rewards, rewards]).std() + 1e-4
        expected = ((rewards - rewards.mean(dim=1, keepdim=True)) / std).view(6, 1)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("cap", 0.0), ("cap", -2.0), ("cap", 0.99), ("cap", math.nan), ("cap", math.inf), ("clip_dual", 1.0),
     ("clip_dual", -3.0), ("clip_dual", math.nan), ("clip_dual", math.inf), ("beta", -0.1), ("beta", math.nan),
     ("clip_low", -0.2), ("clip_high", -0.2)],
)  # fmt: skip
def test_a_bound_that_cannot_be_is_named(setting: str, value: float) -> None:
    with pytest.raises(FEAError, match=rf"^model\.objective\.{setting}: {value}; .*give a number"):
        Objective(**{setting: value})  # type: ignore[arg-type]


def test_bounds_at_their_edges_and_none_at_all_are_taken() -> None:
    Objective(cap=1.0, clip_dual=1.01, beta=0.0, clip_low=0.0, clip_high=math.inf)
    Objective(cap=None, clip_dual=None)
