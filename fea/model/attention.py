"""Attention to a shared prefix: every token sees exactly what it would see in a row of its own.

The language model asks for attention through one function, `attend`, which does what a `Visibility` says: `TreeAttention` reads
a whole tree of tokens in one pass, for training and for reading prompts; `fea.model.cache` has the one for writing.

Shapes in names: L tokens of a row, H query heads, K heads of keys and values, E width of a head; C children of a node, n tokens
of each that ask, m tokens that they see.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fea.model.layout import Tree

KeysValues = tuple[Tensor, Tensor]  # (L, K, E) each, of a layer
Nodes = list[list[Tensor]]  # of a layer: the keys, then the values, of the trunk and of each prompt

_NAME = "fea_sdpa"  # under which transformers knows `attend`: for causal rows it is sdpa

# Keys that a kernel takes at a time: so many, or a whole fraction of it. See `_causal` for what comes of an incomplete block.
_BLOCK = 64


class Visibility(Protocol):
    """Who sees whom in one pass of the language model."""

    def attend(self, layer: int, query_LHE: Tensor, key_LKE: Tensor, value_LKE: Tensor) -> Tensor:
        """(L, H, E): what each token of the row reads in a layer."""


def install(model: Any) -> None:
    """Makes the language model of a family ask `attend`.

    Args:
        model: the whole network.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    # Its masks are boolean. Eager attention would read them as numbers, silently.
    AttentionInterface.register(_NAME, partial(attend, stock=AttentionInterface()["sdpa"]))
    AttentionMaskInterface.register(_NAME, AttentionMaskInterface()["sdpa"])
    model.set_attn_implementation({"text_config": _NAME})


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    stock: Any,
    visibility: Visibility | None = None,
    **options: Any,
) -> Any:
    """Attention of one layer in the form that transformers asks for: (1, heads, L, E) in, (1, L, H, E) out."""
    if visibility is None:
        return stock(module, query, key, value, None, **options)  # rows are causal, with their padding behind
    # Under autocast the rotation leaves queries and keys in fp32 beside values in bf16: all are read as the kernels would.
    parts = (part[0].transpose(0, 1).to(value.dtype) for part in (query, key, value))
    return visibility.attend(module.layer_idx, *parts)[None], None


class TreeAttention:
    """One pass over a whole tree, [trunk | prompts | completions], each node once.

    In attention the children of a node stand side by side, each behind the keys of its ancestors; for all the rest of the model
    they follow one another without padding. One call of a kernel reads the children of one node:

        asks     sees
        trunk    itself, causally
        p1 p2    [trunk p1], [trunk p2]                           one call: both are children of the trunk
        c11 c12  [trunk p1 c11], [trunk p1 c12]                   one call for each prompt
        c21      [trunk p2 c21]

    Args:
        tree: the stretches of the row.
        device: of the model.
        trunk: keys and values of the trunk in each layer, if it was read before; the row then begins with the prompts.
        keep: whether to remember the keys and the values of trunk and prompts, in `kept`, for tokens that will follow.
    """

    def __init__(self, tree: Tree, device: torch.device, trunk: Sequence[KeysValues] = (), keep: bool = False):
        self.tree, self.trunk, self.keep = tree, trunk, keep
        self.kept: list[Nodes] = []  # by layer
        self.sizes = [0 if trunk else tree.trunk, sum(tree.prompts), sum(map(sum, tree.completions))]
        self.prompts = _Siblings([tree.prompts], device, followed=any(map(len, tree.completions)) or keep)
        self.completions = _Siblings(tree.completions, device, followed=False)

    def let_go(self) -> list[Nodes]:
        """What was kept. Layers that are computed again in a backward pass keep nothing more."""
        kept, self.kept, self.keep = self.kept, [], False
        return kept

    def attend(self, layer: int, query_LHE: Tensor, key_LKE: Tensor, value_LKE: Tensor) -> Tensor:
        """As in `Visibility`."""
        # Queries, keys and values of each stretch: trunk = (query, key, value) and so on.
        trunk, prompts, completions = zip(*(x.split(self.sizes) for x in (query_LHE, key_LKE, value_LKE)), strict=True)
        stem_key, stem_value = self.trunk[layer] if self.trunk else trunk[1:]
        nodes = [
            [stem, *own.split(self.tree.prompts)] for stem, own in zip((stem_key, stem_value), prompts[1:], strict=True)
        ]
        if self.keep:
            self.kept.append(nodes)
        read = []
        if self.sizes[0]:
            query, key, value = (x[None] for x in trunk)
            read.append(_causal(query, key, value, followed=True)[0])
        read.append(self.prompts.read(prompts, [(stem_key, stem_value)]))
        if self.sizes[2]:
            read.append(self.completions.read(completions, _branches(nodes)))
        return torch.cat(read)


class CompletionAttention:
    """One pass over completions alone, [c11 c12 .. | c21 ..], whose prompts were read before.

    Args:
        completions: by prompt, the tokens of each of its completions.
        device: of the model.

    Attributes:
        kept: keys and values of trunk and prompts, as in `TreeAttention`; to be given before the pass.
    """

    def __init__(self, completions: Sequence[Sequence[int]], device: torch.device):
        self.completions = _Siblings(completions, device, followed=False)
        self.kept: Sequence[Nodes] = ()

    def attend(self, layer: int, query_LHE: Tensor, key_LKE: Tensor, value_LKE: Tensor) -> Tensor:
        """As in `Visibility`."""
        return self.completions.read((query_LHE, key_LKE, value_LKE), _branches(self.kept[layer]))


