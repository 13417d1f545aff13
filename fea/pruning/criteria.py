"""Seven criteria behind one function: how much each layer matters, all asked about the same faces.

    pip            mean over pairs of ||grad (L(x~) - L(x))|| / (||theta|| + eps)        PIP, arXiv 2501.15278; our reading
    bi             1 - mean over tokens of cos(h_in, h_out)                              ShortGPT, arXiv 2403.03853
    cosine_block   mean over faces of arccos(cos(h_in of l, h_in of l + K)) / pi         Gromov et al., arXiv 2403.17887
    perplexity     L without the layer - L                                               SLEB, arXiv 2402.09025
    taylor         mean over faces of sum |grad L * theta|                               Molchanov et al., arXiv 1906.10771
    last           layers from here to the end
    random         uniform numbers of the seed

PIP's abstract and figure say: two views, gradients, their difference. The norm of it by layer, divided by that of the layer's
weights so that large layers are no better off, and the mean over pairs are our reading.

Shapes in names: R rows, L their length, D width of the model, T tokens of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fea.model.policy import Policy
from fea.pruning.calibration import Face
from fea.pruning.dropping import inner, without
from fea.pruning.gradients import Gradients, watching, weight_norm
from fea.pruning.settings import Criterion
from fea.pruning.views import difference, losses_of, mean_loss, pairs_of
from fea.system.progress import progress

EPS = 1e-8  # against a layer whose weights are all 0


class Question(NamedTuple):
    """What is asked about a network.

    Attributes:
        policy: in eval mode.
        faces: the calibration faces.
        going: layers that are to go; the length of a block.
        seed: of edits and of random scores.
        turn: number of the round.
    """

    policy: Policy
    faces: Sequence[Face]
    going: int
    seed: int
    turn: int


def scores(criterion: Criterion, asked: Question) -> dict[int, float]:
    """How much each inner layer matters, by its place; of `cosine_block` the block that begins there.

    Args:
        criterion: which of the seven.
        asked: about which network, on which faces.
    """
    found = _CRITERIA[criterion](asked)
    places = inner(asked.policy.network)
    if criterion == "cosine_block":
        places = range(places.start, places.stop - asked.going + 1)
    return {place: found[place] for place in places}


def _layers(asked: Question) -> list[nn.Module]:
    return list(asked.policy.network.language_model.layers)


def _pip(asked: Question) -> list[float]:
    norms, count = [weight_norm(layer) + EPS for layer in _layers(asked)], 0
    total = [0.0] * len(norms)
    with _measuring(asked) as gradients, progress(len(asked.faces), "faces") as more:
        for pair in pairs_of(asked.policy, asked.faces, asked.seed, asked.turn):
            measured = gradients.of(difference(asked.policy, pair))
            total = [sum_ + m.norm / norm for sum_, m, norm in zip(total, measured, norms, strict=True)]
            count += 1
            more(len(pair.prompts) == 1)  # the first pair of a face
    return [sum_ / count for sum_ in total]


def _taylor(asked: Question) -> list[float]:
    total = [0.0] * len(_layers(asked))
    with _measuring(asked) as gradients:
        for face in asked.faces:
            (loss,) = losses_of(asked.policy, [face.prompt], face.ids[None])
            total = [sum_ + m.products for sum_, m in zip(total, gradients.of(loss), strict=True)]
    return [sum_ / len(asked.faces) for sum_ in total]


@contextmanager
def _measuring(asked: Question) -> Iterator[Gradients]:
    with watching(asked.policy, _layers(asked)) as gradients, torch.enable_grad():
        yield gradients


def _bi(asked: Question) -> list[float]:
    similar, tokens = [0.0] * len(_layers(asked)), 0
    for states in _states(asked):
        cosines = [F.cosine_similarity(h.float(), after.float(), dim=-1) for h, after in pairwise(states)]
        similar = [sum_ + float(cosine.double().sum()) for sum_, cosine in zip(similar, cosines, strict=True)]
        tokens += len(states[0])
    return [1 - sum_ / tokens for sum_ in similar]


def _cosine_block(asked: Question) -> list[float]:
    total = [0.0] * (len(_layers(asked)) + 1 - asked.going)
    for states in _states(asked):
        ends = [h[-1].double() for h in states]
        for start in range(len(total)):
            cosine = F.cosine_similarity(ends[start], ends[start + asked.going], dim=0)
            total[start] += float(cosine.clamp(-1, 1).arccos()) / np.pi
    return [sum_ / len(asked.faces) for sum_ in total]


@torch.no_grad()
def _states(asked: Question) -> Iterator[list[Tensor]]:
    """For each face, prompt and text, what each layer is given, (L, D), and at last what the last one has made of it."""
    found: list[Tensor] = []

    def given(_: nn.Module, args: tuple[Tensor, ...], told: dict[str, Any]) -> None:
        found.append((args[0] if args else told["hidden_states"])[0])

    def made(_: nn.Module, args: Any, out: Any) -> None:
        found.append((out[0] if isinstance(out, tuple) else out)[0])

    layers = _layers(asked)
    hooks = [layer.register_forward_pre_hook(given, with_kwargs=True) for layer in layers]
    hooks.append(layers[-1].register_forward_hook(made))
    try:
        for face in asked.faces:
            found.clear()
            losses_of(asked.policy, [face.prompt], face.ids[None])
            yield list(found)
    finally:
        for hook in hooks:
            hook.remove()


def _perplexity(asked: Question) -> list[float]:
    network, whole = asked.policy.network, mean_loss(asked.policy, asked.faces)
    found = [float("inf")] * len(_layers(asked))
    for place in inner(network):
        with without(network, place):
            found[place] = mean_loss(asked.policy, asked.faces) - whole
    return found


def _last(asked: Question) -> list[float]:
    return [float(left) for left in range(len(_layers(asked)), 0, -1)]


def _random(asked: Question) -> list[float]:
    return list(map(float, np.random.default_rng([asked.seed, asked.turn]).random(len(_layers(asked)))))


_CRITERIA: dict[Criterion, Callable[[Question], list[float]]] = {
    "pip": _pip,
    "bi": _bi,
    "cosine_block": _cosine_block,
    "perplexity": _perplexity,
    "taylor": _taylor,
    "last": _last,
    "random": _random,
}
