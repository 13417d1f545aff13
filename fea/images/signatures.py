"""What a file is that its name calls a picture, by its first bytes; and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

_REPLACE = "replace it"
_CONVERT = "save it as JPEG or PNG"
# Of ISO media files, by the brand that follows "ftyp" at byte 4; of others, a film.
_BRANDS = {
    b"heic": "a HEIC picture", b"heix": "a HEIC picture", b"hevc": "a HEIC picture", b"heim": "a HEIC picture",
    b"heis": "a HEIC picture", b"mif1": "a HEIF picture", b"msf1": "a HEIF picture", b"avif": "an AVIF picture",
    b"avis": "an AVIF picture", b"crx ": "a raw picture of a camera",
}  # fmt: skip
# (first bytes, what it is, what to do)
_STARTS = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the picture", "fetch it with `git lfs pull`"),
    (b"version http://git-media", "it is a Git LFS pointer, not the picture", "fetch it with `git lfs pull`"),
    (b"/annex/objects/", "it is a git-annex pointer, not the picture", "fetch it with `git annex get`"),
    (b"%!PS", "it is PostScript", _CONVERT),
    (b"\xc5\xd0\xd3\xc6", "it is PostScript", _CONVERT),
    (b"%PDF", "it is a PDF", _CONVERT),
    (b"8BPS", "it is a Photoshop file", _CONVERT),
    (b"\x00\x00\x00\x0cjP  ", "it is a JPEG 2000 picture", _CONVERT),
    (b"\xff\x4f\xff\x51", "it is a JPEG 2000 picture", _CONVERT),
    (b"\x00\x00\x00\x0cJXL ", "it is a JPEG XL picture", _CONVERT),
    (b"\xff\x0a", "it is a JPEG XL picture", _CONVERT),
    (b"\x00\x00\x01\x00", "it is an icon", _CONVERT),
    (b"\x93NUMPY", "it is a NumPy array", _CONVERT),
    (b"PK\x03\x04", "it is a ZIP archive", "unpack it"),
    (b"\x1f\x8b", "it is a gzip archive", "unpack it"),
    (b"Rar!", "it is a RAR archive", "unpack it"),
    (b"7z\xbc\xaf", "it is a 7z archive", "unpack it"),
    (b"\x1aE\xdf\xa3", "it is a film", "take a frame of it"),
)
_TEXTS = (
    (b"<!doctype html", "it is a web page"),
    (b"<html", "it is a web page"),
    (b"<head", "it is a web page"),
    (b"<svg", "it is an SVG drawing"),
    (b"<?xml", "it is an XML document"),
    (b"{", "it is JSON or another text"),
    (b"[", "it is JSON or another text"),
)


def told_by(start: bytes, formats: Sequence[str]) -> tuple[str, str]:
    """What a file is and what to do about it, as parts of a sentence.

    Args:
        start: its first bytes.
        formats: that could have been read.
    """
    for signature, what, advice in _STARTS:
        if start.startswith(signature):
            return what, advice
    if start[4:8] == b"ftyp":
        kind = _BRANDS.get(start[8:12])
        return (f"it is {kind}", _CONVERT) if kind else ("it is a film", "take a frame of it")
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "it is a film", "take a frame of it"
    if not start.strip(b"\0"):
        return "it holds nothing but zeros", _REPLACE
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for signature, what in _TEXTS:
        if text.startswith(signature):
            return what, _REPLACE
    return f"it is in none of the formats {', '.join(formats)}, or its first bytes are damaged", _REPLACE
