"""`fea prune`: a model with fewer layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fea.errors import FEAError
from fea.model.config import Device
from fea.pruning.settings import MEANING, Criterion
from fea.reports.tables import aligned
from fea.system.sets import check_vacant

if TYPE_CHECKING:
    from fea.data.example import Example
    from fea.model.checkpoints import Stored
    from fea.pruning.pruning import Order, Pruned
    from fea.pruning.rounds import Round


def prune(
    run: str,
    data: str,
    *,
    out: str,
    layers: int,
    criterion: Criterion = "pip",
    faces: int = 128,
    image_root: str | None = None,
    base: str | None = None,
    seed: int = 0,
    counterfactual: bool = True,
    four_bit: bool = False,
    max_tokens: int = 256,
    device: Device = "auto",
) -> int:
    """Takes layers out of a language model that hardly matter; an ordinary fit heals what is left.

    Args:
        run: run (folder or checkpoint), base, exported model or adapter of PEFT; an adapter is merged first.
        data: JSONL file with calibration faces; those without an analysis are answered first.
        out: folder for a stock model, which is not there yet, or empty; `--model.policy.base OUT` heals it in a fit.
        layers: how many go; the first and the last one stay, and those that are given features of the image.
        criterion: "pip" takes out what hardly tells a text from a perturbed one; "bi" what changes hidden states least;
            "cosine_block" the block that turns them least; "perplexity" what the loss grows least without; "taylor" the
            least gradient times weight; "last" and "random" are controls.
        faces: how many of the faces are used, with every emotion and unit as often as in the file; 128 to 256 are usual.
        image_root: folder of the images; by default that of the file.
        base: folder or hub name of the model that the run was trained on, if that is no longer where it was.
        seed: of the choice of faces, of edits and of random scores.
        counterfactual: for "pip", compare drawn faces with the same face without a unit, too.
        four_bit: look at the weights in 4 bits, for a small card; what is written is in the type of the base.
        max_tokens: length limit of answers.
        device: "cpu", "cuda" or "auto".

    Returns:
        0.

    Raises:
        FEAError: there is no such run or base, no calibration face, not so many layers, or `out` holds something.
    """
    place, file = Path(out), Path(data)
    _check_numbers(layers=layers, faces=faces, max_tokens=max_tokens, seed=seed)
    check_vacant(place, "pruning.json")
    from fea.model.checkpoints import described
    from fea.model.precision import device_of
    from fea.pruning.pruning import Order
    from fea.pruning.pruning import prune as pruned
    from fea.pruning.starting import check

    where = device_of(device)
    told = described(run, where, base)
    check(run, told, layers)
    some = _faces(file, image_root, told, faces, seed)
    seeing = counterfactual and criterion == "pip"
    order = Order(run, told, criterion, layers, some, seed, max_tokens, four_bit, seeing, where)
    print(_opening(order, file), flush=True)
    print(_closing(order, pruned(order, place, _say), out))
    return 0


def _check_numbers(seed: int, **counts: int) -> None:
    for name, number in counts.items():
        if number < 1:
            raise FEAError(f"{name}: {number}; give at least 1")
    if seed < 0:
        raise FEAError(f"seed: {seed}; give at least 0")


def _faces(file: Path, image_root: str | None, told: Stored, count: int, seed: int) -> list[Example]:
    """The calibration faces of a file."""
    from fea.data.table import open_jsonl
    from fea.pruning.calibration import chosen
    from fea.records.record import Rules

    root = file.parent if image_root is None else Path(image_root)
    table = open_jsonl(file, root, Rules(told.emotions, "unknown", True), "raise")
    return chosen(table, count, seed)


def _opening(order: Order, file: Path) -> str:
    lines = [f"{order.criterion}: {MEANING[order.criterion]}"]
    if order.told.policy.lora:
        lines.append("an adapter is merged into its base first: layers go with what it adds to them")
    own = sum(bool(face.analysis) for face in order.faces)
    rest = "" if own == len(order.faces) else f"; {len(order.faces) - own} without an analysis are answered first"
    return "\n".join([*lines, f"{len(order.faces)} faces of '{file}'{rest}"])


def _say(number: int, found: Round) -> None:
    """A line for what a round came to."""
    left = {layer: score for layer, score in found.scores.items() if layer not in found.dropped}
    gone = ", ".join(
        f"{layer} ({found.scores[layer]:.4g})" if layer in found.scores else f"{layer}" for layer in found.dropped
    )
    least = min(left, key=lambda layer: left[layer], default=None)
    beside = "" if least is None else f"; the least of those that stay: {least} ({left[least]:.4g})"
    print(f"round {number}: layer{'s' * (len(found.dropped) > 1)} {gone} went{beside}", flush=True)


def _closing(order: Order, found: Pruned, out: str) -> str:
    """Numbers before and after, and how to go on."""
    before, after = found.before, found.after
    share, gone = after.parameters / before.parameters, ", ".join(map(str, sorted(found.dropped)))
    rows = [
        ["layers", str(before.layers), str(after.layers)],
        ["parameters, in millions", f"{before.parameters / 1e6:.2f}", f"{after.parameters / 1e6:.2f}"],
        ["loss on these faces, nats a token", f"{before.loss:.4f}", f"{after.loss:.4f}"],
        ["planned peak of healing, GiB", f"{before.peak / 2**30:.2f}", f"{after.peak / 2**30:.2f}"],
        ["tokens a second", f"{before.speed.tokens:.1f}", f"{after.speed.tokens:.1f}"],
        ["time to the first token, ms", f"{1000 * before.speed.first:.1f}", f"{1000 * after.speed.first:.1f}"],
    ]
    seen = [f"{found.views} of the faces were compared with themselves without a unit"] if found.views else []
    return "\n".join(
        [
            *seen,
            aligned(["", "before", "after"], rows),
            f"layers {gone} of '{order.run}' are gone, {share:.1%} of its parameters are left",
            f"written to '{out}', and read back; scores of all layers are in its pruning.json",
            f"measure it: fea test --model {out}      heal it: fea fit --config configs/sft.yaml --model.policy.base {out}",
        ]
    )
