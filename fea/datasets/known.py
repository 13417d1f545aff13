"""All data sets of which something is known, and all formats that are converted."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from fea.datasets import (
    affectnet,
    bp4d,
    ck_plus,
    conversations,
    csv_table,
    disfa,
    disfa_plus,
    faba,
    fea20k,
    fer2013,
    ferplus,
    hugging_face,
    image_folder,
    libreface,
    openface,
    parquet,
    photographs,
    py_feat,
    raf_au,
    raf_db,
)
from fea.datasets.conversion import Format
from fea.datasets.dataset import Dataset
from fea.errors import FEAError

# The first that recognizes a place has it: those that are sure come before those that take anything.
FORMATS: dict[str, Format] = {
    found.name: found
    for found in (
        disfa.FORMAT,
        disfa_plus.FORMAT,
        bp4d.FORMAT,
        raf_au.FORMAT,
        raf_db.FORMAT,
        affectnet.FORMAT,
        ferplus.FORMAT,
        ck_plus.FORMAT,
        fer2013.FORMAT,
        faba.FORMAT,
        openface.FORMAT,
        py_feat.FORMAT,
        libreface.FORMAT,
        conversations.FORMAT,
        fea20k.FORMAT,
        parquet.FORMAT,
        hugging_face.FORMAT,
        image_folder.FORMAT,
        photographs.FORMAT,
        csv_table.FORMAT,
    )
}

DATASETS: tuple[Dataset, ...] = (
    affectnet.AFFECTNET,
    bp4d.BP4D,
    ck_plus.CK_PLUS,
    disfa.DISFA,
    Dataset("emotionet", coded=frozenset({1, 2, 4, 5, 6, 9, 12, 17, 20, 25, 26, 43})),
    faba.FABA,
    Dataset("faces", "drawn by `fea data faces`; free", exact=True),
    fea20k.FEA20K,
    fer2013.FER2013,
    ferplus.FERPLUS,
    raf_db.RAF,
)


def dataset_of(name: str) -> Dataset | None:
    """The data set that a record belongs to, or None if it is not known here.

    Args:
        name: its key "dataset", such as "DISFA-Test-clean".
    """
    lower = name.lower()
    return next((d for d in DATASETS if (lower == d.name if d.exact else lower.startswith(d.name))), None)


def recognize(path: Path) -> Format | None:
    """The first format that a file or a folder is of; None if it does not show."""
    return next((found for found in FORMATS.values() if found.recognizes(path)), None)


def chosen(words: Sequence[str], command: str) -> tuple[Format, Path]:
    """The format and the place that were named, or the format that the place shows.

    Args:
        words: the name of a format and a place, or a place alone.
        command: of `fea data` that was called, for messages.

    Raises:
        FEAError: there is no such format or no such place, or the place does not show what it is.
    """
    if len(words) > 2:
        raise FEAError(f"source: found {len(words)} words; give the name of a format and one file or folder")
    path = Path(words[-1])
    if len(words) == 2 and words[0].lower() not in FORMATS:
        near = difflib.get_close_matches(words[0].lower(), FORMATS, 1, cutoff=0.5)
        raise FEAError(
            f"there is no format '{words[0]}'; "
            + (f"did you mean '{near[0]}'?" if near else f"formats are {', '.join(FORMATS)}")
        )
    if len(words) == 2 and words[0].lower() == "hf":
        return FORMATS["hf"], path
    if not path.exists():
        hint = "; name the file or folder after it" if words[-1] in FORMATS else "; check the path"
        raise FEAError(f"'{path}' does not exist{hint}")
    if path.is_file() and _is_blank(path):
        raise FEAError(f"'{path}' is empty: there is nothing in it to convert; give the file that was meant")
    found = FORMATS[words[0].lower()] if len(words) == 2 else recognize(path)
    if found is None:
        raise FEAError(
            f"'{path}' does not show what format it is of; name it: fea data {command} NAME {path}; formats are "
            f"{', '.join(FORMATS)}"
        )
    return found, path


def _is_blank(file: Path) -> bool:
    """Whether a file holds nothing but blanks and a mark of its encoding; whoever has more of them than these has a table."""
    with file.open("rb") as stream:
        head = stream.read(1 << 12)  # more blanks than an editor leaves behind
    return len(head) < 1 << 12 and not head.strip(b" \t\r\n\xef\xbb\xbf")
