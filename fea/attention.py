"""Attention to a shared prefix: every token sees exactly what it would see in a row of its own.

The language model asks for attention through one function, `attend`. Given a plan it does what the plan says: `TreeAttention`
reads a whole tree of tokens in one pass, for training and for reading prompts; `fea.decoding` has the one for writing.

Shapes in names: L tokens of a row, H query heads, K heads of keys and values, E width of a head; G completions of a prompt.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from fea.layout import Tree


class Plan(Protocol):
    """Who sees whom in one pass of the language model."""

    def attend(self, layer: int, query_LHE: Tensor, key_LKE: Tensor, value_LKE: Tensor) -> Tensor:
        """(L, H, E): what each token of the row reads in a layer."""


def install(model: Any, stock: str) -> None:
    """Makes the language model of a family ask `attend`.

    Args:
        model: the whole network.
        stock: attention of rows without a plan.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    name = f"fea_{stock}"
    AttentionInterface.register(name, partial(attend, stock=AttentionInterface()[stock]))
    AttentionMaskInterface.register(name, AttentionMaskInterface()[stock])
    model.set_attn_implementation({"text_config": name})


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    stock: Any,
    plan: Plan | None = None,
    **options: Any,
) -> Any:
    """Attention of one layer in the form that transformers asks for: (1, heads, L, E) in, (1, L, H, E) out."""
    if plan is None:
        return stock(module, query, key, value, mask, **options)
    parts = (part[0].transpose(0, 1) for part in (query, key, value))
    return plan.attend(module.layer_idx, *parts)[None], None


class TreeAttention:
    """One pass over a whole tree, [trunk | prompts | completions], each node once.

    In attention the completions of a prompt stand side by side, each behind its ancestors' keys; for all the rest of the
    model they follow one another without padding.

    Args:
        tree: the stretches of the row.
        device: of the model.
        keep: whether to remember keys and values, in `kept`, for tokens that will follow.
    """

    def __init__(self, tree: Tree, device: torch.device, keep: bool = False):
        self.tree, self.keep = tree, keep
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.sizes = [tree.trunk, *tree.prompts, sum(map(sum, tree.completions))]
        self.blocks = [(len(lengths), max(lengths, default=0)) for lengths in tree.completions]
        used = [i < length for lengths in tree.completions for length in lengths for i in range(max(lengths))]
        slots = torch.tensor(used, dtype=torch.bool)
        self.slot_of_token = slots.nonzero()[:, 0].to(device)
        self.token_of_slot = torch.where(slots, slots.cumsum(0) - 1, -1).to(device)

    def attend(self, layer: int, query_LHE: Tensor, key_LKE: Tensor, value_LKE: Tensor) -> Tensor:
        """As in `Plan`."""
        if self.keep:
            self.kept.append((key_LKE, value_LKE))
        split = (part.split(self.sizes) for part in (query_LHE, key_LKE, value_LKE))
        trunk, *prompts, completions = zip(*split, strict=True)
        read = [_causal(*(part[None] for part in trunk))] if self.tree.trunk else []
        before = []
        for query, *own in prompts:
            before.append([torch.cat(pair) for pair in zip(trunk[1:], own, strict=True)])
            read.append(_causal(query[None], *(part[None] for part in before[-1])))
        return torch.cat([*(part[0] for part in read), self._completions(completions, before)])

    def _completions(self, parts: tuple[Tensor, ...], before: list[list[Tensor]]) -> Tensor:
        """Reads of all completions, given for each prompt the keys and values of their ancestors."""
        if not self.tree.completions or not len(parts[0]):
            return parts[0]
        sizes = [group * width for group, width in self.blocks]
        padded = (_gather(part, self.token_of_slot, self.slot_of_token).split(sizes) for part in parts)
        read = []
        for (group, width), seen, *block in zip(self.blocks, before, *padded, strict=True):
            query, *own = (part.unflatten(0, (group, width)) for part in block)
            keys_values = [
                torch.cat([part.expand(group, -1, -1, -1), mine], dim=1) for part, mine in zip(seen, own, strict=True)
            ]
            read.append(_causal(query, *keys_values).flatten(0, 1))
        return _gather(torch.cat(read), self.slot_of_token, self.token_of_slot)


def _causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention to keys that end with the queries' own tokens.

    Args:
        query: (G, n, H, E).
        key: (G, m, K, E), m >= n.
        value: like `key`.

    Returns:
        Like `query`.
    """
    new, seen = query.shape[1], key.shape[1]
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    if new == seen:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True).transpose(1, 2)
    # Heads that share their keys are stacked as further queries: the keys need no copy for each.
    sharing = query.shape[1] // key.shape[1]
    visible = torch.ones(new, seen, dtype=torch.bool, device=query.device).tril(seen - new).repeat(sharing, 1)
    stacked = query.unflatten(1, (-1, sharing)).flatten(2, 3)
    read = F.scaled_dot_product_attention(stacked, key, value, attn_mask=visible)
    apart: Tensor = read.unflatten(2, (sharing, new)).flatten(1, 2)
    return apart.transpose(1, 2)


def _gather(rows: Tensor, index: Tensor, back: Tensor) -> Tensor:
    """Picks rows by number, zeros where the number is -1; `back` is the inverse, by which the gradient is picked."""
    picked: Tensor = _Gather.apply(rows, index, back)  # type: ignore[no-untyped-call]
    return picked


class _Gather(torch.autograd.Function):
    # Autograd's own gradient of indexing adds up, which is slow and on a GPU not reproducible; here no row has two places.

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return _pick(rows, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _pick(grad, ctx.saved_tensors[0]), None, None


def _pick(rows: Tensor, index: Tensor) -> Tensor:
    return rows[index.clamp(min=0)].masked_fill((index < 0)[:, None, None], 0)
