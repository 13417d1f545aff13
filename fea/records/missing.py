"""What stands in a data file where somebody had nothing to say: it is unknown, never absent, and never neutral."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fea.facs import plain_word

# What tables write for an empty cell once its value has become text.
_EMPTY = frozenset(("", "nan", "null", "none", "nat", "na", "n/a"))

# Words of label files that name no emotion and no unit: "none of these", "not found", "the coder could not tell".
_WORDS = """
nf, nil, n.a, unknown, uncertain, unsure, unclear, undefined, undecided, undetermined, ambiguous, missing, invalid, unlabeled,
unlabelled, unannotated, uncoded, not found, not sure, not available, not applicable, not labeled, not labelled, not annotated,
not coded, not rated, no face, nonface, non face, no label, cannot tell, can't tell, don't know
"""
_UNKNOWN = _EMPTY | frozenset(word.strip() for word in _WORDS.split(","))
# Characters of an empty cell with what may surround its word, as in "<NA>": longer texts are not looked at.
_LONGEST = 8


def missing(value: Any) -> bool:
    """Whether a value says nothing: null, NaN, blank text, or the word that a table writes for one of these."""
    if isinstance(value, str):
        return not value or (len(value) <= _LONGEST and _empty(value)) or value.isspace()
    return value is None or value != value  # only NaN differs from itself


def unknown(value: Any) -> bool:
    """Whether a label says nothing, or that nobody knows: "uncertain", "N/A", "NF"."""
    return missing(value) or (isinstance(value, str) and plain_word(value) in _UNKNOWN)


@lru_cache(maxsize=4096)
def _empty(text: str) -> bool:
    return plain_word(text) in _EMPTY
