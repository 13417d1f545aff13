"""Writing tokens: how long a step takes and how many launches, one by one and recorded as a CUDA graph.

pytest -m gpu tests/gpu/test_decode.py    (5 minutes on a card; not run on a GPU yet)

On a CPU nothing can be recorded: in a rehearsal what stands for a recording does the step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from fea.data.prompt import Prompt
from fea.model import decoding as writing
from fea.model.adapter import held
from fea.model.cache import Trunk
from fea.model.decoding import Decoding
from fea.model.policy import Policy
from fea.model.recorded import Record, Recorded, Step, cuda_graph
from fea.model.sampling import Completions, Generation, noise

from .checks import BITS
from .setting import CARD, SIZES, autocast, milliseconds, synchronize

pytestmark = pytest.mark.gpu

Figures = Callable[..., None]
Build = Callable[..., Policy]
Ask = Callable[[Policy], list[Prompt]]
ROWS = SIZES.prompts * SIZES.group
RECORD: Record = cuda_graph if CARD else lambda step: step


@contextmanager
def under_way(policy: Policy, prompts: list[Prompt]) -> Iterator[Decoding]:
    """A rollout whose steps are done by hand, and in which nobody ends."""
    policy.network.ends = [-1]
    chance = noise([prompt.example.id for prompt in prompts], SIZES.group, SIZES.tokens, 0, 0)
    with torch.no_grad(), autocast(), held(policy.model, torch.bfloat16):
        decoding = Decoding(policy.network, prompts, SIZES.group, Generation(SIZES.tokens), chance, Trunk())
        decoding._choose()
        yield decoding


def profiled(step: Step) -> tuple[int, int, float]:
    """Launches and kernels of a step, and milliseconds that the card is busy."""
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if CARD else [ProfilerActivity.CPU]
    with profile(activities=activities) as seen:
        step()
        synchronize()
    done = [event for event in seen.events() or [] if event.device_type == DeviceType.CUDA]
    launches = [event for event in seen.events() or [] if event.name.startswith("cu") and "Launch" in event.name]
    return len(launches), len(done), sum(event.time_range.elapsed_us() for event in done) / 1e3


@pytest.mark.parametrize("bits", BITS)
def test_a_step(bits: str, build: Build, ask: Ask, figures: Figures) -> None:
    policy = build(bits)
    for how, record in {"one by one": None, "recorded": RECORD}.items():
        with under_way(policy, ask(policy)) as decoding:
            step = Recorded(decoding._step, record)
            for _ in range(3):  # the third one is recorded
                step()
            took = milliseconds(step)
            launches, kernels, busy = profiled(step)
        figures(
            f"decode, {bits}, {how}",
            f"{took:.1f} ms a step of {ROWS} rows, {ROWS / took * 1e3:,.0f} tokens/s, {launches:,} launches of {kernels:,} "
            f"kernels, card busy {busy:.1f} ms ({busy / took:.0%})",
        )


class Refusing(TorchDispatchMode):
    """Refuses on a CPU what would wait on a card."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
        return func(*args, **(kwargs or {}))


@contextmanager
def refusing_to_wait() -> Iterator[None]:
    mode: AbstractContextManager[object] = nullcontext() if CARD else Refusing()
    if CARD:
        torch.cuda.set_sync_debug_mode("error")
    try:
        with mode:
            yield
    finally:
        if CARD:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("bits", BITS)
def test_no_step_waits(bits: str, build: Build, ask: Ask, figures: Figures) -> None:
    policy = build(bits)
    with under_way(policy, ask(policy)) as decoding:
        decoding._step()
        decoding._step()
        waited = ""
        try:
            with refusing_to_wait():
                decoding._step()
        except (RuntimeError, AssertionError) as error:
            waited = str(error).splitlines()[0]
    figures(f"decode, {bits}: no step waits", waited or "none", not waited)


@pytest.mark.parametrize("bits", BITS)
def test_a_recorded_rollout_is_the_same(
    bits: str, build: Build, ask: Ask, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completions of many lengths, so that rows are dropped and steps recorded anew."""
    monkeypatch.setattr(writing, "_CPU", writing._GPU)  # shapes that change with each token cannot be rehearsed
    policy = build(bits)
    words = policy.network.head.weight.shape[0]
    # One word in so many ends a completion: half of them have ended by two thirds of the length.
    policy.network.ends = [*policy.network.ends, *range(0, words, SIZES.tokens)]
    prompts, seconds = ask(policy), list[float]()

    def recording(step: Step) -> Step:
        synchronize()
        start = time.perf_counter()
        recorded = RECORD(step)
        synchronize()
        seconds.append(time.perf_counter() - start)
        return recorded

    def written(record: Record | None) -> Completions:
        monkeypatch.setattr(Policy, "_record", record and staticmethod(record))
        chance = noise([prompt.example.id for prompt in prompts], SIZES.group, SIZES.tokens, 0, 0)
        with autocast():
            return policy.rollout(prompts, SIZES.group, Generation(SIZES.tokens), chance)

    expected, again, found = written(None), written(None), written(recording)
    assert seconds, "nothing was recorded"
    figures(f"decode, {bits}: recordings of a rollout", f"{len(seconds)}, {sum(seconds) / len(seconds):.2f} s each")
    assert found.mask.sum(1).unique().numel() > 2
    told = f"{same(found, expected):.1%} of tokens; one by one once more {same(again, expected):.1%}"
    figures(f"decode, {bits}: recorded writes the same", told, torch.equal(found.ids, expected.ids))


def same(one: Completions, other: Completions) -> float:
    """Share of the tokens that are the same in both."""
    length = min(one.ids.shape[1], other.ids.shape[1])
    return float((one.ids[:, :length] == other.ids[:, :length]).float().mean())
