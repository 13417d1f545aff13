"""Prompts are read once; what follows them comes in steps: a rollout's token by token, an update's some completions at a time.

A group of completions that is larger than memory goes through an update in parts. Each is a pass of its own, with a backward
pass of its own, and all of them share the pass over the prompts:

    prompts     read with a graph; its keys, values and ends are cut off from it as leaves
    part 0      loss, backward: down to the weights, and to the leaves
    part 1      likewise; gradients add up
    prompts     one backward pass, with what has added up in the leaves

So nothing is computed twice, and the activations of one part at most are there beside those of the prompts. As the losses of
the parts add up to that of the whole, so do the gradients.

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion; D width of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from fea.data.prompt import Prompt, Seen
from fea.model.attention import CompletionAttention, KeysValues, Nodes, TreeAttention
from fea.model.config import LayoutName
from fea.model.layout import Tree, behind, lay_out, shared
from fea.model.network import Network


def read_prompts(
    network: Network, prompts: Sequence[Prompt], trunk: int, known: Sequence[KeysValues] = ()
) -> tuple[Tensor, TreeAttention]:
    """Reads prompts for tokens that will follow them.

        [trunk | prompt 0 | prompt 1]     what is known of the trunk is not read again: the row begins behind it
                ^ known

    Args:
        network: that reads.
        prompts: B prompts.
        trunk: tokens that all of them begin with.
        known: keys and values of these in each layer, if they were read before.

    Returns:
        The last hidden state of each prompt, (B, D), and the pass with the keys and values of all.
    """
    none, skipped = prompts[0].ids.new_empty(0, 0), trunk if known else 0
    layout = shared(prompts, none, none, trunk)
    tree = cast(Tree, layout.tree)
    layout = layout._replace(ids=layout.ids[:, skipped:], positions=layout.positions[:, :, skipped:])
    read = TreeAttention(tree, none.device, known, keep=True)
    hidden_LD = network.read(layout, network.features(prompts), read)
    ends_B = torch.tensor(tree.prompts, device=none.device).cumsum(0) + trunk - skipped - 1
    return hidden_LD[ends_B], read


class Read:
    """What completions need of prompts that were read.

    Args:
        ends_BD: the last hidden state of each prompt, which predicts the first token of its completions.
        kept: by layer, keys and values of the trunk and of each prompt.
    """

    def __init__(self, ends_BD: Tensor, kept: list[Nodes]):
        self.ends_BD, self.kept = ends_BD, kept

    @property
    def tensors(self) -> list[Tensor]:
        """All of it."""
        return [self.ends_BD, *(node for layer in self.kept for nodes in layer for node in nodes)]


class Pass:
    """A pass over completions, ready to run: where they stand and who sees whom is known before any tensor has a value.

    Args:
        network: that will run it.
        name: of the layout.
        prompts: B prompts.
        ids_NT: completions, those of one prompt next to each other.
        mask_NT: 1 for their tokens.
        apart: whether the prompts were read before, as they can be where completions share them.
    """

    def __init__(
        self,
        network: Network,
        name: LayoutName,
        prompts: Sequence[Prompt],
        ids_NT: Tensor,
        mask_NT: Tensor,
        apart: bool = False,
    ):
        self.network, device = network, ids_NT.device
        image = network.image_token
        self.layout = layout = (
            behind(prompts, ids_NT, mask_NT) if apart else lay_out(name, prompts, ids_NT, mask_NT, image)
        )
        self.tree = None if apart or layout.tree is None else TreeAttention(layout.tree, device)
        self.completions = CompletionAttention(layout.tree.completions, device) if apart and layout.tree else None

    def predicting(self, features: Sequence[Seen], read: Read | None = None) -> Tensor:
        """Hidden states that predict the tokens of the completions, one below the other: the targets of the layout.

        Args:
            features: of the images of all prompts, if these have not been read.
            read: the prompts, if they have.
        """
        if read is None or self.completions is None:
            return self.network.read(self.layout, features, self.tree).index_select(0, self.layout.scored)
        self.completions.kept = read.kept
        embeddings = self.network.embed(self.layout.ids)
        hidden_LD = self.network.attend(embeddings, self.layout.positions, self.completions)[0]
        return torch.cat([read.ends_BD, hidden_LD]).index_select(0, self.layout.scored)


class Leaves:
    """What was read, cut off from its graph for as long as the parts need it.

    Args:
        read: what was read; None where parts have nothing in common.

    Attributes:
        read: the same values, as leaves.
    """

    def __init__(self, read: Read | None):
        self.roots = [] if read is None else read.tensors
        cut = iter(leaves := [root.detach().requires_grad_(root.requires_grad) for root in self.roots])
        self.read = read and Read(next(cut), [[[next(cut) for _ in nodes] for nodes in layer] for layer in read.kept])
        self._leaves, self._sums = leaves, cast(list[Tensor | None], [None] * len(leaves))

    def learn(self, loss: Tensor) -> None:
        """The backward pass of a part.

        Its gradients are added to those of the weights, and, in no less than fp32, to those of the leaves.
        """
        # Inside of autocast a backward pass would round what the forward pass has kept from it.
        with torch.autocast(loss.device.type, enabled=False):
            loss.backward()
        for number, leaf in enumerate(self._leaves):
            if leaf.grad is not None:
                total = self._sums[number]
                exact = leaf.grad.to(torch.promote_types(leaf.dtype, torch.float32))
                self._sums[number] = exact if total is None else total.add_(exact)
                leaf.grad = None

    def joined(self, loss: Tensor, factor: float, weights: Iterable[Tensor]) -> Tensor:
        """A loss whose backward pass is the rest: that through the prompts.

        Args:
            loss: its value, that of all parts together.
            factor: what it was multiplied by before the backward passes of the parts.
            weights: all that are trained. None of them gets more of a gradient by this, but where processes wait for each
                other's gradients, they wait for those of all weights, of the head too, which the prompts do not need.
        """
        found: Tensor = cast(Any, _Joined).apply(loss, factor, self._sums, *self.roots, *weights)
        self.roots, self._leaves, self._sums, self.read = [], [], [], None
        return found


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, factor: float, gradients: list[Tensor | None], *inputs: Tensor) -> Tensor:
        ctx.factor, ctx.gradients, ctx.others = factor, gradients, len(inputs) - len(gradients)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        through = grad / ctx.factor
        gradients, ctx.gradients = ctx.gradients, None
        scaled = [None if part is None else part.mul_(through) for part in gradients]
        return None, None, None, *scaled, *[None] * ctx.others


def parts_of(rows_NT: Tensor, prompts: int, parts: int) -> list[Tensor]:
    """The rows of each part: of every prompt's completions about equally many.

        rows   c11 c12 c13 | c21 c22 c23      in two parts:   c11 c12 | c21 c22   and   c13 | c23

    Args:
        rows_NT: a row for each completion.
        prompts: that these belong to.
        parts: how many, no more than there are completions of a prompt.
    """
    return [part.flatten(0, 1) for part in rows_NT.unflatten(0, (prompts, -1)).tensor_split(parts, dim=1)]


def whole_of(parts: Sequence[Tensor], prompts: int) -> Tensor:
    """The inverse of `parts_of`."""
    return torch.cat([part.unflatten(0, (prompts, -1)) for part in parts], dim=1).flatten(0, 1)
