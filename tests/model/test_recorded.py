"""A token step keeps its shapes and its memory, and does not wait: recorded once and repeated, it writes the same."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import SMALL
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from fea.data.example import Example
from fea.data.prompt import Prompt, Seen
from fea.memory.dry_run import PromptShape, blank_prompts
from fea.model import cache, norm, recorded
from fea.model.adapter import held
from fea.model.cache import Trunk
from fea.model.config import LoRA, PolicyConfig
from fea.model.decoding import Decoding, Pace
from fea.model.load import skeleton
from fea.model.network import Network
from fea.model.policy import Policy
from fea.model.recorded import Recorded, Step
from fea.model.sampling import Completions, Generation, noise

MakePolicy = Callable[..., Policy]
ROUGH = replace(SMALL, spread=0.3)
GPU = Pace(asked=4, stretch=8, rows=2)  # as on a GPU, for little
TOKENS = 30


class Tape(TorchDispatchMode):
    """Does what a CUDA graph does, on a CPU: the same operations again, on the memory that they had the first time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), "waits"
        result = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, result))
        return result

    def again(self) -> None:
        for func, args, kwargs, result in self.done:
            given = {
                part.untyped_storage().data_ptr()
                for part in tree_flatten((args, kwargs))[0]
                if isinstance(part, Tensor)
            }
            repeated = func(*args, **kwargs)
            for old, new in zip(tree_flatten(result)[0], tree_flatten(repeated)[0], strict=True):
                if (
                    isinstance(old, Tensor) and old.untyped_storage().data_ptr() not in given
                ):  # no view, and not in place
                    old.copy_(new)


def record(step: Step, tapes: list[Tape]) -> Step:
    """As `cuda_graph`, but that recording does the step once: the first repetition has been done by then."""
    tape = Tape()
    with tape:
        step()
    tapes.append(tape)
    rest = iter([lambda: None])
    return lambda: next(rest, tape.again)()


def write(
    policy: Policy, prompts: list[Prompt], pace: Pace | None, tapes: list[Tape] | None = None, group: int = 6
) -> Completions:
    chance = noise([prompt.example.id for prompt in prompts], group, TOKENS, 0, 0)
    with torch.no_grad(), held(policy.model, torch.float32):
        recorder = None if tapes is None else lambda step: record(step, tapes)
        under_way = Decoding(policy.network, prompts, group, Generation(TOKENS), chance, Trunk(), recorder, pace)
        under_way.run(bool)
    return under_way.completions()


@pytest.fixture(params=[None, LoRA(4, 8)], ids=["whole", "adapter"])
def policy(request: pytest.FixtureRequest, make_policy: MakePolicy) -> Policy:
    policy = make_policy(tiny=ROUGH, min_pixels=784, max_pixels=224 * 224, lora=request.param, knowledge="full")
    policy.network.ends = [*policy.network.ends, *range(0, 500, 45)]
    return policy


@pytest.fixture
def uneven(policy: Policy, examples: list[Example]) -> list[Prompt]:
    return [policy.encoder(example._replace(question="Why? " * n)) for n, example in enumerate(examples[:3])]


def test_a_recorded_step_writes_what_steps_write_that_are_done_one_by_one(policy: Policy, uneven: list[Prompt]) -> None:
    expected, tapes = write(policy, uneven, None), list[Tape]()
    found = write(policy, uneven, GPU, tapes)
    assert torch.equal(found.ids, expected.ids)
    assert torch.equal(found.mask, expected.mask)
    assert found.texts == expected.texts
    assert torch.equal(found.truncated, expected.truncated)
    torch.testing.assert_close(found.logps, expected.logps, rtol=0, atol=2e-5)
    assert len(tapes) > 3  # own tokens grew, rows were dropped
    assert found.mask.sum(1).unique().numel() > 5


@pytest.mark.parametrize("pace", [GPU, Pace(8, 256, 8), Pace(2, 9, 5), Pace(3, 5, 1), Pace(1, 1, 16), Pace(100, 7, 3)])
@pytest.mark.parametrize(("prompts", "group"), [(3, 1), (3, 6), (1, 5)])  # one has no padding
def test_a_pace_changes_no_token(policy: Policy, uneven: list[Prompt], pace: Pace, prompts: int, group: int) -> None:
    policy.network.ends = [*policy.network.ends, *range(0, 500, 15)]  # rows end all the time
    expected, found = (write(policy, uneven[:prompts], kind, group=group) for kind in (None, pace))
    assert torch.equal(found.ids, expected.ids)
    assert torch.equal(found.mask, expected.mask)
    torch.testing.assert_close(found.logps, expected.logps, rtol=0, atol=2e-5)


def test_steps_are_recorded_once_for_each_shape() -> None:
    done: list[str] = []

    def recorder(step: Step) -> Step:
        done.append("recorded")
        return lambda: done.append("again")

    step = Recorded(lambda: done.append("step"), recorder)
    for _ in range(5):
        step()
    assert done == ["step", "step", "recorded", "again", "again", "again"]
    step.forget()
    done.clear()
    for _ in range(3):
        step()
    assert done == ["step", "step", "recorded", "again"]
    done.clear()
    plain = Recorded(lambda: done.append("step"), None)
    for _ in range(4):
        plain()
    assert done == ["step"] * 4


