"""Does the thinking of greedy answers carry their emotion."""

from __future__ import annotations

from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info

from fea.rollouts.consistency import CarriedScores
from fea.rollouts.rollout import Rollout
from fea.training.module import FEAModule


class Consistency(Callback):
    """Logs at each validation, and in a test, whether the policy comes to its answers from their thinking alone.

    `val/consistency` is the share of answers whose emotion is the likeliest behind their thinking when no image is shown,
    `val/consistency_gain` by how many nats that makes it likelier than it is behind the thinking about any face; `val/evidence`
    and `val/evidence_gain` are the same without the sentences that name an emotion (`fea.evaluation.carried`). An answer that
    cannot be read carries nothing; answers that were to stand alone do not count. Of the demo's model
    on a CPU it takes about half as long as writing the answers; on the general road, where nothing is shared, longer.
    """

    def __init__(self) -> None:
        self.scores: CarriedScores | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins; with sharded weights there is nothing to log, since processes would wait for each other."""
        module = cast(FEAModule, pl_module)
        if module.device_mesh is None:
            self.scores = CarriedScores(module.data.all_emotions)
        else:
            rank_zero_info("Consistency: nothing is measured with sharded weights; trainer.strategy ddp has them whole")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Adds a batch of answers."""
        if self.scores and isinstance(outputs, Rollout):
            module = cast(FEAModule, pl_module)
            with module.sampling():
                self.scores.add(module.policy, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the numbers, over all processes."""
        self._log(pl_module, "val")

    on_test_batch_end = on_validation_batch_end

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the numbers, over all processes."""
        self._log(pl_module, "test")

    def _log(self, module: LightningModule, stage: str) -> None:
        if self.scores:
            module.log_dict({f"{stage}/{name}": value for name, value in self.scores.compute().items()})
