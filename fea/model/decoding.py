"""One rollout under way: prompts are read once, then every completion grows token by token.

Keys and values of what completions share are never copied for each: the knowledge that all prompts begin with is there once,
each prompt once, and only what a completion wrote belongs to it alone.

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion, R rows in the model: completions that
are finished are dropped from it now and then; H query heads, K heads of keys and values, E width of a head, S = H / K.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Self, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fea.data.prompt import Prompt
from fea.losses import log_distribution
from fea.model.attention import KeysValues, TreeAttention
from fea.model.layout import Tree, shared, trunk_of
from fea.model.network import Network
from fea.model.sampling import Completions, Generation, choose

_FINISHED = 0.25  # share of finished rows from which on they are dropped
# Tokens from which on a trunk is worth a matrix product of its own; a shorter one is copied before each prompt.
LONG = 64


class Decoding:
    """The state between two tokens. `Policy.rollout` is its public face and documents the arguments."""

    def __init__(
        self,
        network: Network,
        prompts: Sequence[Prompt],
        group: int,
        generation: Generation,
        noise_NT: Tensor | None,
        trunk: Trunk,
    ):
        self.network, self.generation = network, generation
        device = network.device
        self.noise = None if noise_NT is None else noise_NT.to(device)
        self.ends = torch.tensor(network.ends, device=device)
        self.next = torch.tensor([int(p.positions.max()) + 1 for p in prompts], device=device).repeat_interleave(group)
        hidden, read = self._read(prompts, trunk)
        self.hidden = hidden.repeat_interleave(group, dim=0)
        rows, length = len(self.hidden), generation.max_tokens
        self.attention = StepAttention(read, torch.arange(len(prompts), device=device).repeat_interleave(group), length)
        self.rows = torch.arange(rows, device=device)  # (R,) which completion each row is
        self.finished = torch.zeros(rows, dtype=torch.bool, device=device)  # (R,)
        self.written = 0
        self.ids = torch.zeros(rows, length, dtype=torch.long, device=device)
        self.mask = torch.zeros_like(self.ids)
        self.logps = torch.zeros(rows, length, device=device)

    def _read(self, prompts: Sequence[Prompt], trunk: Trunk) -> tuple[Tensor, TreeAttention]:
        """Reads the prompts: the last hidden state of each, (B, width), and keys and values of all."""
        none = prompts[0].ids.new_empty(0, 0)
        known = trunk.length if trunk.begins(prompts) else 0
        layout = shared(prompts, none, none, known or trunk_of(prompts, self.network.image_token))
        tree = cast(Tree, layout.tree)
        layout = layout._replace(ids=layout.ids[:, known:], positions=layout.positions[:, :, known:])
        read = TreeAttention(tree, none.device, trunk.layers if known else (), keep=True)
        hidden = self.network.read(layout, self.network.features(prompts), read)
        trunk.fill(prompts[0].ids[: tree.trunk], read)
        ends = torch.tensor(tree.prompts, device=none.device).cumsum(0) + tree.trunk - known - 1
        return hidden[ends], read

    def run(self, anyone: Callable[[bool], bool]) -> None:
        """Writes until every completion has its end or is full.

        Args:
            anyone: whether this holds in any of the processes that read each token together.
        """
        while True:
            chosen = self._choose()
            if self.written == self.generation.max_tokens or not anyone(not bool(self.finished.all())):
                break
            self._read_token(chosen)

    def _choose(self) -> Tensor:
        """Writes one token a row: (R,)."""
        network, at, running = self.network, self.written, ~self.finished
        log_p = log_distribution(network.head(self.hidden), network.forbidden, self.generation.temperature)
        chosen = choose(log_p, None if self.noise is None else self.noise[self.rows, at])
        self.ids[self.rows, at] = chosen * running
        self.mask[self.rows, at] = running.long()
        self.logps[self.rows, at] = log_p.gather(-1, chosen[:, None])[:, 0] * running
        self.finished = self.finished | torch.isin(chosen, self.ends)
        self.written += 1
        return chosen

    def _read_token(self, chosen: Tensor) -> None:
        at = self.written - 1
        chosen = chosen[self._drop_finished()]
        embeddings = self.network.embed(chosen[None])
        self.hidden = self.network.attend(embeddings, self.next.add(at).expand(3, 1, -1), self.attention.at(at))[0]

    def _drop_finished(self) -> Tensor:
        """Takes finished rows out of the model when they are many; returns the numbers of those that stay, at least one."""
        stay = (~self.finished).nonzero()[:, 0] if not self.finished.all() else self.finished.nonzero()[:1, 0]
        if len(stay) > (1 - _FINISHED) * len(self.finished):
            return torch.arange(len(self.finished), device=stay.device)
        self.attention.keep(stay)
        self.rows, self.finished, self.next = (tensor[stay] for tensor in (self.rows, self.finished, self.next))
        return stay

    def completions(self) -> Completions:
        """What was written."""
        # Copies: the update computes gradients with them, which tensors of the inference mode refuse.
        ids, mask, logps = (tensor[:, : self.written].clone() for tensor in (self.ids, self.mask, self.logps))
        ended = torch.isin(ids, self.ends).logical_and(mask.bool()).any(dim=1)
        texts = [self.network.decode(row[kept]) for row, kept in zip(ids.cpu(), mask.bool().cpu(), strict=True)]
        return Completions(ids, mask, logps, ~ended, texts)


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
        """Remembers what the first batch has read."""
        if not self.length:
            self.ids, self.layers = ids, [(keys[0].clone(), values[0].clone()) for keys, values in read.kept]


class StepAttention:
    """One new token for every row: it sees the trunk, its prompt and what it wrote itself, under one softmax.

    Args:
        read: the pass that read the prompts.
        prompt_R: the prompt of each row.
        length: most tokens that a row writes.
    """

    def __init__(self, read: TreeAttention, prompt_R: Tensor, length: int):
        apart = read.tree.trunk >= LONG
        trunk = ([stem[None] for stem, *_ in layer] for layer in read.kept)
        prompts = (_padded(layer, 0 if apart else None) for layer in read.kept)
        empty = read.kept[0][0][0].new_zeros(1, 1, 1, 1)
        own = ([empty.expand(len(prompt_R), length, *stem.shape[1:]) for stem, *_ in layer] for layer in read.kept)
        lengths = torch.tensor(read.tree.prompts, device=prompt_R.device) + (0 if apart else read.tree.trunk)
        padding = torch.arange(int(lengths.max()), device=prompt_R.device) >= lengths[:, None]
        self.shared = [Level(prompts, padding if padding.any() else None), *([Level(trunk)] if apart else [])]
        self.own = Level(own)
        self.prompt = prompt_R
        self._seat()

    def keep(self, rows: Tensor) -> None:
        """Drops all rows but these."""
        self.prompt = self.prompt[rows]
        self.own.keep(rows)
        self._seat()

    def _seat(self) -> None:
        self.own.seat(torch.arange(len(self.prompt), device=self.prompt.device))
        for level, node in zip(self.shared, [self.prompt, torch.zeros_like(self.prompt)], strict=False):
            level.seat(node)  # there may be no trunk

    def at(self, written: int) -> Self:
        """The same for rows that have written so many tokens before the one to be read."""
        self.own.tokens = written + 1
        return self

    def attend(self, layer: int, query_RHE: Tensor, key_RKE: Tensor, value_RKE: Tensor) -> Tensor:
        """As in `attention.Visibility`; the row of tokens is one token of each of the R rows."""
        self.own.put(layer, key_RKE, value_RKE)
        query = query_RHE.unflatten(1, (key_RKE.shape[1], -1)).transpose(0, 1).contiguous()
        query *= query.shape[-1] ** -0.5
        levels = [*self.shared, self.own]
        scores = [level.scores(layer, query) for level in levels]
        shares = torch.cat(scores, dim=-1).softmax(dim=-1, dtype=torch.float32).to(value_RKE.dtype)
        parts = shares.split([part.shape[-1] for part in scores], dim=-1)
        reads = [level.read(layer, part) for level, part in zip(levels, parts, strict=True)]
        return functools.reduce(torch.add, reads).transpose(0, 1).flatten(1, 2)


def _padded(layer: Sequence[Sequence[Tensor]], stem: int | None) -> list[Tensor]:
    """Keys, and values, of the prompts of a layer, each behind the first tokens of the trunk: (M, n, K, E)."""
    return [
        pad_sequence([torch.cat([trunk[:stem], node]) for node in nodes], batch_first=True) for trunk, *nodes in layer
    ]


class Level:
    """Keys and values of M nodes, each seen by up to W rows; the rows of a node share one matrix product.

    Heads come first in all shapes, so that the rows of a node lie side by side without being moved.

    Args:
        layers: for each layer, keys and values, (M, n, K, E) each; copied one after the other.
        padding: (M, n) True where a node has no token; None if all are full.
    """

    def __init__(self, layers: Iterable[Sequence[Tensor]], padding: Tensor | None = None):
        self.padding = padding
        self.keys: list[Tensor] = []  # (K, M, E, n)
        self.values: list[Tensor] = []  # (K, M, n, E)
        for key, value in layers:
            self.keys.append(key.permute(2, 0, 3, 1).clone(memory_format=torch.contiguous_format))
            self.values.append(value.permute(2, 0, 1, 3).clone(memory_format=torch.contiguous_format))
        self.heads, self.tokens = self.values[0].shape[0], self.values[0].shape[2]

    def seat(self, node_R: Tensor) -> None:
        """Takes note of the node that each row sees; those of a node stand next to each other."""
        count = node_R.bincount(minlength=self.keys[0].shape[1])
        row = torch.arange(len(node_R), device=node_R.device)
        width = int(count.max())
        self.place = node_R * width + row - (count.cumsum(0) - count)[node_R]
        self.rows = row.new_zeros(len(count) * width).index_put((self.place,), row)
        self.even = len(self.rows) == len(row)  # then no row has to be moved
        self.unseen = None if self.padding is None else self.padding[node_R][:, None]

    def keep(self, nodes: Tensor) -> None:
        """Drops all nodes but these."""
        self.keys, self.values = ([part[:, nodes] for part in layers] for layers in (self.keys, self.values))

    def put(self, layer: int, key_MKE: Tensor, value_MKE: Tensor) -> None:
        """Stores the last token of every node."""
        self.keys[layer][..., self.tokens - 1] = key_MKE.transpose(0, 1)
        self.values[layer][:, :, self.tokens - 1] = value_MKE.transpose(0, 1)

    def scores(self, layer: int, query: Tensor) -> Tensor:
        """(K, R, S, n) products of (K, R, S, E) queries with the keys; S heads of queries share each head of keys."""
        products = self._times(query, self.keys[layer].flatten(0, 1)[..., : self.tokens])
        return products if self.unseen is None else products.masked_fill(self.unseen, -torch.inf)

    def read(self, layer: int, shares: Tensor) -> Tensor:
        """(K, R, S, E) sums of the values, weighted by (K, R, S, n)."""
        return self._times(shares, self.values[layer].flatten(0, 1)[:, : self.tokens])

    def _times(self, rows: Tensor, nodes: Tensor) -> Tensor:
        """Each row, (K, R, S, x), times the matrix of its node, (K * M, x, y): (K, R, S, y)."""
        seated = rows if self.even else rows[:, self.rows]
        product = torch.bmm(seated.reshape(len(nodes), -1, rows.shape[-1]), nodes)
        product = product.view(self.heads, -1, rows.shape[2], nodes.shape[-1])
        return product if self.even else product[:, self.place]
