"""The faces that all criteria look at, and the text that is read about each: its analysis, else what the model itself says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.data.strata import deal
from fea.data.table import Table
from fea.drawn.again import Drawn, recalled
from fea.model.policy import Policy
from fea.model.sampling import Generation
from fea.rollouts.rollout import ask

_MOST = 4096  # faces of a file that are chosen among: dealing labels to two sides takes seconds for so many
_BATCH = 16  # faces that are looked at and answered at a time


class Face(NamedTuple):
    """A calibration face. T tokens.

    Attributes:
        prompt: on the policy's device, its image seen.
        text: that is read about it.
        ids: (T,) of the text, its end included.
        drawing: what its picture was drawn from; None if it is no drawn face, or one without a unit to take away.
    """

    prompt: Prompt
    text: str
    ids: Tensor
    drawing: Drawn | None


def chosen(table: Table, count: int, seed: int) -> list[Example]:
    """So many of the faces, with about the same share of every emotion and of every unit as in the whole file.

    Args:
        table: all faces.
        count: how many are wanted; all, if there are no more.
        seed: of the choice.
    """
    few = np.sort(np.random.default_rng(seed).permutation(len(table))[:_MOST])
    among = [table[number] for number in few.tolist()]
    if len(among) <= count:
        return among
    held = _labels(among)
    kept = np.flatnonzero(deal(held, held, count / len(among), seed))
    # Few faces of many labels cannot hold all shares; then it is a little more or less.
    others = np.setdiff1d(np.random.default_rng(seed).permutation(len(among)), kept, assume_unique=True)
    return [among[number] for number in sorted([*kept.tolist(), *others.tolist()][:count])]


def _labels(examples: Sequence[Example]) -> NDArray[np.int64]:
    """(faces, labels): whether a face has each; the first label is that of all faces."""
    words = sorted({word for example in examples for word in example.labels})
    units = sorted({unit for example in examples for unit in example.present})
    return np.array(
        [[1, *(w in e.labels for w in words), *(u in e.present for u in units)] for e in examples], dtype=np.int64
    )


def read_faces(policy: Policy, examples: Sequence[Example], max_tokens: int, counterfactual: bool) -> list[Face]:
    """Faces with their texts; one without an analysis is answered first, greedily.

    Args:
        policy: in eval mode.
        examples: the faces.
        max_tokens: length limit of an answer.
        counterfactual: whether drawn faces are to be drawn without a unit, too.

    Raises:
        FEAError: an image cannot be read.
    """
    found = []
    for start in range(0, len(examples), _BATCH):
        some = examples[start : start + _BATCH]
        prompts = policy.look([policy.encoder(example) for example in some])
        texts = _texts(policy, prompts, max_tokens)
        for prompt, text in zip(prompts, texts, strict=True):
            drawing = recalled(prompt.example) if counterfactual else None
            drawing = drawing if drawing and drawing.removable(drawing.grades) else None
            found.append(Face(prompt, text, policy.encoder.target(text).to(prompt.ids.device), drawing))
    return found


def _texts(policy: Policy, prompts: Sequence[Prompt], max_tokens: int) -> list[str]:
    known = [policy.encoder.analysis(prompt.example) for prompt in prompts]
    silent = [prompt for prompt, text in zip(prompts, known, strict=True) if text is None]
    said = iter(ask(policy, silent, 1, Generation(max_tokens)).completions.texts if silent else ())
    return [next(said) if text is None else text for text in known]
