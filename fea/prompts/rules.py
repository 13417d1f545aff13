"""The words by which a text says that an Action Unit is there, that it is not, or neither.

The rules are tried in order, those after a unit before those ahead of it, and the first that matches decides. Where a reader
would hesitate, a unit is not claimed: a policy that is rewarded for claims finds every text that is read as more than it says.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from fea.facs import EMOTION_WORDS

# "supposed" is neither: what is only possible, general knowledge, what another emotion would show.
Verdict = Literal["claimed", "denied", "supposed"]


class Rule(NamedTuple):
    """One way to say something of a unit: what it says, on which side of the unit its words stand, and the words."""

    verdict: Verdict
    side: Literal["before", "after"]
    words: re.Pattern[str]


def _before(verdict: Verdict, words: str) -> Rule:
    return Rule(verdict, "before", re.compile(words, re.IGNORECASE))


# Words about a unit follow at once, behind closing brackets and the marks of lists, tables and values.
_MARKS = r"[\s)\]:=|>(-]{0,8}"


def _after(verdict: Verdict, words: str, column: str = r"(?:_[rc]\b)?") -> Rule:
    return Rule(verdict, "after", re.compile(rf"{column}{_MARKS}(?:{words})", re.IGNORECASE))


_FEELINGS = "|".join(sorted(EMOTION_WORDS, key=len, reverse=True))
_NO = (
    r"(?:\b(?:no(?!\s(?:doubt|less))|not(?!\s(?:only|just|merely))|without|never|neither|nor|none|lack(?:s|ing)?|absen(?:ce|t)"
    r"|missing|inactive|undetected|(?:free|devoid)\s(?:of|from)|cannot|\w{2,6}n't|unlike|(?:rather|other)\sthan|instead\sof"
    r"|unlikely|hardly|rul(?:es?|ed|ing)\sout|exclud(?:es?|ed|ing)|fail(?:s|ed)?\sto|except|sans|ohne|keine?)\b"
    r"|\u6ca1\u6709|\u6c92\u6709|\u672a|\u65e0|\u7121|\u7f3a\u4e4f|\u4e0d(?![\u4ec5\u50c5\u53ea\u65ad]))"
)
_MAYBE = (
    r"\b(?:maybe|perhaps|possibl[ey]|probabl[ey]|potential(?:ly)?|presumably|likely|might|may|could|would|should|seemingly|unclear"
    r"|uncertain|hints?\sof|(?<!as\s)if|whether|unless|at\sfirst|initially|expect(?:s|ed)?|candidates?|to\scheck|check(?:ing)?\s(?:for|if)"
    r"|(?:look|search)(?:ing)?\sfor|(?:typical|usual|general|normal|common)ly|often|sometimes|defin(?:ed|ition)"
    r"|(?:typical|usual|relevant)\s(?:AUs|units|signs|markers)|for\s(?:example|instance)|e\.g)\b"
)
_IS = (
    r"(?:,?\s{0,2}(?:which|that)\s)?(?:is|are|was|were|seems?|appears?|remains?|looks?)?\s{0,2}(?:to\sbe\s)?"
    r"(?:(?:\w{1,12}ly|only|just|both|all|also|quite|very|still|here)\s){0,2}"
)
_SHOWN = (
    r"(?:present|visible|active|activated|seen|observed|detected|evident|apparent|there|shown|engaged|involved|found|clear"
    r"|discernible|noticeable|identified|on)\b"
)
_MEASURE = (
    r"(?:(?:intensity|level|score|value|confidence|probability|activation|strength|grade|present|active|detected|visible|at)"
    r"[\s:=]{1,3}){0,2}"
)
_ENDS = r"(?=\s{0,3}(?:[,;|)\]/]|[.](?![0-9])|\s\s|$))"  # of a cell or a value: "AU4: no" but not "AU4: no doubt"
_NOT = r"(?:not|no\slonger|never|neither|hardly)"

RULES: tuple[Rule, ...] = (
    # A tick, a cell of a table or a value: none, off, 0. An intensity above 0 is present, a share from one half.
    _after("denied", rf"\u2717|{_MEASURE}(?:0(?:\.0{{1,6}})?|no|none|false|off|nil|n/a|null|negative|zero){_ENDS}"),
    _after("supposed", rf"{_MEASURE}(?:0?\.[0-4][0-9]{{0,6}}|[0-4]?[0-9](?:\.[0-9]{{1,4}})?\s?%)(?![0-9])", column=""),
    # "AU4 is absent", "AU4, which is not clearly visible", "AU4 does not appear", "AU4 shows no activity".
    _after(
        "denied",
        rf"{_IS}(?:absent|missing|lacking|inactive|undetected|excluded|ruled\sout|unlikely|doubtful|questionable|nowhere)\b",
    ),
    _after("denied", rf"{_IS}(?:{_NOT}|(?:is|are|was|were)n't)\s{{1,2}}(?:to\sbe\s)?(?:\w{{1,12}}ly\s)?{_SHOWN}"),
    _after(
        "denied",
        rf"(?:(?:cannot|can't|could\snot|couldn't)\sbe\s(?:\w{{1,12}}ly\s)?{_SHOWN}|can\sbe\s(?:ruled\sout|excluded))",
    ),
    _after(
        "denied",
        r"(?:(?:do|does|did)(?:\snot|n't)|fails?\sto)\s(?:\w{1,12}ly\s)?(?:appear|show|occur|seem|move|fire|contribute)",
    ),
    _after(
        "denied", r"(?:shows?|ha(?:s|ve)|plays?|with)\sno\b|,?\s{0,2}(?:neither|none)\sof\s(?:which|them|these|those)\b"
    ),
    _after(
        "denied",
        r".{0,4}(?:\u4e0d\u5b58\u5728|\u6ca1\u6709|\u672a|\u7f3a\u5931)|\u306f?\u898b\u3089\u308c(?:\u307e\u305b\u3093|\u306a\u3044)|\u306f?\u306a[\u3044\u3057]",
    ),
    _after("denied", rf"(?:(?:is|are|was|were)\snot|(?:is|are|was|were)n't){_ENDS}"),
    # "AU4?", "AU4 (possibly)", "AU4 is probably present"; but "AU12 probably means joy" supposes what it means.
    _after("supposed", rf"\?|{_IS}(?:possible|uncertain|unclear)\b|(?:might|may|could)\s(?:\w{{1,5}}\s)?be\s{_SHOWN}"),
    _after(
        "supposed",
        rf",?\s{{0,2}}{_IS}(?:possibly|probably|likely|maybe|perhaps|potentially|presumably|at\sfirst)(?:\s(?:also\s)?{_SHOWN}|\s{{0,2}}(?:[.,;:)!?\n]|$))",
    ),
    # What would be, or mostly is: "AU4 would be expected in anger", "AU4 can also appear in anger", "AU6 is needed for joy".
    _after("supposed", r"(?:(?:would|should)\b|can\s(?:also\s)?(?:appear|occur|be)\b)"),
    _after(
        "supposed",
        r"(?:is|are)?\s?(?:often|sometimes|usually|typically|commonly|generally|normally|rarely)\s(?:appear|occur|seen|found|linked|associated|accompan|present|shown)",
    ),
    _after("supposed", r"(?:is|are)\s(?:needed|required|necessary|expected)\b"),
    # Boxes and ticks before the code: "[ ] AU12".
    _before("denied", r"(?:\[\s{0,2}\]|\u2717)[\s:|-]{0,4}$"),
    # A denial of everything else claims ("nothing but AU12"), and so does one of an emotion that a unit speaks against.
    _before(
        "claimed",
        r"\b(?:no|none|nothing|not?\s\w{1,12})\s(?:\w{1,12}\s){0,3}(?:but|except|other\sthan|apart\sfrom|besides|beyond)\b[^,]{0,30}$",
    ),
    _before(
        "claimed",
        rf"{_NO}[^,]{{0,40}}\b(?:emotion|expression|label|{_FEELINGS})\s(?:face\s|expression\s)?(?:explains?|fits?|accounts?\sfor|matches|produces|combines|[:-])[^,]{{0,40}}$",
    ),
    _before("denied", _NO),
    _before("supposed", _MAYBE),
    # General knowledge has an emotion for its subject and no face: "a genuine smile needs AU6", "Anger: AU4, AU7".
    _before(
        "supposed",
        rf"^\W{{0,4}}(?:(?:an?|every|any|genuine|true|real|felt|posed|duchenne|typical|classic|full)\s){{0,3}}(?:smile|{_FEELINGS})\s{{0,2}}"
        r"(?:$|[:=(-]+\s{0,2}$|(?:needs?|requires?|involves?|includes?|consists?\sof|combines?|comprises?|has|have)\b)",
    ),
    _after("claimed", rf"\u2713|{_MEASURE}(?:yes|true|1|{_IS}{_SHOWN})"),
)
BEFORE: tuple[Rule, ...] = tuple(rule for rule in RULES if rule.side == "before")
AFTER: tuple[Rule, ...] = tuple(rule for rule in RULES if rule.side == "after")
