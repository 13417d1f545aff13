"""How near a written analysis is to a reference: ROUGE-L, and the text half of REGE. Needs the extra `score`.

Two libraries, because two papers used two: `rouge-score` for ROUGE-L (FEA-20K), `rouge` for REGE (FABA-Bench, arXiv
2404.05052). The first takes the longest common subsequence of whole texts with stems, the second the union of those of their
sentences: their numbers differ.

    REGE = S_re + S_ge in points, S_re the mean F1 of units or the accuracy, S_ge the mean ROUGE-L F1; it may exceed 100
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

_TAGS = re.compile(r"<\s?/?\s?(?:think|answer)(?:ing)?\s?>", re.IGNORECASE)
_DEEP = 20_000  # calls within each other: `rouge` makes one for each word of two sentences, and Python stops at 1,000

MISSING = "texts are not compared: pip install 'fea[score]' brings what that needs"

Measure = Callable[[str, str], float]


def available() -> bool:
    """Whether both libraries are there."""
    return find_spec("rouge_score") is not None and find_spec("rouge") is not None


def plain(text: str) -> str:
    """A text without its tags, which both sides of a comparison would share."""
    return " ".join(_TAGS.sub(" ", text).split())


def rouge_l() -> Measure:
    """ROUGE-L as `rouge-score` computes it: F1 of the longest common subsequence of stems.

    Returns:
        What makes a number in [0, 1] of a text and its reference.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)

    def measure(text: str, reference: str) -> float:
        return float(scorer.score(reference, text)["rougeL"].fmeasure)

    return measure


def rege_text() -> Measure:
    """ROUGE-L as `rouge` computes it, which is the text half of REGE; 0 for an empty text, on which that library fails."""
    from rouge import Rouge

    scorer = Rouge(metrics=["rouge-l"], stats=["f"])

    def measure(text: str, reference: str) -> float:
        try:
            with _deep():
                return float(scorer.get_scores(text, reference)[0]["rouge-l"]["f"])
        except ValueError:  # a text without a word
            return 0.0

    return measure


@contextmanager
def _deep() -> Iterator[None]:
    """Lets calls nest as deep as long sentences need."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _DEEP))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
