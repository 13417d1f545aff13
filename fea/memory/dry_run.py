"""A training step run dry: the real code on tensors that have a size and no content, and every byte they would take counted.

Shapes in names as in `fea.grpo`: N completions, T tokens of each.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from fea.data.prompt import Prompt
from fea.logprobs import token_logps
from fea.model.attention import TreeAttention
from fea.model.config import PolicyConfig
from fea.model.layout import lay_out, shared, trunk_of
from fea.model.load import skeleton

_IMAGE = 1  # id of the image placeholder


class TensorBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside, for as long as they live.

    Args:
        before: tensors that were made before and do not count.

    Attributes:
        now: bytes that are alive.
        peak: most that have been.
    """

    def __init__(self, before: Iterable[Tensor] = ()) -> None:
        cast(Any, super()).__init__()
        self.now = self.peak = 0
        self.known = {tensor.untyped_storage()._cdata for tensor in before}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Lets an operation happen and looks at what it returns."""
        result = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._see, result)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known and tensor.device.type != "meta":
            self.known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def blank_prompts(number: int, trunk: int, own: int, visual: int) -> list[Prompt]:
    """Prompts of given lengths: tokens that all begin with, an image, and text that differs.

    Args:
        number: of prompts.
        trunk: tokens before the image.
        own: tokens from there on, image included.
        visual: tokens of the image.
    """
    none, prompts = torch.empty(0), []
    for question in range(number):
        ids = torch.full((trunk + own,), _IMAGE + 1 + question)
        ids[:trunk], ids[trunk : trunk + visual] = 0, _IMAGE
        prompts.append(Prompt(cast(Any, None), ids, torch.arange(len(ids)).expand(3, -1), none, none, none))
    return prompts


class DryRun:
    """The passes of a training step through a network of which only the sizes are there.

    Args:
        config: of the policy.
        layers: of its language model, if not all.
        autocast: whether matrices are multiplied in bf16, whatever they are kept in.

    Raises:
        FEAError: the dimensions of `config.base` are not known.
    """

    def __init__(self, config: PolicyConfig, layers: int | None, autocast: bool):
        self.config, self.autocast = config, autocast
        self.network = skeleton(config, layers)
        self.network.image_token = _IMAGE
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        seen: dict[Tensor, Tensor] = {}
        with self.fake:
            for module in self.network.model.modules():
                for held in (module._parameters, module._buffers):
                    for name, tensor in held.items():
                        if tensor is not None:
                            held[name] = seen.setdefault(tensor, _emptied(tensor))

    def update(self, prompts: Sequence[Prompt], ids_NT: Tensor) -> int:
        """Bytes that the passes over a pack need at most, beside weights and gradients."""
        layout = lay_out(self.config.layout, prompts, ids_NT, torch.ones_like(ids_NT), _IMAGE)
        tree = None if layout.tree is None else TreeAttention(layout.tree, ids_NT.device)
        head, features = self.network.head.weight, self._features(prompts)
        for _ in range(2):  # the second time the gradients are there already
            with self._counted() as counted:
                hidden = self.network.read(layout, features, tree).index_select(0, layout.scored)
                logps, _ = token_logps(hidden, head, layout.targets, torch.tensor([_IMAGE]))
                logps.sum().backward()
                del hidden, logps
        return counted.peak

    def reading(self, prompts: Sequence[Prompt]) -> int:
        """Bytes that reading prompts needs at most, with the keys and values that stay."""
        none = torch.empty(0, 0, dtype=torch.long)
        layout = shared(prompts, none, none, trunk_of(prompts, _IMAGE))
        assert layout.tree is not None
        tree, features = TreeAttention(layout.tree, none.device, keep=True), self._features(prompts)
        with torch.no_grad(), self._counted() as counted:
            self.network.read(layout, features, tree)
        return counted.peak

    def _features(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        kind, sizes = getattr(torch, self.config.dtype), [int((prompt.ids == _IMAGE).sum()) for prompt in prompts]
        with self.fake:
            return [torch.empty(size, self.network.width, dtype=kind) for size in sizes]

    @contextmanager
    def _counted(self) -> Iterator[TensorBytes]:
        model = self.network.model
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        before = [*model.parameters(), *model.buffers(), *gradients]
        with self.fake, TensorBytes(before) as counted, torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            yield counted


def _emptied(tensor: Tensor) -> Tensor:
    """The like of a tensor of the device "meta", where arithmetic has its usual types."""
    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
