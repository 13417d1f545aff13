"""Bytes that follow from the dimensions of a network alone: its weights, what sharding gathers of them, its vision tower."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from fea.memory.setting import Setting
from fea.model.network import Network, Speaker

_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes of a weight in 4 bits, with its doubly quantized scales
_LOW = 2  # bytes of a number in bf16
# Bytes for each patch and width of a frozen tower while a block turns queries and keys, by the bytes of a number: projections
# in that precision, and copies in fp32 of what is turned.
_TURNING = {2: 36, 4: 46}
_BLOCK_WIDTHS, _BLOCK_INNER = 13, 4  # numbers for each patch in a block of a trained tower, in widths of its layers
# Bytes for each patch and width of what a tower with an adapter keeps beside the inputs of its blocks: those of the merger, its
# norm in fp32, and the angles.
_MERGING = {2: 15, 4: 23}


def trained(part: nn.Module) -> float:
    """Of what is trained of a network or a part of it; its gradients take as much."""
    return float(sum(weight.numel() * weight.element_size() for weight in part.parameters() if weight.requires_grad))


def held(network: Speaker, setting: Setting) -> float:
    """Of the whole model, adapter included."""
    named = network.model.named_parameters()
    sizes = {name: float(weight.numel() * weight.element_size()) for name, weight in named}
    if setting.policy.four_bit:
        sizes |= {f"{name}.weight": layer.weight.numel() * _NF4 for name, layer in _quantized(network)}
    return sum(sizes.values())


def unpacked(network: Speaker, setting: Setting) -> float:
    """A matrix in 4 bits is unpacked while it is used, one at a time."""
    matrices = (layer.weight.numel() for _, layer in _quantized(network)) if setting.policy.four_bit else ()
    return float(_LOW * max(matrices, default=0))


def low_copies(network: Network, setting: Setting) -> float:
    """Of what is trained and of the head, cast once for a rollout, so that no token has to; sharded, they are gathered so."""
    if not setting.autocast or setting.spread.sharded:
        return 0.0
    head = network.head.weight
    apart = not head.requires_grad and head.element_size() > _LOW
    return trained(network.model) * _LOW / 4 + head.numel() * _LOW * apart


def gathered_writing(network: Network, setting: Setting) -> float:
    """What a process holds of sharded weights while it writes: all of them, or what a token gathers layer by layer."""
    if not setting.spread.sharded:
        return 0.0
    root, block, blocks = _gathered(network, setting)
    return root + blocks + block if setting.gathers else root + 2 * block


def sharded_update(network: Network, setting: Setting, passes: float) -> float:
    """The passes over a pack with what sharding adds to them.

    What lies outside the blocks is gathered throughout. In the middle of the backward pass there are also a block at work, the
    buffer in which the next one comes, the gradients of the last one in fp32, which are being summed over the processes, and
    those of the head. At its end the gradients outside the blocks are summed.

    Args:
        network: of the policy.
        setting: of the run.
        passes: what they need where nothing is sharded.
    """
    if not setting.spread.sharded:
        return passes
    root, block, _ = _gathered(network, setting)
    summed = [trained(part) for part in network.blocks]
    outside = trained(network.model) - sum(summed)
    head = network.head.weight
    apart = head.requires_grad and head is not network.language_model.embed_tokens.weight
    early = head.numel() * _low(head, setting) * apart
    return root + max(passes + 2 * block + max(summed) + early, 2 * outside)


def _gathered(network: Network, setting: Setting) -> tuple[float, float, float]:
    """Gathered bytes of what lies outside the blocks, of the largest block, and of all blocks."""
    quantized = {layer.weight for _, layer in _quantized(network)} if setting.policy.four_bit else set()

    def size(module: nn.Module) -> float:
        return sum(w.numel() * (_NF4 if w in quantized else _low(w, setting)) for w in module.parameters())

    of_blocks = [size(block) for block in network.blocks]
    return size(network.model) - sum(of_blocks), max(of_blocks), sum(of_blocks)


def _low(weight: Tensor, setting: Setting) -> int:
    """Bytes of a number of a weight in the precision that it is gathered in."""
    return _LOW if setting.autocast else weight.element_size()


def _quantized(network: Speaker) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in network.model.named_modules():
        inside = name.startswith(f"{network.family.language_model}.")
        if isinstance(module, nn.Linear) and inside and "lora_" not in name:
            yield name, module


def pixels(network: Network) -> float:
    """Of a visual token's patches, as they come from the image processor."""
    vision = network.model.config.vision_config
    numbers = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    return float(4 * numbers * network.family.merge**2)


def features(network: Network, setting: Setting) -> float:
    """Of a visual token's features: those in its place, and those that layers of the language model add."""
    return float(network.width * _width(setting) * (1 + network.deepstack))


def looking(network: Network, setting: Setting) -> float:
    """Of a visual token while a frozen tower sees its image: its pixels, joined with others and cast, and a block at work."""
    width = _width(setting)
    turning = _TURNING[width] * _tower(network)[0] * network.family.merge**2
    return pixels(network) * (1.5 if width == _LOW else 1.0) + float(turning)


def tower_update(network: Network, setting: Setting) -> float:
    """Of a visual token in the passes through a tower that is trained: all blocks at once."""
    (own, _), block = _tower(network), _block(network, setting)
    checkpointing = setting.policy.checkpointing
    stored = own * _width(setting) if checkpointing else block
    depth = network.model.config.vision_config.depth
    return pixels(network) + float((depth * stored + block * checkpointing) * network.family.merge**2)


def _tower(network: Network) -> tuple[int, int]:
    """Width of the tower and inner width of its blocks, which every family's config calls otherwise."""
    block = getattr(network.vision_tower, network.family.vision_blocks)[0]
    linear = {name: layer for name, layer in block.named_modules() if isinstance(layer, nn.Linear)}
    inputs = [layer.in_features for name, layer in linear.items() if "lora_" not in name]
    return min(inputs), max(inputs)


def adapted_tower(network: Network, setting: Setting) -> tuple[float, float]:
    """Of a visual token that goes through a tower with an adapter: what is kept for the backward pass, and a block in it."""
    depth, width = network.model.config.vision_config.depth, _width(setting)
    kept = (depth * width + _MERGING[width] * (1 + network.deepstack)) * _tower(network)[0]
    return float(kept * network.family.merge**2), float(_block(network, setting) * network.family.merge**2)


def _block(network: Network, setting: Setting) -> int:
    """What a patch leaves in a block for its backward pass."""
    own, inner = _tower(network)
    return int((_BLOCK_WIDTHS * own + _BLOCK_INNER * inner) * _width(setting))


def _width(setting: Setting) -> int:
    return _LOW if setting.autocast or setting.policy.dtype == "bfloat16" else 4
