"""Keys and values while tokens are written: what completions share is there once.

A row writes one completion. What it sees lies on three levels, each in as many nodes as there are different stretches:

    row 0   [trunk | prompt 0 | own 0]        trunk     1 node, seen by all rows
    row 1   [trunk | prompt 0 | own 1]        prompts   a node for each prompt, seen by its completions
    row 2   [trunk | prompt 1 | own 2]        own       a node for each row

Shapes in names: R rows; M nodes of a level, W rows of the node that has most, n tokens of a node; H query heads, K heads of
keys and values, S = H / K, E width of a head.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fea.data.prompt import Prompt
from fea.logprobs import exact_product
from fea.model.attention import KeysValues, TreeAttention

# Tokens from which on a trunk is a level of its own; a shorter one is copied before each prompt. A level costs two matrix
# products a layer and token, however short it is; copies of so few tokens cost little beside prompts of several hundred.
LONG = 64


class Trunk:
    """What prompts begin with, read once for many batches. Good for as long as the weights stay as they are."""

    def __init__(self) -> None:
        self.ids = torch.empty(0, dtype=torch.long)
        self.layers: list[KeysValues] = []

    @property
    def length(self) -> int:
        """Tokens of it; 0 before the first batch of several prompts."""
        return len(self.ids)

    def begins(self, prompts: Sequence[Prompt]) -> bool:
        """Whether it is known and all prompts begin with it."""
        return self.length > 0 and all(torch.equal(prompt.ids[: self.length], self.ids) for prompt in prompts)

    def fill(self, ids: Tensor, read: TreeAttention) -> None:
        """Remembers the trunk of the first batch; later calls change nothing.

        Args:
            ids: of the trunk.
            read: the pass that read it.
        """
        if not self.length:
            self.ids, self.layers = ids, [(keys[0].clone(), values[0].clone()) for keys, values in read.kept]


class StepAttention:
    """One new token for every row: it sees the trunk, its prompt and what it wrote itself, under one softmax.

    Between two tokens nothing changes but what stands in memory, so that a step can be recorded and repeated: the place of the
    token is a number on the device, and of its own tokens a row looks at more than there are, the further ones unseen.

    Args:
        read: the pass that read the prompts.
        prompt_R: the prompt of each row.
        length: most tokens that a row writes.
        stretch: own tokens by which those that are looked at grow.
        place_1: how many tokens each row has written before the one that is read; read here, counted up by the caller.
    """

    def __init__(self, read: TreeAttention, prompt_R: Tensor, length: int, stretch: int, place_1: Tensor):
        self.prompt_R, self.length, self.stretch, self.place_1 = prompt_R, length, stretch, place_1
        apart = read.tree.trunk >= LONG
        copied = 0 if apart else read.tree.trunk  # tokens of the trunk that stand before each prompt
        self.shared = [_prompts(read, copied, prompt_R.device)]
        if apart:
            self.shared.append(Level([stem[None] for stem, *_ in layer] for layer in read.kept))
        self.own = Level(_room(read, len(prompt_R), length))
        self.own.tokens = min(stretch, length)
        self._seat(written=0)

    def keep(self, rows: Tensor, written: int) -> None:
        """Drops all rows but these, which have written so many tokens that are read."""
        self.prompt_R = self.prompt_R[rows]
        self.own.keep(rows)
        self._seat(written)

    def grows(self, written: int) -> bool:
        """Makes room for the token after so many; whether shapes have changed by it."""
        if written < self.own.tokens:
            return False
        self.own.tokens = min(self.own.tokens + self.stretch, self.length)
        self._hide(written)
        return True

    def _seat(self, written: int) -> None:
        prompts, *trunk = self.shared
        prompts.seat(self.prompt_R)
        for level in trunk:  # none if it is short
            level.seat(torch.zeros_like(self.prompt_R))
        self.own.seat(torch.arange(len(self.prompt_R), device=self.prompt_R.device))
        self._hide(written)

    def _hide(self, written: int) -> None:
        """Hides padding, and own tokens that are not there yet; what is added to the scores is 0 elsewhere, None if nowhere."""
        self.unseen_R1n: Tensor | None = None
        if self.stretch > 1 or self.shared[0].padding_Mn is not None:
            unseen_Rn = [level.unseen_Rn() for level in (*self.shared, self.own)]
            unseen_Rn[-1][:, written:] = -torch.inf
            self.unseen_R1n = torch.cat(unseen_Rn, dim=1)[:, None]

    def see(self) -> None:
        """Lets each row see the token that is read now."""
        if self.unseen_R1n is not None:
            self.unseen_R1n[..., -self.own.tokens :].index_fill_(-1, self.place_1, 0.0)

    def attend(self, layer: int, query_RHE: Tensor, key_RKE: Tensor, value_RKE: Tensor) -> Tensor:
        """As in `attention.Visibility`; the row of tokens is one token of each of the R rows."""
        self.own.put(layer, self.place_1 if self.stretch > 1 else None, key_RKE, value_RKE)
        scale, exact = query_RHE.shape[-1] ** -0.5, query_RHE.dtype == torch.float32
        if exact:  # a query is small beside its scores; one of fewer bits would be rounded by it
            query_RHE = query_RHE * scale
        query_KRSE = query_RHE.unflatten(1, (key_RKE.shape[1], -1)).transpose(0, 1).contiguous()
        # Scores of all levels stand side by side under one softmax; each level sums its values by its part of the shares.
        levels = [*self.shared, self.own]
        scores = [level.scores(layer, query_KRSE) for level in levels]
        scores_KRSn = torch.cat(scores, dim=-1)
        if not exact:
            scores_KRSn *= scale
        if self.unseen_R1n is not None:
            scores_KRSn += self.unseen_R1n
        parts = scores_KRSn.softmax(dim=-1).to(value_RKE.dtype).split([part.shape[-1] for part in scores], dim=-1)
        reads_KRSE = [level.read(layer, part) for level, part in zip(levels, parts, strict=True)]
        return functools.reduce(torch.add, reads_KRSE).to(value_RKE.dtype).transpose(0, 1).flatten(1, 2)


def _prompts(read: TreeAttention, copied: int, device: torch.device) -> Level:
    """The level of the prompts, each behind the first `copied` tokens of the trunk; the shorter ones are padded behind."""

    def joined(trunk: Tensor, *nodes: Tensor) -> Tensor:
        return pad_sequence([torch.cat([trunk[:copied], node]) for node in nodes], batch_first=True)

    layers = ([joined(*part) for part in layer] for layer in read.kept)
    lengths_M = torch.tensor(read.tree.prompts, device=device) + copied
    padding_Mn = torch.arange(int(lengths_M.max()), device=device) >= lengths_M[:, None]
    return Level(layers, padding_Mn if padding_Mn.any() else None)


def _room(read: TreeAttention, rows: int, length: int) -> Iterable[list[Tensor]]:
    """Empty keys and values of what the rows will write; all layers are views of one number until `Level` copies them."""
    zero = read.kept[0][0][0].new_zeros(1, 1, 1, 1)
    return ([zero.expand(rows, length, *stem.shape[1:]) for stem, *_ in layer] for layer in read.kept)


class Level:
    """Keys and values of M nodes, each seen by up to W rows; the rows of a node share one matrix product.

    Heads come first in all shapes, so that the rows of a node lie side by side without being moved.

    Args:
        layers: for each layer, keys and values, (M, n, K, E) each; copied one after the other.
        padding_Mn: True where a node has no token; None if all are full.
    """

    def __init__(self, layers: Iterable[Sequence[Tensor]], padding_Mn: Tensor | None = None):
        self.padding_Mn = padding_Mn
        self.keys_KMEn: list[Tensor] = []  # by layer
        self.values_KMnE: list[Tensor] = []
        for key_MnKE, value_MnKE in layers:
            self.keys_KMEn.append(key_MnKE.permute(2, 0, 3, 1).clone(memory_format=torch.contiguous_format))
            self.values_KMnE.append(value_MnKE.permute(2, 0, 1, 3).clone(memory_format=torch.contiguous_format))
        self.heads, _, self.tokens, _ = self.values_KMnE[0].shape
        self.product = exact_product(self.values_KMnE[0])

    def seat(self, node_R: Tensor) -> None:
        """Gives every row a seat at the node that it sees.

        A batch of matrix products takes the same number of rows from every node. So each node has W slots, W being the rows
        of the node with most; its rows sit in the first of them. `slot_R` and `row_MW` are inverse to each other, but for
        empty slots: these repeat row 0, and nobody reads what comes of it.

            row            0   1   2   3             M = 2 nodes, W = 3 slots a node
            its node       0   1   1   1
            slot_R         0   3   4   5             node * W + number of the row among those of its node
            slot           0   1   2 | 3   4   5
            row_MW         0   -   - | 1   2   3

        Args:
            node_R: the node of each row, ascending.
        """
        nodes = self.keys_KMEn[0].shape[1]
        row_R = torch.arange(len(node_R), device=node_R.device)
        count_M = node_R.bincount(minlength=nodes)
        first_M = count_M.cumsum(0) - count_M  # row with which those of a node begin
        width = int(count_M.max())
        self.slot_R = node_R * width + row_R - first_M[node_R]
        self.row_MW = row_R.new_zeros(nodes * width).index_put((self.slot_R,), row_R)
        self.even = len(self.row_MW) == len(row_R)  # no slot is empty: every row sits in the slot of its own number
        self.node_R = node_R

    def unseen_Rn(self) -> Tensor:
        """What is added to the scores of each row: 0 where it sees a token, -inf where there is none."""
        device = self.node_R.device
        if self.padding_Mn is None:
            return torch.zeros(len(self.node_R), self.tokens, device=device)
        return torch.zeros(self.padding_Mn.shape, device=device).masked_fill(self.padding_Mn, -torch.inf)[self.node_R]

    def keep(self, nodes: Tensor) -> None:
        """Drops all nodes but these; layer by layer, since what is left is there twice while it is copied."""
        for layers in (self.keys_KMEn, self.values_KMnE):
            for layer, part in enumerate(layers):
                layers[layer] = part[:, nodes]

    def put(self, layer: int, place_1: Tensor | None, key_MKE: Tensor, value_MKE: Tensor) -> None:
        """Stores a token of every node at a place; None: it is the last of those that are looked at."""
        keys_KMEn, values_KMnE = self.keys_KMEn[layer], self.values_KMnE[layer]
        key_KME, value_KME = key_MKE.transpose(0, 1), value_MKE.transpose(0, 1)
        if place_1 is None:  # known without asking the device: half the time of a place that is a tensor, on a CPU
            keys_KMEn.select(3, self.tokens - 1).copy_(key_KME)
            values_KMnE.select(2, self.tokens - 1).copy_(value_KME)
        else:
            keys_KMEn.index_copy_(3, place_1, key_KME[..., None])
            values_KMnE.index_copy_(2, place_1, value_KME[:, :, None])

    def scores(self, layer: int, query_KRSE: Tensor) -> Tensor:
        """(K, R, S, n) products of queries with the keys; S heads of queries share each head of keys."""
        return self._times(query_KRSE, self.keys_KMEn[layer].flatten(0, 1)[..., : self.tokens])

    def read(self, layer: int, shares_KRSn: Tensor) -> Tensor:
        """(K, R, S, E) sums of the values, weighted by the shares."""
        return self._times(shares_KRSn, self.values_KMnE[layer].flatten(0, 1)[:, : self.tokens])

    def _times(self, rows_KRSx: Tensor, nodes_Zxy: Tensor) -> Tensor:
        """In fp32, each row times the matrix of its node, (K, R, S, y); Z = K * M.

        rows (K, R, S, x)  ->  seats (K, M * W, S, x)  =  (Z, W * S, x)
                                            times nodes   (Z, x, y)
        rows (K, R, S, y)  <-  seats (K, M * W, S, y)  =  (Z, W * S, y)
        """
        seats = rows_KRSx if self.even else rows_KRSx[:, self.row_MW]
        products = self.product(seats.reshape(len(nodes_Zxy), -1, rows_KRSx.shape[-1]), nodes_Zxy)
        products = products.view(self.heads, -1, rows_KRSx.shape[2], nodes_Zxy.shape[-1])
        return products if self.even else products[:, self.slot_R]
