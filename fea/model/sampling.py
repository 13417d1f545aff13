"""Sampling whose noise belongs to the example.

One uniform number for every (seed, round, example, completion, position) is turned into a token by the inverse of the
cumulative distribution. So one process and four draw the same completions, and a resumed or repacked run repeats them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor

from fea.errors import FEAError


@dataclass
class Generation:
    """How completions are generated.

    Args:
        max_tokens: length limit of a completion; one that reaches it without an end token is truncated.
        temperature: of sampling, and of the log-probabilities that training sees.
    """

    max_tokens: int = 256
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what nothing can be sampled with.

        Raises:
            FEAError: naming the setting.
        """
        if self.max_tokens < 1:
            raise FEAError(f"generation.max_tokens: {self.max_tokens}; an answer has at least 1 token")
        if not 0 < self.temperature < float("inf"):
            raise FEAError(
                f"generation.temperature: {self.temperature}; it must be above 0 (validation is greedy anyway)"
            )


class Completions(NamedTuple):
    """What a policy wrote. N completions, those of one prompt next to each other, of at most T tokens.

    Attributes:
        ids: (N, T) token ids, end token included, padded on the right.
        mask: (N, T) 1 for the tokens of the completion.
        logps: (N, T) log-probabilities as sampled, 0 in the padding.
        truncated: (N,) True where the length limit came before the end token.
        texts: the decoded completions, without special tokens.
    """

    ids: Tensor
    mask: Tensor
    logps: Tensor
    truncated: Tensor
    texts: list[str]


def noise(
    examples: Sequence[str], group: int, length: int, seed: int, round: int, drawn: Sequence[int] | None = None
) -> Tensor:
    """Uniform numbers in [0, 1) for a rollout.

    In float64: float32 numbers are multiples of 2^-24, and tokens rarer than that would come never, or too often. Where an
    example was drawn before, its completions are numbered on: drawn twice, it has those of a group of twice the size.

    Args:
        examples: ids of the prompts' examples.
        group: completions of each.
        length: tokens of each.
        seed: of the run.
        round: number of the rollout.
        drawn: how often each example was drawn in this round before; None: as often as it stands before in `examples`.

    Returns:
        (len(examples) * group, length), float64.
    """
    return torch.stack(
        [
            _uniform(f"{seed}/{round}/{example}/{before * group + completion}", length)
            for example, before in zip(examples, repeats(examples) if drawn is None else drawn, strict=True)
            for completion in range(group)
        ]
    )


def repeats(examples: Sequence[str]) -> list[int]:
    """How often each example stands before in the same list: of a, b, a, a it is 0, 0, 1, 2."""
    seen = Counter[str]()
    found = []
    for example in examples:
        found.append(seen[example])
        seen[example] += 1
    return found


def _uniform(key: str, length: int) -> Tensor:
    # Python's own hash of a text differs from process to process. Less one bit, 8 bytes are a seed that is never negative.
    seed = int.from_bytes(blake2b(key.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1
    return torch.rand(length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def choose(log_p: Tensor, uniform: Tensor | None) -> Tensor:
    """Picks a token from each row: the most probable one, or the one whose stretch of the distribution holds the number.

        token        0        1     2   3            number 0.5   token 1: a stretch begins with its lower end
        probability  0.5      0.3   0   0.2                 0.8   token 3: what is impossible has no stretch
        cumulative   0.5      0.8   0.8 1.0

    Args:
        log_p: (N, V) log-probabilities.
        uniform: (N,) numbers in [0, 1), or None for greedy decoding.

    Returns:
        (N,) token ids.
    """
    if uniform is None:
        return log_p.argmax(dim=-1)
    cumulative_NV = log_p.double().exp().cumsum(dim=-1)
    cumulative_NV = (
        cumulative_NV / cumulative_NV[:, -1:]
    )  # ends at exactly 1, so no number points beyond the possible tokens
    return torch.searchsorted(cumulative_NV, uniform[:, None].contiguous(), right=True)[:, 0]
