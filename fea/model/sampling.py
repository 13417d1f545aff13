"""Sampling whose noise belongs to the example.

One uniform number for every (seed, round, example, completion, position) is turned into a token by the inverse of the
cumulative distribution. So one process and four draw the same completions, and a resumed or repacked run repeats them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fea.errors import FEAError
from fea.prompts.answer import MOST_TOKENS

# Is told what completions have by now: ids and mask, (N, T) each. It may look, and must not change them.
Heard = Callable[[Tensor, Tensor], None]
_BLOCK = 256  # tokens: 600 blocks of 152,000, so that neither the blocks nor one of them are many
_AT_ONCE = 2**28  # tokens: their noise alone takes 2 GiB, and a hundred times what a card writes in a minute
_FEW = 8192  # tokens up to which blocks cost more than they save


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
        if not 1 <= self.max_tokens <= MOST_TOKENS:
            raise FEAError(
                f"generation.max_tokens: {self.max_tokens}; an answer has at least 1 token, and {MOST_TOKENS} at most"
            )
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

    Raises:
        FEAError: no machine could write so much at once.
    """
    if len(examples) * group * length > _AT_ONCE:
        raise FEAError(
            f"{len(examples)} faces with {group} answers of up to {length} tokens each are too much at once; lower the number "
            "of answers (group_size, samples), of faces (batch_size) or of tokens (max_tokens)"
        )
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


def widest(device: torch.device) -> torch.dtype:
    """The type of most bits that a device computes in: 64, but for Apple's GPUs."""
    return torch.float32 if device.type == "mps" else torch.float64


def choose(log_p_NV: Tensor, uniform_N: Tensor | None) -> Tensor:
    """Picks a token from each row: the most probable one, or the one whose stretch of the distribution holds the number.

        token        0        1     2   3            number 0.5   token 1: a stretch begins with its lower end
        probability  0.5      0.3   0   0.2                 0.8   token 3: what is impossible has no stretch
        cumulative   0.5      0.8   0.8 1.0

    Of a large vocabulary a block of tokens is found first, then the token in it: numbers of 64 bits are then needed for the
    blocks alone, and not for 150,000 tokens of each row.

    Args:
        log_p_NV: log-probabilities, fp32.
        uniform_N: numbers in [0, 1), or None for greedy decoding.

    Returns:
        (N,) token ids.
    """
    if uniform_N is None:
        return log_p_NV.argmax(dim=-1)
    p_NV = log_p_NV.exp()
    if p_NV.shape[1] <= _FEW:
        return _interval(p_NV.to(uniform_N.dtype), uniform_N)[0][:, 0]
    p_NKb = F.pad(p_NV, (0, -p_NV.shape[1] % _BLOCK)).unflatten(1, (-1, _BLOCK))
    block_N1, ends_NK = _interval(p_NKb.sum(dim=-1, dtype=uniform_N.dtype), uniform_N)
    # Where in its block the number lies, as a share of the block.
    begin_N1, end_N1 = F.pad(ends_NK, (1, -1)).gather(-1, block_N1), ends_NK.gather(-1, block_N1)
    rest_N = ((uniform_N[:, None] - begin_N1) / (end_N1 - begin_N1))[:, 0]
    p_Nb = p_NKb.take_along_dim(block_N1[..., None], dim=1)[:, 0]
    token_N1, _ = _interval(p_Nb.to(uniform_N.dtype), rest_N.clamp(0, 1 - torch.finfo(rest_N.dtype).eps))
    return (block_N1 * _BLOCK + token_N1)[:, 0]


def _interval(weights_Nx: Tensor, uniform_N: Tensor) -> tuple[Tensor, Tensor]:
    """Which of x intervals, as wide as their weights, holds each number in [0, 1): (N, 1), and their ends: (N, x)."""
    ends_Nx = weights_Nx.cumsum(dim=-1)
    ends_Nx = ends_Nx / ends_Nx[:, -1:]  # ends at exactly 1, so no number points beyond what is possible
    return torch.searchsorted(ends_Nx, uniform_N[:, None].contiguous(), right=True), ends_Nx
