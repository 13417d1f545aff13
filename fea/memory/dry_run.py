"""A training step run dry: the real code on tensors that have a size and no content, and every byte they would take counted.

Shapes in names as in `fea.grpo`: N completions, T tokens of each.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from fea.data.prompt import Prompt, Seen
from fea.logprobs import log_distribution, logits, token_logps
from fea.memory.setting import Setting
from fea.model.attention import TreeAttention
from fea.model.causal import Causal
from fea.model.config import PolicyConfig
from fea.model.layout import Layout, shared, trunk_of
from fea.model.load import skeleton
from fea.model.network import Network
from fea.model.reading import Leaves, Pass, Read, parts_of
from fea.model.sampling import choose
from fea.model.stock import Stock

_IMAGE, _TEXT = 1, 2  # ids of the image placeholder, and of what is no image


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


class PromptShape(NamedTuple):
    """Tokens of a prompt.

    Attributes:
        trunk: that all prompts begin with, up to the image.
        own: from there on, image included.
        visual: of the image.
        pixels: bytes of the image as its processor makes it.
    """

    trunk: int
    own: int
    visual: int
    pixels: int = 0


def blank_prompts(number: int, shape: PromptShape) -> list[Prompt]:
    """Prompts of a given shape, whose texts differ behind the image."""
    none, prompts = torch.empty(0), []
    trunk, own, visual, _ = shape
    for question in range(number):
        ids = torch.full((trunk + own,), _TEXT + question)
        ids[:trunk], ids[trunk : trunk + visual] = 0, _IMAGE
        prompts.append(Prompt(cast(Any, None), ids, torch.arange(len(ids)).expand(3, -1), none, none, none))
    return prompts


def longest_prompts(config: PolicyConfig, network: Causal | Stock) -> list[Prompt]:
    """What a processor makes of an ordinary question about a square image, in each form; the longest comes first.

    Args:
        config: of the policy. Its `max_pixels` are those of the image: what larger or longer ones become, it does not say.
        network: with the processor.
    """
    encoder = network.encoder(config.knowledge, config.form, config.numbers)
    asked = [encoder.blank(form, math.isqrt(config.max_pixels)) for form in config.forms]
    return sorted(asked, key=lambda prompt: -len(prompt.ids))


class Dry:
    """A network of which only the sizes are there.

    Args:
        setting: the policy, and the precision that it computes in.
        layers: of its language model.

    Raises:
        FEAError: the dimensions of the base are not known.
    """

    def __init__(self, setting: Setting, layers: int):
        self.setting, self.layers = setting, layers
        self.network: Any = skeleton(setting.policy, layers)
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        seen: dict[Tensor, Tensor] = {}
        with self.fake:
            for module in self.network.model.modules():
                for held in (module._parameters, module._buffers):
                    for name, tensor in held.items():
                        if tensor is not None:
                            # What is sharded is gathered in bf16, so that it has not to be cast.
                            low = setting.autocast and setting.spread.sharded and isinstance(tensor, nn.Parameter)
                            held[name] = seen.setdefault(
                                tensor, _emptied(tensor, torch.bfloat16 if low else tensor.dtype)
                            )
            for weight in self.network.model.parameters():  # after the first step they are there
                weight.grad = torch.empty_like(weight) if weight.requires_grad else None

    @contextmanager
    def counted(self, given: Iterable[Tensor] = ()) -> Iterator[TensorBytes]:
        """Inside, bytes are counted, but for those of the network and of what it is given."""
        model = self.network.model
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        before = [*model.parameters(), *model.buffers(), *gradients, *given]
        # Numbers that follow from ids and pixels alone are real, for what depends on them; what comes of a weight is not.
        with (
            TensorBytes(before) as counted,
            torch.autocast("cpu", torch.bfloat16, enabled=self.setting.autocast),
        ):
            yield counted


class DryRun(Dry):
    """The passes of a training step through a network that is asked part by part. Its arguments are those of `Dry`."""

    network: Network

    def __init__(self, setting: Setting, layers: int):
        super().__init__(setting, layers)
        self.network.image_token = _IMAGE

    def update(self, prompts: int, shape: PromptShape, completions: int, length: int, parts: int = 1) -> int:
        """Bytes that the passes over a pack need at most, beside weights and gradients.

        Args:
            prompts: of the pack.
            shape: of each.
            completions: of all of them.
            length: of each completion.
            parts: that those of each prompt are split into.
        """
        asked, features = blank_prompts(prompts, shape), self._features(prompts, shape)
        for seen in features:  # below, the gradient ends where the tower's would begin
            for tensor in (seen.tokens, *seen.layers):
                tensor.requires_grad_(self.setting.policy.trains_tower)
        name, ids_NT = self.setting.policy.layout, torch.full((completions, length), _TEXT)
        apart = parts > 1 and name != "rows"
        passes = [
            Pass(self.network, name, asked, ids, torch.ones_like(ids), apart)
            for ids in parts_of(ids_NT, prompts, parts)
        ]
        before = self._laid_out(asked, name == "tree") if apart else None
        with self.counted() as counted:
            leaves = Leaves(before and self._read(*before, features))
            losses = [self._learn(leaves, ready, features) for ready in passes]
            if apart:
                leaves.joined(losses[0], 1.0, ()).backward()
        return counted.peak

    def _learn(self, leaves: Leaves, ready: Pass, features: list[Seen]) -> Tensor:
        """Forward and backward pass of a part; returns the value of its loss."""
        entropy, head = self.setting.entropy, self.network.head.weight
        hidden = ready.predicting(features, leaves.read)
        told = token_logps(hidden, head, ready.layout.targets, torch.tensor([_IMAGE]), entropy_gradient=entropy)
        loss = torch.cat(told[: 1 + entropy]).sum()
        leaves.learn(loss)
        return loss.detach()

    def reading(self, prompts: int, shape: PromptShape) -> int:
        """Bytes that reading prompts needs at most, with the keys and values that stay.

        Args:
            prompts: how many.
            shape: of each.
        """
        layout, tree = self._laid_out(blank_prompts(prompts, shape), together=True)
        features = self._features(prompts, shape)
        with torch.no_grad(), self.counted() as counted:
            self._read(layout, tree, features)
        return counted.peak

    def kept(self, shape: PromptShape) -> int:
        """Bytes of a token's keys and values.

        Args:
            shape: of any prompt.
        """
        layout, tree = self._laid_out(blank_prompts(1, shape), together=True)
        features = self._features(1, shape)
        with torch.no_grad(), self.counted():
            read = self._read(layout, tree, features)
        # In mixed precision rotated keys can be wider than values; what is written then has the type of the keys.
        return 2 * sum(key.element_size() * key[0].numel() for (_, key), _ in read.kept)

    def _laid_out(self, asked: list[Prompt], together: bool) -> tuple[Layout, TreeAttention]:
        """The row of prompts that are read by themselves, with what they have in common `together`, once."""
        none = torch.empty(0, 0, dtype=torch.long)
        layout = shared(asked, none, none, trunk_of(asked, _IMAGE) if together else 0)
        assert layout.tree is not None
        return layout, TreeAttention(layout.tree, none.device, keep=True)

    def _read(self, layout: Layout, tree: TreeAttention, features: list[Seen]) -> Read:
        hidden_LD = self.network.read(layout, features, tree)
        return Read(hidden_LD[: len(features)].clone(), tree.let_go())

    def choosing(self, rows: int, sampled: bool) -> int:
        """Bytes that it takes at most to choose a token for each of some rows.

        Args:
            rows: how many.
            sampled: whether by uniform numbers; else greedily.
        """
        with torch.no_grad(), self.counted() as counted:
            hidden = self.network.head.weight.new_empty(rows, self.network.width)
            log_p = log_distribution(logits(hidden, self.network.head.weight), torch.tensor([_IMAGE]), 1.0)
            choose(log_p, torch.empty(rows, dtype=torch.float64) if sampled else None)
        return counted.peak

    def looking(self) -> int:
        """Bytes that it takes at most to see an image, beside what is seen; of a network that sees one after the other."""
        with torch.no_grad():
            seen, most = self._seen()
        return most - seen

    def seeing(self) -> int:
        """Bytes that a tower which is trained takes at most for an image, its backward pass included."""
        return self._seen()[1]

    def remembering(self) -> int:
        """Bytes of these that stay until that backward pass."""
        return self._seen()[0]

    def _seen(self) -> tuple[int, int]:
        prompt, *_ = longest_prompts(self.setting.policy, cast(Causal, self.network))
        with self.counted((prompt.given or {}).values()) as counted:
            (seen,) = self.network.features([prompt])
            kept = counted.now
            if seen.tokens.requires_grad:
                seen.tokens.sum().backward()
        return kept, counted.peak

    def _features(self, prompts: int, shape: PromptShape) -> list[Seen]:
        kind = torch.bfloat16 if self.setting.autocast else getattr(torch, self.setting.policy.dtype)
        with self.fake:
            tokens = [torch.empty(shape.visual, self.network.width, dtype=kind) for _ in range(prompts)]
            return [Seen(part, (part,) * self.network.deepstack) for part in tokens]


def _emptied(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The like of a tensor of the device "meta", where arithmetic has its usual types."""
    empty = torch.empty(tensor.shape, dtype=dtype)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
