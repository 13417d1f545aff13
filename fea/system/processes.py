"""What the processes of a run tell each other as plain values; one alone tells itself."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist

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


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