def test_a_step_that_cannot_be_recorded_is_done_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(recorded, "rank_zero_warn", told.append)
    done: list[str] = []

    def refuses(step: Step) -> Step:
        raise RuntimeError("operation not permitted when stream is capturing")

    step = Recorded(lambda: done.append("step"), refuses)
    for _ in range(5):
        step()
    step.forget()
    for _ in range(5):
        step()
    assert len(done) == 10
    assert len(told) == 1
    assert "operation not permitted" in told[0]


def test_steps_are_recorded_where_there_is_cuda_and_weights_are_whole(
    make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy()
    assert policy._record is None
    monkeypatch.setattr(Network, "device", torch.device("cuda"))
    assert policy._record is recorded.cuda_graph
    # Processes that share weights meet in every layer, which no recording may hold.
    policy.__class__ = type("Sharded", (FSDPModule, Policy), {})
    assert policy._record is None


# --- casts ---


class Casts(TorchDispatchMode):
    """Counts copies of weights in another type."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weights, self.counted = set(map(id, weights)), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counted += func is torch.ops.aten._to_copy.default and id(args[0]) in self.weights
        return func(*args, **(kwargs or {}))


def test_no_token_casts_a_trained_weight_again(policy: Policy, uneven: list[Prompt]) -> None:
    """In mixed precision, where the base is kept in fp32 and trained, or has an adapter in fp32."""
    counts = []
    for tokens in (3, 9):
        with torch.autocast("cpu", torch.bfloat16), Casts(policy.trainable().values()) as casts:
            policy.rollout(policy.look(uneven), 2, Generation(tokens), None)
        counts.append(casts.counted)
    assert counts[0] == counts[1] > 0


def test_keys_are_kept_in_the_type_of_values(policy: Policy, uneven: list[Prompt]) -> None:
    """Under autocast the rotation would leave them in fp32, and the scores would be of other keys than in training."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        under_way = Decoding(policy.network, uneven, 2, Generation(4), None, Trunk())
    for level in (*under_way.attention.shared, under_way.attention.own):
        assert {part.dtype for part in (*level.keys_KMEn, *level.values_KMnE)} == {torch.bfloat16}


# --- launches ---


class Launches(TorchDispatchMode):
    """Counts operations that do something on a device: all but views and empty tensors."""

    FREE = ("aten::empty", "aten::empty_strided", "aten::empty_like", "aten::detach", "aten::_unsafe_view")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and func._schema.name not in self.FREE:
            self.counted[func._schema.name] += 1
        return func(*args, **(kwargs or {}))


def launches(layers: int, dropped: int) -> int:
    """Of reading a token with so many layers of the 3B model, its adapter in bf16."""
    network = skeleton(PolicyConfig(base="Qwen/Qwen2.5-VL-3B-Instruct", lora=LoRA(), dtype="bfloat16"), layers)
    network.image_token, network.ends = 1, [5]
    network.model.to_empty(device="cpu").eval()
    network.features = lambda prompts: [Seen(torch.zeros(4, network.width)) for _ in prompts]  # type: ignore[method-assign]
    with (
        torch.no_grad(),
        held(network.model, torch.bfloat16),
    ):  # operations are whole in inference mode, and not counted apart
        under_way = Decoding(
            network, blank_prompts(2, PromptShape(cache.LONG, 6, 4)), 3, Generation(8), None, Trunk(), None, GPU
        )
        under_way.finished_R[:dropped] = True
        under_way._drop_finished(1)
        with Launches() as mode:
            under_way._read_token()
    return sum(mode.counted.values())


# What is one kernel on a GPU is here one operation too, so that it counts as one.
@torch.library.custom_op("launches::norm", mutates_args=())
def normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return torch.rms_norm(x, weight.shape, weight, eps)


@torch.library.custom_op("launches::product", mutates_args=())
def multiplied(left: Tensor, right: Tensor) -> Tensor:
    return torch.bmm(left.float(), right.float())


@pytest.mark.parametrize("dropped", [0, 2], ids=["even", "uneven"])
def test_a_layer_reads_a_token_in_sixty_launches(monkeypatch: pytest.MonkeyPatch, dropped: int) -> None:
    monkeypatch.setattr(norm.RMSNorm, "forward", lambda this, x: normed(x, this.weight.to(x.dtype), this.eps))
    monkeypatch.setattr(cache, "exact_product", lambda like: multiplied)
    two, three = launches(2, dropped), launches(3, dropped)
    print(f"{three - two} launches a layer, {3 * two - 2 * three} beside them")
    assert three - two <= 60
    assert 3 * two - 2 * three <= 40


def test_keys_and_values_are_gone_with_the_rollout(policy: Policy, uneven: list[Prompt]) -> None:
    """Without the collector of cycles, which comes when it likes."""
    alive: list[weakref.ref[Tensor]] = []
    see = cache.StepAttention.see

    def seen(self: cache.StepAttention) -> None:
        alive.extend(weakref.ref(part) for part in self.own.keys_KMEn)
        see(self)

    gc.disable()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cache.StepAttention, "see", seen)
            policy.rollout(uneven, 2, Generation(4), None)
        assert alive
        assert not [part for part in alive if part() is not None]
    finally:
        gc.enable()
