"""`fea export`: a trained policy as others read it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fea.errors import FEAError
from fea.export.formats import Format
from fea.model.config import Device
from fea.system.sets import check_vacant

if TYPE_CHECKING:
    from fea.commands._faces import Faces
    from fea.export.compared import Compared
    from fea.export.exporting import Order
    from fea.rollouts.rollout import Rollout


def export(
    run: str,
    out: str,
    *,
    format: Format = "merged",
    base: str | None = None,
    base_name: str | None = None,
    faces: int = 20,
    scored: int = 200,
    max_tokens: int = 256,
    device: Device = "auto",
    push: str | None = None,
) -> int:
    """Takes a trained policy away: a merged folder, a PEFT adapter or GGUF files, read back and compared with its run.

    Args:
        run: run (folder or checkpoint) that `fea fit` wrote.
        out: folder for the export, which is not there yet, or empty.
        format: "merged", a whole model for transformers, vLLM and SGLang; "peft", the adapter by itself; "gguf", for llama.cpp
            and Ollama.
        base: folder or hub name of the model that it was trained on, if that is no longer where it was.
        base_name: what others call the base, if it is a folder here: its name on the hub.
        faces: how many run and export are both asked about; validation faces of the run if they can be read, else drawn ones.
        scored: how many validation faces the run is asked about for the scores of the card.
        max_tokens: length limit of an answer.
        device: "cpu", "cuda" or "auto".
        push: name on the hub, such as me/model, that the export is uploaded to; by default it stays here.

    Returns:
        0.

    Raises:
        FEAError: there is no such run or base, `out` holds something, or the export does not answer as the run does.
    """
    for name, number in {"faces": faces, "max_tokens": max_tokens}.items():
        if number < 1:
            raise FEAError(f"{name}: {number}; give at least 1")
    place = Path(out)
    check_vacant(place, "README.md")
    from fea.commands._faces import faces_of
    from fea.export import exporting
    from fea.export.push import check_name, upload
    from fea.model.checkpoints import base_of, stored

    if push:
        check_name(push)
    told = stored(run)
    told = replace(told, policy=replace(told.policy, base=base_of(run, told, base)))
    # A folder of this machine means nothing to others, but its own name may.
    called = base_name or (Path(told.policy.base).name if Path(told.policy.base).is_dir() else told.policy.base)
    order = exporting.Order(run, told, format, called, _near(told.policy.base, place), (), 0, max_tokens, device)
    exporting.check_order(order)
    with TemporaryDirectory() as scratch:
        asked = faces_of(run, told, faces, scored, Path(scratch))
        compared = _carried_out(replace(order, faces=asked.examples, compared=asked.compared), asked, place)
    print("\n".join([f"exported as {format} to '{out}'", *compared.told(asked.told)]))
    if push:
        print(f"uploaded to {upload(place, push)}")
    return 0


def _near(base: str, out: Path) -> str:
    """Where a base lies as seen from the export, if both are below the working directory; no folder beyond it is told."""
    here, inside = Path.cwd().resolve(), [Path(base).resolve(), out.resolve()]
    if not Path(base).is_dir() or not all(place.is_relative_to(here) for place in inside):
        return ""
    return Path(os.path.relpath(*inside)).as_posix()


def _carried_out(order: Order, asked: Faces, out: Path) -> Compared:
    """The export with its card."""
    from importlib.metadata import version

    from fea.export.card import Facts, card
    from fea.export.exporting import export as exported
    from fea.export.history import stages_of

    stages = stages_of(order.run)

    def told(rollouts: Sequence[Rollout], compared: Compared) -> str:
        facts = Facts(
            name=Path(os.path.abspath(out)).name,
            version=version("fea"),
            format=order.format,
            told=order.told,
            base=order.base_name,
            stages=stages,
            scored=asked.scored,
            machine=compared.machine,
            manner=compared.manner,
            compared=compared.told(asked.told),
        )
        return card(facts, rollouts)

    return exported(order, out, told)
