"""The emotion that a text answers, whatever it is wrapped in: a sentence, JSON, LaTeX, a grade, a confidence."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from fea.facs import EMOTION_WORDS, compound_parts, emotion_name

_MARKUP = re.compile(r"\\(?:boxed|text|mathrm|textbf)\b|[{}$\"*`\\]|[\s_]+")
# Up to three words may stand between a denial and what it denies: "not a very happy face".
_DENIED = re.compile(
    r"\b(?:not|no|never|without|neither|nor|isn['\u2019]t|non|rather than|instead of)(?:[ -](?!but\b)\w{1,12}){0,3}[ -]$",
    re.IGNORECASE,
)
_STATED = re.compile(
    r"\b(?:emotion|answer|expression|label|feeling|conclusion)\s{0,2}(?::|=|is\b)(?P<said>[^.;!?\n]{1,80})",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"(?<=[.!?;])\s+|\s*\n\s*")
# "Happily surprised" is two emotions unless the vocabulary has it as one.
_WORDS = {form: noun for word, noun in EMOTION_WORDS.items() for form in (word, f"{word}ly", f"{word[:-1]}ily")}


def answered_emotion(answers: Iterable[str], vocabulary: Collection[str] = ()) -> str | None:
    """Canonical name of the one emotion that answers name, each in its own words.

    Args:
        answers: contents of answer blocks that say something.
        vocabulary: the allowed emotions, as `fea.facs.emotion_name` takes them.

    Returns:
        The name; a single answer without a known word is returned as it is, cleaned; None if there is no answer, if
        emotions are only denied, or if two are named that are not those of an allowed compound.
    """
    names = {name for answer in answers for name in _named(answer, vocabulary) or {emotion_name(answer, vocabulary)}}
    return _one(names, vocabulary)


def stated_emotion(text: str, vocabulary: Collection[str] = ()) -> str | None:
    """The emotion that a text without an answer block states last ("Emotion: sadness"), or else the only one that it names."""
    for stated in reversed(list(_STATED.finditer(text.replace("*", " ")))):
        if names := _named(stated["said"], vocabulary):
            return _one(names, vocabulary)
    return _one(_named(text, vocabulary), vocabulary)


def _one(names: set[str], vocabulary: Collection[str]) -> str | None:
    """The only name; of the two emotions of an allowed compound, this one: "happiness and surprise"."""
    if len(names) != 2:
        return (names.pop() or None) if len(names) == 1 else None
    nouns = frozenset(EMOTION_WORDS.get(name, name) for name in names)
    return next((word for word in vocabulary if compound_parts(word) == nouns), None)


def without_emotions(text: str, vocabulary: Collection[str] = ()) -> str:
    """A text without the sentences that name an emotion, whatever they say of it.

    >>> without_emotions("The lip corners are up (AU12). This looks happy. No frown (AU4).", ["happiness"])
    'The lip corners are up (AU12). No frown (AU4).'
    """
    pattern = _pattern(tuple(vocabulary))
    return " ".join(part for part in _SENTENCES.split(text) if part.strip() and not pattern.search(part))


def _named(text: str, vocabulary: Collection[str]) -> set[str]:
    """Canonical names of the emotions in a text; {""} if it only denies some, none if it knows none."""
    whole = emotion_name(text, vocabulary)
    if whole in vocabulary or whole in EMOTION_WORDS:
        return {whole}
    found = named_emotions(text, vocabulary)
    claimed = {name for name, meant in found if meant}
    return claimed or ({""} if found else set())


def named_emotions(text: str, vocabulary: Collection[str] = ()) -> list[tuple[str, bool]]:
    """The emotions that a text names, in order, and whether it means them: False for those that it denies.

    >>> named_emotions("AU4, sad but not angry")
    [('sadness', True), ('anger', False)]
    """
    words = _MARKUP.sub(" ", text)
    found = [
        (match[0], words[max(0, match.start() - 60) : match.start()])
        for match in _pattern(tuple(vocabulary)).finditer(words)
    ]
    return [(_name(word, vocabulary), not _DENIED.search(before)) for word, before in found]


def _name(word: str, vocabulary: Collection[str]) -> str:
    name = emotion_name(word, vocabulary)
    return name if name in vocabulary else emotion_name(_WORDS.get(name, name), vocabulary)


@lru_cache
def _pattern(vocabulary: tuple[str, ...]) -> re.Pattern[str]:
    words = sorted({*vocabulary, *_WORDS}, key=len, reverse=True)  # "happily surprised" before "surprised"
    phrases = "|".join(re.escape(word).replace(r"\ ", r"[\s_-]+") for word in words)
    return re.compile(rf"(?<![^\W_])(?:{phrases})(?![^\W_])", re.IGNORECASE)
