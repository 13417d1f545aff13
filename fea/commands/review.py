"""`fea review`: people look at written analyses, one at a time, and accept, reject or mend them, on a page of this machine.

The server listens on 127.0.0.1 alone, answers nobody without the token of the printed address and no page of another origin;
the page asks no other host for anything. Every decision is on the disk before the next face is shown.
"""

from __future__ import annotations

import getpass
import re
from contextlib import closing, nullcontext
from pathlib import Path

from fea.errors import FEAError


def review(
    file: Path,
    reviewer: str | None = None,
    image_root: Path | None = None,
    port: int = 7860,
    emotions: str | list[str] = "basic7",
    open_browser: bool = False,
) -> int:
    """Shows written analyses with their faces and labels on a local page, to be accepted, rejected or mended.

    The file is only read. Decisions are appended to FILE.reviews/REVIEWER.jsonl; Ctrl-C ends the review, and the same command
    goes on with it.

    Args:
        file: JSONL in FEA-20K format, such as `fea synthesize` writes.
        reviewer: name to decide under, of letters, digits, - and _; by default the login name.
        image_root: folder of the images; by default the folder of the file.
        port: of the page, from 1024 to 65535.
        emotions: allowed emotions: "basic7", "basic8", "compound11" or a list.
        open_browser: show the page in the browser at once.

    Returns:
        0.

    Raises:
        FEAError: the file cannot be read or has no analysis, the name is no plain name, or the port is taken.
    """
    from fea.facs import emotion_set
    from fea.review.desk import Desk
    from fea.review.inspection import Inspection
    from fea.web.review import make_app
    from fea.web.server import Address, listen, serve, shown

    name, address = _name(reviewer), Address(port)
    with listen(port) as listening:
        inspection = Inspection(file, image_root or file.parent, emotion_set(emotions))
        with closing(Desk(inspection, file, name)) as desk:
            left_out = f"; {inspection.left_out} without one are left out" if inspection.left_out else ""
            print(f"{file}: {len(inspection.lines)} lines with an analysis{left_out}", *desk.told(), sep="\n")
            print(f"{name} reviews at {address.url} (Ctrl-C ends it; every decision is kept at once)", flush=True)
            with shown(address) if open_browser else nullcontext():
                serve(make_app(desk, address), port, listening)
            print("", *desk.told(), sep="\n")
    return 0


def _name(reviewer: str | None) -> str:
    try:
        name = getpass.getuser() if reviewer is None else reviewer
    except (KeyError, OSError):  # in a container, say; the latter from Python 3.13 on
        raise FEAError("reviewer: nobody is logged in by a name; give one with --reviewer") from None
    if not re.fullmatch(r"[\w-]+", name):
        raise FEAError(f"reviewer: '{name}' is no plain name; give one of letters, digits, - and _ with --reviewer")
    return name
