"""What a query demands in so many words: Action Units and emotions that it names or denies."""

from __future__ import annotations

from typing import NamedTuple

from fea.facs import ACTION_UNITS
from fea.prompts.answer import render
from fea.prompts.emotion import named_emotions
from fea.prompts.mentions import find_mentions
from fea.retrieval.documents import Document


class Wish(NamedTuple):
    """What a query demands.

    >>> wish = Wish.of("AU4 and AU7, not anger", ("anger", "fear"))
    >>> sorted(wish.units), wish.no_units, wish.emotions, wish.no_emotions
    ([4, 7], frozenset(), frozenset(), frozenset({'anger'}))

    Attributes:
        units: FACS numbers that are to show.
        no_units: that are not to.
        emotions: one of which it is to be.
        no_emotions: that it is not to be.
    """

    units: frozenset[int]
    no_units: frozenset[int]
    emotions: frozenset[str]
    no_emotions: frozenset[str]

    @classmethod
    def of(cls, query: str, emotions: tuple[str, ...]) -> Wish:
        """Reads a query.

        Args:
            query: in anyone's words.
            emotions: the words that count as emotions, beside their synonyms.
        """
        mentions = find_mentions(query)
        claimed = frozenset(mention.number for mention in mentions if mention.claimed)
        named = named_emotions(query, emotions)
        wanted = frozenset(name for name, meant in named if meant)
        return cls(
            claimed,
            frozenset(mention.number for mention in mentions) - claimed,
            wanted,
            frozenset(name for name, _ in named) - wanted,
        )

    def analysis(self, codes: bool) -> str:
        """An analysis that says what is wished for and nothing else; "" if no unit is.

        >>> Wish.of("AU12, happy", ("happiness",)).analysis(codes=True)
        '<think>The lip corners go up and back (AU12).</think><answer>happiness</answer>'

        Args:
            codes: whether it names the codes beside the signs.
        """
        known = [ACTION_UNITS[number] for number in sorted(self.units & ACTION_UNITS.keys())]
        told = [f"{unit.sign[0].upper()}{unit.sign[1:]}{f' (AU{unit.number})' * codes}." for unit in known]
        if not told:
            return ""
        return (
            render(" ".join(told), next(iter(self.emotions)))
            if len(self.emotions) == 1
            else f"<think>{' '.join(told)}</think>"
        )

    @property
    def demands(self) -> int:
        """How many things are asked for: each unit, and one emotion, whichever."""
        return len(self.units) + bool(self.emotions)

    def met(self, document: Document) -> int:
        """How many of them a document meets."""
        return len(self.units & document.units) + bool(self.emotions & document.emotions)

    def denies(self, document: Document) -> bool:
        """Whether a document shows what is not to be there; what nobody knows of it is no reason."""
        return bool(self.no_units & document.units or self.no_emotions & document.emotions)
