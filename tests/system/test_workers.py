"""Work by all processors: the same results in the same order."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fea.system import workers
from fea.system.workers import spread


def doubled(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def told(found: Iterator[tuple[int, int]]) -> tuple[list[int], set[int]]:
    results = list(found)
    return [result for result, _ in results], {process for _, process in results}


def test_many_things_are_done_by_other_processes_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_processors", lambda: 2)
    results, processes = told(spread(doubled, range(1200), enough=1000))
    assert results == [2 * number for number in range(1200)]
    assert os.getpid() not in processes


def test_few_things_are_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(spread(doubled, range(10))) == ([2 * number for number in range(10)], {os.getpid()})
    monkeypatch.setattr(workers, "_processors", lambda: 1)
    assert told(spread(doubled, range(10), enough=1))[1] == {os.getpid()}
