"""What the update needs of a rollout, and the packs that it is served in.

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from fea.data.loader import Draw
from fea.data.prompt import Prompt
from fea.model.reading import parts_of
from fea.rollouts.rollout import rows_of


class Buffer(NamedTuple):
    """What the update needs of a rollout; a checkpoint inside a rollout holds it.

    Attributes:
        ids: (N, T) sampled token ids.
        mask: (N, T) 1 for the tokens of a completion.
        advantages: (N, T) per token.
        weights: (N, T) of each token in the loss of its optimizer step.
        sampled_logps: (N, T) as seen while sampling.
        old_logps: (N, T) of the sampling policy, recomputed; None if the first step is the only one and they are its own.
        ref_logps: (N, T) of the reference policy; None without a KL term.
        packs: for each pack, the numbers of its groups.
        signal: for each pack, whether any token of its optimizer step, on any process, has a weight and something to learn.
        metrics: what the rollout has to report.
        filled: by number of a group, the draw that fills it up in place of the prompt of the batch.

    Example: two prompts with two completions each, in two packs that are one optimizer step. The second prompt's completions
    scored the same, so that they teach nothing, and no group is in its pack.

        >>> import torch
        >>> mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 1, 1]])
        >>> buffer = Buffer(
        ...     ids=torch.tensor([[11, 12, 2], [13, 2, 0], [14, 2, 0], [11, 15, 16]]),
        ...     mask=mask,
        ...     advantages=torch.tensor([[0.7], [-0.7], [0.0], [0.0]]) * mask,
        ...     weights=mask / mask.sum(dim=1, keepdim=True) / 4,
        ...     sampled_logps=torch.tensor([[-0.7, -0.1, -0.2], [-1.6, -0.3, 0.0], [-0.9, -0.4, 0.0], [-0.7, -2.3, -1.2]]),
        ...     old_logps=None,
        ...     ref_logps=None,
        ...     packs=[[0], []],
        ...     signal=[True, True],
        ...     metrics={"reward/total": 2.25},
        ...     filled={},
        ... )
        >>> prompts = ["prompt 0", "prompt 1"]  # in place of two `Prompt`
        >>> buffer.pack(0, prompts).ids
        tensor([[11, 12,  2],
                [13,  2,  0]])
        >>> empty = buffer.pack(1, prompts)  # a stand-in that weighs nothing
        >>> empty.prompts, float(empty.weights.sum())
        (['prompt 0'], 0.0)
    """

    ids: Tensor
    mask: Tensor
    advantages: Tensor
    weights: Tensor
    sampled_logps: Tensor
    old_logps: Tensor | None
    ref_logps: Tensor | None
    packs: list[list[int]]
    signal: list[bool]
    metrics: dict[str, float]
    filled: dict[int, Draw]

    def pack(self, number: int, prompts: Sequence[Prompt]) -> Pack:
        """One pack with its prompts, cut to its longest completion.

        A pack without groups is given one with weight 0: every process runs the same number of forward passes.

        Args:
            number: of the pack, from 0 up.
            prompts: all B of the rollout.
        """
        group = len(self.ids) // len(prompts)
        groups = self.packs[number] or [0]
        rows = rows_of(groups, group, self.ids.device)
        used = int(self.mask[rows].sum(dim=1).max())  # tokens; only padding is behind them

        def part(tensor: Tensor) -> Tensor:
            return tensor[rows, :used]

        return Pack(
            prompts=[prompts[g] for g in groups],
            ids=part(self.ids),
            mask=part(self.mask),
            advantages=part(self.advantages),
            weights=part(self.weights) * bool(self.packs[number]),
            sampled_logps=part(self.sampled_logps),
            old_logps=None if self.old_logps is None else part(self.old_logps),
            ref_logps=None if self.ref_logps is None else part(self.ref_logps),
            signal=self.signal[number],
            metrics=self.metrics,
            replay=[],
        )


class Pack(NamedTuple):
    """Whole groups that go through the model together; the fields are those of `Buffer`.

    Attributes:
        replay: analyses to learn from as well.
    """

    prompts: list[Prompt]
    ids: Tensor
    mask: Tensor
    advantages: Tensor
    weights: Tensor
    sampled_logps: Tensor
    old_logps: Tensor | None
    ref_logps: Tensor | None
    signal: bool
    metrics: dict[str, float]
    replay: list[Prompt]

    def old(self, logps: Tensor) -> Tensor:
        """(N, T) under the policy that sampled, as training computes it; with a single step a rollout, the update's own."""
        return logps.detach() if self.old_logps is None else self.old_logps

    def parts(self, count: int) -> list[Pack]:
        """The same groups with some of their completions in each, as in `reading.parts_of`."""
        fields = {name: value for name, value in self._asdict().items() if isinstance(value, Tensor)}
        split = [parts_of(rows, len(self.prompts), count) for rows in fields.values()]
        return [self._replace(**dict(zip(fields, own, strict=True))) for own in zip(*split, strict=True)]
