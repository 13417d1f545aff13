"""What the processes of a run tell each other as plain values and sums; one alone tells itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

from fea.errors import FEAError

T = TypeVar("T")


def count() -> int:
    """Number of processes."""
    return dist.get_world_size() if _several() else 1


def rank() -> int:
    """Number of this one, from 0."""
    return dist.get_rank() if _several() else 0


def gathered(value: T) -> list[T]:
    """The values of all processes, in their order, on each of them."""
    if not _several():
        return [value]
    values: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


@contextmanager
def together() -> Iterator[None]:
    """What fails inside in one process fails in all of them, at its end: none goes on to wait for one that has ended.

    Raises:
        FEAError: it failed in another process; with what was said there.
    """
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        failed = error
    reasons = gathered(None if failed is None else str(failed) if isinstance(failed, FEAError) else repr(failed))
    if failed:
        raise failed
    for number, reason in enumerate(reasons):
        if reason is not None:
            raise FEAError(f"process {number}: {reason}")


def total(value: Tensor) -> Tensor:
    """Sum of a tensor over all processes, on each of them: what is logged is about all."""
    added = value.detach().clone()
    if _several():
        dist.all_reduce(added)
    return added


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
