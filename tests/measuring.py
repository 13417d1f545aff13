"""Bytes that a fit would take on a card, by phase, as torch's allocator hands them out; beside what the plan says of the same
process. What the loader makes ahead stays in host memory, and is not counted: a prompt is, once the policy has moved it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.apply_func import apply_to_collection
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.core import hooks
from torch import Tensor
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.weak import WeakTensorKeyDictionary

from fea.data import loader
from fea.memory.plan import plan
from fea.model import roads, stock

Mapped = list[tuple[int, int]]

_there = WeakTensorKeyDictionary()  # what was moved to the card, so that it is not moved again

HOST = "in host memory"
MARK = "mark "  # and its number: an event among those of the profiler, whose clock is not that of Python

# A block of at least so many bytes gets a mapping of its own, which is gone with it: `mapped` tells which are there still. The
# buckets of DDP, which threads of gloo give back, are larger.
OWN_MAPPING = 1 << 20
_M_MMAP_THRESHOLD = -3  # glibc's number for it, malloc.h


class Measured(Callback):
    """Writes to a file what a process of a fit has measured.

    The files lie in the folder that FEA_MEASURED names, one for each process. What happens between two training batches, and is
    no validation, is a rollout or the end of a step.
    """

    def __init__(self) -> None:
        self.folder = Path(os.environ["FEA_MEASURED"])
        self.marks: list[tuple[str, Mapped]] = []  # what begins, and which memory is there

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begins, before there is a model."""
        _part_host_and_card()
        self.begin()

    def begin(self) -> None:
        """From now on all is seen."""
        gc.collect()
        assert ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, OWN_MAPPING)
        self.profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self.profiler.start()
        self._mark("start")

    def _mark(self, phase: str) -> None:
        with record_function(f"{MARK}{len(self.marks)}"):
            self.marks.append((phase, mapped()))

    def on_train_batch_start(self, *_: Any) -> None:
        """The passes over a pack begin."""
        self._mark("update")

    def on_before_backward(self, *_: Any) -> None:
        """The first of them is done, in which DDP makes its buckets anew after the first step."""
        self._mark("update")

    def on_train_batch_end(self, *_: Any) -> None:
        """They are done."""
        self._mark("rollout")

    on_validation_end = on_train_batch_end

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        """Weights that were read from files lie where the allocator knows nothing of; on a card they would be copies."""
        if module.config.base != "tiny" and not module.config.four_bit:
            for weight in module.parameters():
                weight.data = weight.data.clone()
        self._mark("rollout")

    def on_validation_start(self, *_: Any) -> None:
        """A validation begins."""
        self._mark("validation")

    def on_fit_end(self, trainer: Trainer, module: Any) -> None:
        """Writes the most that was there in each phase, and the plan."""
        peaks = self.peaks()
        needs = plan(module.own_setting())
        state = needs.peak - max(needs.phases.values())
        planned = {phase: state + size for phase, size in needs.phases.items()}
        told = {"measured": {phase: peaks[phase] for phase in planned}, "planned": planned, "plan": needs._asdict()}
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(told))

    def peaks(self) -> dict[str, int]:
        """Ends, with the most that was there in each phase."""
        self.profiler.stop()
        peaks = dict.fromkeys(("rollout", "validation", "update"), 0)
        phase, alive = "", Alive()
        tree = self.profiler.profiler.kineto_results.experimental_event_tree()
        for _, what in sorted(_seen(tree), key=itemgetter(0)):
            if isinstance(what, str):
                phase, there = self.marks[int(what.removeprefix(MARK))]
                alive.forget(there)
            else:
                alive.change(*what)
                peaks[phase] = max(peaks.get(phase, 0), alive.bytes)
        return peaks


def mapped() -> Mapped:
    """The memory of this process: where each stretch of it begins and ends, in order."""
    stretches = (line.split(maxsplit=1)[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines())
    return [(int(start, 16), int(end, 16)) for start, end in stretches]


def _part_host_and_card() -> None:
    """Marks what the loader makes, and copies what would move to a card."""
    owners: list[tuple[Any, str]] = [(loader.Encoded, "__getitem__"), (loader, "_join")]
    for owner, name in owners:
        setattr(owner, name, _hosted(getattr(owner, name)))
    roads.move_data_to_device = stock.move_data_to_device = hooks.move_data_to_device = _moved


def _moved(data: Any, device: Any) -> Any:
    """Prompts of a loader come in a list; packs of a rollout are there already."""
    return apply_to_collection(data, Tensor, _copied) if isinstance(data, list) else data


def _copied(tensor: Tensor) -> Tensor:
    if tensor not in _there:
        tensor = tensor.clone()
        _there[tensor] = True
    return tensor


def _hosted(make: Callable[..., Any]) -> Callable[..., Any]:
    def made(*args: Any) -> Any:
        with record_function(HOST):
            return make(*args)

    return made


def _seen(events: Any) -> Iterator[tuple[int, str | tuple[int, int]]]:
    """When each mark was, and when the allocator did what: where and how many bytes, negative where it took them back."""
    waiting = [(event, False) for event in events]
    while waiting:
        event, host = waiting.pop()
        host = host or event.name == HOST
        waiting += [(child, host) for child in event.children]
        if event.name.startswith(MARK):
            yield event.start_time_ns, event.name
        kind, told = event.typed
        if kind == _EventType.Allocation and not (host and told.alloc_size > 0):
            yield event.start_time_ns, (told.ptr, told.alloc_size)


class Alive:
    """Blocks that are in use.

    What is given back elsewhere than in this thread is not seen. So a block is gone, too, once another one lies where it was,
    or nothing does.

    Attributes:
        bytes: of all blocks.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._starts: list[int] = []
        self._sizes: dict[int, int] = {}

    def change(self, address: int, size: int) -> None:
        """Takes a block in, or lets go of it where the size is negative."""
        if size < 0:
            if address in self._sizes:
                self._drop(bisect_left(self._starts, address))
            return
        at = bisect_left(self._starts, address)
        if at and self._starts[at - 1] + self._sizes[self._starts[at - 1]] > address:
            at -= 1
            self._drop(at)
        while at < len(self._starts) and self._starts[at] < address + size:
            self._drop(at)
        self._starts.insert(at, address)
        self._sizes[address] = size
        self.bytes += size

    def forget(self, there: Mapped) -> None:
        """Lets go of the large blocks that are not in memory."""
        for address in [start for start in self._starts if self._sizes[start] >= OWN_MAPPING]:
            stretch = bisect_right(there, (address, sys.maxsize)) - 1
            if stretch < 0 or there[stretch][1] < address + self._sizes[address]:
                self._drop(bisect_left(self._starts, address))

    def _drop(self, at: int) -> None:
        self.bytes -= self._sizes.pop(self._starts.pop(at))
