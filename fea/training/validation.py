"""Validation, test and prediction, the same for all stages: greedy answers, and the metrics of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import lightning.pytorch as L

from fea.data.example import Example
from fea.data.module import FEADataModule
from fea.data.prompt import Prompt
from fea.evaluation.counts import overall
from fea.evaluation.metrics import AUScores, EmotionScores, NumberScores
from fea.model.cache import Trunk
from fea.model.config import PolicyConfig
from fea.model.policy import Policy
from fea.model.sampling import Generation
from fea.prompts.answer import Answer
from fea.rollouts.rollout import Rollout, ask


class Evaluated(L.LightningModule):
    """A module whose policy answers the faces of validation, test and prediction.

    Attributes:
        policy: what answers.
        generation: how long an answer may be.
        config: what the policy is asked for.
    """

    policy: Policy
    config: PolicyConfig
    generation: Generation

    def setup(self, stage: str) -> None:
        """Metrics for the emotions of the data."""
        self.au_scores, self.emotion_scores = AUScores(), EmotionScores(self.data.all_emotions)
        self.number_scores = NumberScores()

    @property
    def data(self) -> FEADataModule:
        """The data module of the trainer."""
        data: FEADataModule = cast(Any, self.trainer).datamodule  # the trainer has it only once it runs
        return data

    def on_validation_start(self) -> None:
        """All batches of an evaluation share the weights, and so what their prompts begin with."""
        self.trunk = Trunk()
        self.known: list[Prompt] = []

    on_test_start = on_predict_start = on_validation_start

    def answers(self, batch: list[Prompt]) -> Rollout | None:
        """Greedy answers, one a prompt; None for an empty batch: all of its images may have been unreadable.

        Processes that share the weights meet in every rollout. One that has nothing left to answer repeats a prompt.
        """
        self.known = batch[:1] or self.known
        if not batch and (self.device_mesh is None or not self.known):
            return None
        rollout = ask(self.policy, batch or self.known, 1, self.generation, trunk=self.trunk)
        return rollout if batch else None

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Eval mode, without which checkpointing would drop the cache, and the trainer's precision."""
        was_training = self.policy.training
        self.policy.eval()
        try:
            with self.trainer.precision_plugin.forward_context():
                yield
        finally:
            self.policy.train(was_training)

    def validation_step(self, batch: list[Prompt], index: int) -> Any:
        """Answers a batch and counts; callbacks are handed the answers, None for an empty batch."""
        rollout = self.answers(batch)
        if rollout:
            examples = [prompt.example for prompt in rollout.prompts]
            self.au_scores.update(rollout.answers, examples)
            self.emotion_scores.update(rollout.answers, examples)
            if self.config.numbers:
                self.number_scores.update(rollout.answers, examples)
        return rollout

    test_step = validation_step

    def predict_step(self, batch: list[Prompt], index: int) -> list[tuple[Example, Answer]]:
        """Answers a batch; each answer stands with its example."""
        rollout = self.answers(batch)
        return list(zip((p.example for p in batch), rollout.answers, strict=True)) if rollout else []

    def on_validation_epoch_end(self) -> None:
        """Logs the numbers.

        The best checkpoint is chosen by `val/score`, which is `counts.overall`: the mean of the macro F1 of Action Units and of
        that of emotions.
        """
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Logs the numbers, and F1 and recall of each unit and of each emotion."""
        by_class = {**self.au_scores.per_class(), **self.emotion_scores.per_class()}
        self.log_dict({f"test/{name}": value for name, value in by_class.items()})
        self._log_scores("test")

    def _log_scores(self, stage: str) -> None:
        scores = {**self.au_scores.compute(), **self.emotion_scores.compute()}
        scores |= self.number_scores.compute() if self.config.numbers else {}
        shares = {**self.au_scores.shares(), **self.emotion_scores.shares()}
        self.au_scores.reset()
        self.emotion_scores.reset()
        self.number_scores.reset()
        self.log_dict({f"{stage}/{name}": value for name, value in {**scores, **shares}.items()})
        score = overall({name: float(value) for name, value in scores.items()})
        if score is not None:
            self.log(f"{stage}/score", score, prog_bar=True)
