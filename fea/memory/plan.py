"""How much memory a run needs, before it starts, and which setting to change where that is too much.

Computed from the numbers of a config, without any weights: activations by a dry run, the rest from the dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from fea.facs import EMOTION_SETS
from fea.memory.dry_run import DryRun, blank_prompts
from fea.model.cache import LONG
from fea.model.config import PolicyConfig
from fea.model.load import count_tokens, skeleton
from fea.model.network import Network
from fea.prompts.prompt import DEFAULT_QUESTION, system_prompt, user_prompt

GIB = 2**30  # bytes; cards are sold by it, under the name of GB
_FRAME = 10  # tokens of the chat format around a text
_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes of a weight in 4 bits, with its doubly quantized scales
# Bytes for each row and word of the vocabulary while a token is chosen: probabilities in several precisions.
_CHOICE = 44
_BLOCK_WIDTHS, _BLOCK_INNER = 13, 4  # numbers for each patch in a block of the vision tower, in widths of its layers
_DEPTHS = (2, 4)  # layers of the dry runs; every further one costs the same
SYSTEM = 1.0 * GIB  # what the driver and the gaps between tensors take on a GPU


@dataclass(frozen=True)
class Setting:
    """What decides how much memory a run needs.

    Attributes:
        policy: the model.
        batch_size: prompts in a rollout, or in a batch of fine-tuning.
        packs: that these are split into.
        minibatches: optimizer steps among these.
        group_size: completions of each; 1 in fine-tuning, where nothing is sampled.
        max_tokens: of a completion, or of an analysis.
        eight_bit: whether the optimizer keeps its moments in 8 bits.
        precision: of the trainer.
    """

    policy: PolicyConfig
    batch_size: int
    packs: int
    minibatches: int
    group_size: int
    max_tokens: int
    eight_bit: bool
    precision: str


class Plan(NamedTuple):
    """Bytes, but for the tokens and the rows.

    Attributes:
        weights: of the whole model, adapter included.
        gradients: of what is trained.
        optimizer: its state.
        rollout: most of what a rollout needs beside these.
        update: most of what the passes over a pack need beside these.
        tokens: in a pack.
        rows: completions that are written together.
        per_row: keys and values of one of them.
    """

    weights: float
    gradients: float
    optimizer: float
    rollout: float
    update: float
    tokens: int
    rows: int
    per_row: float

    @property
    def peak(self) -> float:
        """Most that is there at a time, once the first step is done."""
        return self.weights + self.gradients + self.optimizer + max(self.rollout, self.update)


def plan(setting: Setting) -> Plan:
    """The memory that training needs, with prompts as long as they can get.

    Raises:
        FEAError: the dimensions of the base are not known.
    """
    s, config = setting, setting.policy
    network = skeleton(config)
    model = network.model
    visual = -(-config.max_pixels // network.family.pixels)
    trunk = count_tokens(config, system_prompt(config.knowledge)) + _FRAME
    own = visual + count_tokens(config, user_prompt(DEFAULT_QUESTION, EMOTION_SETS["basic8"])) + _FRAME
    prompts = blank_prompts(s.batch_size, trunk, own, visual)
    pack = prompts[: max(1, s.batch_size // s.packs)]
    ids = torch.full((len(pack) * s.group_size, s.max_tokens), 2)
    update, reading = _by_depth(setting, model, lambda dry: (dry.update(pack, ids), dry.reading(prompts)))

    text, rows = model.config.text_config, s.batch_size * s.group_size
    width = 2 if s.precision == "bf16-mixed" or config.dtype == "bfloat16" else 4
    head = text.hidden_size // text.num_attention_heads
    kept = 2 * text.num_hidden_layers * text.num_key_value_heads * head * width  # keys and values of a token
    read = trunk + s.batch_size * own
    copied = read if trunk >= LONG else s.batch_size * (trunk + own)
    caches = kept * (copied + rows * s.max_tokens)
    writing = caches + max(kept * read, _CHOICE * rows * text.vocab_size)
    patches = network.family.merge**2 * visual * _patch_bytes(model, config, width)
    trained = float(sum(w.numel() * w.element_size() for w in model.parameters() if w.requires_grad))
    unpacked = _unpacked(network, config)
    return Plan(
        weights=_weights(network, config),
        gradients=trained,
        optimizer=trained / 2 if s.eight_bit else 2 * trained,
        rollout=max(reading, writing, s.batch_size * patches) + unpacked if s.group_size > 1 else 0.0,
        update=update + unpacked + len(pack) * patches * config.train_vision,
        tokens=(trunk if config.layout == "tree" else 0) + len(pack) * own + ids.numel(),
        rows=rows,
        per_row=float(kept * s.max_tokens),
    )


def _by_depth(setting: Setting, model: Any, measure: Callable[[DryRun], tuple[int, ...]]) -> list[float]:
    """What a dry run of the whole depth would measure: a straight line through two shallow ones."""
    layers = int(model.config.text_config.num_hidden_layers)
    autocast = setting.precision == "bf16-mixed"
    if layers <= max(_DEPTHS):
        return [float(value) for value in measure(DryRun(setting.policy, layers, autocast))]
    few, more = _DEPTHS
    low, high = (measure(DryRun(setting.policy, depth, autocast)) for depth in _DEPTHS)
    return [a + (b - a) / (more - few) * (layers - few) for a, b in zip(low, high, strict=True)]


def _patch_bytes(model: Any, config: PolicyConfig, width: int) -> float:
    """Of one image patch in the vision tower: its pixels and what a block makes of it; of all blocks if they are trained."""
    vision = model.config.vision_config
    block = (_BLOCK_WIDTHS * vision.hidden_size + _BLOCK_INNER * vision.intermediate_size) * width
    pixels = 4 * vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    if not config.train_vision:
        return float(pixels + block)
    stored = vision.hidden_size * width if config.checkpointing else block
    return float(pixels + vision.depth * stored + block * config.checkpointing)


def _quantized(network: Network) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in network.model.named_modules():
        inside = name.startswith(f"{network.family.language_model}.")
        if isinstance(module, nn.Linear) and inside and "lora_" not in name:
            yield name, module


def _weights(network: Network, config: PolicyConfig) -> float:
    named = network.model.named_parameters()
    sizes = {name: float(weight.numel() * weight.element_size()) for name, weight in named}
    if config.four_bit:
        sizes |= {f"{name}.weight": layer.weight.numel() * _NF4 for name, layer in _quantized(network)}
    return sum(sizes.values())


def _unpacked(network: Network, config: PolicyConfig) -> float:
    """A matrix in 4 bits is unpacked while it is used, one at a time."""
    return max(2.0 * layer.weight.numel() for _, layer in _quantized(network)) if config.four_bit else 0.0
