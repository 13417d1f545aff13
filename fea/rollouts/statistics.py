"""What a rollout has to report: is the policy improving, collapsing, rambling, or gaming its rewards.

Read the logs, in this order:

    val/score                      what the run is for, on faces that it does not train on; reward/total should rise with it
    val/reward_gap                 grows while val/score stands still: rewards, or faces, are learned by heart
    rollout/au_f1, emotion_f1      means over classes; they fall while accuracy rises: rare classes are forgotten
    rollout/claims/AU9, answers/fear    how often a class is told; beside it, how often it is there: present/AU9, labels/fear
    watch/warnings                 above 0: the text is in the output, and names classes that have vanished
    groups/same_best, same_worst   completions that all score the same teach nothing: all right (harder faces, or the end),
                                   all wrong (more of stage 1)
    reward/NAME_group_std          0 for long: this reward tells completions of a face no more apart
    train/entropy                  nats a token; near 0 completions are alike, and there is nothing to compare
    completions/length, truncated  rising together: answers ramble, or model.generation.max_tokens is too low
    train/sampling_ratio_max, sampling_outside    how far sampling and training are apart; far from 1, or from 0: precision
    train/grad_norm, skipped       a norm that jumps, gradients that were not finite: a lower rate
    time/rollout, reward, old_and_reference, train     seconds of the parts of a step
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from fea.advantages import SAME, spread
from fea.evaluation.classes import emotion_shares, unit_shares
from fea.evaluation.counts import (
    AUCounts,
    EmotionCounts,
    added,
    au_scores,
    count_aus,
    count_emotions,
    emotion_scores,
    pooled,
)
from fea.evaluation.numbers import NumberSums, added_numbers, by_name, number_scores, number_sums, pooled_numbers
from fea.losses import PolicyLoss
from fea.rollouts.buffer import Pack
from fea.rollouts.packing import Total
from fea.rollouts.rollout import Rollout, Scores
from fea.system.machine import peak_memory
from fea.system.processes import gathered

_TINY = torch.finfo(torch.float32).tiny
_SPEED = "time/tokens_per_second"


def reward_numbers(rewards_BGK: Tensor, weights_K: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Mean and spread of each reward and of the total, and the share of groups that teach nothing.

    Such a group scores the same throughout: `groups/same_best` at the most that its rewards can give if these go up to 1,
    `groups/same_worst` at 0 or below, `groups/same_other` in between. Of rewards with another range, such as those that are
    corrected for the prior, the three tell no more than that: what they add up to is the share of groups that teach nothing.
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


def completion_numbers(shares: Sequence[Share]) -> dict[str, float]:
    """Lengths, truncation, variety, what a shared prompt would save, and the size of the advantages over all written tokens."""
    lengths_N = torch.cat([share.lengths_N for share in shares]).float()
    unique_B = torch.cat([share.unique_B for share in shares])
    read, written = sum(share.read for share in shares), float(lengths_N.sum())
    group = len(lengths_N) // len(unique_B)
    # Saved: G prompts and what is written, over 1 prompt and what is written.
    return {
        "advantage/abs_mean": sum(share.advantage for share in shares) / written,
        "advantage/max": max(share.largest for share in shares),
        "completions/length": float(lengths_N.mean()),
        "completions/length_min": float(lengths_N.min()),
        "completions/length_max": float(lengths_N.max()),
        "completions/truncated": float(torch.cat([share.truncated_N for share in shares]).float().mean()),
        "completions/unique": float(unique_B.mean()),
        "completions/prefix_saving": (group * read + written) / (read + written),
    }


def answer_numbers(shares: Sequence[Share], emotions: Sequence[str]) -> dict[str, float]:
    """The reported metrics, measured on the sampled training answers, and how often each class is there and is told."""
    aus, words = added([share.aus for share in shares]), added([share.words for share in shares])
    scores = {name: float(value) for name, value in (au_scores(aus) | emotion_scores(words, emotions)).items()}
    if all_numbers := [share.numbers for share in shares if share.numbers]:
        scores |= by_name(number_scores(added_numbers(all_numbers)))
    of_classes = unit_shares(aus) | emotion_shares(words, emotions)
    return {f"rollout/{name}": value for name, value in (scores | of_classes).items()}


def machine_numbers(shares: Sequence[Share]) -> dict[str, float]:
    """Mean seconds and added speed of the processes, and the most memory of one."""
    numbers = {name: fmean(share.times[name] for share in shares) for name in shares[0].times}
    if _SPEED in numbers:
        numbers[_SPEED] *= len(shares)
    return numbers | {"memory/peak_gib": max(share.memory for share in shares)}


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
            numbers |= {"time/train": whole - sum(self.seconds.values()), _SPEED: tokens / whole}
        self.seconds, self.last = {}, now
        return numbers


class Share(NamedTuple):
    """What one process has to tell of a rollout: numbers are made of the shares of all of them.

    Attributes:
        rewards_BGK: scores, on the CPU.
        late: by name of a reward with a time limit, the faces for which it took longer.
        lengths_N: tokens of each completion.
        truncated_N: whether it has no end.
        unique_B: share of different texts among the completions of each prompt.
        read: tokens of the prompts.
        advantage: sum of the sizes of the advantages of all written tokens.
        largest: advantage.
        aus: counts of claimed Action Units.
        words: counts of answered emotions.
        numbers: sums of valence, arousal and intensities; None where nobody asked for them.
        times: seconds, and tokens a second, by name.
        memory: in GiB, at the most.
    """

    rewards_BGK: Tensor
    late: dict[str, int]
    lengths_N: Tensor
    truncated_N: Tensor
    unique_B: Tensor
    read: int
    advantage: float
    largest: float
    aus: AUCounts
    words: EmotionCounts
    numbers: NumberSums | None
    times: dict[str, float]
    memory: float


def share(rollout: Rollout, scores: Scores, advantages_NT: Tensor, emotions: Sequence[str], clock: Clock) -> Share:
    """That of this process; the arguments are those of `report`."""
    completions, answers = rollout.completions, rollout.by_prompt
    examples = [prompt.example for prompt in rollout.prompts]
    asked = any(answer.numbers for answer in rollout.answers)
    groups = [{answer.text for answer in said} for said in answers]
    written = advantages_NT[completions.mask.bool()]
    return Share(
        rewards_BGK=scores.rewards_BGK.cpu(),
        late=scores.late,
        lengths_N=completions.mask.sum(dim=1).cpu(),
        truncated_N=completions.truncated.cpu(),
        unique_B=torch.tensor([len(texts) / rollout.group for texts in groups]),
        read=sum(len(prompt.ids) for prompt in rollout.prompts),
        advantage=float(written.abs().sum()),
        largest=float(written.max()),
        aus=pooled(count_aus(examples, answers)),
        words=pooled(count_emotions(examples, answers, emotions)),
        numbers=pooled_numbers(number_sums(examples, answers)) if asked else None,
        times=clock.lap(len(written)),
        memory=peak_memory(),
    )


def report(
    rollout: Rollout, scores: Scores, advantages_NT: Tensor, emotions: Sequence[str], clock: Clock
) -> dict[str, float]:
    """All of it, by name in the logs; the same in all processes, each of which calls this.

    Args:
        rollout: of this process.
        scores: what it earned.
        advantages_NT: what that means for each token.
        emotions: the allowed ones.
        clock: of the module.
    """
    shares = gathered(share(rollout, scores, advantages_NT, emotions, clock))
    rewards_BGK = torch.cat([share.rewards_BGK for share in shares])
    return {
        **reward_numbers(rewards_BGK, scores.weights_K.cpu(), scores.names),
        **{f"reward/{name}_late": float(sum(share.late[name] for share in shares)) for name in scores.late},
        **completion_numbers(shares),
        **answer_numbers(shares, emotions),
        **machine_numbers(shares),
    }


def update_numbers(
    loss: Tensor, policy: PolicyLoss, watched: Mapping[str, Tensor], pack: Pack, total: Total
) -> dict[str, Tensor | float]:
    """What a pack and those of the other processes have to report together: losses added up, all else as means.

    `loss` is all that is learned from, the KL term and the replayed analyses included; `policy_loss` the part of the rewards.

    Args:
        loss: of the pack, which is its part of that of the optimizer step.
        policy: the part of the rewards in it, and what to watch in that, as means under the weights of the tokens.
        watched: (N, T) by name, to be averaged over the tokens.
        pack: of this process.
        total: adds up over all processes.
    """
    tokens_NT = pack.mask * (pack.weights.any() + _TINY)  # beside others a stand-in is as good as nothing
    weight, shares = pack.weights.sum(), policy._asdict()
    policy_loss = shares.pop("loss")
    sums = [(values * tokens_NT).sum() for values in watched.values()] + [share * weight for share in shares.values()]
    parts = total(torch.stack([loss, policy_loss, tokens_NT.sum(), weight, *sums]))
    added_loss, added_policy_loss, tokens, weight, *added_sums = parts
    counts = [tokens] * len(watched) + [weight.clamp(min=_TINY)] * len(shares)
    means = [added_sum / count for added_sum, count in zip(added_sums, counts, strict=True)]
    names = [f"train/{name}" for name in (*watched, *shares)]
    means_by_name = dict(zip(names, means, strict=True))
    return {"train/loss": added_loss, "train/policy_loss": added_policy_loss, **means_by_name}
