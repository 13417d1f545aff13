"""The way of an export: the run answers, its files are written, they are read back and compared, and only then are they there.

    1  the run answers, in its own precision and on its own base
    2  the same weights in fp32 on the unquantized base: log-probabilities of these answers, and greedy answers
    3  files, in a hidden folder beside the right one
    4  the files are read by the libraries that others will read them with, and asked the same
    5  a card with the gap; the folder gets its name

One network is in memory at a time.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from fea.data.example import Example
from fea.errors import FEAError
from fea.export.adapter import Update, updates_of, write_peft
from fea.export.asked import Asked, Heard, answered, asked_of, heard
from fea.export.card import CARD
from fea.export.compared import Closer, Compared
from fea.export.folder import base_folder, copy_settings, write_beside
from fea.export.formats import Format
from fea.export.gap import Gap, Limits, along_own, check, fault, gap_of
from fea.export.gguf import check_gguf, write_gguf
from fea.export.llama import Asking, Llama
from fea.export.merged import Trained, dtype_of, write_merged
from fea.export.naming import tied_names
from fea.export.quirks import as_llama_computes
from fea.export.reading import read_merged, read_peft
from fea.model.checkpoints import Stored, load_policy, weights
from fea.model.config import Device, PolicyConfig
from fea.model.encoding import Encoder
from fea.model.load import is_known
from fea.model.policy import Policy
from fea.rollouts.rollout import Rollout
from fea.system.sets import together

# The same sums in fp32 in another order differ by some 1e-6 nats, by nearly 1e-5 with dozens of layers; a merged weight is
# rounded once more. A lost adapter is 1e-1 and more.
_FP32 = {"merged": 1e-4, "peft": 1e-5, "gguf": 5e-3}  # llama.cpp looks activations up in 16 bits
_SHARE = 0.1  # of what training changed, which may be lost where a base in 16 bits makes merged weights be rounded


@dataclass(frozen=True)
class Order:
    """What is to be exported, and how.

    Attributes:
        run: folder or checkpoint of a run.
        told: what its checkpoint says, with its base where it is now.
        format: of the export.
        base_name: what others call the base.
        base_near: where it lies as seen from the export; "" if that is not to be told.
        faces: that the run is asked about.
        compared: how many of them, the first ones, its export is asked about, too.
        max_tokens: length limit of an answer.
        device: that answers are computed on.
    """

    run: str
    told: Stored
    format: Format
    base_name: str
    base_near: str
    faces: Sequence[Example]
    compared: int
    max_tokens: int
    device: Device

    @property
    def whole(self) -> PolicyConfig:
        """The policy of the run in fp32 on an unquantized base."""
        # Another attention of the tower than sdpa is there in 16 bits alone.
        return replace(self.told.policy, four_bit=False, dtype="float32", checkpointing=False, vision_attention="sdpa")


def check_order(order: Order) -> None:
    """Refuses what a format cannot hold, before any weight is read.

    Raises:
        FEAError: naming the format that can.
    """
    policy = order.told.policy
    if order.format == "gguf" and not is_known(policy):
        raise FEAError(
            f"format: the base of '{order.run}' belongs to a family that is not known by name, of which no GGUF files can be "
            "made; export it with --format merged"
        )
    if order.format != "peft":
        return
    if policy.lora is None:
        raise FEAError(
            f"format: '{order.run}' trained whole weights and has no adapter; export it with --format merged"
        )
    if order.told.inherits:
        raise FEAError(
            f"format: the adapter of '{order.run}' stands on weights that an earlier run trained, which are no published base; "
            "export it with --format merged"
        )
    if policy.base == "tiny":
        raise FEAError(
            f"format: the base of '{order.run}' is a tiny one with random weights, of which there is no folder that an adapter "
            "could be read with; export it with --format merged"
        )


def export(order: Order, out: Path, card: Callable[[Sequence[Rollout], Compared], str]) -> Compared:
    """Writes what is ordered, if it answers as the run does.

    Args:
        order: what is to be exported.
        out: folder that is not there yet, or empty.
        card: makes the text of `README.md` from the answers of the run and from what came of the comparison.

    Raises:
        FEAError: a base or a weight is missing, or the export, read back, is too far from its run; then nothing is at `out`.
    """
    with TemporaryDirectory() as scratch, together(out, CARD) as part, _exact():
        base = _made(Path(scratch) / "base")
        base = base_folder(order.told.policy, base)
        if order.format == "gguf":
            check_gguf(base)
        # GGUF files are made from a merged folder.
        files = _made(Path(scratch) / "merged") if order.format == "gguf" else part
        rollouts, encoder, device = _own_answers(order)
        asked = asked_of(rollouts, encoder)[: order.compared]
        run, updates, asking = _original(order, asked, base, files, device)
        limits = _limits(order, base, asked, run, device)
        if order.format == "peft":
            write_peft(part, updates, order.base_name)
        else:
            write_merged(files, base, _trained(order, base, updates))
        said, reader = _read_back(order, files, part, base, asked, asking, device)
        gap = _gap(order, run, said, limits)
        closer = _closer(order, asked, said, limits, device) if asking and fault(gap, limits) else None
        check(closer.gap if closer else gap, limits, str(out), order.format)
        kept = sum(own.answer.tolist() == mine.written for own, mine in zip(asked, run, strict=True))
        compared = Compared(gap, closer, limits, reader, kept, _own(order), encoder.family.manner, _machine(device))
        (part / CARD).write_text(card(rollouts, compared), encoding="utf-8")
    return compared


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _read_back(
    order: Order,
    files: Path,
    part: Path,
    base: Path,
    asked: Sequence[Asked],
    asking: Asking | None,
    device: torch.device,
) -> tuple[list[Heard], str]:
    """What the export says, and what it was read with."""
    if asking:
        write_gguf(part, files)
        copy_settings(files, part)
        llama = Llama(part, asking, order.told.policy, order.max_tokens)
        return llama.heard(asked), llama.told
    reader = read_peft(part, base, device) if order.format == "peft" else read_merged(part, device)
    return reader.heard(asked, order.max_tokens), reader.told


def _trained(order: Order, base: Path, updates: Sequence[Update]) -> Trained:
    """What training changed: whole weights, and what an adapter adds."""
    named = {name.removeprefix("model."): weight for name, weight in weights(order.run).items() if "lora_" not in name}
    return Trained(named, updates, tied_names(base))


def _own_answers(order: Order) -> tuple[list[Rollout], Encoder, torch.device]:
    """What the run answers as it was trained, in its precision and on its base; what it was asked by, and on what."""
    policy, _ = load_policy(order.run, order.device, order.told.policy.base)
    rollouts, device = answered(policy, order.told.precision, order.faces, order.max_tokens), policy.network.device
    encoder = policy.encoder  # which holds no weights
    del policy
    _free()
    return rollouts, encoder, device


def _original(
    order: Order, asked: Sequence[Asked], base: Path, part: Path, device: torch.device
) -> tuple[list[Heard], list[Update], Asking | None]:
    """What the run says in fp32 on the unquantized base, its adapter, and how llama.cpp is to ask where that is to read it.

    The files beside the weights are written, too.
    """
    policy = Policy(order.whole, weights(order.run)).eval().to(device)
    run = heard(policy, order.faces[: order.compared], asked, order.max_tokens)
    updates = updates_of(policy.model)
    network = policy.network
    near = order.base_near if order.format == "peft" else ""
    write_beside(part, base, network, order.told, weights=order.format != "peft", near=near)
    family = network.family
    asking = Asking(network.forbidden.tolist(), family.patch, family.merge) if order.format == "gguf" else None
    del policy, network
    _free()
    return run, updates, asking


def _limits(order: Order, base: Path, asked: Sequence[Asked], run: Sequence[Heard], device: torch.device) -> Limits:
    """In fp32 a fixed number; where merged weights are rounded to 16 bits, a share of what training changed."""
    kind = dtype_of(base)
    least = _FP32[order.format]
    if order.format == "peft" or kind == torch.float32:
        return Limits(least, None, "in fp32")
    policy = Policy(order.whole, {}).eval().to(device)
    change = gap_of(run, heard(policy, order.faces[: order.compared], asked, order.max_tokens), 0.0)
    del policy
    _free()
    why = f"a tenth of what training changed, since the base is stored in {str(kind).removeprefix('torch.')}"
    return Limits(max(least, _SHARE * change.largest), max(least, _SHARE * change.mean), why)


def _gap(order: Order, run: Sequence[Heard], said: Sequence[Heard], limits: Limits) -> Gap:
    pair = along_own(run, said) if order.format == "gguf" else (run, said)
    return gap_of(*pair, 2 * limits.largest)


def _closer(
    order: Order, asked: Sequence[Asked], said: Sequence[Heard], limits: Limits, device: torch.device
) -> Closer | None:
    """The gap from the run as llama.cpp computes it; None if this explains nothing."""
    policy = Policy(order.whole, weights(order.run)).eval().to(device)
    without = as_llama_computes(policy.model)
    run = heard(policy, order.faces[: order.compared], asked, order.max_tokens)
    del policy
    _free()
    gap = _gap(order, run, said, limits)
    return None if fault(gap, limits) else Closer(gap, without)


def _own(order: Order) -> str:
    """How the run computes, where that is not how it is compared."""
    policy, precision = order.told.policy, order.told.precision
    ways = ["on a base in 4 bits"] if policy.four_bit else ["on a base in bf16"] if policy.dtype == "bfloat16" else []
    return " ".join([*ways, *([f"in {precision}"] if precision != "32-true" else [])])


def _machine(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"


def _exact() -> AbstractContextManager[None]:
    """Inside, convolutions on a GPU are computed in fp32 and not in the 19 bits of TF32."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def _free() -> None:
    """Gives the memory of a network back before the next one is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
