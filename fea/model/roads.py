"""The ways by which a policy asks its network: that of the known families, who share their prompts, and the general one.

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion, D width of the network, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from fea.data.prompt import Prompt
from fea.logprobs import token_logps
from fea.model.cache import Trunk
from fea.model.config import LayoutName
from fea.model.decoding import Decoding
from fea.model.encoding import Encoder
from fea.model.layout import lay_out, trunk_of
from fea.model.network import Network
from fea.model.reading import Pass, Read, read_prompts
from fea.model.recorded import Record
from fea.model.sampling import Completions, Generation, Heard
from fea.prompts.answer import Form
from fea.prompts.numbers import Numbers
from fea.prompts.prompt import Knowledge


class Writing(Protocol):
    """A rollout whose tokens are there."""

    def completions(self) -> Completions:
        """What was written, cut to the longest completion, and the texts of it."""


class Road(Protocol):
    """What a `Policy` asks for. Its methods of the same names say what arguments mean and what is returned."""

    def encoder(self, knowledge: Knowledge, form: Form, numbers: Numbers = ()) -> Encoder:
        """Makes prompts for this network."""

    def look(self, prompts: Sequence[Prompt], again: bool) -> list[Prompt]:
        """Prompts on the network's device; with their images' features unless each pass is to look `again`."""

    def read(self, layout: LayoutName, prompts: Sequence[Prompt]) -> tuple[Tensor, Any]:
        """Reads prompts whose completions will come in parts."""

    def logps(
        self,
        layout: LayoutName,
        prompts: Sequence[Prompt],
        ids_NT: Tensor,
        mask_NT: Tensor,
        temperature: float,
        entropy_gradient: bool,
        read: Any,
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of completions and entropies, (N, T) each."""

    def distributions(self, prompt: Prompt, ids_T: Tensor) -> Tensor:
        """(T, V) log-probabilities of all tokens at each place of a completion, none of them forbidden, in fp32."""

    def write(
        self,
        prompts: Sequence[Prompt],
        group: int,
        generation: Generation,
        noise_NT: Tensor | None,
        trunk: Trunk | None,
        record: Record | None,
        anyone: Callable[[bool], bool],
        heard: Heard | None = None,
    ) -> Writing:
        """Writes completions.

        Args:
            prompts: B prompts.
            group: completions of each.
            generation: length limit and temperature.
            noise_NT: numbers that choose the tokens; None for greedy decoding.
            trunk: what earlier batches have read already.
            record: makes one launch of a step.
            anyone: tells whether something holds in any of the processes that write in step.
            heard: is told what is there, now and then.
        """


class Shared:
    """The road of a network that can be asked part by part: completions share their prompt, in the pass and in writing.

    Args:
        network: of a known family, or of another that allows it.
    """

    def __init__(self, network: Network):
        self.network = network

    def encoder(self, knowledge: Knowledge, form: Form, numbers: Numbers = ()) -> Encoder:
        """As in `Road`."""
        return self.network.encoder(knowledge, form, numbers)

    def look(self, prompts: Sequence[Prompt], again: bool) -> list[Prompt]:
        """As in `Road`."""
        placed: list[Prompt] = move_data_to_device(list(prompts), self.network.device)
        if again:
            return placed
        seen = self.network.features(placed)
        return [prompt._replace(features=features) for prompt, features in zip(placed, seen, strict=True)]

    def read(self, layout: LayoutName, prompts: Sequence[Prompt]) -> tuple[Tensor, Read | None]:
        """As in `Road`."""
        network = self.network
        if layout == "rows":
            return torch.empty(0), None
        trunk = trunk_of(prompts, network.image_token) if layout == "tree" else 0
        ends_BD, attention = read_prompts(network, prompts, trunk)
        return ends_BD, Read(ends_BD, attention.let_go())

    def logps(
        self,
        layout: LayoutName,
        prompts: Sequence[Prompt],
        ids_NT: Tensor,
        mask_NT: Tensor,
        temperature: float,
        entropy_gradient: bool,
        read: Read | None,
    ) -> tuple[Tensor, Tensor]:
        """As in `Road`."""
        network = self.network
        ready = Pass(network, layout, prompts, ids_NT, mask_NT, apart=read is not None)
        logps, entropies = token_logps(
            ready.predicting([] if read else network.features(prompts), read),
            network.head.weight,
            ready.layout.targets,
            network.forbidden,
            temperature,
            entropy_gradient=entropy_gradient,
        )
        empty = torch.zeros_like(mask_NT, dtype=torch.float32)
        where = mask_NT.bool()
        return empty.masked_scatter(where, logps), empty.masked_scatter(where, entropies)

    def distributions(self, prompt: Prompt, ids_T: Tensor) -> Tensor:
        """As in `Road`."""
        network = self.network
        layout = lay_out("rows", [prompt], ids_T[None], torch.ones_like(ids_T)[None], network.image_token)
        hidden = network.read(layout, network.features([prompt]), None).index_select(0, layout.scored)
        return F.log_softmax(F.linear(hidden, network.head.weight).float(), dim=-1)

    def write(
        self,
        prompts: Sequence[Prompt],
        group: int,
        generation: Generation,
        noise_NT: Tensor | None,
        trunk: Trunk | None,
        record: Record | None,
        anyone: Callable[[bool], bool],
        heard: Heard | None = None,
    ) -> Decoding:
        """As in `Road`."""
        decoding = Decoding(self.network, prompts, group, generation, noise_NT, trunk or Trunk(), record)
        decoding.run(anyone, heard)
        return decoding
