"""`Policy`: the vision-language model under training. All samples and all log-probabilities come from here.

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from fea import fsdp
from fea.attention import Plan, TreeAttention
from fea.backbone import load
from fea.config import PolicyConfig
from fea.data.encoding import Encoder, Prompt
from fea.decoding import Decoding, Trunk
from fea.layout import Layout, lay_out
from fea.losses import token_logps
from fea.sampling import Completions, Generation


class Policy(nn.Module):
    """A Qwen2.5-VL with or without an adapter.

    Args:
        config: what to build.
        start: weights to begin from, by name; empty for the base's own.

    Raises:
        FEAError: the config contradicts itself, or the base or the weights do not fit.
    """

    def __init__(self, config: PolicyConfig, start: Mapping[str, Tensor]):
        super().__init__()
        self.config, self.gathers = config, True
        self.model, self.tokenizer, self.image_processor = load(config, _without("model.", start))
        family, generation = self.model.config, self.model.generation_config
        self.image_token = int(family.image_token_id)
        ends = generation.eos_token_id
        self.ends: list[int] = ends if isinstance(ends, list) else [ends]
        # Sampled as text, these would break the next forward pass.
        vision = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
        self.register_buffer("forbidden", torch.tensor([getattr(family, name) for name in vision]), persistent=False)
        self.forbidden: Tensor
        self._reference: dict[str, Tensor] = {}
        self.encoder = Encoder(
            self.tokenizer,
            self.image_processor,
            self.tokenizer.chat_template,
            self.image_token,
            self.tokenizer.convert_tokens_to_ids("<|im_end|>"),
            config.knowledge,
        )

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def shard(self, mesh: DeviceMesh, low_precision: bool, gathers: bool) -> None:
        """Shares the weights out among processes (FSDP2).

        Args:
            mesh: the processes.
            low_precision: compute in bf16, whatever the weights are kept in.
            gathers: hold all weights during a rollout; else every token gathers them layer by layer.
        """
        blocks = [*self.language_model.layers, *cast(Any, self.vision_tower).blocks]
        fsdp.shard(self, blocks, ("look", "logps", "rollout"), mesh, low_precision)
        self.gathers = gathers

    def save(self, folder: Path) -> None:
        """Writes the model in the format of its family, to be named as `policy.base`; not for a policy with an adapter."""
        for part in (self.model, self.tokenizer, self.image_processor):
            part.save_pretrained(folder)

    # --- log-probabilities ---

    def logps(
        self, prompts: Sequence[Prompt], ids_NT: Tensor, mask_NT: Tensor, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of completions, and the entropy at each of their tokens.

        Args:
            prompts: B prompts.
            ids_NT: completions, those of one prompt next to each other.
            mask_NT: 1 for their tokens.
            temperature: of sampling.

        Returns:
            (N, T) each, in nats, 0 in the padding.
        """
        layout = lay_out(self.config.layout, prompts, ids_NT, mask_NT, self.image_token)
        plan = None if layout.tree is None else TreeAttention(layout.tree, self.forbidden.device)
        hidden = self.read(layout, self.image_features(prompts), plan).index_select(0, layout.scored)
        logps, entropies = token_logps(hidden, self.model.lm_head.weight, layout.targets, self.forbidden, temperature)
        empty = torch.zeros_like(mask_NT, dtype=torch.float32)
        where = mask_NT.bool()
        return empty.masked_scatter(where, logps), empty.masked_scatter(where, entropies)

    @property
    def language_model(self) -> Any:
        """The part that reads and writes."""
        return self.model.model.language_model

    @property
    def vision_tower(self) -> nn.Module:
        """The part that sees."""
        tower: nn.Module = self.model.model.visual
        return tower

    @property
    def width(self) -> int:
        """Width of the language model, and of a visual token."""
        return int(self.language_model.config.hidden_size)

    def image_features(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """Features of each prompt's image, (visual tokens, width); no image goes through the tower twice."""
        seen = [prompt.features for prompt in prompts if prompt.features is not None]
        if len(seen) == len(prompts):
            return seen
        pixels, grids = torch.cat([p.pixels for p in prompts]), torch.stack([p.grid for p in prompts])
        return list(self.model.model.get_image_features(pixels, grids, return_dict=True).pooler_output)

    @torch.no_grad()
    def look(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Prompts with their images' features, unless the vision tower is under training."""
        if self.config.train_vision:
            return list(prompts)
        return [
            prompt._replace(features=features)
            for prompt, features in zip(prompts, self.image_features(prompts), strict=True)
        ]

    def read(self, layout: Layout, features: Sequence[Tensor], plan: Plan | None) -> Tensor:
        """Puts rows with their images through the language model.

        Args:
            layout: the rows.
            features: of the images of all prompts.
            plan: who sees whom; None for causal rows.

        Returns:
            Last hidden states, (R * L, width).
        """
        embeddings = self.language_model.embed_tokens(layout.ids)
        shown = torch.cat([features[image] for image in layout.images]).to(embeddings.dtype)
        embeddings = embeddings.masked_scatter((layout.ids == self.image_token)[..., None], shown)
        return self.attend(embeddings, layout.positions, plan).flatten(0, 1)

    def attend(self, embeddings: Tensor, positions: Tensor, plan: Plan | None) -> Tensor:
        """Last hidden states, (R, L, width), of (R, L, width) embeddings at (3, R, L) positions."""
        output = self.language_model(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=None if plan is None else {"full_attention": None},  # the plan decides
            use_cache=False,
            plan=plan,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    # --- samples ---

    @torch.no_grad()
    def rollout(
        self,
        prompts: Sequence[Prompt],
        group: int,
        generation: Generation,
        noise_NT: Tensor | None,
        trunk: Trunk | None = None,
    ) -> Completions:
        """Writes completions.

        Args:
            prompts: B prompts of any lengths.
            group: completions of each.
            generation: length limit and temperature.
            noise_NT: uniform numbers that choose the tokens, (B * group, max_tokens); None for greedy decoding.
            trunk: what earlier batches have read already, if the weights are still the same.

        Raises:
            RuntimeError: the policy is in train mode, where checkpointing would silently drop the cache.
        """
        if self.training:
            raise RuntimeError("rollouts need eval mode: call policy.eval() first")
        with fsdp.sampling(self, self.gathers) as anyone:
            decoding = Decoding(self, prompts, group, generation, noise_NT, trunk or Trunk())
            decoding.run(anyone)
        return decoding.completions()

    def tokens_until(self, ids: Tensor, characters: int) -> int:
        """How many of a completion's tokens it takes to write its first `characters` characters.

        The text is decoded, not searched for token ids: how a tag is split into tokens depends on what surrounds it.
        """
        return bisect_left(range(len(ids)), characters, key=lambda count: len(self.decode(ids[:count])))

    def decode(self, ids: Tensor) -> str:
        """Text of a completion, without special tokens."""
        text: str = self.tokenizer.decode(ids.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    # --- reference ---

    def keep_reference(self) -> None:
        """Remembers the present trainable weights as the reference policy, in host memory."""
        fsdp.reshard(self)
        self._reference = {
            name: fsdp.own_part(parameter).detach().to("cpu", copy=True) for name, parameter in self.trainable().items()
        }

    @property
    def reference_weights(self) -> dict[str, Tensor]:
        """The remembered weights, for the checkpoint; empty if there are none."""
        return {name: fsdp.whole(part, self.trainable()[name]) for name, part in self._reference.items()}

    @reference_weights.setter
    def reference_weights(self, weights: dict[str, Tensor]) -> None:
        self._reference = {name: fsdp.part_of(weight, self.trainable()[name]) for name, weight in weights.items()}

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the policy has the weights this fit started from. For forward passes without gradient.

        The weights are swapped in place, tensor by tensor: an adapter cannot be merged into 4-bit weights, and switching it
        off would be wrong after a first stage.
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
        for name, parameter in self.trainable().items():
            weight = fsdp.own_part(parameter)
            present = weight.to("cpu", copy=True)
            weight.copy_(self._reference[name])
            self._reference[name] = present
        torch.clear_autocast_cache()  # mixed precision keeps a cast copy of every weight, which would outlive the swap


def _without(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): weight for name, weight in weights.items()}
