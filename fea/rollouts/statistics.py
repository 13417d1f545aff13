"""What a rollout has to report: is the policy improving, collapsing, rambling, or gaming its rewards."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from fea.advantages import SAME, spread
from fea.evaluation.metrics import AUScores, EmotionScores
from fea.rollouts.rollout import Rollout, Scores
from fea.system.machine import peak_memory


def reward_numbers(rewards_BGK: Tensor, weights_K: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Mean and spread of each reward and of the total, and the share of groups that teach nothing.

    Such a group scores the same throughout: `groups/same_best` at the most that its rewards can give if these go up to 1,
    `groups/same_worst` at 0, `groups/same_other` in between.
    """
    numbers: dict[str, float] = {}
    known_BGK = ~rewards_BGK.isnan()
    total_BG = (rewards_BGK.nan_to_num() * weights_K).sum(dim=-1)
    for name, scores_BG in [*zip(names, rewards_BGK.unbind(dim=-1), strict=True), ("total", total_BG)]:
        known = scores_BG[~scores_BG.isnan()]
        if len(known):
            numbers[f"reward/{name}"] = float(known.mean())
            numbers[f"reward/{name}_std"] = float(known.std(unbiased=False))
            groups = scores_BG[~scores_BG.isnan().any(dim=1)]
            # The unbiased one, by which advantages are divided.
            numbers[f"reward/{name}_group_std"] = float(groups.std(dim=1).mean()) if len(groups) else 0.0
    # A reward applies to a whole group or to none of it, as a rule: the first completion tells.
    most_B = (known_BGK[:, 0] * weights_K).sum(dim=-1)
    same_B = spread(total_BG, dim=1) <= SAME
    best_B, worst_B = total_BG[:, 0] >= most_B - SAME, total_BG[:, 0] <= SAME
    for kind, which in {"best": best_B, "worst": worst_B & ~best_B, "other": ~best_B & ~worst_B}.items():
        numbers[f"groups/same_{kind}"] = float((same_B & which).float().mean())
    return numbers


def advantage_numbers(advantages_NT: Tensor, mask_NT: Tensor) -> dict[str, float]:
    """Size of the advantages over all written tokens."""
    written = advantages_NT[mask_NT.bool()]
    return {"advantage/abs_mean": float(written.abs().mean()), "advantage/max": float(written.max())}


def completion_numbers(rollout: Rollout) -> dict[str, float]:
    """Lengths, truncation, variety, and what a shared prompt would save."""
    lengths_N = rollout.completions.mask.sum(dim=1).float()
    groups = [rollout.completions.texts[i : i + rollout.group] for i in range(0, len(lengths_N), rollout.group)]
    read = sum(len(prompt.ids) for prompt in rollout.prompts)
    written = float(lengths_N.sum())
    # Saved: G prompts and what is written, over 1 prompt and what is written.
    return {
        "completions/length": float(lengths_N.mean()),
        "completions/length_min": float(lengths_N.min()),
        "completions/length_max": float(lengths_N.max()),
        "completions/truncated": float(rollout.completions.truncated.float().mean()),
        "completions/unique": sum(len(set(texts)) / len(texts) for texts in groups) / len(groups),
        "completions/prefix_saving": (rollout.group * read + written) / (read + written),
    }


def answer_numbers(rollout: Rollout, emotions: Sequence[str]) -> dict[str, float]:
    """The reported metrics, measured on the sampled training answers."""
    examples = [prompt.example for prompt in rollout.prompts for _ in range(rollout.group)]
    scores: dict[str, Tensor] = {}
    for metric in (AUScores(), EmotionScores(emotions)):
        metric.update(rollout.answers, examples)
        scores |= metric.compute()
    return {f"rollout/{name}": float(value) for name, value in scores.items()}


class Clock:
    """Seconds spent in the parts of a rollout, and between one rollout and the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last: float | None = None

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the seconds spent inside to a part of the round."""
        start = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start

    def lap(self, tokens: int) -> dict[str, float]:
        """What to report of a round in which so many tokens were written; the rest of its time went into training."""
        now = time.perf_counter()
        numbers = {f"time/{part}": seconds for part, seconds in self.seconds.items()}
        if self.last is not None:
            whole = now - self.last
            numbers |= {"time/train": whole - sum(self.seconds.values()), "time/tokens_per_second": tokens / whole}
        self.seconds, self.last = {}, now
        return numbers


def report(
    rollout: Rollout, scores: Scores, advantages_NT: Tensor, emotions: Sequence[str], clock: Clock
) -> dict[str, float]:
    """All of it, by name in the logs.

    Args:
        rollout: of this process.
        scores: what it earned.
        advantages_NT: what that means for each token.
        emotions: the allowed ones.
        clock: of the module.
    """
    return {
        **reward_numbers(scores.rewards_BGK, scores.weights_K, scores.names),
        **advantage_numbers(advantages_NT, rollout.completions.mask),
        **completion_numbers(rollout),
        **answer_numbers(rollout, emotions),
        **clock.lap(int(rollout.completions.mask.sum())),
        "memory/peak_gib": peak_memory(),
    }
