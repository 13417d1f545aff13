"""x~: a text with characters swapped, replaced and inserted, which takes as many tokens as before.

Always edited are the codes of Action Units, which become those of others, and with each of them a word of its sign, that is of
the clause it stands in; of all other words a share. The paper edits characters of the whole text. Our reading: of an analysis
the codes and signs are what it is about, and as many tokens as before, so that the losses of both are means over the same
number and a difference of gradients is none of lengths. Tags are never edited: both texts are answers.

    x     The cheeks are up (AU6). The mouth corners are pulled back (AU12). This points to happiness.
    x~    The cheeks era up (AU9). The mouth corners are pulled abck (AU24). This poinst to happiness.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from string import ascii_lowercase

import numpy as np

from fea.facs import ACTION_UNITS
from fea.prompts.mentions import Mention, find_mentions

SHARE = 0.15  # of the words that belong to no unit: our reading; some of each text, and most of it stays
_TRIES = 24  # edits of a word, until one takes as many tokens; in a vocabulary of 150,000 about one in ten does
_WORD = re.compile(r"[^\W\d_]{2,}")
_TAG = re.compile(r"<[^<>]*>")
_BREAK = re.compile(r"[.;:!?\n<>]")  # between clauses

Span = tuple[int, int]
Length = Callable[[str], int]


def edited(text: str, length: Length, rng: np.random.Generator) -> str:
    """A perturbed text of as many tokens.

    Args:
        text: an analysis.
        length: tokens of a text.
        rng: source of chance.

    Returns:
        The text with its edits; what no edit of equal length was found for stays as it is.
    """
    mentions, words = find_mentions(text), _words(text)
    chosen = {span for mention in mentions if (span := _sign(text, mention, words, rng))}
    chosen |= {word for word in words if rng.random() < SHARE}
    units = {mention.span: mention for mention in mentions if re.search(r"\d", text[slice(*mention.span)])}
    tokens, others = length(text), sorted({text[slice(*word)] for word in words})
    # From the end, so that places before it stay where they are.
    for start, end in sorted([*chosen, *units], reverse=True):
        old = text[start:end]
        news = _codes(old, units, rng) if (start, end) in units else _edits(old, others, rng)
        for new in news:
            # A piece by itself is counted at once; how it is read beside its neighbors is for the whole text to say.
            if new != old and length(f" {new}") == length(f" {old}"):
                changed = f"{text[:start]}{new}{text[end:]}"
                if length(changed) == tokens:
                    text = changed
                    break
    return text


def _words(text: str) -> list[Span]:
    """Words that may be edited: outside of tags and codes; names of units are words like any."""
    closed = [match.span() for match in _TAG.finditer(text)]
    closed += [m.span for m in find_mentions(text) if re.search(r"\d", text[slice(*m.span)])]
    found = (match.span() for match in _WORD.finditer(text))
    return [(start, end) for start, end in found if not any(start < stop and first < end for first, stop in closed)]


def _sign(text: str, mention: Mention, words: list[Span], rng: np.random.Generator) -> Span | None:
    """A word of the clause that a unit stands in; None if that has none."""
    first, end = mention.span
    before = max((match.end() for match in _BREAK.finditer(text, 0, first)), default=0)
    behind = next((match.start() for match in _BREAK.finditer(text, end)), len(text))
    of_clause = [word for word in words if before <= word[0] < behind]
    return of_clause[rng.integers(len(of_clause))] if of_clause else None


def _codes(code: str, units: dict[Span, Mention], rng: np.random.Generator) -> Iterator[str]:
    """The code with the numbers of units that the text does not name."""
    named = {mention.number for mention in units.values()}
    others = [number for number in ACTION_UNITS if number not in named]
    for place in rng.permutation(len(others)):
        yield re.sub(r"\d+", partial(_numbered, others[place]), code, count=1)


def _numbered(unit: int, digits: re.Match[str]) -> str:
    return str(unit).zfill(len(digits[0]))


def _edits(word: str, others: list[str], rng: np.random.Generator) -> Iterator[str]:
    """A word with two neighbors swapped, a character replaced or one inserted; at last other words of the text."""
    for _ in range(_TRIES):
        yield _edit(word, int(rng.integers(3)), rng)
    # Small vocabularies hold few misspellings of a word that is one token of theirs.
    for place in rng.permutation(len(others)):
        yield others[place]


def _edit(word: str, kind: int, rng: np.random.Generator) -> str:
    at, letter = int(rng.integers(len(word) - 1)), ascii_lowercase[rng.integers(len(ascii_lowercase))]
    if kind == 0:
        return f"{word[:at]}{word[at + 1]}{word[at]}{word[at + 2 :]}"
    return f"{word[:at]}{letter}{word[at + (kind == 1) :]}"
