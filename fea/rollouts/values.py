"""What the code of a reward may return, and the sentence that is told if it returns or raises anything else."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Callable
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fea.data.example import Example
from fea.errors import FEAError
from fea.rollouts.rollout import Rollout
from fea.system.waiting import Late

_LARGEST = torch.finfo(torch.float32).max  # scores are kept in 32 bits
_SHOWN = 100  # characters of a value in a sentence
# Where code lies that is not the user's own: libraries, this package, and what is compiled into Python.
_LIBRARIES = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
_OTHERS = (*(f"{folder}{os.sep}" for folder in (*_LIBRARIES, Path(__file__).parents[1])), "<frozen")


class RewardError(FEAError):
    """A reward returned or raised what it may not. The message names the reward, the value and the face."""


def asked(where: str, example: Example | None, function: Callable[..., Any], *arguments: Any) -> Any:
    """Runs the code of a reward.

    Args:
        where: the reward and its method, at the head of a message.
        example: the face that it is asked about; None for a whole rollout.
        function: that code.
        arguments: what it is given.

    Raises:
        RewardError: it raised something; with the line of the user's own code.
        Late: it took longer than it may.
    """
    try:
        return function(*arguments)
    except (KeyboardInterrupt, Late, RewardError):
        raise
    except BaseException as error:  # SystemExit too: a reward that exits would end the fit without a word
        told = shown(error, str)
        what = f"{type(error).__name__}{told and f' ({told})'} at {_origin(error)}"
        raise RewardError(f"{where} raised {what}{_about(example)}; mend it there") from error


def number(where: str, example: Example, value: object) -> float:
    """A score as a number: NaN for None.

    Raises:
        RewardError: it is something else than a finite number, NaN or None.
    """
    try:
        plain = value.item() if getattr(value, "ndim", None) == 0 else value  # type: ignore[attr-defined]
        if plain is None:
            return float("nan")
        score = float(plain) if isinstance(plain, Real | Decimal) else None
    except Exception:  # whatever the object does that it is
        score = None
    if score is None or abs(score) > _LARGEST:
        raise RewardError(
            f"{where} returned {_described(value)}{_about(example)}; return a finite number, or None where the example says "
            "nothing about the answer"
        )
    return score


def table(where: str, rollout: Rollout, value: object) -> Tensor:
    """The scores of a rollout as (B, G) numbers on the CPU.

    Raises:
        RewardError: they are of another shape, no numbers, or infinite.
    """
    expected = (len(rollout.prompts), rollout.group)
    try:
        scores = torch.as_tensor(value).detach().to_dense().cpu()
        scores = scores if scores.is_complex() else scores.float()
    except Exception as error:
        raise RewardError(f"{where} returned {_described(value)}; return a tensor of shape {expected}") from error
    if scores.shape != expected:
        raise RewardError(f"{where} returned shape {tuple(scores.shape)}, expected {expected}")
    if scores.is_complex():
        raise RewardError(f"{where} returned complex numbers; return a tensor of real ones, of shape {expected}")
    for face, completion in scores.isinf().nonzero().tolist():
        told = f"{float(scores[face, completion])}{_about(rollout.prompts[face].example)}"
        raise RewardError(
            f"{where} returned {told}; return finite numbers, or NaN where the example says nothing about the answer"
        )
    return scores


def shown(value: object, form: Callable[[object], str] = repr) -> str:
    """A value in one short line, whatever it does when it is asked for one."""
    try:
        text = " ".join(form(value).split())
    except Exception:
        return ""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _described(value: object) -> str:
    kind = type(value).__name__
    text = shown(value)
    return text if value is None else f"{text or 'a value'} ({'an' if kind[0] in 'aeiou' else 'a'} {kind})"


def _about(example: Example | None) -> str:
    return f" for the face '{example.id}'" + (f" ({example.place})" if example.place else "") if example else ""


def _origin(error: BaseException) -> str:
    """File and line that raised it; of the last frame that is the user's own, if there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_OTHERS)]
    place = (own or frames)[-1]
    return f"{place.filename}:{place.lineno}"
