"""`FEAModule`: what both stages share: the policy, its optimiser, its evaluation, its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.distributed.tensor import DTensor

from fea import checkpoints
from fea.config import PolicyConfig, check
from fea.data.encoding import Prompt
from fea.data.example import Example
from fea.data.loader import Loader
from fea.decoding import Trunk
from fea.errors import FEAError
from fea.metrics import AUScores, EmotionScores
from fea.policy import Policy
from fea.prompts import Answer, parse
from fea.rollout import Rollout
from fea.sampling import Generation


@dataclass
class Optimization:
    """AdamW with a warm-up.

    Args:
        lr: peak learning rate; 1e-5 to 5e-5 suits an adapter.
        weight_decay: decoupled weight decay.
        warmup: optimiser steps in which the rate rises from 0.
        decay: what follows: "constant", "linear" to 0 at the last step, or "cosine".
    """

    lr: float = 2e-5
    weight_decay: float = 0.0
    warmup: int = 10
    decay: Literal["constant", "linear", "cosine"] = "constant"

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay", "warmup"):
            if getattr(self, name) < 0:
                raise FEAError(f"model.optimization.{name}: {getattr(self, name)}; give a number that is not negative")


class FEAModule(L.LightningModule):
    """Base of the two stages.

    Args:
        policy: the model and what it is shown.
        init_from: run (folder or checkpoint) whose weights this one starts from; null: the base's own.
        generation: how answers are written.
        optimization: optimiser and learning rate.
    """

    policy: Policy
    needs_analyses = False

    def __init__(self, policy: PolicyConfig, init_from: str | None, generation: Generation, optimization: Optimization):
        super().__init__()
        check(policy)
        self.config, self.init_from, self.generation, self.optimization = policy, init_from, generation, optimization
        self.strict_loading = (
            False  # a checkpoint holds the trainable weights only; on_load_checkpoint compares the names
        )

    def configure_model(self) -> None:
        """Builds the policy, once all mistakes in the config have been reported."""
        if not hasattr(self, "policy"):
            checkpoints.check_adapter(self.init_from, self.config)
            start = checkpoints.weights(self.init_from)
            self.policy = Policy(self.config, start)
            self.inherits = not start.keys() <= self.policy.trainable().keys()
            self.seen_before = checkpoints.seen(self.init_from)
            if self.device_mesh is not None:  # strategy fsdp2
                self.policy.shard(self.device_mesh["data_parallel"])

    def on_fit_start(self) -> None:
        """Says how the numbers are computed."""
        rank_zero_info(f"layout: {self.config.layout}, attention: {self.config.attention}")

    # --- prompts ---

    def encode(self, example: Example) -> Prompt:
        """Prompt for an answer."""
        return self.policy.encoder(example)

    def encode_training(self, example: Example) -> Prompt:
        """Prompt for training."""
        return self.policy.encoder(example)

    def train_loader(self, prompts: Loader) -> Any:
        """What training iterates over: the prompts, or what a stage makes of them."""
        return prompts

    # --- optimiser ---

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over the trainable weights, its rate a function of the step."""
        o = self.optimization
        weights = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=o.lr, weight_decay=o.weight_decay, betas=(0.9, 0.95), fused=True)
        steps = self.trainer.estimated_stepping_batches

        def factor(step: int) -> float:
            if step < o.warmup:
                return (step + 1) / o.warmup
            if o.decay == "constant":
                return 1.0
            left = max(0.0, 1 - (step - o.warmup) / max(1.0, steps - o.warmup))
            return left if o.decay == "linear" else 0.5 - 0.5 * float(torch.cos(torch.tensor(torch.pi * left)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Logs the gradient's norm; a gradient that is not finite costs the step and nothing else."""
        gradients = [p.grad for p in self.policy.trainable().values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        self.log("train/grad_norm", norm)
        if not bool(norm.isfinite()):
            rank_zero_warn(f"step {self.global_step}: the gradient is not finite; the step is left out")
            self.skip_step()
        self.log("train/skipped", float(not bool(norm.isfinite())), reduce_fx="sum", on_step=False, on_epoch=True)

    def skip_step(self) -> None:
        """Makes the coming optimiser step do nothing: with zeros Adam would still move by its momentum."""
        for parameter in self.policy.trainable().values():
            parameter.grad = None

    # --- evaluation ---

    def setup(self, stage: str) -> None:
        """Metrics for the emotions of the data."""
        datamodule = cast(Any, self.trainer).datamodule
        self.au_scores, self.emotion_scores = AUScores(), EmotionScores(datamodule.all_emotions)

    def on_validation_start(self) -> None:
        """All batches of an evaluation share the weights, and so what their prompts begin with."""
        self.trunk = Trunk()

    on_test_start = on_predict_start = on_validation_start

    def answer(self, prompts: Sequence[Prompt]) -> Rollout:
        """Greedy answers, one a prompt."""
        completions = self.policy.rollout(prompts, 1, self.generation, None, self.trunk)
        return Rollout(prompts, 1, completions, parse_all(completions.texts, prompts))

    def count(self, rollout: Rollout) -> None:
        """Counts the answers of a batch."""
        examples = [prompt.example for prompt in rollout.prompts]
        self.au_scores.update(rollout.answers, examples)
        self.emotion_scores.update(rollout.answers, examples)

    def validation_step(self, batch: list[Prompt], index: int) -> None:
        """Answers a batch and counts."""
        if batch:  # all of its images may have been unreadable
            self.count(self.answer(batch))

    def test_step(self, batch: list[Prompt], index: int) -> None:
        """Answers a batch and counts."""
        self.validation_step(batch, index)

    def predict_step(self, batch: list[Prompt], index: int) -> list[tuple[Example, Answer]]:
        """Answers a batch."""
        return list(zip((p.example for p in batch), self.answer(batch).answers, strict=True)) if batch else []

    def on_validation_epoch_end(self) -> None:
        """Logs the numbers; `val/score` is what the best checkpoint is chosen by."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Logs the numbers, and the F1 of each unit."""
        for number, (f1, _) in self.au_scores.per_au().items():
            self.log(f"test/f1/AU{number}", f1)
        self._log_scores("test")

    def _log_scores(self, stage: str) -> None:
        scores = {**self.au_scores.compute(), **self.emotion_scores.compute()}
        self.au_scores.reset()
        self.emotion_scores.reset()
        self.log_dict({f"{stage}/{name}": value for name, value in scores.items()})
        headline = [scores[name] for name in ("au_f1", "accuracy") if name in scores]
        if headline:
            self.log(f"{stage}/score", torch.stack(headline).mean(), prog_bar=True)

    # --- checkpoints ---

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The trainable weights."""
        kept = {f"policy.{name}" for name in self.policy.trainable()}
        return {name: weight for name, weight in super().state_dict(*args, **kwargs).items() if name in kept}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what is needed to build the policy again."""
        data = cast(Any, self.trainer).datamodule
        seen = {name for table in data.tables.get("train", []) for name in table.summary.occurring}
        checkpoint["fea"] = {
            **checkpoints.describe(self.config, data.all_emotions, seen | self.seen_before),
            **checkpoints.origin(self.init_from, self.inherits),
            "stage": type(self).__name__,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another model."""
        if "fea" not in checkpoint:
            raise FEAError("the checkpoint was not written by fea; name one from a run's checkpoints/ folder")
        stage = checkpoint["fea"]["stage"]
        if stage != type(self).__name__ and self.trainer.state.fn == "fit":
            raise FEAError(
                f"ckpt_path: the checkpoint is one of {stage} and cannot be resumed by {type(self).__name__}; to start from "
                "its weights, name it as model.init_from"
            )
        stored = {name: tuple(weight.shape) for name, weight in checkpoint["state_dict"].items()}
        wanted = {f"policy.{name}": tuple(weight.shape) for name, weight in self.policy.trainable().items()}
        if stored != wanted:
            name = sorted(set(stored.items()) ^ set(wanted.items()))[0][0].removeprefix("policy.")
            raise FEAError(
                f"the checkpoint belongs to another model: '{name}' is {stored.get(f'policy.{name}', 'not')} in the file and "
                f"{wanted.get(f'policy.{name}', 'not')} here; use the config that it was trained with"
            )


def parse_all(texts: Sequence[str], prompts: Sequence[Prompt]) -> list[Answer]:
    """Reads texts that answer prompts; several texts of a prompt stand next to each other."""
    group = len(texts) // len(prompts)
    return [parse(text, prompts[number // group].example.emotions) for number, text in enumerate(texts)]
