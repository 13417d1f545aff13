"""A policy puts a few documents in order, window by window, from the end of a ranking to its beginning.

Windows of 20 go up in steps of 10, so that a document from far below can rise through all of them. The last one is clamped to
the beginning: it is as long as the others, and no document is left alone, however many there are.

    35 documents      15 .. 34,  5 .. 24,  0 .. 19
    12 documents      0 .. 11

Within a window the documents are listed under letters, and the policy is asked for that of the best. Their order is that of the
letters' probabilities, from one pass (as in FIRST, arXiv 2406.15657): nothing is written, so nothing can be unreadable.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

import torch

from fea.evaluation.retrieval import Numbers
from fea.model.checkpoints import Stored
from fea.model.policy import Policy
from fea.model.precision import computing
from fea.retrieval.ranking import Ranker
from fea.retrieval.states import of_words

WINDOW, STEP = 20, 10
_LETTERS = string.ascii_uppercase[:WINDOW]
_LONGEST = (
    1500  # characters of a document in the list: longer than nearly all analyses; 20 of them fit into any context
)
_TOLD = "You compare written analyses of faces."


def windows(count: int, size: int = WINDOW, step: int = STEP) -> list[tuple[int, int]]:
    """First document and end of each window, in the order in which they are sorted.

    Args:
        count: of documents.
        size: of a window.
        step: from one to the next, at most its size.
    """
    if count < 2:
        return []
    starts = [*range(count - size, 0, -step), 0]
    return [(start, min(start + size, count)) for start in starts]


def reordered(order: Sequence[int], best_first: Callable[[Sequence[int]], Sequence[int]]) -> list[int]:
    """A ranking after all windows.

    Args:
        order: numbers of documents.
        best_first: puts those of a window in order.
    """
    found = list(order)
    for start, end in windows(len(found)):
        found[start:end] = best_first(found[start:end])
    return found


class Sorter:
    """A policy that puts documents in order.

    Args:
        policy: in eval mode, on its device.
        trained: what its checkpoint says about it.
        texts: of all documents.
    """

    def __init__(self, policy: Policy, trained: Stored, texts: Sequence[str]):
        self.policy, self.texts, self._precision = policy, texts, trained.precision

    @torch.no_grad()
    def sorted(self, asked: str, numbers: Sequence[int]) -> list[int]:
        """Documents of a window, the likeliest first; of equal ones the earlier.

        Args:
            asked: the query, with its instruction.
            numbers: of the documents, at most as many as a window has.
        """
        listed = "\n".join(f"{name}. {self._text(number)}" for name, number in zip(_LETTERS, numbers, strict=False))
        policy, names = self.policy, _LETTERS[: len(numbers)]
        prompt = of_words(policy, f"{asked}\n{listed}\nWhich of these fits best? Answer with its letter.", _TOLD)
        ids_NT = torch.stack([policy.encoder.target(name)[:1] for name in names]).to(policy.network.device)
        with computing(self._precision, policy.network.device):
            logps_N = policy.logps([prompt], ids_NT, torch.ones_like(ids_NT))[0][:, 0]
        best: list[int] = logps_N.float().argsort(descending=True, stable=True).tolist()
        return [numbers[place] for place in best]

    def _text(self, number: int) -> str:
        return " ".join(self.texts[number].split())[:_LONGEST]


class Listwise:
    """A ranking whose first documents a policy has put in order.

    Args:
        first: the ranking.
        sorter: that puts them in order.
        depth: how many documents of the ranking.
    """

    def __init__(self, first: Ranker, sorter: Sorter, depth: int):
        self.first, self.sorter, self.depth = first, sorter, depth
        self.name = f"{first.name}, re-ranked"

    def rank(self, query: str, instruction: str = "", left_out: Sequence[int] = ()) -> Numbers:
        """As in `ranking.Ranker`."""
        order = self.first.rank(query, instruction, left_out)
        asked = " ".join(filter(None, [instruction, f"Query: {query}"]))
        order[: self.depth] = reordered(order[: self.depth].tolist(), lambda some: self.sorter.sorted(asked, some))
        return order
