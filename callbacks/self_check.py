"""Before a run goes on for hours: do the numbers agree that have to?"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from fea.errors import FEAError
from fea.grpo import GRPOModule
from fea.rollouts.loader import RolloutCallback
from fea.rollouts.rollout import Rollout

# Mean difference in nats that rounding explains, in fp32 and in lower precision: with random weights bf16 makes 0.003 to 0.015,
# and attention scores that are rounded to it 0.05 to 0.3.
_EXACT, _ROUGH = 1e-3, 0.05
# How many times as far a single token may be off: at 0.05 on average, half or twice as probable as it was sampled.
_FARTHEST = 14
_PROMPTS = _COMPLETIONS = 2  # enough to share a trunk and a prompt, so that every layout has something to do


class SelfCheck(RolloutCallback):
    """Compares log-probabilities on the first rollout.

    Those of sampling and of training, of the layout and of plain rows, of policy and reference have to be the same.

    Args:
        tolerance: largest mean difference in nats, and a fourteenth of the largest of a single token; null: what rounding
            explains in the precision of the run.
    """

    def __init__(self, tolerance: float | None = None):
        self.tolerance, self.done = tolerance, False

    def on_rollout(
        self, trainer: Trainer, module: LightningModule, rollout: Rollout, rewards: dict[str, Tensor]
    ) -> None:
        """Checks once.

        Raises:
            FEAError: two of them differ, and what was sampled is not what would be trained.
        """
        if self.done:
            return
        self.done = True
        grpo = cast(GRPOModule, module)
        gaps, config = _gaps(grpo, rollout), grpo.policy.config
        exact = trainer.precision == "32-true" and config.dtype == "float32" and not config.four_bit
        allowed = self.tolerance or (_EXACT if exact else _ROUGH)
        for what, (mean, most) in gaps.items():
            if not (mean <= allowed and most <= _FARTHEST * allowed):  # NaN too
                raise FEAError(
                    f"self-check: log-probabilities {what} differ by {mean:.2g} nats on average and {most:.2g} at "
                    f"most, and rounding explains {allowed:g} and {_FARTHEST * allowed:.2g}; check the model, or remove "
                    "fea.callbacks.SelfCheck from trainer.callbacks"
                )
        told = ", ".join(f"{what} {mean:.1e} ({most:.1e})" for what, (mean, most) in gaps.items())
        rank_zero_info(f"self-check: mean (and largest) differences of log-probabilities in nats: {told}")

    def state_dict(self) -> dict[str, bool]:
        """Whether it has checked."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, bool]) -> None:
        """Does not check a second time."""
        self.done = state["done"]


def _gaps(module: GRPOModule, rollout: Rollout) -> dict[str, tuple[float, float]]:
    """How far log-probabilities of the same tokens are apart, in nats: on average, and where they are farthest."""
    policy, completions = module.policy, rollout.completions
    prompts = rollout.prompts[:_PROMPTS]
    rows = [
        group * rollout.group + number
        for group in range(len(prompts))
        for number in range(min(_COMPLETIONS, rollout.group))
    ]
    ids, mask, sampled = completions.ids[rows], completions.mask[rows], completions.logps[rows]

    def logps() -> Tensor:
        return policy.logps(prompts, ids, mask, module.generation.temperature)[0]

    def gap(one: Tensor, other: Tensor) -> tuple[float, float]:
        apart = (one - other).abs()[mask.bool()]
        return float(apart.mean()), float(apart.max())

    trained, config = logps(), policy.config
    policy.config = replace(config, layout="rows")
    plain = logps()
    policy.config = config
    gaps = {"of sampling and of training": gap(sampled, trained), "of the layout and of rows": gap(trained, plain)}
    if module.objective.beta:
        with policy.reference():
            gaps["of policy and reference"] = gap(trained, logps())
    return gaps
