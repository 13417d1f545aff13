"""`Dataset`: what is known of a data set beyond its files, and which one a record belongs to."""

from __future__ import annotations

from typing import NamedTuple


class Dataset(NamedTuple):
    """What is known of a data set.

    Attributes:
        name: how the names of it and of its parts begin, in lower case.
        license: what the owners of its images say, in short; "" if unknown.
        coded: FACS numbers that its coders looked for, where that is public knowledge; else it is taken to have coded the units
            that occur in its file.
        exact: whether a name has to be the whole name, for one that may begin the name of another data set.
    """

    name: str
    license: str = ""
    coded: frozenset[int] | None = None
    exact: bool = False


DATASETS: tuple[Dataset, ...] = (
    Dataset("affectnet", "non-commercial research and education; no passing on"),
    Dataset("bp4d", "non-commercial internal research; no redistribution"),
    Dataset("disfa", "research; no passing on", frozenset({1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26})),
    Dataset("emotionet", coded=frozenset({1, 2, 4, 5, 6, 9, 12, 17, 20, 25, 26, 43})),
    Dataset(
        "faba",
        "annotations; the images are AffectNet's, with its license",
        frozenset({1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 20, 23, 24, 25, 26, 27, 43}),
    ),
    Dataset("faces", "drawn by `fea data faces`; free", exact=True),
    Dataset("fea-20k", "annotations; the images are those of their sources"),
    Dataset("fer2013", "the rights in the images are not settled"),
    Dataset("raf-", "research; no passing on to third parties, no profit"),
)


def dataset_of(name: str) -> Dataset | None:
    """The data set that a record belongs to, or None if it is not known here.

    Args:
        name: its key "dataset", such as "DISFA-Test-clean".
    """
    lower = name.lower()
    return next((d for d in DATASETS if (lower == d.name if d.exact else lower.startswith(d.name))), None)
