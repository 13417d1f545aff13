"""The vision tower of a family with fewer and larger products; its weights keep their names, and its numbers their values.

By itself it takes patches in by a convolution, for which some kernels are slow, and asks for attention once for each window of
each image. Here patches are one product, and windows of one size one call.

Shapes in names: L patches of all images, H heads, E width of a head; W windows of n patches.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NAME = "fea_windows"  # under which transformers knows `attend`


def install(model: Any, blocks: Iterable[Any]) -> None:
    """Makes the vision tower of a model ask `attend`.

    Args:
        model: the whole network.
        blocks: layers of the tower.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, attend)
    model.set_attn_implementation({"vision_config": _NAME})
    for block in blocks:
        block.attn.register_forward_pre_hook(_as_one, with_kwargs=True)


def multiply_patches(tower: nn.Module) -> None:
    """Makes a product of the convolution that takes patches in: its kernel covers a whole patch, once."""
    for module in tower.modules():
        if isinstance(module, nn.Conv3d):
            module.__class__ = _Patches


class _Patches(nn.Conv3d):
    def forward(self, patches: Tensor) -> Tensor:
        embedded = F.linear(patches.flatten(1), self.weight.flatten(1), self.bias)
        return embedded[..., None, None, None]


def _as_one(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    """Hands all patches to the attention in one piece, and the windows beside them."""
    windows = _windows(options["cu_seqlens"])
    # On the host: the tower turns it into a list of numbers, in each layer.
    whole = torch.tensor([0, len(inputs[0])])
    return inputs, {**options, "cu_seqlens": whole, "windows": windows}


class _Windows(NamedTuple):
    """Windows of one pass, those of one size next to each other.

    Attributes:
        sizes: patches of a window, and how many such windows there are.
        order: (L,) patches in the order of these; None if they are.
        back: its inverse.
    """

    sizes: list[tuple[int, int]]
    order: Tensor | None
    back: Tensor | None


@lru_cache(maxsize=2)  # a pass has two lists, of windows and of whole images; each layer asks for one of them
def _windows(bounds: Tensor) -> _Windows:
    ends = bounds.tolist()
    spans = [range(start, end) for start, end in pairwise(ends) if end > start]
    by_size = sorted(spans, key=len)
    sizes = [(size, len(list(group))) for size, group in groupby(map(len, by_size))]
    if by_size == spans:
        return _Windows(sizes, None, None)
    order = torch.tensor([patch for span in by_size for patch in span], device=bounds.device)
    return _Windows(sizes, order, order.argsort())


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: None = None,
    *,
    windows: _Windows,
    scaling: float,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention within windows in the form that transformers asks for: (1, H, L, E) in, (1, L, H, E) out."""
    parts_LHE = [part[0].transpose(0, 1) for part in (query, key, value)]
    if windows.order is not None:
        parts_LHE = [part.index_select(0, windows.order) for part in parts_LHE]
    split = zip(*(part.split([size * count for size, count in windows.sizes]) for part in parts_LHE), strict=True)
    read = []
    for (size, count), parts in zip(windows.sizes, split, strict=True):
        asking, asked, told = (part.unflatten(0, (count, size)).transpose(1, 2) for part in parts)  # (W, H, n, E)
        read_WHnE = F.scaled_dot_product_attention(asking, asked, told, scale=scaling)
        read.append(read_WHnE.transpose(1, 2).flatten(0, 1))
    read_LHE = torch.cat(read)
    return (read_LHE if windows.back is None else read_LHE.index_select(0, windows.back))[None], None
