"""A step of fixed shapes, launched as one.

A token step of a model with 36 layers is some 2,000 small operations on a GPU, which take longer to be started from Python than
to be done. A step that does the same operations on the same memory each time can be recorded once, as a CUDA graph, and then
starts as one. On a CPU nothing is recorded and the same code runs operation by operation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.pytorch.utilities import rank_zero_warn

Step = Callable[[], None]
Record = Callable[[Step], Step]


class Recorded:
    """Does a step: twice as it is, so that libraries are set up and weights cast, from then on as it was recorded.

    Args:
        step: without arguments and without result; it neither waits for the device nor asks what is there.
        record: makes something that repeats a step from a step, without doing it; None does each one as it is.
    """

    def __init__(self, step: Step, record: Record | None):
        self.step, self.record = step, record
        self.forget()

    def forget(self) -> None:
        """Shapes or memory have changed: what was recorded does not hold any more."""
        self.done, self.again = 0, self.step

    def __call__(self) -> None:
        """One step."""
        if self.record and self.done == _AS_IT_IS:
            self.again = self._recorded(self.record)
        self.done += 1
        self.again()

    def _recorded(self, record: Record) -> Step:
        try:
            return record(self.step)
        except RuntimeError as error:  # some operation does not let itself be recorded: slower, and not wrong
            rank_zero_warn(f"tokens are written operation by operation, since a step cannot be recorded: {error}")
            self.record = None
            return self.step


_AS_IT_IS = 2  # steps before the recording; PyTorch's own notes on CUDA graphs warm up at least once


def cuda_graph(step: Step) -> Step:
    """Records a step as a CUDA graph; its memory stays as long as what is returned."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
