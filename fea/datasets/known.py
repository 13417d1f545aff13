"""All data sets of which something is known, and all formats that are converted."""

from __future__ import annotations

from pathlib import Path

from fea.datasets import bp4d, disfa, raf_db
from fea.datasets.conversion import Format
from fea.datasets.dataset import Dataset

FORMATS: dict[str, Format] = {
    found.name: found
    for found in (
        disfa.FORMAT,
        bp4d.FORMAT,
        raf_db.FORMAT,
    )
}

DATASETS: tuple[Dataset, ...] = (
    Dataset("affectnet", "non-commercial research and education; no passing on"),
    bp4d.BP4D,
    disfa.DISFA,
    Dataset("emotionet", coded=frozenset({1, 2, 4, 5, 6, 9, 12, 17, 20, 25, 26, 43})),
    Dataset(
        "faba",
        "annotations; the images are AffectNet's, with its license",
        frozenset({1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 20, 23, 24, 25, 26, 27, 43}),
    ),
    Dataset("faces", "drawn by `fea data faces`; free", exact=True),
    Dataset("fea-20k", "annotations; the images are those of their sources"),
    Dataset("fer2013", "the rights in the images are not settled"),
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
