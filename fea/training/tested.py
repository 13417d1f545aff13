"""What `fea test --protocol` adds to a test: the answers as a file, and their scores by a protocol beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as L
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from fea.data.mixture import Examples
from fea.data.module import FEADataModule
from fea.errors import FEAError
from fea.evaluation import texts
from fea.protocols import scored
from fea.protocols.fitting import fitted
from fea.protocols.foreign import Said
from fea.protocols.known import Protocol
from fea.protocols.matching import NO_ANSWER
from fea.protocols.reading import cases_of
from fea.protocols.scoring import score
from fea.reports.evaluation import REPORT, write_evaluation
from fea.reports.scores import told
from fea.rollouts.rollout import Rollout
from fea.system.files import try_place


class ProtocolScores(Callback):
    """Scores the answers of a test by a protocol.

    Into the folder of the run go `metrics.json`, `predictions.jsonl` and `report.html`.

    Args:
        protocol: by which they are scored.
        model: what is known of the weights.
    """

    def __init__(self, protocol: Protocol, model: Mapping[str, Any]):
        self.protocol, self.model = protocol, model
        self.said: dict[str, Said] = {}  # by the place of an example

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Finds out before the work whether the files fit the protocol, and whether the scores can be written.

        Raises:
            FEAError: they do not fit, or answers are asked for in other emotions.
            OSError: there is no room, or no permission.
        """
        data: FEADataModule = cast(Any, trainer).datamodule
        self._check_fold(data)
        examples = Examples(data.tables["test"])
        self.faces = fitted(self.protocol, (examples[number] for number in range(len(examples))))
        labels = {label for truth in self.faces.truths for label in truth.example.labels}
        missing = sorted(labels - set(data.all_emotions))
        if missing:
            raise FEAError(
                f"data.emotions: protocol {self.protocol.name} judges {', '.join(missing)}, which no answer may be; add that "
                "to data.emotions"
            )
        self.folder = Path(trainer.log_dir or ".")  # on all processes, which tell each other
        if trainer.is_global_zero:
            try_place(self.folder / scored.METRICS)

    def _check_fold(self, data: FEADataModule) -> None:
        """Refuses to test on people that the weights were trained on."""
        before, seen = self.model.get("fold"), set(self.model.get("datasets", ()))
        tested = {name for table in data.tables["test"] for name in table.summary.occurring}
        if before is not None and data.fold != before and seen & tested:
            both = ", ".join(sorted(seen & tested))
            raise FEAError(
                f"data.fold: {data.fold}, but the weights were trained with fold {before} of {both} "
                f"and have seen the people of the other folds; give --data.fold {before}"
            )

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Keeps the texts."""
        rollout = cast(Rollout | None, outputs)
        if rollout:
            answers = zip(rollout.prompts, rollout.answers, strict=True)
            for place, answer in ((prompt.example.place, answer) for prompt, answer in answers):
                self.said[place] = Said("", "", place, answer.text, form=answer.form)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gathers the texts of all processes, scores them, writes the files and shows the table."""
        if trainer.world_size > 1:
            parts: list[dict[str, Said]] = [{} for _ in range(trainer.world_size)]
            dist.all_gather_object(parts, self.said)
            self.said = {place: said for part in parts for place, said in part.items()}
        if not trainer.is_global_zero:
            return
        answers = self.said
        missing = [truth.example.id for truth in self.faces.truths if truth.example.place not in answers]
        found = []
        for lenient in (False, True):
            cases, silent = cases_of(self.protocol, self.faces, answers, lenient)
            unmatched = {NO_ANSWER: missing, **silent}
            draws = {"draws": 0} if lenient else {}
            found.append((score(cases, self.protocol, self.faces, unmatched, lenient, self.model, **draws), cases))
        (strict, cases), (free, _) = found
        scored.write(self.folder, strict, cases)
        write_evaluation(self.folder / REPORT, strict, cases)
        print(*told(strict, {"lenient": free}), sep="\n")
        if self.protocol.texts and not texts.available() and any(case.example.analysis for case in cases):
            print(f"note: {texts.MISSING}")
        print(f"scores: {self.folder / scored.METRICS}\nreport: {self.folder / REPORT}")
