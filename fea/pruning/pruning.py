"""The way of a pruning, from a run to a folder that is there only when it has been read back.

    1  the weights of the run as one model, its adapter merged, in a scratch folder
    2  that model looked at: rounds of scores, layers taken out in memory
    3  files without these layers, in a hidden folder beside the right one
    4  the files are read back and give the log-probabilities that were there in memory; the folder gets its name

Everything that is drawn is a function of the seed and of the faces, and rounds are kept beside the folder until it is there: a
pruning that was killed, called again, goes on behind its last round and ends alike.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from fea.data.example import Example
from fea.errors import FEAError
from fea.export.folder import write_beside
from fea.model.checkpoints import Stored
from fea.model.elsewhere import names_one
from fea.model.policy import Policy
from fea.model.precision import computing
from fea.model.runs import find
from fea.pruning.calibration import Face, read_faces
from fea.pruning.journal import Journal
from fea.pruning.measuring import Speed, planned_peak, speed_of
from fea.pruning.rounds import Round, kept_of, rounds_of
from fea.pruning.settings import Criterion
from fea.pruning.starting import looked_at, whole_model
from fea.pruning.views import losses_of, mean_loss
from fea.pruning.writing import parameters, write_pruned
from fea.system.sets import together

REPORT = "pruning.json"  # in the folder: what went, by which scores, and what that changed
_TIMED = 8  # faces whose answers are timed together
_COMPARED = 4  # faces that files and memory are compared on
# The same sums from files as from memory: in fp32 to rounding, in 16 and 4 bits to a step of bf16.
_FP32, _LOW = 1e-4, 2e-2


@dataclass(frozen=True)
class Order:
    """What is to be pruned, and how.

    Attributes:
        run: folder or checkpoint of a run, a base, an exported model or an adapter.
        told: what it says of itself, with its base where it is now.
        criterion: by which layers are chosen.
        layers: that go.
        faces: calibration faces.
        seed: of all that is drawn.
        max_tokens: length limit of answers.
        four_bit: look at the weights in 4 bits even if the run was not trained so.
        counterfactual: compare drawn faces with themselves without a unit, too.
        device: that is computed on.
    """

    run: str
    told: Stored
    criterion: Criterion
    layers: int
    faces: Sequence[Example]
    seed: int
    max_tokens: int
    four_bit: bool
    counterfactual: bool
    device: torch.device


@dataclass(frozen=True)
class Numbers:
    """A model before or after.

    Attributes:
        layers: of its language model.
        parameters: of the whole model.
        loss: on the calibration faces, in nats a token.
        peak: bytes that healing it is planned to need.
        speed: of its answers.
    """

    layers: int
    parameters: int
    loss: float
    peak: float
    speed: Speed


@dataclass(frozen=True)
class Pruned:
    """What came of it.

    Attributes:
        kept: layers that are left, by the numbers they had.
        rounds: in their order.
        before: numbers of the whole model.
        after: of the pruned one, as read back.
        views: calibration faces that were compared with themselves without a unit.
    """

    kept: list[int]
    rounds: list[Round]
    before: Numbers
    after: Numbers
    views: int

    @property
    def dropped(self) -> list[int]:
        """Layers that went, in their order of going."""
        return [layer for told in self.rounds for layer in told.dropped]


def prune(order: Order, out: Path, told: Callable[[int, Round], object]) -> Pruned:
    """Writes a folder with fewer layers.

    Args:
        order: what is to be pruned.
        out: folder that is not there yet, or empty.
        told: called with the number of each round, from 1, and with what came of it.

    Raises:
        FEAError: a base or an image is missing, or what was written reads back otherwise; then
            nothing is at `out`.
    """
    journal = Journal(out, _settings(order))
    with TemporaryDirectory() as scratch, together(out, REPORT) as part:
        whole = whole_model(order.run, order.told, Path(scratch))
        config = looked_at(order.told.policy, whole, order.four_bit)
        policy = Policy(config, {}).eval().to(order.device)
        depth, family = len(policy.network.language_model.layers), policy.network.family
        with computing(order.told.precision, order.device):
            faces = read_faces(policy, order.faces, order.max_tokens, order.counterfactual)
            before = _numbers(order, policy, faces, whole)
            rounds = journal.rounds
            for turn in rounds_of(policy, faces, order.criterion, order.layers, order.seed, rounds):
                journal.add(turn)
                told(len(rounds), turn)
            said, kept = _said(policy, faces), kept_of(depth, rounds)
            write_beside(part, whole, policy.network, order.told, weights=True)
            write_pruned(part, whole, family, kept)
            del policy
            _free()
            policy = Policy(looked_at(order.told.policy, part, order.four_bit), {}).eval().to(order.device)
            _compare(said, _said(policy, faces), _FP32 if config.dtype == "float32" and not config.four_bit else _LOW)
            after = _numbers(order, policy, faces, part)
        found = Pruned(kept, rounds, before, after, sum(face.drawing is not None for face in faces))
        (part / REPORT).write_text(json.dumps(_plain(order, found), indent=2) + "\n", encoding="utf-8")
    journal.close()
    return found


def _settings(order: Order) -> dict[str, Any]:
    """What the rounds depend on, in plain values."""
    weights = None if names_one(order.run) else find(order.run).stat().st_mtime_ns
    faces = "\n".join(f"{face.place} {face.id}" for face in order.faces).encode("utf-8", "surrogatepass")
    return {
        "run": order.run, "base": order.told.policy.base, "checkpoint": weights, "criterion": order.criterion,
        "layers": order.layers, "seed": order.seed, "max_tokens": order.max_tokens, "four_bit": order.four_bit,
        "counterfactual": order.counterfactual, "faces": hashlib.sha256(faces).hexdigest(),
    }  # fmt: skip


def _numbers(order: Order, policy: Policy, faces: Sequence[Face], folder: Path) -> Numbers:
    prompts = [face.prompt for face in faces[:_TIMED]]
    return Numbers(
        len(policy.network.language_model.layers),
        parameters(folder),
        mean_loss(policy, faces),
        planned_peak(order.told.policy, folder, order.told.precision, order.max_tokens),
        speed_of(policy, prompts, order.max_tokens),
    )


@torch.no_grad()
def _said(policy: Policy, faces: Sequence[Face]) -> list[Tensor]:
    """Negative log-likelihoods of the texts about a few faces, which are encoded and looked at anew."""
    few = faces[:_COMPARED]
    prompts = policy.look([policy.encoder(face.prompt.example) for face in few])
    return [losses_of(policy, [p], face.ids[None]).cpu() for p, face in zip(prompts, few, strict=True)]


def _compare(memory: Sequence[Tensor], files: Sequence[Tensor], limit: float) -> None:
    """Holds that what was written is what was chosen."""
    apart = max(float((a - b).abs().max()) for a, b in zip(memory, files, strict=True))
    if not apart <= limit:
        raise FEAError(
            f"read back, the pruned model is {apart:.1e} nats a token from the one in memory, and {limit:.0e} is allowed: "
            "nothing was written: are the files of the base those of its config?"
        )


def _plain(order: Order, found: Pruned) -> dict[str, Any]:
    """As JSON."""
    return {
        "run": order.run,
        "criterion": order.criterion,
        "seed": order.seed,
        "faces": len(order.faces),
        "counterfactual_faces": found.views,
        "dropped": found.dropped,
        "kept": found.kept,
        "rounds": [{"dropped": r.dropped, "scores": {str(k): v for k, v in r.scores.items()}} for r in found.rounds],
        "before": asdict(found.before) | {"speed": found.before.speed._asdict()},
        "after": asdict(found.after) | {"speed": found.after.speed._asdict()},
    }


def _free() -> None:
    """Gives the memory of a network back before the next one is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
