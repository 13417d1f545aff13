"""What pruning is for: weights, planned memory, tokens a second, time to the first token."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from fea.data.prompt import Prompt
from fea.memory.plan import plan
from fea.memory.setting import Setting, Spread
from fea.model.config import PolicyConfig
from fea.model.policy import Policy
from fea.model.sampling import Generation

_RUNS = 3  # of which the median counts: the first one warms up, and a machine's speed wanders
_BATCH, _ANSWERED = 4, 64  # faces of a batch, and answered at a time, as in the shipped first stage (configs/sft.yaml)


class Speed(NamedTuple):
    """How fast a policy answers.

    Attributes:
        tokens: a second, over all answers that are written together.
        first: seconds to the first token of a single answer, its image and its prompt read.
    """

    tokens: float
    first: float


def speed_of(policy: Policy, prompts: Sequence[Prompt], max_tokens: int) -> Speed:
    """How fast it answers some faces, greedily.

    Args:
        policy: in eval mode.
        prompts: written together, their images not seen yet.
        max_tokens: length limit of an answer.
    """
    rates, firsts = [], []
    for _ in range(_RUNS):
        seconds, _ = _timed(policy, prompts[:1], 1)
        firsts.append(seconds)
        seconds, tokens = _timed(policy, prompts, max_tokens)
        rates.append(tokens / seconds)
    return Speed(median(rates), median(firsts))


def _timed(policy: Policy, prompts: Sequence[Prompt], max_tokens: int) -> tuple[float, int]:
    begun = time.perf_counter()
    completions = policy.rollout([p._replace(features=None) for p in prompts], 1, Generation(max_tokens), None)
    if policy.network.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun, int(completions.mask.sum())


def planned_peak(config: PolicyConfig, folder: Path, precision: str, max_tokens: int) -> float:
    """Bytes that healing a model by stage 1 is planned to need at most, in batches as in `configs/sft.yaml`.

    Args:
        config: of the run.
        folder: with the model.
        precision: of the trainer.
        max_tokens: length limit of an answer, and of an analysis.
    """
    return plan(
        Setting(
            policy=replace(config, base=str(folder)),
            batch_size=_BATCH,
            packs=1,
            minibatches=1,
            group_size=1,
            microbatches=1,
            max_tokens=max_tokens,
            analysis=0,
            eval_batch_size=_ANSWERED,
            reference=False,
            entropy=False,
            eight_bit=False,
            precision=precision,
            spread=Spread(),
        )
    ).peak
