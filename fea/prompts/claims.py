"""What a text says of the Action Units that it names: that they are there, that they are not, or neither.

A sentence is read from name to name. Each place that names units is judged by the words before it, back to the start of its
clause, and by the words after it, up to the next name; `fea.prompts.rules` says what the words mean. What is said of several
that are joined ("brow lowering (AU4) and jaw drop (AU26) are absent") is said of each, and what a heading says is said of all
below it. Without any such word a unit is claimed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fea.prompts.rules import AFTER, BEFORE, Verdict
from fea.prompts.spotting import Spot

_SENTENCE_END = re.compile(r"(?<!\n[0-9])(?:[.](?!\w)|[!?])|\n")
_CLAUSE_START = re.compile(
    r"[;,:]|\b(?:and|(?<!nothing\s)(?<!\ball\s)(?<!everything\s)but|however|although|though|while|whereas|yet|because|since|given|so"
    r"|(?<!such\s)(?<!ed\s)(?<!known\s)as(?!\sif)|considering)\b",  # "coded as" goes on
    re.IGNORECASE,
)
_CLAUSE = 300  # characters before a unit that can change what is said of it: more than a clause has
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|do|does|did|shows?|see|looks?|appears?|seems?|can|cannot|with|without|but|there|no|not|i|we|it"
    r"|this|that|which)\b",
    re.IGNORECASE,
)
_OR = re.compile(r"\b(?:or|nor)\b", re.IGNORECASE)
_INSTANCE = re.compile(r"\s{0,3}(?:such\sas|including|like|namely|neither)\b", re.IGNORECASE)
_NO_NOUN = re.compile(r"\b(?:no|without|neither|lack\sof|absence\sof)\b(?P<noun>[^,;]{0,80})$", re.IGNORECASE)
_SUBJECT = re.compile(
    r"[\s)\]]{0,4}(?:is|are|was|were|ha(?:s|ve)|do(?:es)?|shows?|looks?|seems?|appears?)\b", re.IGNORECASE
)
_SINGULAR = re.compile(
    r"[\s)\]]{0,4}(?:is|was|has|does|remains|isn't|wasn't|doesn't|(?!this|always|perhaps)[a-z]{3,12}s)\b", re.IGNORECASE
)
_PLURAL = re.compile(
    r"[\s)\]]{0,4}(?:are|were|have|do|show|look|seem|appear|remain|both|all|aren't|weren't|don't|,?\s?(?:neither|none)\sof)\b",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"[)\]\s]{0,4}(?:,?\s{0,2}(?P<word>and|or|nor)\b|,)(?P<phrase>[^,;:()\n]{0,60})\(?\s{0,2}", re.IGNORECASE
)
_CORRECTED = re.compile(
    r"[)\s,.;-]{0,4}(?:or\srather|i\smean|correction|scratch\sthat|make\sthat|no,?\swait|sorry)\b[^;.]{0,20}",
    re.IGNORECASE,
)
_TICK = re.compile(r"[\u2713\u2717][\s\x00]{0,4}$")
_LACKS = re.compile(r"\b(?:missing|absent|not|no|none|lacking)(?:\s\w{1,12}){0,2}\s?:$", re.IGNORECASE)
_APPOSED = re.compile(r"\s?,\s(?:is|are|was|were|has|have|[a-z]{2,12}s)\b", re.IGNORECASE)
_HEADING = re.compile(r"[^:]{1,60}:[\s-]{0,8}$|\s{0,3}#{1,6}\s[^:]{1,60}$")
_BULLET = re.compile(r"\n\s{0,3}[-+\u2022]\s")
_LETTER = re.compile(r"[^\W\d_x]")  # "[x]" is a box
_ASKS = re.compile(r"\W{0,4}(?:is|are|does|do|can|could|what|which|whether|where)\b", re.IGNORECASE)
_ANSWER = re.compile(r"[\s)]{0,4}(yes|they\sdo(?:n't)?|it\s(?:is|does)(?:n't)?|no|not)\b", re.IGNORECASE)
_NEGATIVE = re.compile(r"\bno|n't", re.IGNORECASE)
_HYPOTHETICAL = re.compile(r"\b(?:would|could|might|if|unless)\b", re.IGNORECASE)
_INSTEAD = re.compile(
    r"\b(?:unlike|without|rather\sthan|instead\sof|absence\sof|lack\sof|lacks|despite\sno|with\sno)\W{0,3}$",
    re.IGNORECASE,
)
_ACTS = re.compile(
    r"\s{1,2}(?!(?:a|an|the|this|his|her|in|on|at|of|to|for|as|by|and|or|nor|with|which|that|here|either|too|alone)\b)[a-z]",
    re.IGNORECASE,
)


# Texts of one policy, or of one author, say the same words around units again and again. 8,192 clauses are 2 MB.
_remembered = functools.lru_cache(maxsize=8192)


class _Place(NamedTuple):
    """A place in its sentence: the words since the place before, those up to the next, and its joint to the former."""

    spot: Spot
    since: str
    until: str
    joint: str


def judge(text: str, spots: Sequence[Spot]) -> list[tuple[Spot, Verdict]]:
    """What a text says of each place that names units, in order.

    Args:
        text: the text as `fea.prompts.spotting.plain` leaves it.
        spots: the places that `fea.prompts.spotting.spots` finds in it.
    """
    heading: Verdict | None = None
    said: list[tuple[Spot, Verdict]] = []
    for start, end, inside in _sentences(text, spots):
        first = text[start : inside[0].start if inside else end]
        if said and _CORRECTED.match(first):
            said[-1] = (said[-1][0], "denied")
        if not inside:
            headed = _headed(first) or (_LETTER.search(first) and _BULLET.match(text, end))
            heading = _said_before(first) if headed else None if _LETTER.search(first) else heading
            continue
        if text[max(start - 1, 0) : start] != "\n" or _VERB.search(first):
            heading = None
        places = list(_places(text, start, end, list(_settled(text, inside))))
        verdicts = _sentence(places, heading)
        if text[end : end + 1] == "?":
            asked = len(places) if _ASKS.match(first) else 0 if _LETTER.search(places[-1].until) else 1
            verdicts[len(places) - asked :] = [_answered(text, end + 1)] * asked
        if _HYPOTHETICAL.search(text, start, end):  # "without AU4 it would be joy" does not take AU4 back
            verdicts = ["supposed" if verdict == "denied" else verdict for verdict in verdicts]
        said += zip((place.spot for place in places), verdicts, strict=True)
    return said


def _answered(text: str, position: int) -> Verdict:
    """What the words behind a question say of the units that it asks about."""
    answer = _ANSWER.match(text, position)
    return "supposed" if answer is None else "denied" if _NEGATIVE.search(answer[1]) else "claimed"


def _sentences(text: str, spots: Sequence[Spot]) -> Iterator[tuple[int, int, Sequence[Spot]]]:
    """First character and end of each sentence, and the places in it; a list that runs over a line end stays whole."""
    start = first = last = 0
    for end, beyond in [*(match.span() for match in _SENTENCE_END.finditer(text)), (len(text), len(text))]:
        while last < len(spots) and spots[last].start < end:
            last += 1
        if last == first or spots[last - 1].end <= end:
            yield start, end, spots[first:last]
            start, first = beyond, last


def _settled(text: str, spots: Sequence[Spot]) -> Iterator[Spot]:
    """The places; of "unlike AU12, AU20 pulls" the subject of the verb is no part of what is put aside."""
    for spot in spots:
        before, after = text[max(0, spot.start - 20) : spot.start], text[spot.end : spot.end + 20]
        if spot.joints and spot.joints[0].startswith(",") and _INSTEAD.search(before) and _ACTS.match(after):
            # "unlike AU12, AU20 and AU5 show", "unlike AU12, AU6, AU20 shows"
            cut = 1 if set(spot.joints) != {","} else len(spot.items) - 1
            yield Spot(spot.items[:cut], spot.start, spot.items[cut - 1].span[1])
            yield Spot(spot.items[cut:], spot.items[cut].span[0], spot.end)
        else:
            yield spot


def _places(text: str, start: int, end: int, spots: Sequence[Spot]) -> Iterator[_Place]:
    begins = [*(spot.start for spot in spots), end]
    # "\u2713 AU9 \u2717 AU12": if one tick stands before a unit, each speaks of what follows it.
    ticked = _TICK.search(text, start, begins[0]) is not None
    for i, spot in enumerate(spots):
        since = text[(spots[i - 1].end if i else start) : spot.start]
        joined = _JOINED.fullmatch(since) if i else None
        joint = (joined["word"] or ",").lower() if joined and not _VERB.search(joined["phrase"]) else ""
        # Up to a next place the words do not end: "AU12 no AU4" says no of AU4.
        until = text[spot.end : begins[i + 1]] + ("\x00" if i + 1 < len(spots) else "")
        yield _Place(spot, since, _TICK.sub("", until) if ticked else until, joint)


def _sentence(places: Sequence[_Place], heading: Verdict | None) -> list[Verdict]:
    behind = _behind(places)
    said: list[Verdict] = []
    before: Verdict | None = None
    for i, place in enumerate(places):
        if i and _CORRECTED.fullmatch(place.since):
            said[-1] = "denied"
        # What was said of the place before is not said of this one.
        since = place.since[behind[i - 1][1] :] if i else place.since
        own = _said_before(_clause(since, place.until, first=not i))
        before = own or (before if _carries(places, i) else None)
        heading = own if _headed(since) else heading
        after = behind[i][0]
        said.append("denied" if after == "denied" else before or after or heading or "claimed")
    return said


def _behind(places: Sequence[_Place]) -> list[tuple[Verdict | None, int]]:
    """What the words after each place say of it, and how many of them do; a plural says it of all that are joined."""
    behind = [_said_after(place.until) for place in places]
    reach = ""
    for i in range(len(places) - 1, 0, -1):
        verdict, until, joint = behind[i][0], places[i].until, places[i].joint
        if verdict and not (reach and behind[i][1] == 0):
            reach = "all" if _PLURAL.match(until) else "last" if _SINGULAR.match(until) else "words"
        spreads = reach == "all" or (reach == "words" and joint != ",")
        if verdict in ("denied", "supposed") and joint and spreads and behind[i - 1][0] is None:
            behind[i - 1] = (verdict, 0)
    return behind


def _carries(places: Sequence[_Place], i: int) -> bool:
    """Whether "no" or "maybe" before a place is said of the next too: "no frown (AU4), wide eyes (AU5) or open lips (AU25)"."""
    joint = places[i].joint
    if joint != ",":
        return bool(joint)
    ahead = places[i + 1 : i + 8]  # lists are no longer than that
    return next((place.joint for place in ahead if place.joint != ","), "") in ("or", "nor")


@_remembered
def _clause(since: str, until: str, first: bool) -> str:
    """The words before a place that belong to its clause; a line end stands ahead of those that open a sentence."""
    words = since[-_CLAUSE:]
    start, opens = 0, first
    for boundary in _CLAUSE_START.finditer(words):
        rest = words[boundary.end() :]
        verb = _VERB.search(rest) is not None
        listed = _INSTANCE.match(rest) or (_OR.search(rest) and not verb)  # "no AUs, such as", "no brow, lid or lip"
        shared = (
            boundary[0].lower() == "and"
            and (no := _NO_NOUN.search(words, 0, boundary.start()))
            and not (verb or _VERB.search(no["noun"]) or _SUBJECT.match(until))
        )
        apposed = not rest.strip(" (") and _APPOSED.match(until)  # "none of the units of joy, AU6 and AU12, is there"
        if not (listed or shared or apposed or _heads(words[start : boundary.end()], rest)):
            start, opens = boundary.end(), boundary[0] == ";"
    return "\n" * opens + words[start:]


def _headed(words: str) -> bool:
    """Whether they end in a title. Most words hold no sign of one, which is seen at once."""
    return (":" in words or "#" in words) and _HEADING.search(words) is not None


def _heads(words: str, rest: str) -> bool:
    """Whether a colon belongs to what follows: "not present: AU4", but not "he does not hide it: the brows are low (AU4)"."""
    sentence = _LETTER.search(rest) and _VERB.search(words) and not _LACKS.search(words)
    return words.endswith(":") and not sentence


@_remembered
def _said_before(words: str) -> Verdict | None:
    return next((rule.verdict for rule in BEFORE if rule.words.search(words.replace("_", " "))), None)


@_remembered
def _said_after(words: str) -> tuple[Verdict | None, int]:
    return next(((rule.verdict, match.end()) for rule in AFTER if (match := rule.words.match(words))), (None, 0))
