"""Warnings while there is still time: a policy that collapses, rambles or games its rewards."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from fea.rollouts.loader import RolloutCallback
from fea.rollouts.rollout import Rollout


class Watch(RolloutCallback):
    """Looks at the mean of the last rollouts and warns when a line is crossed, once until it is crossed back.

    Args:
        entropy: nats per token below which completions hardly differ.
        same: share of answers with one emotion above which the policy has stopped to look, unless the labels are as uneven.
        spam: claimed Action Units for each labeled one above which the policy guesses.
        length: tokens of a completion, as a multiple of those at the start.
        truncated: share of completions without an end.
        window: rollouts in the mean.
    """

    def __init__(
        self,
        entropy: float = 0.02,
        same: float = 0.8,
        spam: float = 2.0,
        length: float = 2.0,
        truncated: float = 0.5,
        window: int = 10,
    ):
        self.entropy, self.same, self.spam, self.length, self.truncated = entropy, same, spam, length, truncated
        self.window = window
        self.recent: deque[dict[str, float]] = deque(maxlen=window)
        self.first_length: float | None = None
        self.warned: set[str] = set()

    def on_rollout(
        self, trainer: Trainer, module: LightningModule, rollout: Rollout, rewards: dict[str, Tensor]
    ) -> None:
        """Adds a rollout and warns."""
        self.recent.append(_seen(rollout))
        if len(self.recent) < self.window:
            return
        mean = {name: fmean(seen[name] for seen in self.recent) for name in self.recent[0]}
        self.first_length = self.first_length or mean["length"]
        found = dict(self._found(mean))
        for kind in found.keys() - self.warned:
            rank_zero_warn(f"step {trainer.global_step}: {found[kind]}")
        self.warned = set(found)

    def _found(self, mean: dict[str, float]) -> Iterable[tuple[str, str]]:
        if mean["entropy"] < self.entropy:
            yield (
                "entropy",
                f"the entropy fell to {mean['entropy']:.3f} nats a token: completions hardly differ and teach little; lower "
                "model.optimization.lr, or raise model.objective.beta",
            )
        if mean["same"] > max(self.same, mean["same_labels"] + 0.1):
            yield (
                "same",
                f"{mean['same']:.0%} of the answers name the same emotion, and {mean['same_labels']:.0%} of the labels: the "
                "policy may be gaming a reward; set data.balance to emotion, or raise model.objective.beta",
            )
        if mean["claimed"] > self.spam * max(1.0, mean["labeled"]):
            yield (
                "spam",
                f"answers claim {mean['claimed']:.1f} Action Units where {mean['labeled']:.1f} are labeled: the policy may "
                "be guessing; look at the samples, and check that files with few coded units name them in AUs_coded",
            )
        if mean["length"] > self.length * (self.first_length or mean["length"]) or mean["truncated"] > self.truncated:
            yield (
                "length",
                f"completions have {mean['length']:.0f} tokens, {self.first_length:.0f} at the start, and "
                f"{mean['truncated']:.0%} have no end; raise model.generation.max_tokens, or set "
                "model.objective.mask_truncated",
            )

    def state_dict(self) -> dict[str, Any]:
        """What it has seen."""
        return {"recent": list(self.recent), "first_length": self.first_length, "warned": sorted(self.warned)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on watching."""
        self.recent = deque(state["recent"], maxlen=self.window)
        self.first_length, self.warned = state["first_length"], set(state["warned"])


def _seen(rollout: Rollout) -> dict[str, float]:
    completions, answers = rollout.completions, rollout.answers
    labels = [label for prompt in rollout.prompts for label in prompt.example.labels]
    coded = [prompt.example for prompt in rollout.prompts if prompt.example.coded]
    written = completions.mask.sum()
    return {
        "entropy": float(-completions.logps.sum() / written),  # of what was sampled: an estimate without bias
        "same": _most([answer.emotion for answer in answers if answer.emotion]) / len(answers),
        "same_labels": _most(labels) / len(labels) if labels else 1.0,
        "claimed": fmean(len(answer.aus) for answer in answers),
        "labeled": fmean(len(example.present) for example in coded) if coded else float("inf"),
        "length": float(written) / len(answers),
        "truncated": float(completions.truncated.float().mean()),
    }


def _most(words: list[str]) -> int:
    return max(Counter(words).values(), default=0)
