"""`Policy`: the vision-language model under training. All samples and all log-probabilities come from here.

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule

from fea.data.prompt import Prompt
from fea.faces.crops import Crop
from fea.model import fsdp
from fea.model.adapter import held
from fea.model.cache import Trunk
from fea.model.config import PolicyConfig
from fea.model.load import load
from fea.model.lora import is_seeing
from fea.model.network import Network
from fea.model.reading import Read
from fea.model.recorded import Record, cuda_graph
from fea.model.roads import Road, Shared
from fea.model.sampling import Completions, Generation, Heard
from fea.model.stock import Stock
from fea.system import processes


class Policy(nn.Module):
    """A vision-language model with or without an adapter.

    Args:
        config: what to build.
        start: weights to begin from, by name; empty for the base's own.
        empty: all weights are on the device "meta", until `shard` gives them the values that the first process has.

    Raises:
        FEAError: the config contradicts itself, or the base or the weights do not fit.
    """

    def __init__(self, config: PolicyConfig, start: Mapping[str, Tensor], empty: bool = False):
        super().__init__()
        self.config, self.gathers = config, True
        found = load(config, _without("model.", start), empty)
        self.road: Road = found if isinstance(found, Stock) else Shared(found)
        if isinstance(found, Stock):
            self.config = replace(config, layout="rows")  # the only one that any network can be asked in
        # All of it is there where a network is asked part by part; on the general road, what a `Speaker` has.
        self.network = cast(Network, found)
        self.model = self.network.model  # where parameters have their names
        self._reference: dict[str, Tensor] = {}
        self.encoder = self.road.encoder(config.knowledge, config.form, config.numbers)
        self.encoder.crop = Crop(config.face_model) if config.faces != "none" else None

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def vision_adapter(self) -> list[nn.Parameter]:
        """Those of them that belong to an adapter on what sees, which may have a learning rate of its own."""
        family = self.network.family
        named = self.model.named_parameters()
        return [weight for name, weight in named if "lora_" in name and is_seeing(name, family)]

    def shard(self, mesh: DeviceMesh, low_precision: bool, gathers: bool) -> None:
        """Shares the weights out among processes (FSDP2).

        Args:
            mesh: the processes.
            low_precision: compute in bf16, whatever the weights are kept in.
            gathers: hold all weights during a rollout; else every token gathers them layer by layer.
        """
        fsdp.shard(self, self.network.blocks, ("look", "read", "logps", "rollout"), mesh, low_precision)
        self.gathers = gathers

    def save(self, folder: Path) -> None:
        """Writes the model in the format of its family, to be named as `policy.base`; not for a policy with an adapter."""
        self.network.save(folder)

    # --- log-probabilities ---

    def logps(
        self,
        prompts: Sequence[Prompt],
        ids_NT: Tensor,
        mask_NT: Tensor,
        temperature: float = 1.0,
        entropy_gradient: bool = False,
        read: Read | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of completions, and the entropy at each of their tokens.

        Args:
            prompts: B prompts.
            ids_NT: completions, those of one prompt next to each other.
            mask_NT: 1 for their tokens.
            temperature: of sampling.
            entropy_gradient: whether the entropies carry a gradient, too.
            read: the prompts, if they were read before.

        Returns:
            (N, T) each, in nats, 0 in the padding.
        """
        return self.road.logps(self.config.layout, prompts, ids_NT, mask_NT, temperature, entropy_gradient, read)

    def read(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Read | None]:
        """Reads prompts whose completions will come in parts: what the calls of `logps` for these need of them.

        Returns:
            The last hidden states, (B, D), in which sharded weights see that a backward pass begins; and what was read, None
            where every completion has a prompt of its own, in the layout `rows`.
        """
        return self.road.read(self.config.layout, prompts)

    @torch.no_grad()
    def look(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Prompts on the policy's device, with their images' features unless training changes these.

        Then each pass looks anew: what was seen before an update, or with the weights of the reference, is of no use after it.
        """
        return self.road.look(prompts, again=self.config.trains_tower)

    # --- samples ---

    @torch.no_grad()
    def rollout(
        self,
        prompts: Sequence[Prompt],
        group: int,
        generation: Generation,
        noise_NT: Tensor | None,
        trunk: Trunk | None = None,
        heard: Heard | None = None,
    ) -> Completions:
        """Writes completions.

        Args:
            prompts: B prompts of any lengths.
            group: completions of each.
            generation: length limit and temperature.
            noise_NT: uniform numbers that choose the tokens, (B * group, max_tokens); None for greedy decoding.
            trunk: what earlier batches have read already, if the weights are still the same.
            heard: is told what is there while it is written: after each token, or a few.

        Raises:
            RuntimeError: the policy is in train mode, where checkpointing would silently drop the cache.
        """
        if self.training:
            raise RuntimeError("rollouts need eval mode: call policy.eval() first")
        with fsdp.sampling(self, self.gathers) as anyone, self._adapted():
            written = self.road.write(prompts, group, generation, noise_NT, trunk, self._record, anyone, heard)
        return written.completions()

    def _adapted(self) -> AbstractContextManager[None]:
        """The adapter as it is while tokens are written; as it stands where each token gathers the weights anew."""
        kind = self.network.device.type
        low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        return held(self.model, low or getattr(torch, self.config.dtype)) if self.gathers else nullcontext()

    @property
    def _record(self) -> Record | None:
        """How a token step is recorded; not with shared weights, whose processes have to meet in each layer."""
        return cuda_graph if self.network.device.type == "cuda" and not isinstance(self, FSDPModule) else None

    def tokens_until(self, ids: Tensor, characters: int) -> int:
        """How many of a completion's tokens it takes to write its first `characters` characters.

        The text is decoded, not searched for token ids: how a tag is split into tokens depends on what surrounds it.
        """
        return bisect_left(range(len(ids)), characters, key=lambda count: len(self.network.decode(ids[:count])))

    # --- reference ---

    def keep_reference(self) -> None:
        """Remembers the present trainable weights as the reference policy.

        Of a fresh adapter these are the zeros of its second factors: with them it is the base, whatever the first ones are.
        """
        fsdp.reshard(self)
        weights = self.trainable()
        second = {name: weight for name, weight in weights.items() if "lora_B" in name}
        fresh = bool(second) and all(map(fsdp.is_zero, second.values()))
        kept = second if fresh else weights
        self._reference = {name: fsdp.own_part(weight).detach().to("cpu", copy=True) for name, weight in kept.items()}

    @property
    def has_reference(self) -> bool:
        """Whether weights are remembered."""
        return bool(self._reference)

    @property
    def reference_weights(self) -> dict[str, Tensor]:
        """The remembered weights, for the checkpoint, in the first process; all have to ask together."""
        weights, found = self.trainable(), {}
        for name, part in self._reference.items():
            weight = fsdp.whole(part, weights[name])
            if processes.rank() == 0:
                # Zeros are one number, shown everywhere: that is all of it that a file stores.
                found[name] = weight if weight.any() else weight.new_zeros(()).expand_as(weight)
        return found

    @reference_weights.setter
    def reference_weights(self, weights: dict[str, Tensor]) -> None:
        trained = self.trainable()
        self._reference = {name: fsdp.part_of(weight, trained[name]).clone() for name, weight in weights.items()}

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the policy has the weights this fit started from. For forward passes without gradient.

        The weights are swapped, tensor by tensor: an adapter cannot be merged into 4-bit weights, and switching it off would
        be wrong after a first stage. An adapter's are small and stay where it computes, all others in host memory.
        """
        self._swap_reference()
        try:
            with torch.no_grad():
                yield
        finally:
            self._swap_reference()

    @torch.no_grad()
    def _swap_reference(self) -> None:
        fsdp.reshard(self)
        weights = self.trainable()
        for name, part in self._reference.items():
            placed = part.to(weights[name].device) if self.config.lora else part
            self._reference[name] = fsdp.exchange(weights[name], placed)
        torch.clear_autocast_cache()  # mixed precision keeps a cast copy of every weight, which would outlive the swap


def _without(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): weight for name, weight in weights.items()}
