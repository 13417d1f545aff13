"""How groups become rows of tokens: what is shared stands there once.

A group is one prompt with its completions; it is never split. Three layouts give the same numbers:

    rows    [prompt | c1], [prompt | c2], ...            every completion after its own copy of the prompt
    group   [prompt 1 | prompt 2 | c11 c12 .. | c21 ..]  every prompt once, its completions see it
    tree    [trunk | prompt 1 | prompt 2 | c11 c12 .. ]  and what all prompts begin with once, too

With a single completion of each prompt, as in fine-tuning, the two are one node: [trunk | prompt 1, c1 | prompt 2, c2 | ...].

In the shared layouts a token sees its own node's past and its node's ancestors (`attention.TreeAttention`), and its positions
are those it would have alone: an image starts where the trunk ends, a completion where its own prompt ends. So the
log-probabilities and all gradients are those of `rows`, and a group of G completions of C tokens after a prompt of P costs
P + G C tokens instead of G (P + C).

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion, R rows, L their length.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fea.data.prompt import Prompt
from fea.model.config import LayoutName


class Tree(NamedTuple):
    """Which stretches of the one row are which, in their order.

    Attributes:
        trunk: tokens that all prompts begin with.
        prompts: tokens of each prompt after the trunk.
        completions: by prompt, the tokens of each of its completions.
    """

    trunk: int
    prompts: list[int]
    completions: list[list[int]]


class Layout(NamedTuple):
    """Rows ready for the model, and where their completions are predicted.

    Attributes:
        ids: (R, L) token ids, 0 in the padding.
        positions: (3, R, L) M-RoPE positions.
        images: the prompts whose images the rows show, in order.
        scored: flat index into (R, L) of the position that predicts each completion token, in the order of the mask.
        targets: the tokens predicted there.
        tree: who sees whom; None if every row is by itself.
    """

    ids: Tensor
    positions: Tensor
    images: list[int]
    scored: Tensor
    targets: Tensor
    tree: Tree | None = None


def lay_out(name: LayoutName, prompts: Sequence[Prompt], ids_NT: Tensor, mask_NT: Tensor, image_token: int) -> Layout:
    """Puts groups into rows.

    Args:
        name: of the layout.
        prompts: B prompts.
        ids_NT: completions, those of one prompt next to each other; without any, the prompts stand alone.
        mask_NT: 1 for their tokens; completions are padded on the right.
        image_token: id of the image placeholder.
    """
    if name == "rows":
        return rows(prompts, ids_NT, mask_NT)
    return shared(prompts, ids_NT, mask_NT, trunk_of(prompts, image_token) if name == "tree" else 0)


def rows(prompts: Sequence[Prompt], ids_NT: Tensor, mask_NT: Tensor) -> Layout:
    """One row a completion, padded on the right, where causal attention never looks."""
    group = len(ids_NT) // len(prompts)
    lengths = mask_NT.sum(dim=1).tolist()
    images = [prompt for prompt in range(len(prompts)) for _ in range(group)]
    width = max(len(prompts[b].ids) + length for b, length in zip(images, lengths, strict=True))
    ids = ids_NT.new_zeros(len(ids_NT), width)
    positions = ids_NT.new_zeros(3, len(ids_NT), width)
    scored = []
    for row, (b, length) in enumerate(zip(images, lengths, strict=True)):
        prompt, start = prompts[b], len(prompts[b].ids)
        ids[row, :start], ids[row, start : start + length] = prompt.ids, ids_NT[row, :length]
        positions[:, row, :start] = prompt.positions
        positions[:, row, start : start + length] = next_positions(prompt, length)
        # Completion token t stands at start + t of its row, and is predicted at the place before.
        scored.append(torch.arange(length, device=ids.device) + row * width + start - 1)
    return Layout(ids, positions, images, torch.cat(scored), ids_NT[mask_NT.bool()])


def shared(prompts: Sequence[Prompt], ids_NT: Tensor, mask_NT: Tensor, trunk: int) -> Layout:
    """One row for everything; the first `trunk` tokens of the prompts stand there once.

    The row is made of pieces, each with ids and positions:

        two completions of each prompt                         the only completion of each: the rest of its prompt's node
        0     1         2         3    4    5    6             0     1, 2           3, 4
        trunk prompt 0  prompt 1  c00  c01  c10  c11           trunk prompt 0, c0   prompt 1, c1

    Args:
        prompts: B prompts.
        ids_NT: completions, those of one prompt next to each other; without any, the prompts stand alone.
        mask_NT: 1 for their tokens.
        trunk: tokens that all prompts begin with.
    """
    group, lengths = len(ids_NT) // len(prompts), mask_NT.sum(dim=1).tolist()
    nodes = [(prompts[0].ids[:trunk], prompts[0].positions[:, :trunk])]
    leaves: list[tuple[Tensor, Tensor]] = []
    for b, prompt in enumerate(prompts):
        nodes.append((prompt.ids[trunk:], prompt.positions[:, trunk:]))
        for n in range(b * group, (b + 1) * group):
            leaf = (ids_NT[n, : lengths[n]], next_positions(prompt, lengths[n]).expand(3, -1))
            (nodes if group == 1 else leaves).append(leaf)
    ids, positions = zip(*nodes, *leaves, strict=True)
    prompt_tokens = [len(prompt.ids) - trunk for prompt in prompts]
    return Layout(
        torch.cat(ids)[None],
        torch.cat(positions, dim=1)[:, None],
        list(range(len(prompts))),
        torch.tensor(
            _scored(list(map(len, ids)), lengths, group, leaves=group > 1), dtype=torch.long, device=ids_NT.device
        ),
        ids_NT[mask_NT.bool()],
        _tree(trunk, prompt_tokens, lengths, group),
    )


def behind(prompts: Sequence[Prompt], ids_NT: Tensor, mask_NT: Tensor) -> Layout:
    """Completions without their prompts, in one row: [c11 c12 .. | c21 ..].

    What predicts them is counted from where the last token of each prompt would stand before them:

        end 0  end 1 | c11 c12 .. | c21 ..

    Args:
        prompts: B prompts, which were read before.
        ids_NT: completions, those of one prompt next to each other.
        mask_NT: 1 for their tokens.
    """
    group, lengths = len(ids_NT) // len(prompts), mask_NT.sum(dim=1).tolist()
    positions = [next_positions(prompts[n // group], length) for n, length in enumerate(lengths)]
    ends = [0] + [1] * len(prompts)  # no trunk, and a token of each prompt
    scored = _scored([*ends, *lengths], lengths, group, leaves=True)
    tree = Tree(0, [0] * len(prompts), [lengths[b * group : (b + 1) * group] for b in range(len(prompts))])
    targets = ids_NT[mask_NT.bool()]
    return Layout(
        targets[None],
        torch.cat(positions).expand(3, 1, -1),
        [],
        torch.tensor(scored, dtype=torch.long, device=ids_NT.device),
        targets,
        tree,
    )


def _scored(pieces: Sequence[int], lengths: Sequence[int], group: int, leaves: bool) -> list[int]:
    """Places in the row that predict the completions' tokens.

    The first token follows its prompt, wherever it stands itself; each other one follows the token before it:

        prompt p .. q | .. | c d e        c is predicted at q, d at c, e at d; nothing at e

    Args:
        pieces: tokens of each piece of the row, as in `shared`.
        lengths: tokens of each completion; one without any is predicted nowhere.
        group: completions of each prompt.
        leaves: whether completions are the last pieces; else each follows its prompt, whose only one it is.
    """
    starts = [0, *itertools.accumulate(pieces)]
    first_leaf = len(pieces) - len(lengths)
    places: list[int] = []
    for n, length in enumerate(lengths):
        prompt_at, leaf_at = (1 + n // group, first_leaf + n) if leaves else (1 + 2 * n, 2 + 2 * n)
        end_of_prompt, leaf = starts[prompt_at + 1] - 1, starts[leaf_at]
        places += [end_of_prompt, *range(leaf, leaf + length - 1)][:length]
    return places


def _tree(trunk: int, prompts: list[int], lengths: list[int], group: int) -> Tree:
    """The stretches of the row of `shared`, from the tokens of the prompts behind the trunk and those of the completions."""
    if group == 1:
        return Tree(trunk, [own + length for own, length in zip(prompts, lengths, strict=True)], [[] for _ in prompts])
    return Tree(trunk, prompts, [lengths[b * group : (b + 1) * group] for b in range(len(prompts))])


def trunk_of(prompts: Sequence[Prompt], image_token: int) -> int:
    """How many tokens all prompts begin with; 0 for a single prompt, which shares nothing.

    It ends where the first image begins: placeholders are the same ids whatever the image. Where there is none, it leaves the
    last token of each prompt, which predicts the first one of its completions.
    """
    first, *others = prompts
    same = _before_image(first, image_token) if others else 0
    for prompt in others:
        same = min(same, _before_image(prompt, image_token))
        differs = (first.ids[:same] != prompt.ids[:same]).nonzero()
        same = int(differs[0, 0]) if len(differs) else same
    return same


def _before_image(prompt: Prompt, image_token: int) -> int:
    places = (prompt.ids == image_token).nonzero()
    return int(places[0, 0]) if len(places) else len(prompt.ids) - 1


def next_positions(prompt: Prompt, length: int) -> Tensor:
    """(length,) positions of the tokens that follow a prompt, the same in all three rows."""
    return torch.arange(length, device=prompt.positions.device) + prompt.positions.max() + 1
