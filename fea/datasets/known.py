"""All data sets of which something is known, and all formats that are converted."""

from __future__ import annotations

from pathlib import Path

from fea.datasets import (
    affectnet,
    bp4d,
    ck_plus,
    conversations,
    csv_table,
    disfa,
    faba,
    fea20k,
    fer2013,
    ferplus,
    hugging_face,
    image_folder,
    libreface,
    openface,
    parquet,
    py_feat,
    raf_au,
    raf_db,
)
from fea.datasets.conversion import Format
from fea.datasets.dataset import Dataset

# The first that recognizes a place has it: those that are sure come before those that take anything.
FORMATS: dict[str, Format] = {
    found.name: found
    for found in (
        disfa.FORMAT,
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
