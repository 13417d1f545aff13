"""`fea serve`: a trained model on a local page, and for programs of this machine.

The server listens on 127.0.0.1 alone and answers nobody without the token of the printed address. Photographs are in memory
until they are answered; nothing is written to the disk, and no other host is asked for anything.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fea.errors import FEAError
from fea.faces.crops import Faces
from fea.model.config import Device

if TYPE_CHECKING:
    from flask import Flask

    from fea.web.server import Address


def serve(
    model: str,
    *,
    base: str | None = None,
    port: int = 7861,
    faces: Faces | None = None,
    face_model: str | None = None,
    batch_size: int = 32,
    max_tokens: int = 256,
    max_requests: int = 256,
    device: Device = "auto",
    open_browser: bool = False,
) -> int:
    """Answers about faces on a local page, and to programs, in OpenAI's shapes, too.

    The printed address opens the page. Programs send its token as `Authorization: Bearer TOKEN` to /analyze, or as the key of
    an OpenAI client whose base address is http://127.0.0.1:PORT/v1; /openapi.json describes what they may ask. What /analyze
    takes is JSON, {"image": BASE64, "faces": "all", "samples": 8, ...}; the image alone has to be there. Ctrl-C ends it.

    Args:
        model: run (folder or checkpoint) that `fea fit` wrote; or folder or hub name of a base, which is asked as it is, of an
            exported model or of an adapter of PEFT.
        base: folder or hub name of the model that a run or an adapter was trained on, if that is no longer where it was.
        port: of the page, from 1024 to 65535.
        faces: "none" shows pictures as they are, "largest" and "all" show the faces in them, cut out, unless a request asks for
            something else; by default as the model was trained. Needs the extra `face`.
        face_model: file of the model that finds them, YuNet's or MediaPipe's; by default that of training, or Haar cascades,
            which need none.
        batch_size: answers that are written at a time.
        max_tokens: length limit of an answer, unless less is asked for.
        max_requests: that are answered or wait; one more is told to come again.
        device: "cpu", "cuda" or "auto".
        open_browser: show the page in the browser at once.

    Returns:
        0.

    Raises:
        FEAError: there is no such model, the port is taken, a number is below 1, or a package or a file for faces is missing.
    """
    for name, number in (("batch_size", batch_size), ("max_tokens", max_tokens), ("max_requests", max_requests)):
        if number < 1:
            raise FEAError(f"{name}: {number}; give at least 1")
    from fea.web.server import Address, listen, shown
    from fea.web.server import serve as answer

    address, bounds = Address(port), Bounds(batch_size, max_tokens, max_requests, faces, face_model)
    # The port is taken before a model of many gigabytes is read.
    with listen(port) as listening, _app(model, base, device, bounds, address) as app:
        print(f"{model} answers at {address.url} (Ctrl-C ends it; no photograph is kept)", flush=True)
        with shown(address) if open_browser else nullcontext():
            answer(app, port, listening)
    return 0


class Bounds(NamedTuple):
    """How it is asked, and how much at a time; `serve` says what each of it is."""

    batch_size: int
    max_tokens: int
    max_requests: int
    faces: Faces | None
    face_model: str | None


@contextmanager
def _app(model: str, base: str | None, device: Device, bounds: Bounds, address: Address) -> Iterator[Flask]:
    """The page of a model that answers inside the block."""
    from fea.model.checkpoints import load_policy
    from fea.serving.asking import Asker
    from fea.serving.gate import Gate
    from fea.serving.service import Service
    from fea.web.serve import LARGEST, Desk, make_app

    policy, trained = load_policy(model, device, base)
    if trained.datasets == {"faces"}:
        print("note: this model has seen drawn faces only; what it says of photographs means nothing", file=sys.stderr)
    # Two batches: one is ready when the other is done. Bodies: eight of the largest.
    gate = Gate(bounds.max_requests, room=8 * LARGEST, ready=2 * bounds.batch_size)
    with closing(Service(policy, trained.precision, bounds.batch_size, gate.taken)) as service:
        shown, model_of_faces = bounds.faces or policy.config.faces, bounds.face_model or policy.config.face_model
        asker = Asker(policy.encoder, trained.emotions, bounds.max_tokens, shown, model_of_faces)
        yield make_app(Desk(asker, service, gate, _name(model)), address)


def _name(model: str) -> str:
    """What programs call the model: the end of its path, without what is special in a text."""
    parts = Path(model).parts
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in (parts[-1] if parts else ""))
    return name.strip("-.") or "model"
