"""Four families of queries, made from documents: which of these are relevant is counted, not judged.

    family      query              the instruction wants                          the words alone want
    units       "AU4 and AU7"      exactly these units: round(3 F1), wanted at 3  all of these units
    emotion     an analysis        its emotion by other units (Jaccard < 0.3)     its emotion
    contrast    an analysis        its units, but another emotion                 its units
    format      "anger, AU4"       such a text that keeps the format              such a text

What the words alone want and the instruction does not is what it flips; p-MRR counts these. A query has at least one document
that its instruction wants. Our reading of MAIR (arXiv 2410.10127), whose instructions were written for tasks of the web.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fea.evaluation.retrieval import Grades
from fea.retrieval.documents import Codes, Document, spelled

INSTRUCTIONS = {
    "units": "Find analyses that name exactly these Action Units: all of them, and no other one.",
    "emotion": "Find analyses that come to the same emotion as this one, but by other Action Units.",
    "contrast": "Find analyses that name the same Action Units as this one, but come to another emotion.",
    "format": "Find texts of this emotion and unit that keep the format: one think block, then one answer block.",
}
FAMILIES = tuple(INSTRUCTIONS)
_APART = 0.3  # Jaccard similarity below which two sets of units are others: at most one of four shared
_MOST = 3  # grade of a document whose units are as good as those that are asked for

Units = NDArray[np.bool_]


class Query(NamedTuple):
    """A query with what is relevant to it.

    Attributes:
        family: one of `FAMILIES`.
        text: its words.
        instruction: which documents are meant.
        grades: (D,) of the documents, as the instruction wants them; 0 for those that it does not.
        flipped: (D,) which documents the words alone want, and the instruction does not, or not fully.
        source: number of the document that it was made of, which has no place in a ranking; None if it was made of none.
        least: grade from which on a document counts as wanted where that is yes or no: for Recall, MAP and p-MRR.
    """

    family: str
    text: str
    instruction: str
    grades: Grades
    flipped: NDArray[np.bool_]
    source: int | None
    least: int = 1


class Made(NamedTuple):
    """What queries are made from.

    Attributes:
        documents: that are searched.
        units: (D, 100) which units each claims, by FACS number.
        emotions: emotion of each; "" for none.
        codes: whether the texts have codes; without any, queries spell them out.
    """

    documents: Sequence[Document]
    units: Units
    emotions: NDArray[np.str_]
    codes: Codes


def queries(documents: Sequence[Document], codes: Codes, count: int, seed: int = 0) -> dict[str, list[Query]]:
    """Queries of each family, as many as asked for, or as the documents allow.

    Args:
        documents: all that can be found.
        codes: "kept" or "stripped" in their texts.
        count: of each family, at most.
        seed: of the choice among those that are possible.
    """
    units = np.zeros((len(documents), 100), dtype=bool)
    for number, document in enumerate(documents):
        units[number, sorted(document.units)] = True
    emotions = np.array([next(iter(document.emotions), "") for document in documents])
    made = Made(documents, units, emotions, codes)
    found = {}
    for place, family in enumerate(FAMILIES):
        order = np.random.default_rng([seed, place]).permutation(len(documents)).tolist()
        possible = (query for query in _MAKERS[family](made, order) if query.grades.any())
        found[family] = [query for query, _ in zip(possible, range(count), strict=False)]
    return found


def _by_units(made: Made, order: Sequence[int]) -> Iterator[Query]:
    asked = set[frozenset[int]]()
    for number in order:
        document = made.documents[number]
        if not document.units or document.units in asked:
            continue
        asked.add(document.units)
        own, sizes = made.units[number], made.units.sum(axis=1)
        shared = (made.units & own).sum(axis=1)
        grades = np.floor(_MOST * 2 * shared / (sizes + own.sum()) + 0.5).astype(np.int64)
        flipped = (shared == own.sum()) & (grades < _MOST)
        codes = " and ".join(f"AU{unit}" for unit in sorted(document.units))
        yield _query("units", _worded(made, codes), grades, flipped, None)._replace(least=_MOST)


def _by_emotion(made: Made, order: Sequence[int]) -> Iterator[Query]:
    for number in order:
        if not made.emotions[number] or not made.documents[number].units:
            continue
        either = (made.units | made.units[number]).sum(axis=1)
        jaccard = (made.units & made.units[number]).sum(axis=1) / np.maximum(either, 1)
        same = (made.emotions == made.emotions[number]) & _others(made, number)
        wanted = same & (jaccard < _APART)
        yield _query("emotion", made.documents[number].text, wanted, same & ~wanted, number)


def _by_contrast(made: Made, order: Sequence[int]) -> Iterator[Query]:
    for number in order:
        if not made.emotions[number] or not made.documents[number].units:
            continue
        same = (made.units == made.units[number]).all(axis=1) & _others(made, number)
        wanted = same & (made.emotions != made.emotions[number]) & (made.emotions != "")
        yield _query("contrast", made.documents[number].text, wanted, same & ~wanted, number)


def _by_format(made: Made, order: Sequence[int]) -> Iterator[Query]:
    """Of each emotion and unit that occur together once; only where a text breaks the format is there something to ask."""
    kept = np.array([document.well_formed for document in made.documents])
    asked = set[tuple[str, int]]()
    for number in order:
        emotion = str(made.emotions[number])
        for unit in sorted(made.documents[number].units) if emotion else ():
            if (emotion, unit) in asked:
                continue
            asked.add((emotion, unit))
            such = (made.emotions == emotion) & made.units[:, unit]
            if (such & ~kept).any():
                yield _query("format", _worded(made, f"{emotion}, AU{unit}"), such & kept, such & ~kept, None)


_MAKERS: dict[str, Callable[[Made, Sequence[int]], Iterator[Query]]] = {
    "units": _by_units,
    "emotion": _by_emotion,
    "contrast": _by_contrast,
    "format": _by_format,
}


def _query(family: str, text: str, grades: NDArray[np.generic], flipped: Units, source: int | None) -> Query:
    return Query(family, text, INSTRUCTIONS[family], grades.astype(np.int64), flipped, source)


def _worded(made: Made, text: str) -> str:
    return spelled(text) if made.codes == "stripped" else text


def _others(made: Made, number: int) -> Units:
    found: Units = np.arange(len(made.documents)) != number
    return found
