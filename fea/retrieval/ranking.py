"""From scores to a ranking, and from a ranking to what a user is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from fea.evaluation.counts import Floats
from fea.evaluation.retrieval import Numbers, ranked
from fea.prompts.answer import parse
from fea.retrieval.documents import Corpus, Document
from fea.retrieval.wishes import Wish

# Documents, by their scores, among which those that meet a query's demands come first. What is further down has next to
# nothing of the query in it, and reading a hundred thousand analyses would take half a minute.
CANDIDATES = 1000


class Scorer(Protocol):
    """Scores all documents for a query; `Words` and `Index` do.

    Attributes:
        name: of it, for tables.
    """

    name: str

    def scores(self, query: str, instruction: str = "") -> Floats:
        """(D,) scores, higher ones better; an instruction says in other words which documents are meant."""


class Ranker(Protocol):
    """Puts documents in order for a query.

    Attributes:
        name: of it, for tables.
    """

    name: str

    def rank(self, query: str, instruction: str = "", left_out: Sequence[int] = ()) -> Numbers:
        """Numbers of the documents, the best first."""


class ByScore:
    """The order of a scorer."""

    def __init__(self, scorer: Scorer):
        self.scorer, self.name = scorer, scorer.name

    def rank(self, query: str, instruction: str = "", left_out: Sequence[int] = ()) -> Numbers:
        """As in `Ranker`."""
        return ranked(self.scorer.scores(query, instruction), left_out)


class Found(NamedTuple):
    """A document that is shown.

    Attributes:
        number: of it in the corpus.
        score: by the scorer.
        met: demands of the query that it meets.
        demands: that there are.
        document: itself.
    """

    number: int
    score: float
    met: int
    demands: int
    document: Document

    def plain(self, rank: int) -> dict[str, Any]:
        """As JSON tells it.

        Args:
            rank: its place, from 1.
        """
        example = self.document.example
        return {
            "rank": rank,
            "score": round(self.score, 6),
            "met": self.met,
            "demands": self.demands,
            "id": example.id,
            "place": example.place,
            "image": example.image,
            "AUs": [f"AU{number}" for number in sorted(self.document.units)],
            "emotions": sorted(self.document.emotions),
            "text": self.document.text,
        }


def search(corpus: Corpus, scorer: Scorer, query: str, instruction: str, wish: Wish, top: int) -> list[Found]:
    """The documents that fit a query best.

    Of the best by score, those that show what the query denies are left out, and those that meet more of its demands come
    first.

    Args:
        corpus: that is searched.
        scorer: of its documents.
        query: in anyone's words.
        instruction: which documents are meant; "" for none.
        wish: what the query demands.
        top: how many.
    """
    scores = scorer.scores(query, instruction)
    found = []
    for number in ranked(scores)[: max(CANDIDATES, top)].tolist():
        document = corpus.document(number)
        one = Found(number, float(scores[number]), wish.met(document), wish.demands, document)
        if not wish.denies(document) and (one.met or one.score > 0):
            found.append(one)
    return sorted(found, key=lambda one: -one.met)[:top]  # stable: then by score


def excerpt(text: str, longest: int = 72) -> str:
    """The beginning of what a text says, in one line."""
    answer = parse(text)
    words = " ".join((answer.think or text).split())
    return words if len(words) <= longest else f"{words[: longest - 3].rstrip()}..."
