"""Protocols by name: what is judged, on whom, and how counts become the number of a paper.

    disfa-8   8 units from grade 2 on, 3 folds of people; the mean of the folds' macro F1 over the fixed list

The lists of people are facts of the data sets and stand with them (`fea.datasets`). A unit of a fixed list counts in the mean
whether it occurs or not; what is claimed outside the list costs nothing.
"""

from __future__ import annotations

import difflib
from typing import Literal, NamedTuple

from fea.datasets.bp4d import BP4D
from fea.datasets.disfa import DISFA, PRESENT
from fea.errors import FEAError
from fea.facs import EMOTION_SETS

# "ours": what `parse` reads. "facial-r1": the rules of the evaluation that Facial-R1 published, `fea.protocols.published`.
Reading = Literal["ours", "facial-r1"]
# Faces that must show a unit before its F1 says something: below, one face more or less moves it by more than 5 points.
_SUPPORT = 10


class Protocol(NamedTuple):
    """How a data set is scored, so that numbers can be laid beside those of others.

    Attributes:
        name: that is typed.
        source: where its rules were published.
        datasets: how names of the data sets begin that it is about, in lower case; empty for any.
        units: FACS numbers of its fixed list; None for all that occur often enough in the labels; () for none.
        emotions: its classes; () for none, or with `any_emotion` for those of the data.
        any_emotion: the classes are the allowed emotions of the data.
        folds: the people in the test part of each fold, the first fold first; () for no folds. Counts are pooled over the
            faces of a fold, and scores are means of the folds.
        threshold: intensity from which on a unit shows; None where units are coded as present or absent.
        support: faces that must show a unit for it to be in the mean, where the list is not fixed.
        reading: how answers are read.
        texts: descriptions are compared, too.
    """

    name: str
    source: str
    datasets: tuple[str, ...]
    units: tuple[int, ...] | None = ()
    emotions: tuple[str, ...] = ()
    any_emotion: bool = False
    folds: tuple[frozenset[str], ...] = ()
    threshold: float | None = None
    support: int = 1
    reading: Reading = "ours"
    texts: bool = False

    def fold_of(self, subject: str) -> int | None:
        """The fold, from 1, that tests on a person; None for somebody who is in none."""
        return next((number for number, people in enumerate(self.folds, 1) if subject in people), None)


_SEVEN = EMOTION_SETS["basic7"]
_EIGHT = EMOTION_SETS["basic8"]
_CK = tuple(word for word in _EIGHT if word != "neutral")

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "disfa-8",
            "ME-GraphAU (arXiv 2205.01782), LibreFace: grade 2 and above, three folds of people",
            ("disfa",),
            (1, 2, 4, 6, 9, 12, 25, 26),
            folds=DISFA.folds,
            threshold=PRESENT,
        ),
        Protocol(
            "bp4d-12",
            "ME-GraphAU (arXiv 2205.01782): occurrence, three folds of people",
            ("bp4d",),
            (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24),
            folds=BP4D.folds,
        ),
        # No list of units is published for RAF-AU; the six emotions are those of RAF-ML.
        Protocol(
            "raf-au",
            "no published list of units: all that at least 10 faces show",
            ("raf-au",),
            None,
            tuple(word for word in _SEVEN if word != "neutral"),
            support=_SUPPORT,
        ),
        Protocol(
            "faba-12",
            "EmoLA (arXiv 2404.05052): FABA-Bench, twelve scored units, seven emotions, REGE",
            ("faba",),
            (1, 2, 4, 5, 6, 10, 12, 17, 24, 25, 26, 43),
            _SEVEN,
            texts=True,
        ),
        Protocol(
            "rafdb-7", "RAF-DB (Li, Deng & Du, CVPR 2017): the test part, seven emotions", ("raf-db",), (), _SEVEN
        ),
        Protocol(
            "affectnet-7",
            "AffectNet (arXiv 1708.03985): the validation part, contempt left out",
            ("affectnet",),
            (),
            _SEVEN,
        ),
        Protocol(
            "affectnet-8",
            "AffectNet (arXiv 1708.03985): the validation part, eight emotions",
            ("affectnet",),
            (),
            _EIGHT,
        ),
        Protocol(
            "fer2013-7", "FER2013 (Goodfellow et al., 2013): PrivateTest, seven emotions", ("fer2013",), (), _SEVEN
        ),
        Protocol(
            "ck+",
            "CK+ (Lucey et al., CVPR Workshops 2010): seven emotions without neutral, units at the peak",
            ("ck+",),
            None,
            _CK,
            support=_SUPPORT,
        ),
        Protocol(
            "fea20k",
            "FEA-20K (arXiv 2511.10254v1): all units and emotions of the file, read by our rules",
            (),
            None,
            _EIGHT,
            texts=True,
        ),
        Protocol(
            "facial-r1",
            "the evaluation that Facial-R1 (arXiv 2511.10254v1) published, with its rules for odd answers",
            (),
            None,
            any_emotion=True,
            reading="facial-r1",
            texts=True,
        ),
    )
}


def protocol_of(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        FEAError: there is none of this name.
    """
    found = PROTOCOLS.get(name.lower())
    if found is None:
        near = difflib.get_close_matches(name.lower(), list(PROTOCOLS), 1)
        meant = f"did you mean '{near[0]}'? " if near else ""
        raise FEAError(f"protocol: there is no '{name}'; {meant}protocols are {', '.join(PROTOCOLS)}")
    return found
