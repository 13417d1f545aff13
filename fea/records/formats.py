"""Names what was given in place of a file of JSON lines: a sentence about the file, where there would be one for each line."""

from __future__ import annotations

import ast
import glob
import json
import re
from pathlib import Path

from fea.datasets.signs import sign_of
from fea.errors import FEAError

_HEAD = 1 << 16  # bytes of a file that are looked at: more than a few lines
_LINES = 3  # of them; a file of another format shows it in its first ones

_LIST = "python -c \"import json,sys; [print(json.dumps(x)) for x in json.load(sys.stdin)]\" < '{file}' > faces.jsonl"
_CONVERT = "turn it into JSON lines: fea data convert {name} '{file}' -o faces.jsonl"

# What the first bytes of a file tell, and what to do.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "a Parquet table", _CONVERT.replace("{name}", "parquet")),
    (b"ARROW1", "an Arrow table", "write its rows as JSON lines"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it: gunzip '{file}'"),
    (b"BZh", "compressed by bzip2", "unpack it: bunzip2 '{file}'"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it: unxz '{file}'"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it: unzstd '{file}'"),
    (b"PK\x03\x04", "a zip archive (spreadsheets are, too)", "unpack it, or save the table as JSON lines"),
    (b"PK\x05\x06", "an empty zip archive", "give the file that was meant"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"Rar!", "a rar archive", "unpack it"),
    (b"SQLite format 3", "an SQLite database", "write its rows as JSON lines"),
    (b"\x89HDF", "an HDF5 file", "write its rows as JSON lines"),
    (b"MATLAB", "a MATLAB file", "write its rows as JSON lines"),
    (b"\x93NUMPY", "a NumPy array", "write its rows as JSON lines"),
    (b"\x80\x04", "a Python pickle", "write its rows as JSON lines"),
    (b"\x80\x05", "a Python pickle", "write its rows as JSON lines"),
    (b"\x89PNG", "an image", "give the file that lists the images"),
    (b"\xff\xd8\xff", "an image", "give the file that lists the images"),
    (b"GIF8", "an image", "give the file that lists the images"),
    (b"RIFF", "an image or a film", "give the file that lists the images"),
    (b"%PDF", "a PDF document", "give the file that lists the images"),
    (b"version https://git-lfs", "a pointer of Git LFS, without its content", "fetch that: git lfs pull"),
)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def expect_lines(file: Path) -> None:
    """Refuses what cannot be a file of JSON lines; a line that is merely damaged is left to its reader.

    Args:
        file: that a user named.

    Raises:
        FEAError: saying what it is instead.
    """
    if not file.is_file():
        raise FEAError(_not_there(file))
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    if not head.strip(b" \t\r\n\xef\xbb\xbf") and len(head) < _HEAD:
        raise FEAError(f"data file '{file}' is empty: it holds no usable line")
    found = _binary(head) or _text(head.decode("utf-8-sig", errors="replace").strip(), whole=len(head) < _HEAD)
    if found:
        what, todo = found
        raise FEAError(f"data file '{file}' is {what}, not one JSON object a line; {todo.replace('{file}', str(file))}")


def _not_there(file: Path) -> str:
    if file.is_dir():
        if any((file / name).exists() for name in ("dataset_info.json", "state.json", "dataset_dict.json")):
            return f"'{file}' is a folder with a saved data set; {_CONVERT.format(name='hf', file=file)}"
        found = sorted(file.glob("*.jsonl"))
        convert = f", or turn a data set into one: fea data convert '{file}' -o faces.jsonl" * (not found)
        return f"'{file}' is a folder; name the files in it{_listed(found)}{convert}"
    if file.exists():
        return f"'{file}' is no regular file; write what it holds into one"
    if glob.has_magic(str(file)):
        found = sorted(map(Path, glob.glob(str(file))))
        return f"'{file}' is a pattern, which is not followed; name the files{_listed(found)}"
    return (
        f"data file '{file}' does not exist; check the path, in a config that under 'data', or draw practice data: "
        "fea data faces FOLDER --n 2000"
    )


def _listed(files: list[Path]) -> str:
    names = ", ".join(f"'{file}'" for file in files[:3])
    return f": {names}" + (f" and {len(files) - 3} more" if files[3:] else "") if files else ""


_Found = tuple[str, str]  # what a file is, and what to do


def _binary(head: bytes) -> _Found | None:
    for magic, what, todo in _MAGIC:
        if head.startswith(magic):
            return what, todo
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it"
    # Every second byte of English in UTF-16 is zero, with or without a mark at its start; JSON holds no zero byte.
    if len(head) > 1 and (head.startswith(_UTF16) or (head[0] == 0) != (head[1] == 0)):
        return "text in UTF-16 or UTF-32, as some shells and editors write", "save it as UTF-8"
    return ("binary", "give the file that was meant") if b"\0" in head[:1000] else None


def _text(text: str, whole: bool) -> _Found | None:
    if "\n" not in text and re.search(r"\}\s*\r\s*\{", text):
        return (
            "text whose lines end in CR, as on old Macs",
            "give them line feeds: tr '\\r' '\\n' < '{file}' > faces.jsonl",
        )
    if sign := sign_of(text):
        return sign.told, _CONVERT.replace("{name}", sign.name)
    if text[:1] == "[" and (text[-1] == "]" or not whole):
        return "a JSON list", f"turn it into lines: {_LIST}"
    lines = [line.strip() for line in text.split("\n") if line.strip()][:_LINES]
    if any(map(_is_object, lines)):
        return None
    slips = set(map(slip, lines))
    if len(slips) == 1 and (found := slips.pop()):
        return f"no JSON ({found})", "write it with `json.dumps`, a line for each object"
    return next(((what, todo) for sign, what, todo in _SIGNS if sign.match("\n".join(lines))), None)


_AS_LINES = "write a JSON object for each line of it"
# What the first lines of a text are like, what it then is, and what to do; the first that fits.
_SIGNS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"\{(?:[^\n]*[,\[{])?\n"),
        "JSON over several lines",
        "write each object into a single line: jq -c . '{file}'",
    ),
    (re.compile(r"<"), "XML or HTML", _AS_LINES),
    (
        re.compile(r"(?!.*[{])[^\n]*[,;\t][^\n]*(?:\n[^\n]*[,;\t]|$)"),
        "a table (CSV)",
        _CONVERT.replace("{name}", "csv"),
    ),
    (re.compile(r"(?:- )?\w+:(?:\s|$)"), "YAML", _AS_LINES),
    (re.compile(r"(?!.*\{)", re.DOTALL), "plain text", _AS_LINES),
)


def slip(line: str) -> str:
    """What is wrong with a line that JSON does not take, in the words of who wrote it; "" if that is not known."""
    line = line.strip()
    if line.startswith(("#", "//")):
        return "a comment, which JSON does not have"
    if line.endswith(",") and _is_object(line[:-1]):
        return "a comma at the end"
    if _is_object(re.sub(r",\s*([\]}])", r"\1", line)):
        return "a comma before a closing bracket"
    if _is_python(line):
        return "Python notation, where JSON has double quotes, true, false and null"
    if re.match(r"\{\s*[\u2018-\u201f]", line):
        return "typographic quotes"
    if re.match(r"\{\s*[A-Za-z_]\w*\s*:", line):
        return "a key without quotes"
    return "several objects in one line" if re.search(r"\}\s*\{", line) else ""


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_python(line: str) -> bool:
    """Whether Python, and not JSON, would take a line as a dictionary."""
    try:
        return line[:1] == "{" and len(line) < _HEAD and isinstance(ast.literal_eval(line), dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
