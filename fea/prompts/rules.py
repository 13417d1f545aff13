"""The words by which a text says that an Action Unit is there, that it is not, or neither.

RULES are tried in order, those on the words after a unit before those on the words ahead of it, and the first that matches
decides. Each stands with an example, in which AU4 is the unit that is judged. Where a reader would hesitate, a unit is not
claimed: a policy that is rewarded for claims finds every text that is read as more than it says.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from fea.facs import EMOTION_WORDS

# "supposed" is neither: what is only possible, general knowledge, what another emotion would show.
Verdict = Literal["claimed", "denied", "supposed"]


class Rule(NamedTuple):
    """One way to say something of a unit.

    Attributes:
        example: a sentence in which the rule judges AU4.
        verdict: what it says.
        side: where its words stand, as seen from the unit.
        words: the words.
    """

    example: str
    verdict: Verdict
    side: Literal["before", "after"]
    words: re.Pattern[str]


def _any(words: str) -> str:
    """A pattern of any of the words; an underscore is a blank within one."""
    return f"(?:{'|'.join(words.split())})".replace("_", r"\s")


# Words about a unit follow at once, behind closing brackets and the marks of lists, tables and values.
_MARKS = r"[\s)\]:=|>({-]{0,8}"


def _after(verdict: Verdict, example: str, words: str, column: str = r"(?:_[rc]\b)?") -> Rule:
    return Rule(example, verdict, "after", re.compile(rf"{column}{_MARKS}(?:{words})", re.IGNORECASE))


def _before(verdict: Verdict, example: str, words: str) -> Rule:
    return Rule(example, verdict, "before", re.compile(words, re.IGNORECASE))


_FEELING = f"(?:{'|'.join(sorted(EMOTION_WORDS, key=len, reverse=True))})"
_EMOTION = f"(?:{'|'.join(sorted(set(EMOTION_WORDS.values())))})"
_NO_WORD = _any(
    """no(?!_(?:doubt|less)) nothing without never neither nor none lack(?:s|ing)? absen(?:ce|t) missing inactive
    undetected (?:free|devoid)_(?:of|from) unlike (?:rather|other)_than instead_of unlikely hardly except
    (?:all|everything)_but rul(?:e|es|ed|ing)_out exclud(?:e|es|ed|ing) fail(?:s|ed)?_to dismiss(?:ed)?
    reject(?:ed)? neg sans sin ohne keine? weder noch nicht"""
)
_NOT = r"(?:not|cannot|\w{2,6}n't)(?!\s(?:only|just|merely|simply|solely|alone|deny|overlook|miss)\b)"
_NO = rf"(?:\b(?:{_NO_WORD}|{_NOT})\b|\bpas\sd|[¬未无無缺]|没有|沒有|不(?![仅僅只断]))"
_MAYBE = _any(
    r"""maybe perhaps possibl[ey] probabl[ey] potential(?:ly)? presumably likely might may could would should
    seemingly unclear uncertain hints?_of (?<!as\s)if whether unless at_first initially expect(?:s|ed)?
    candidates? to_check check(?:ing)?_(?:for|if) (?:look|search)(?:ing)?_for
    (?:typical|usual|general|normal|common)ly often sometimes defin(?:ed|ition) e\.g asked suspect(?:ed)?
    (?:typical|usual|relevant)_(?:AUs|units|signs|markers) for_(?:example|instance) going_to_say tempted thought
    consider(?:ed|ing)?"""
)
_ELSEWHERE = (
    r"(?:in\sthe\sbackground|in\sthe\s(?:previous|reference|other|last|first|neutral)\s(?:image|photo|picture|frame|face|panel)"
    r"|earlier)\b"
)
_IS = (
    r"(?:,?\s{0,2}(?:which|that)\s)?(?:is|are|was|were|be|est|ist|seems?|appears?|remains?|stays?|looks?)?\s{0,2}(?:to\sbe\s)?"
    r"(?:(?:\w{1,12}ly|only|just|both|all|also|quite|very|still|here)\s){0,2}"
)
_ISNT = r"(?:(?:is|are|was|were)\snot|(?:is|are|was|were)n't)"
# What may be denied of a unit that is there: "AU4 is not strong", "AU4 is not the only one".
_GRADE = _any(
    """only just merely simply alone the an? as so too very that weak strong faint intense enough sufficient
    surprising unusual typical limited absent missing symmetric(?:al)? accompanied isolated in_doubt nonsense
    denied overlooked missed ignored"""
)
_SHOWN = _any(
    r"""present\b visible\b active\b activated seen observed detected evident apparent there\b shown engaged
    involved found\b clear discernible noticeable identified confirmed on\b"""
)
_GONE = _any(
    """absente?s? missing lacking inactive undetected excluded ruled_out unlikely doubtful questionable nowhere
    dismissed rejected off out gone zero at_rest relaxed quiet silent idle unmoved undecided unknown hidden"""
)
_NOTHING = _any(r"(?:(?:is|are)n't)|not? none n false off nil n/a null negative zero hardly_any 0(?:\.0{1,6})?")
_MEASURE = (
    "(?:"
    + _any(
        """intensity level score value confidence probability activation strength grade present active detected
    visible has with is are
        at an? the of"""
    )
    + r"[\s:=]{1,4}){0,5}"
)
_ENDS = r"(?=\s{0,3}(?:[,;|)\]}/]|[.](?![0-9])|\s\s|$))"  # of a cell or a value: "AU4: no" but not "AU4: no doubt"

RULES: tuple[Rule, ...] = (
    # Ticks, cells and values. An intensity above 0 is present; of a share, such as a probability, from one half.
    _after("denied", "AU4 \u2717", "\u2717"),
    _after("denied", "AU4 has an intensity of 0", rf"{_MEASURE}{_NOTHING}{_ENDS}"),
    _after("denied", "au: 4, present: false", rf",\s{{0,3}}{_MEASURE}(?:0|no|false|none|null){_ENDS}"),
    _after("supposed", "AU4: 0.12", rf"{_MEASURE}0?\.[0-4][0-9]{{0,6}}(?![0-9])", column=""),
    _after("supposed", "AU4: 35 %", rf"{_MEASURE}[0-4]?[0-9](?:\.[0-9]{{1,4}})?\s?%", column=""),
    # What is said of a unit to say that it is not there.
    _after("denied", "the brow lowerer (AU4) is clearly absent", rf"{_IS}{_GONE}\b|lacks\b"),
    _after("denied", "AU4 is no longer visible", rf"{_IS}(?:no\slonger|never|hardly|scarcely)\b"),
    _after("denied", "AU4 is not considered active", rf"{_IS}(?:not|{_ISNT})\s(?:to\sbe\s)?(?!{_GRADE}\b)[a-z]"),
    _after("denied", "AU4 cannot be assessed", rf"(?:can|could)(?:\s?not|n't)\sbe\s(?!{_GRADE}\b)"),
    _after("denied", "AU4 can be ruled out", rf"can\sbe\s{_GONE}\b"),
    _after("denied", "AU4 does not contribute", r"(?:(?:do|does|did)(?:\snot|n't)|fails?\sto)\b"),
    _after("denied", "AU4 plays no role", r"(?:shows?|ha(?:s|ve)|plays?|with)\s(?:no|little)\b"),
    _after("denied", "AU4 is found on neither side", r"(?:\w{1,12}\s){0,3}(?:on|in|at|by)\s(?:neither|no)\b"),
    _after(
        "denied",
        "AU1 and AU4, neither of which is there",
        r",?\s{0,2}(?:neither|none)\sof\s(?:which|them|these|those)\b",
    ),
    _after(
        "denied",
        "AU4 drops out",
        r"(?:drops?|falls?)\s(?:out|away)\b|,\s(?:drop|strike|remove|discard|skip|delete)\b|fehl(?:t|en)\b",
    ),
    _after("denied", "AU4不存在", "[\u4e00-\u9fff]{0,2}(?:不存在|没有|沒有|未|缺失)"),
    _after("denied", "AU4は見られません", "は?(?:見られ(?:ません|ない)|ありません|な[いしく])"),
    _after("denied", "AU4는 없다", r"[가-힣]?\s?(?:없|나타나지|보이지)"),
    # Doubt. "AU12 probably means joy" supposes what the unit means, and claims it.
    _after(
        "supposed",
        "AU4 is conceivable",
        rf"{_IS}(?:possible|uncertain|unclear|conceivable|plausible|debatable|borderline)\b",
    ),
    _after("supposed", "AU4 might well be present", rf"(?:might|may|could)\s(?:\w{{1,5}}\s)?be\s{_SHOWN}"),
    _after(
        "supposed",
        "AU4 is probably present",
        rf",?\s{{0,2}}{_IS}(?:possibly|probably|likely|maybe|perhaps|potentially|presumably|at\sfirst)"
        rf"(?:\s(?:also\s)?{_SHOWN}|\s{{0,2}}(?:[.,;:)!?\n]|$))",
    ),
    # What would be, or mostly is.
    _after("supposed", "AU4 would be expected", r"(?:would|should|(?:could|might|may)\shave)\b"),
    _after("supposed", "AU4 can also appear in fear", r"can\s(?:also\s)?(?:appear|occur)\b"),
    _after("supposed", "AU4 is needed for anger", r"(?:is|are)\s(?:needed|required|necessary|expected)\b"),
    _after(
        "supposed",
        "AU4 often comes with anger",
        r"(?:is|are)?\s?(?:often|sometimes|usually|typically|commonly|generally|normally|rarely)\s"
        r"(?!indicat|suggest|mean|signal|point|express|convey|reflect|reveal|tell)[a-z]",
    ),
    # Another face, or another time.
    _after("supposed", "AU4 was there in the previous photo", rf"(?:\w{{1,12}}\s){{0,4}}{_ELSEWHERE}"),
    _before("supposed", "in the reference image AU4 is on", rf"\b{_ELSEWHERE}"),
    # What stands right before a unit: boxes, ticks, a muscle at rest.
    _before("denied", "- [ ] AU4", r"(?:\[\s{0,2}\]|\(\s?-\s?\)|\u2717)[\s:|-]{0,4}$"),
    _before("denied", "the corrugator, relaxed (AU4)", r"\b(?:relaxed|at\srest|unmoved|smooth)[\s(:,-]{0,3}$"),
    # To deny all else is to claim, and so is to deny an emotion that the unit speaks against.
    _before(
        "claimed",
        "no unit is active except AU4",
        r"\b(?:no|none|nothing|not?\s\w{1,12})\b[^,]{0,60}\b(?:but|except|other\sthan|apart\sfrom|besides|beyond)\b[^,]{0,30}$",
    ),
    _before(
        "claimed",
        "no other emotion explains AU4",
        rf"{_NO}[^,]{{0,40}}\b(?:emotion|expression|label|{_FEELING})\s(?:face\s|expression\s)?"
        r"(?:explains?|fits?|accounts?\sfor|matches|produces|combines|[:-])[^,]{0,40}$",
    ),
    _before("denied", "there is no sign of AU4", _NO),
    _before("supposed", "maybe AU4", rf"\b{_MAYBE}\b|^\W{{0,3}}(?:had|were)\s{{1,2}}$"),
    # General knowledge has an emotion for its subject, and no face; a line end marks a clause that opens its sentence.
    _before(
        "supposed",
        "true anger needs AU4",
        r"^\n\W{0,4}(?:(?:an?|every|any|genuine|true|real|felt|posed|duchenne|typical|classic|full)\s){0,3}"
        rf"(?:smile|joy|{_EMOTION})\s{{0,2}}(?:$|[:=-]+\s{{0,2}}$|"
        + _any("needs? requires? involves? includes? consists?_of combines? comprises? has have")
        + r"\b)",
    ),
    # Said of a unit below a heading that denies.
    _after("claimed", "AU4 is present", rf"\u2713|{_MEASURE}(?:yes|true|1|{_IS}{_SHOWN})"),
)
BEFORE: tuple[Rule, ...] = tuple(rule for rule in RULES if rule.side == "before")
AFTER: tuple[Rule, ...] = tuple(rule for rule in RULES if rule.side == "after")