def _branches(nodes: Nodes) -> list[KeysValues]:
    """By prompt, keys and values of the trunk and its own."""
    (stem_key, *keys), (stem_value, *values) = nodes
    return [
        (torch.cat([stem_key, key]), torch.cat([stem_value, value])) for key, value in zip(keys, values, strict=True)
    ]


class _Siblings:
    """Nodes of one level of the tree, those of one parent next to each other.

    A kernel takes children of one length. So each gets as many slots as the longest child of its parent has tokens, in blocks
    of (children, width). Tokens go to their slots before attention and come back after it. For two parents, whose children
    have 1 and 3 tokens, and 2:

        token            0 | 1 2 3 | 4 5             what the rest of the model sees
        slot             0 1 2 | 3 4 5 | 6 7         blocks of (2, 3) and (1, 2)
        token_of_slot    0 - - | 1 2 3 | 4 5         -: padding, zeros, unseen since it is behind its child
        slot_of_token    0       3 4 5   6 7

    Args:
        lengths: by parent, the tokens of each child.
        device: of the model.
        followed: whether a row of their own would go on after them.
    """

    def __init__(self, lengths: Sequence[Sequence[int]], device: torch.device, followed: bool):
        self.followed = followed
        self.blocks = [(len(children), max(children, default=0)) for children in lengths]
        filled = [i < tokens for children in lengths for tokens in children for i in range(max(children))]
        used = torch.tensor(filled, dtype=torch.bool)  # by slot
        self.padded = not bool(used.all())  # else tokens and slots are the same
        self.slot_of_token = used.nonzero()[:, 0].to(device)
        self.token_of_slot = torch.where(used, used.cumsum(0) - 1, -1).to(device)

    def read(self, parts: Sequence[Tensor], before: Sequence[KeysValues]) -> Tensor:
        """What each token of the level reads.

        Args:
            parts: queries, keys and values of all children, (tokens, heads, E) each.
            before: by parent, keys and values of the parent and all above it.

        Returns:
            (tokens, H, E).
        """
        if self.padded:
            parts = [_gather(part, self.token_of_slot, self.slot_of_token) for part in parts]
        split = (part.split([children * width for children, width in self.blocks]) for part in parts)
        read = []
        for (children, width), seen, *block in zip(self.blocks, before, *split, strict=True):
            query_CnHE, *own_CnKE = (part.unflatten(0, (children, width)) for part in block)
            key_CmKE, value_CmKE = (
                torch.cat([above.expand(children, -1, -1, -1), own], dim=1)
                for above, own in zip(seen, own_CnKE, strict=True)
            )
            read.append(_causal(query_CnHE, key_CmKE, value_CmKE, self.followed).flatten(0, 1))
        whole = torch.cat(read)
        return _gather(whole, self.slot_of_token, self.token_of_slot) if self.padded else whole


def _causal(query_CnHE: Tensor, key_CmKE: Tensor, value_CmKE: Tensor, followed: bool) -> Tensor:
    """Attention to keys that end with the queries' own tokens.

        keys      a a a a b b b . .       a: m - n tokens of ancestors;  b: n of its own;  .: filler, zeros
        query 0   x x x x x               each token sees the ancestors and its own node up to itself
        query 1   x x x x x x
        query 2   x x x x x x x

    Args:
        query_CnHE: of the tokens that ask.
        key_CmKE: of ancestors and own tokens, m >= n.
        value_CmKE: likewise.
        followed: whether more tokens come after these in a row. Then unseen zeros stand for them: a kernel treats an
            incomplete last block by another path, which in bf16 rounds otherwise than it would within a row.

    Returns:
        Like the query.
    """
    new, seen = query_CnHE.shape[1], key_CmKE.shape[1]
    filler = -seen % _BLOCK if followed else 0  # up to the next whole block
    query, key, value = (part.transpose(1, 2) for part in (query_CnHE, key_CmKE, value_CmKE))
    key, value = _filled(key, filler), _filled(value, filler)
    if new == seen:
        query = _filled(query, filler)
        square = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        return square[:, :, :new].transpose(1, 2)
    # The S = H / K heads of queries that share a head of keys are stacked as further queries, S * n of them, so that the keys
    # need no copy for each. All S see alike: the mask of one, S times over.
    sharing = query.shape[1] // key.shape[1]
    visible = torch.ones(new, seen + filler, dtype=torch.bool, device=query.device).tril(seen - new).repeat(sharing, 1)
    stacked = query.unflatten(1, (-1, sharing)).flatten(2, 3)  # (C, K, S * n, E)
    read = F.scaled_dot_product_attention(stacked, key, value, attn_mask=visible)
    apart: Tensor = read.unflatten(2, (sharing, new)).flatten(1, 2)
    return apart.transpose(1, 2)


def _filled(part: Tensor, count: int) -> Tensor:
    """(C, heads, tokens, E) with `count` tokens of zeros behind."""
    return F.pad(part, (0, 0, 0, count)) if count else part  # (0, 0) for E, (0, count) for the tokens


def _gather(rows: Tensor, index: Tensor, back: Tensor) -> Tensor:
    """Picks rows by number, zeros where the number is -1; `back` is the inverse, by which the gradient is picked."""
    picked: Tensor = cast(Any, _Gather).apply(rows, index, back)  # annotated in the newest torch only
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
