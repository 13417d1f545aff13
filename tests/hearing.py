"""What is told of completions while they are written."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from fea.model.sampling import Completions, Heard


def heard_while(write: Callable[[Heard], Completions]) -> list[list[list[int]]]:
    """What was told of each completion while it was written, and at the end all of it."""
    told: list[list[list[int]]] = []

    def hear(ids: Tensor, mask: Tensor) -> None:
        told.append([row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True)])

    last = write(hear)
    return [*told, [row[kept.bool()].tolist() for row, kept in zip(last.ids, last.mask, strict=True)]]
