"""`Network`: a vision-language network that is asked part by part, as all look from outside; `Speaker`: what any has of that.

Decoding, log-probabilities and the dry run need this much of a policy and nothing else. It is no `nn.Module`: the parameters
belong to `Policy`, under names that are stored in every checkpoint, and what FSDP wraps is the policy.

Shapes in names: B prompts, R rows, L their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fea.data.prompt import Prompt, Seen
from fea.model.attention import Visibility
from fea.model.deepstack import Deep
from fea.model.encoding import TAGS, Encoder
from fea.model.families.family import Anatomy, Family
from fea.model.layout import Layout
from fea.model.sampling import Completions
from fea.prompts.answer import Form
from fea.prompts.numbers import Numbers
from fea.prompts.prompt import Knowledge


class Speaker:
    """What writes text: a network with its tokenizer, whatever its family.

    Args:
        family: says where things lie in it.
        model: the whole network.
        tokenizer: of its family; None for a network that only has sizes.
        image_processor: likewise.

    Attributes:
        image_token: id of the image placeholder.
        ends: ids of the tokens that end a completion: those that the base names, and the one that ends a turn.
    """

    def __init__(self, family: Anatomy, model: Any, tokenizer: Any = None, image_processor: Any = None):
        self.family, self.model = family, model
        self.tokenizer, self.image_processor = tokenizer, image_processor
        self.image_token = int(model.config.image_token_id)
        self.ends = [] if tokenizer is None else _ends(family, model, tokenizer)
        self._hidden = set() if tokenizer is None else _hidden(tokenizer)
        self._forbidden = torch.tensor(sorted(self._never_written()))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def forbidden(self) -> Tensor:
        """Ids that are never sampled and have no part in log-probabilities, on the device of the network.

        Allowed is what a text shows, and the ends. So a completion reads as it was written: nothing in it is hidden from
        what judges the text.
        """
        if self._forbidden.device != self.device:
            with torch.inference_mode(False):  # a tensor of the inference mode would be refused in the update
                self._forbidden = self._forbidden.to(self.device)
        return self._forbidden

    def _never_written(self) -> set[int]:
        breaking = {int(getattr(self.model.config, name)) for name in self.family.never_sampled}
        if self.tokenizer is None:
            return breaking
        shown = set(self.tokenizer.get_vocab().values()) - self._hidden
        # The head has more rows than there are tokens: vocabularies are filled up to a round number.
        return set(range(len(self.head.weight))) - shown.union(self.ends) | breaking

    @property
    def head(self) -> nn.Linear:
        """What maps hidden states to the vocabulary."""
        head: nn.Linear = self.model.get_submodule(self.family.head)
        return head

    def save(self, folder: Path) -> None:
        """Writes the model in the format of its family."""
        for part in (self.model, self.tokenizer, self.image_processor):
            part.save_pretrained(folder)

    def decode(self, ids: Tensor) -> str:
        """Text of a completion, without the tokens that are no text: of those only an end is ever written."""
        shown = [token for token in ids.tolist() if token not in self._hidden]
        text: str = self.tokenizer.decode(shown, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def told(self, ids_NT: Tensor, mask_NT: Tensor, logps_NT: Tensor) -> Completions:
        """What was written, cut to the longest completion, with the texts of it."""
        longest = int(mask_NT.sum(dim=1).max())
        # Copies: the update computes gradients with them, which tensors of the inference mode refuse.
        ids, mask, logps = (tensor[:, :longest].clone() for tensor in (ids_NT, mask_NT, logps_NT))
        ends = torch.tensor(self.ends, device=ids.device)
        ended = torch.isin(ids, ends).logical_and(mask.bool()).any(dim=1)
        texts = [self.decode(row[kept]) for row, kept in zip(ids.cpu(), mask.bool().cpu(), strict=True)]
        return Completions(ids, mask, logps, ~ended, texts)


class Network(Speaker):
    """A network of a known family, with what turns texts and images into its input. Arguments are those of `Speaker`."""

    family: Family

    # --- its parts ---

    @property
    def language_model(self) -> Any:
        """The part that reads and writes."""
        return self.model.get_submodule(self.family.language_model)

    @property
    def vision_tower(self) -> Any:
        """The part that sees."""
        return self.model.get_submodule(self.family.vision_tower)

    @property
    def blocks(self) -> list[nn.Module]:
        """The layers of both parts, which make up most of the weights."""
        return [*self.language_model.layers, *getattr(self.vision_tower, self.family.vision_blocks)]

    @property
    def width(self) -> int:
        """Width of the language model, and of a visual token."""
        return int(self.language_model.config.hidden_size)

    @property
    def deepstack(self) -> int:
        """How many of its first layers are given features of the image."""
        name = self.family.deepstack
        return len(getattr(self.vision_tower.config, name)) if name else 0

    # --- what it does ---

    def encoder(self, knowledge: Knowledge, form: Form, numbers: Numbers = ()) -> Encoder:
        """Makes prompts for it."""
        return Encoder(self.family, self.tokenizer, self.image_processor, knowledge, form, numbers)

    def features(self, prompts: Sequence[Prompt]) -> list[Seen]:
        """Features of each prompt's image; no image goes through the tower twice.

        A face that is drawn more often than it is there stands in a batch more than once.
        """
        seen = [prompt.features for prompt in prompts if prompt.features is not None]
        if len(seen) == len(prompts):
            return seen
        shown = [prompt.picture for prompt in prompts]
        images = dict(zip(shown, prompts, strict=True))
        pixels, grids = torch.cat([p.pixels for p in images.values()]), torch.stack([p.grid for p in images.values()])
        of_tower = self.model.model.get_image_features(pixels, grids, return_dict=True)
        layers = of_tower.deepstack_features if self.family.deepstack else []
        features = [Seen(tokens, tuple(deep)) for tokens, *deep in zip(of_tower.pooler_output, *layers, strict=True)]
        of_image = dict(zip(images, features, strict=True))
        return [of_image[image] for image in shown]

    def embed(self, ids: Tensor) -> Tensor:
        """(R, L, width) embeddings of (R, L) token ids."""
        embeddings: Tensor = self.language_model.embed_tokens(ids)
        return embeddings

    def read(self, layout: Layout, features: Sequence[Seen], visibility: Visibility | None) -> Tensor:
        """Puts rows with their images through the language model.

        Args:
            layout: the rows.
            features: of the images of all prompts.
            visibility: who sees whom; None for causal rows.

        Returns:
            Last hidden states, (R * L, width).
        """
        embeddings, where = self.embed(layout.ids), (layout.ids == self.image_token)[..., None]
        shown = [features[image] for image in layout.images]
        tokens = torch.cat([seen.tokens for seen in shown]).to(embeddings.dtype)
        embeddings = embeddings.masked_scatter(where, tokens)
        layers = [torch.cat(layer) for layer in zip(*(seen.layers for seen in shown), strict=True)]
        deep = Deep(where, layers) if layers else None
        return self.attend(embeddings, layout.positions, visibility, deep).flatten(0, 1)

    def attend(
        self, embeddings: Tensor, positions: Tensor, visibility: Visibility | None, deep: Deep | None = None
    ) -> Tensor:
        """Last hidden states, (R, L, width), of (R, L, width) embeddings at (3, R, L) positions.

        Args:
            embeddings: of the tokens, visual ones included.
            positions: of the tokens.
            visibility: as in `read`.
            deep: features that the first layers add; none where no image is read.
        """
        output = self.language_model(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=None,  # rows are causal, or who sees whom is decided by the visibility
            use_cache=False,
            visibility=visibility,
            **({} if deep is None else {"deep": deep}),
        )
        hidden: Tensor = output.last_hidden_state
        return hidden


def _ends(family: Anatomy, model: Any, tokenizer: Any) -> list[int]:
    told = model.generation_config.eos_token_id  # one, several, or none: not every base names any
    named = told if isinstance(told, list) else [] if told is None else [told]
    return list(dict.fromkeys([*named, tokenizer.convert_tokens_to_ids(family.end_token)]))


def _hidden(tokenizer: Any) -> set[int]:
    """Ids of the tokens that are no text: those called special, whatever is a tag of an answer."""
    added = tokenizer.added_tokens_decoder.items()  # the rest of them are ordinary text
    special = {*tokenizer.all_special_ids, *(number for number, token in added if token.special)}
    return special - {number for token, number in tokenizer.get_vocab().items() if token in TAGS}
