"""Settings of a synthesis: how analyses are made, what they have to pass, and how much is done at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from fea.data.source import OnBad
from fea.errors import FEAError


class Seeded(Protocol):
    """Settings of which one is the seed of all chance."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    seed: int


@dataclass
class Checks:
    """What is asked of an analysis.

    Args:
        tau: least F1 of the claimed Action Units against the coded labels; 1.0 for a test set.
        plain: refuse mentions that are denied or supposed.
        regions: refuse mentions without the part of the face in their sentence.
        shortest: characters of the thinking, at least.
        longest: at most.
        copied: refuse the prompt's own example.
        repeated: refuse a sentence that stands there twice.
    """

    tau: float = 0.8
    plain: bool = True
    regions: bool = True
    shortest: int = 20
    longest: int = 2000
    copied: bool = True
    repeated: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.tau <= 1:
            raise FEAError(f"checks.tau: {self.tau}; an F1 lies between 0 and 1")


@dataclass
class Recipe:
    """How analyses are made.

    Args:
        attempts: for each face, at most.
        samples: completions of the first attempt; the second has twice as many, the third three times.
        reveal_after: attempts that do not see the labels; as many as `attempts` never shows them.
        checks: what an analysis has to pass.
        quota_emotion: analyses of an emotion, at most; null for any number.
        quota_au: analyses that show an Action Unit, at most, as long as they show no rarer one; null for any number.
        alike: similarity to an accepted text of the same class, its sentences in any order, 0 to 1, above which an analysis is
            left out; 1 keeps all.
        vote: faces without labels are tried too, and judged by what at least this share of their completions says; null
            leaves them out.
        seed: of the sampling.
    """

    attempts: int = 4
    samples: int = 4
    reveal_after: int = 4
    checks: Checks = field(default_factory=Checks)
    quota_emotion: int | None = None
    quota_au: int | None = None
    alike: float = 1.0
    vote: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("attempts", "samples", "quota_emotion", "quota_au"):
            if (getattr(self, name) or 1) < 1 or getattr(self, name) == 0:
                raise FEAError(f"recipe.{name}: {getattr(self, name)}; give at least 1")
        if self.reveal_after < 1:
            raise FEAError(
                f"recipe.reveal_after: {self.reveal_after}; the first attempt never sees the labels: give at least 1"
            )
        if not 0 <= self.alike <= 1:
            raise FEAError(f"recipe.alike: {self.alike}; a similarity lies between 0 and 1")
        if self.vote is not None and not 0.5 < self.vote <= 1:
            raise FEAError(f"recipe.vote: {self.vote}; a majority is more than 0.5, and at most 1")
        if self.vote is not None and self.samples < 3:
            raise FEAError(f"recipe.samples: {self.samples}; a vote needs at least 3")


@dataclass
class Pace:
    """How much at a time.

    Args:
        batch_size: faces that the policy writes about together.
        workers: processes that read images ahead.
        minutes: after which no further batch is begun; None for any time.
        on_bad: "raise" at an image that cannot be read, or "skip" the face.
    """

    batch_size: int
    workers: int = 0
    minutes: float | None = None
    on_bad: OnBad = "raise"

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.workers < 0:
            raise FEAError(
                f"batch_size: {self.batch_size}, num_workers: {self.workers}; give at least 1 and no negative number"
            )
        if self.minutes is not None and not self.minutes > 0:
            raise FEAError(f"minutes: {self.minutes}; give a number above 0")
