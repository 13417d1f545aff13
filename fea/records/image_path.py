"""Where the image of a line lies: a path within the image root, or one sentence that says what stands there instead."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from fea.errors import FEAError
from fea.records.action_units import shown
from fea.records.keys import named_otherwise

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_BYTES = re.compile(
    r"data:|/9j/[\w+/]{9}|iVBORw0KG|R0lGODlh|UklGR[\w+/]{9}"
)  # how JPEG, PNG, GIF and WebP begin in base64
_USUAL = (".jpg", ".png", ".jpeg")
_LONGEST = 255  # characters of the name of a file
_CONTAINER = re.compile(
    r"\.(?:(?P<film>mp4|m4v|avi|mov|mkv|webm|wmv|flv|mpe?g|3gp)$"
    r"|(?:zip|tar|tgz|tar\.gz|tar\.bz2|tar\.xz|7z|rar|hdf5|lmdb)(?P<inside>[/:!]|$))",
    re.IGNORECASE,
)


def image_path(raw: Mapping[str, Any], root: str) -> str:
    """The path of a line's image, relative to the image root. A link in it is followed wherever it leads.

    Args:
        raw: the line.
        root: the image root; a full path that lies in it is taken, too. "" for none.

    Raises:
        FEAError: there is no such path, or it is something else.
    """
    image = raw.get("image")
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if not isinstance(image, str) or not image.strip():
        raise FEAError(f"key 'image': expected the path of one image, found {shown(image)}{_way_out(raw, image)}")
    if ":" in image or len(image) > _LONGEST:
        _refuse_address(image)
    path = posixpath.normpath(image.replace("\\", "/"))
    plain = path.count(".") == 1 and path.endswith(_USUAL)  # of a million lines, nearly all
    if not plain and (container := _CONTAINER.search(path)):
        _refuse_container(path, container, root)
    if path.startswith("/") or path[1:2] == ":":
        return _within(path, root)
    if path.startswith("../") or path == "..":
        raise FEAError(f"key 'image': {shown(image)} leaves the image root; give a path relative to it, without '..'")
    return path


def _way_out(raw: Mapping[str, Any], image: Any) -> str:
    if isinstance(image, list) and image:
        return f"; write a line for each of the {len(image)} images"
    if isinstance(image, dict) and image.get("bytes"):
        return ", the content of an image; save it as a file, and write the path of that"
    other = named_otherwise(raw, "image")
    return f"; the key '{other}' seems to be meant: rename it" if other else ""


def _refuse_address(image: str) -> None:
    if _ADDRESS.match(image):
        raise FEAError(
            f"key 'image': {shown(image)} is an address; save the image as a file, and write the path of that"
        )
    if _BYTES.match(image):
        raise FEAError(
            f"key 'image': {shown(image)} is the content of an image; save it as a file, and write the path of that"
        )


def _refuse_container(path: str, found: re.Match[str], root: str) -> None:
    """Refuses a file that holds images; a folder may be called like one."""
    if found["film"]:
        raise FEAError(f"key 'image': {shown(path)} is a film; save the frames that are meant as images")
    archive = path[: found.start("inside")]
    if not os.path.isdir(os.path.join(root, archive)):
        raise FEAError(f"key 'image': {shown(path)} lies in an archive; unpack '{posixpath.basename(archive)}' first")


def _within(path: str, root: str) -> str:
    """A full path as one relative to the root."""
    if not root:
        raise FEAError(f"key 'image': {shown(path)} leaves the image root; give a path relative to it")
    for named in (path, f"{os.path.realpath(posixpath.dirname(path))}/{posixpath.basename(path)}"):
        for folder in _names_of(root):
            if os.path.normcase(named).startswith(os.path.normcase(folder)):
                return named[len(folder) :]
    raise FEAError(
        f"key 'image': {shown(path)} leaves the image root '{root}'; set 'image_root' to a folder that holds it, or give a "
        "path relative to it"
    )


@lru_cache(maxsize=64)
def _names_of(root: str) -> tuple[str, ...]:
    """What a folder is called in full, as it is given and with its links followed; each ends in a slash."""
    return tuple(Path(name).as_posix().rstrip("/") + "/" for name in (os.path.abspath(root), os.path.realpath(root)))
