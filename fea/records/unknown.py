"""Unknown is not absent: which Action Units of a face somebody looked for.

Rewards, metrics, checks and marks judge a claim only if its unit was looked for; of all others nothing is known, neither that
they are there nor that they are not. With emotions it is simpler: a face without labels has an unknown one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fea.datasets.known import dataset_of
from fea.facs import au_number
from fea.records.record import Record


def coded_in(dataset: str, occurring: Iterable[int]) -> frozenset[int]:
    """Units that the coders of a data set looked for.

    Args:
        dataset: its name.
        occurring: FACS numbers that occur in the file, present or coded; they stand for a data set of which nothing is known.
    """
    known = dataset_of(dataset)
    return frozenset(occurring) if known is None or known.coded is None else known.coded


def coded_of(record: Record, by_dataset: Mapping[str, frozenset[int]]) -> frozenset[int]:
    """Units of a face that were looked for; whether any other one is there is unknown.

    Args:
        record: of the face. Without "AUs" nobody looked; "AUs_coded" comes before what is known of its data set.
        by_dataset: `coded_in` of the data sets in the file.
    """
    if record.AUs is None:
        return frozenset()
    listed = by_dataset[record.dataset] if record.AUs_coded is None else frozenset(map(au_number, record.AUs_coded))
    return listed | frozenset(map(au_number, record.AUs))  # what was found was looked for
