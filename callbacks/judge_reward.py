"""What a language model says of the analysis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from fea.data.example import Example
from fea.errors import FEAError
from fea.grpo import GRPOModule
from fea.judging.chat import Address, Chat, Failure, key_of
from fea.judging.judge import CRITERIA, HIGH, LOW, RUBRIC, Analysis, Verdict, instruction
from fea.judging.timely import TimelyJudge
from fea.judging.verdicts import Cache, Outcome, shown_failures
from fea.prompts.answer import Answer
from fea.rewards import Region, RewardCallback, whole_groups
from fea.rollouts.rollout import Rollout
from fea.rollouts.values import RewardError
from fea.system.files import write_atomically
from fea.system.processes import rank


class JudgeReward(RewardCallback):
    """The mean of a judge's ratings of an analysis, from 0 (all 1 of 10) to 1 (all 10).

    The judge is a language model at an address that speaks as OpenAI's does: one on this machine (vLLM, Ollama), or a service,
    which then receives every completion of every rollout, and what people coded if it rates `facts`; never an image. It is
    asked as `fea judge` asks. All answers of a rollout are asked about at once; one without a verdict in time is unknown, and
    so is one that the judge, its server or a filter failed on: no failure counts as 0. Such answers are warned of once, and
    `reward/NAME_late` counts the faces with any. A reply that comes later is kept. If the judge cannot be asked from the start
    (nobody listens, a wrong key), the fit ends.

    In the folder of the run, `judge/NAME.json` says who judged and by which words, and `judge/NAME-0.jsonl` (a file for each
    process) holds all verdicts: a resumed run asks about nothing twice. An opinion can be pleased: keep its weight below that
    of rewards from labels, and look at the samples.

    Args:
        url: address, such as http://localhost:8000/v1.
        model: name of the judge there.
        criteria: that it rates by, of facts, consistency, clarity and agreement (with `description`); those that a face has
            nothing for are left out, and a face without any is unknown.
        key_variable: environment variable that holds the key; null to send none.
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that it credits.
        timeout: seconds for all answers of a rollout together.
        concurrency: questions at a time, of each process.
        temperature: of the judge; null for models that allow none to be set.
        max_tokens: of a reply; null to leave it to the server.

    Raises:
        FEAError: the address, a criterion or a number cannot be used, or the key is not set.
    """

    def __init__(
        self,
        url: str,
        model: str,
        criteria: Sequence[str] = ("consistency", "clarity"),
        key_variable: str | None = None,
        weight: float = 1.0,
        name: str | None = None,
        region: Region = "all",
        timeout: float = 60.0,
        concurrency: int = 8,
        temperature: float | None = 0.0,
        max_tokens: int | None = 1024,
    ):
        super().__init__(weight, name, region)
        if not criteria or not set(criteria) <= set(CRITERIA):
            raise FEAError(f"JudgeReward.criteria: {list(criteria)}; choose some of {', '.join(CRITERIA)}")
        if concurrency < 1:
            raise FEAError(f"JudgeReward.concurrency: {concurrency}; give 1 or more")
        self.chat = Chat(Address(url, model, temperature, max_tokens, timeout, retries=1), key_of(key_variable))
        self.criteria, self.seconds, self.concurrency = tuple(criteria), timeout, concurrency
        self.judge: TimelyJudge | None = None
        self.summed = self.warned = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Opens the verdicts so far, and writes down who judges.

        Raises:
            FEAError: another process has them open.
        """
        super().setup(trainer, pl_module, stage)
        self.summed = isinstance(pl_module, GRPOModule) and pl_module.objective.advantage == "sum_then_normalize"
        if stage == "fit" and self.judge is None:
            folder = Path(trainer.log_dir or ".") / "judge"
            folder.mkdir(parents=True, exist_ok=True)
            cache = Cache(folder / f"{self.name}-{rank()}.jsonl")
            self.judge = TimelyJudge(self.chat, cache, self.concurrency)
            if trainer.is_global_zero:
                told = json.dumps(self._told(), indent=2, ensure_ascii=False)
                write_atomically(folder / f"{self.name}.json", f"{told}\n".encode())

    @property
    def limited(self) -> bool:
        """As that of every reward with a limit of time."""
        return True

    def rewards(self, rollout: Rollout) -> Tensor:
        """(B, G), from 0 to 1; NaN where there is no verdict.

        Raises:
            FEAError: the judge cannot be asked, and never answered; or it is asked outside of a fit.
        """
        if self.judge is None:
            raise FEAError(
                f"reward '{self.name}': verdicts are kept with a run; list it under trainer.callbacks of a fit"
            )
        pairs = zip(rollout.prompts, rollout.by_prompt, strict=True)
        analyses = [self._analysis(answer, prompt.example) for prompt, answers in pairs for answer in answers]
        asked = [number for number, analysis in enumerate(analyses) if analysis.criteria]
        scores_N = torch.full((len(analyses),), torch.nan)
        try:
            outcomes = self.judge.verdicts([analyses[number] for number in asked], self.seconds)
        except FEAError as error:
            raise RewardError(f"reward '{self.name}': {error}") from error
        for number, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, Verdict):
                scores_N[number] = _share(outcome)
        failed = [number // rollout.group for number, o in zip(asked, outcomes, strict=True) if isinstance(o, Failure)]
        self.late = len({*failed})
        self._warn(outcomes)
        scores_BG = scores_N.view(-1, rollout.group)
        return whole_groups(scores_BG) if self.summed else scores_BG

    def _analysis(self, answer: Answer, example: Example) -> Analysis:
        """What is asked about an answer; nothing of one that was to stand alone."""
        reference, criteria = example.analysis or "", () if answer.form == "only" else self.criteria
        return Analysis(example.id, answer.text, example.present, example.coded, reference=reference, chosen=criteria)

    def _warn(self, outcomes: Sequence[Outcome]) -> None:
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        if failures and not self.warned:
            self.warned = True
            rank_zero_warn(
                f"reward '{self.name}': no verdict on {len(failures)} of {len(outcomes)} answers ({shown_failures(failures)}): "
                f"they count as unknown, in this rollout and in later ones; reward/{self.name}_late counts their faces"
            )

    def _told(self) -> dict[str, Any]:
        address = self.chat.address
        return {
            "url": address.url,
            "model": address.model,
            "temperature": address.temperature,
            "max_tokens": address.max_tokens,
            "criteria": list(self.criteria),
            "rubric": RUBRIC,
            "instruction": instruction(),
        }

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Closes the verdicts."""
        if self.judge is not None:
            self.judge.close()
            self.judge = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Closes them, too."""
        self.teardown(trainer, pl_module, "fit")


def _share(verdict: Verdict) -> float:
    """The mean of the ratings as a share of their range."""
    ratings = list(verdict.scores.values())
    return (sum(ratings) / len(ratings) - LOW) / (HIGH - LOW)
