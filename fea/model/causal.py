"""A network whose layers are not known by name, and whose completions share their prompt all the same.

That takes no more than this of it: images are read at the image tokens and nowhere else, and the language model is causal, with
one position a token. Then it can be asked part by part, as the networks of the known families are: what sees, once for each
image, and what reads, once for whatever several completions have in common.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from fea.data.prompt import Prompt, Seen
from fea.model import attention, norm
from fea.model.attention import Visibility
from fea.model.deepstack import Deep
from fea.model.families.family import Family
from fea.model.families.general import General
from fea.model.network import Network
from fea.model.processed import Processed
from fea.model.processor import save_processor
from fea.prompts.answer import Form
from fea.prompts.numbers import Numbers
from fea.prompts.prompt import Knowledge


class Causal(Network):
    """A network that is asked part by part.

    Args:
        general: what is known of it.
        model: the whole network.
        processor: of its base.
    """

    deepstack = 0

    def __init__(self, general: General, model: Any, processor: Any):
        # Of a family it is asked where its parts lie, and what it calls its tokens.
        super().__init__(cast(Family, general), model, processor.tokenizer, processor.image_processor)
        self.processor = processor
        attention.install(model)
        norm.install(self.language_model)
        self._seeing = inspect.signature(model.model.get_image_features).parameters.keys()

    def encoder(self, knowledge: Knowledge, form: Form, numbers: Numbers = ()) -> Processed:
        """As in `Network`."""
        return Processed(cast(General, self.family), self.processor, knowledge, form, numbers)

    def features(self, prompts: Sequence[Prompt]) -> list[Seen]:
        """As in `Network`."""
        seen = [prompt.features for prompt in prompts if prompt.features is not None]
        if len(seen) == len(prompts):
            return seen
        shown = [prompt.picture for prompt in prompts]
        of_image = {image: self._see(prompt) for image, prompt in dict(zip(shown, prompts, strict=True)).items()}
        return [of_image[image] for image in shown]

    def _see(self, prompt: Prompt) -> Seen:
        """What is made of one image: its parts may be as many as they like, and differ from one image to the next."""
        kind, given = self.head.weight.dtype, prompt.given or {}
        asked = {name: x.to(kind) if x.is_floating_point() else x for name, x in given.items() if name in self._seeing}
        parts: Sequence[Tensor] = self.model.model.get_image_features(**asked, return_dict=True).pooler_output
        return Seen(torch.cat([part.flatten(0, -2) for part in parts]))

    def attend(
        self, embeddings: Tensor, positions: Tensor, visibility: Visibility | None, deep: Deep | None = None
    ) -> Tensor:
        """As in `Network`; of the three positions of a token, which are the same, it is given one."""
        output = self.language_model(
            inputs_embeds=embeddings,
            position_ids=positions[0],
            # It has four dimensions, so it passes for one that is ready, and nobody reads it. Without any, a language model
            # would look at the positions for several texts in one row, and a GPU would have to be waited for.
            attention_mask=embeddings.new_zeros(1, 1, 1, 1, dtype=torch.bool),
            use_cache=False,
            visibility=visibility,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def save(self, folder: Path) -> None:
        """Writes the model in the format of its family, with what puts texts and images together."""
        super().save(folder)
        save_processor(self.processor, folder)
