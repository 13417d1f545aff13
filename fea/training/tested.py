"""What `fea test --protocol` adds to a test: the answers as a file, and their scores by a protocol beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as L
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from fea.data.mixture import Examples
from fea.data.module import FEADataModule
from fea.errors import FEAError
from fea.evaluation import texts
from fea.evaluation.votes import agreement
from fea.model.sampling import Generation, noise
from fea.prompts.answer import Answer
from fea.protocols import scored
from fea.protocols.fitting import fitted
from fea.protocols.foreign import Said
from fea.protocols.known import Protocol
from fea.protocols.matching import NO_ANSWER
from fea.protocols.reading import cases_of
from fea.protocols.scoring import score
from fea.reports.evaluation import REPORT, write_evaluation
from fea.reports.scores import told
from fea.rollouts.consistency import CarriedScores
from fea.rollouts.rollout import Rollout, ask
from fea.system.files import try_place
from fea.training.module import FEAModule


class ProtocolScores(Callback):
    """Scores the answers of a test by a protocol.

    Into the folder of the run go `metrics.json`, `predictions.jsonl` and `report.html`.

    Args:
        protocol: by which they are scored.
        model: what is known of the weights.
        samples: answers about each face that are sampled at temperature 1 beside the greedy one, whose vote is the share of
            them that name the same emotion; 0 for none.

    Raises:
        FEAError: their number is negative.
    """

    def __init__(self, protocol: Protocol, model: Mapping[str, Any], samples: int = 0):
        if samples < 0:
            raise FEAError(f"samples: {samples}; give a number of answers, or 0 for none")
        self.protocol, self.model, self.samples = protocol, model, samples
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
            self._tell_replaced()
        self.carried = CarriedScores(data.all_emotions)

    def _tell_replaced(self) -> None:
        """Says which scores will give way to these."""
        file = self.folder / scored.METRICS
        if not file.exists():
            return
        try:
            name = f"the report of {scored.read_scored(file).protocol}"
        except FEAError:  # of an earlier release
            name = "what was scored before"
        print(f"note: replaces {name} in '{self.folder}'; --trainer.logger.init_args.save_dir DIR keeps both")

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
        """Keeps the texts, samples others, and asks whether the thinking carries the answers."""
        module, rollout = cast(FEAModule, pl_module), cast(Rollout | None, outputs)
        # In rows each emotion would take a pass over all of a prompt, and with sharded weights processes would wait.
        if rollout and module.device_mesh is None and module.policy.config.layout != "rows":
            with module.sampling():
                self.carried.add(module.policy, rollout)
        sampled = self._sampled(module, rollout)
        for number, prompt in enumerate(rollout.prompts if rollout else ()):
            answer, place = cast(Rollout, rollout).answers[number], prompt.example.place
            votes = agreement(answer, sampled[number]) if self.samples else None
            self.said[place] = Said("", "", place, answer.text, votes=votes, form=answer.form, numbers=answer.numbers)

    def _sampled(self, module: FEAModule, rollout: Rollout | None) -> list[list[Answer]]:
        """Sampled answers to each prompt; processes that share the weights meet, those with nothing to answer, too."""
        prompts = rollout.prompts if rollout else module.known if module.device_mesh is not None else []
        if not self.samples or not prompts:
            return []
        generation = Generation(module.generation.max_tokens)
        chance = noise([prompt.example.id for prompt in prompts], self.samples, generation.max_tokens, seed=0, round=0)
        with module.sampling():
            return ask(module.policy, prompts, self.samples, generation, chance, module.trunk).by_prompt

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gathers the texts of all processes, scores them, writes the files and shows the table."""
        if trainer.world_size > 1:
            parts: list[dict[str, Said]] = [{} for _ in range(trainer.world_size)]
            dist.all_gather_object(parts, self.said)
            self.said = {place: said for part in parts for place, said in part.items()}
        thinking = self.carried.compute()
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
        strict = replace(strict, thinking=thinking)
        scored.write(self.folder, strict, cases)
        write_evaluation(self.folder / REPORT, strict, cases)
        print(*told(strict, {"lenient": free}), sep="\n")
        if self.protocol.texts and not texts.available() and any(case.example.analysis for case in cases):
            print(f"note: {texts.MISSING}")
        print(f"scores: {self.folder / scored.METRICS}\nreport: {self.folder / REPORT}")
