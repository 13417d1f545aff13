"""How far an export is from its run, and how far it may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from fea.errors import FEAError
from fea.export.asked import Heard
from fea.export.formats import Format


class Gap(NamedTuple):
    """What differs between a run and its export, over all tokens of the run's own greedy answers.

    Attributes:
        largest: difference of two log-probabilities, in nats.
        mean: of the differences, without their signs.
        tokens: that were compared.
        faces: that they are about.
        same: faces with the same greedy answer, token by token.
        ties: faces whose greedy answers part where the run's two likeliest tokens are as good as equal.
        parted: faces whose greedy answers part elsewhere.
    """

    largest: float
    mean: float
    tokens: int
    faces: int
    same: int
    ties: int
    parted: int


class Limits(NamedTuple):
    """What a gap may be.

    Attributes:
        largest: difference of two log-probabilities.
        mean: of the differences; None if it is not limited by itself.
        why: where the numbers are from.
    """

    largest: float
    mean: float | None
    why: str


def gap_of(run: Sequence[Heard], export: Sequence[Heard], tie: float) -> Gap:
    """Compares what a run and its export say about the same questions.

    Args:
        run: with rivals.
        export: in the same order.
        tie: two tokens are as good as equal if their log-probabilities in the run differ by no more.
    """
    differences = [abs(a - b) for mine, other in zip(run, export, strict=True) for a, b in _pairs(mine, other)]
    partings = [parting(mine, other) for mine, other in zip(run, export, strict=True)]
    return Gap(
        largest=max(differences, default=0.0),
        mean=sum(differences) / max(1, len(differences)),
        tokens=len(differences),
        faces=len(partings),
        same=partings.count(None),
        ties=sum(apart is not None and apart <= tie for apart in partings),
        parted=sum(apart is not None and apart > tie for apart in partings),
    )


def _pairs(run: Heard, export: Heard) -> list[tuple[float, float]]:
    return list(zip(run.logps.tolist(), export.logps.tolist(), strict=True))


def parting(run: Heard, export: Heard) -> float | None:
    """By how much the run prefers its own token where two greedy answers part, in nats; None if they never do.

    It is infinite for a token that is not among the rivals, and where one answer goes on and the other has been cut off.
    """
    pairs = zip(run.written, export.written, run.rivals, strict=False)
    for mine, other, rivals in pairs:
        if mine != other:
            return rivals[mine] - rivals[other] if other in rivals else float("inf")
    return None if len(run.written) == len(export.written) else float("inf")


def along_own(run: Sequence[Heard], export: Sequence[Heard]) -> tuple[list[Heard], list[Heard]]:
    """Both with the log-probabilities of the greedy answer of the run, as far as it is that of the export, too.

    For a reader that cannot be told what to say: it gives the log-probabilities of what it writes, NaN where it does not.
    """
    pairs = []
    for mine, other in zip(run, export, strict=True):
        apart = (n for n, (a, b) in enumerate(zip(mine.written, other.written, strict=False)) if a != b)
        same = next(apart, min(len(mine.written), len(other.written)))
        own = torch.tensor([rivals[token] for rivals, token in zip(mine.rivals, mine.written, strict=True)][:same])
        told = other.logps[:same]
        known = ~told.isnan()
        pairs.append((mine._replace(logps=own[known]), other._replace(logps=told[known])))
    return [mine for mine, _ in pairs], [other for _, other in pairs]


def fault(gap: Gap, limits: Limits) -> str:
    """In what an export is too far from its run; "" if it is not."""
    if gap.largest > limits.largest:
        return (
            f"log-probabilities differ by up to {gap.largest:.2e}, and {limits.largest:.2e} is allowed ({limits.why})"
        )
    if limits.mean is not None and gap.mean > limits.mean:
        return (
            f"log-probabilities differ by {gap.mean:.2e} on the mean, and {limits.mean:.2e} is allowed ({limits.why})"
        )
    return f"{gap.parted} of {gap.faces} greedy answers are others, and not for a tie" if gap.parted else ""


def check(gap: Gap, limits: Limits, out: str, format: Format) -> None:
    """Refuses an export that is too far from its run.

    Raises:
        FEAError: with the gap.
    """
    if what := fault(gap, limits):
        lossless = "" if format == "peft" else "; --format peft rounds nothing, if the run has an adapter"
        raise FEAError(
            f"what was exported as {format}, read back, does not answer as '{out}' has to: {what}; nothing was left there"
            f"{lossless}"
        )
