"""The one vocabulary: Action Units, emotions and the prototypes that connect them.

Numbers and names follow the Facial Action Coding System (Ekman, Friesen & Hager, 2002); the descriptions are our own words.
Expressions are not feelings: the prototypes serve drawings, sanity checks and reports, never as truth or as a reward.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from fea.errors import FEAError


class ActionUnit(NamedTuple):
    """One Action Unit: its FACS number, its name, the region where it shows, and what one sees."""

    number: int
    name: str
    region: str
    sign: str


_TABLE = """
1  | inner brow raiser    | brow  | the inner ends of the brows go up
2  | outer brow raiser    | brow  | the outer ends of the brows go up
4  | brow lowerer         | brow  | the brows come down and together
5  | upper lid raiser     | eye   | the upper lids lift, white shows above the iris
6  | cheek raiser         | cheek | the cheeks lift and narrow the eyes from below, outer corners crease
7  | lid tightener        | eye   | the lids tighten and the eye narrows
8  | lips toward each other | mouth | the lips move toward one another
9  | nose wrinkler        | nose  | creases run across the root of the nose
10 | upper lip raiser     | mouth | the upper lip goes up, its middle most
11 | nasolabial deepener  | cheek | the furrow from nose to mouth deepens in its middle
12 | lip corner puller    | mouth | the lip corners go up and back
13 | sharp lip puller     | mouth | the lip corners rise steeply and the cheeks bulge
14 | dimpler              | mouth | the lip corners tighten inward and dimple
15 | lip corner depressor | mouth | the lip corners go down
16 | lower lip depressor  | mouth | the lower lip goes down
17 | chin raiser          | chin  | the chin boss wrinkles and pushes the lower lip up
18 | lip pucker           | mouth | the lips push forward and the mouth narrows
19 | tongue show          | mouth | the tongue is visible
20 | lip stretcher        | mouth | the lip corners go straight sideways
21 | neck tightener       | neck  | the cords of the neck stand out
22 | lip funneler         | mouth | the lips turn outward like a funnel
23 | lip tightener        | mouth | the lips become thin and tight
24 | lip pressor          | mouth | the lips press against each other
25 | lips part            | mouth | the lips come apart
26 | jaw drop             | jaw   | the jaw hangs open
27 | mouth stretch        | jaw   | the mouth is pulled wide open downward
28 | lip suck             | mouth | the lips roll in over the teeth
29 | jaw thrust           | jaw   | the lower jaw moves forward
30 | jaw sideways         | jaw   | the lower jaw moves to one side
31 | jaw clencher         | jaw   | the jaw muscles bulge
32 | lip bite             | mouth | the teeth hold a lip
33 | cheek blow           | cheek | the cheeks fill and blow
34 | cheek puff           | cheek | the cheeks puff out
35 | cheek suck           | cheek | the cheeks are sucked in
36 | tongue bulge         | cheek | the tongue bulges a cheek or lip
37 | lip wipe             | mouth | the tongue wipes a lip
38 | nostril dilator      | nose  | the nostrils widen
39 | nostril compressor   | nose  | the nostrils narrow
41 | lid droop            | eye   | the upper lids droop
42 | slit                 | eye   | the eyes are slits
43 | eyes closed          | eye   | the eyes are shut
44 | squint               | eye   | the eyes squint
45 | blink                | eye   | the eyes close and open
46 | wink                 | eye   | one eye closes
51 | head turn left       | head  | the head turns to its left
52 | head turn right      | head  | the head turns to its right
53 | head up              | head  | the head lifts
54 | head down            | head  | the head lowers
55 | head tilt left       | head  | the head tilts to its left
56 | head tilt right      | head  | the head tilts to its right
57 | head forward         | head  | the head comes forward
58 | head back            | head  | the head goes back
61 | eyes turn left       | gaze  | the eyes look left
62 | eyes turn right      | gaze  | the eyes look right
63 | eyes up              | gaze  | the eyes look up
64 | eyes down            | gaze  | the eyes look down
65 | walleye              | gaze  | the eyes point apart
66 | cross-eye            | gaze  | the eyes point inward
"""


def _action_units() -> dict[int, ActionUnit]:
    rows = ([cell.strip() for cell in line.split("|")] for line in _TABLE.strip().splitlines())
    return {int(number): ActionUnit(int(number), name, region, sign) for number, name, region, sign in rows}


ACTION_UNITS: dict[int, ActionUnit] = _action_units()

# The units that the full prompt explains: those of the paper's instruction (arXiv 2511.10254v1).
PROMPTED_AUS: tuple[int, ...] = (*range(1, 3), *range(4, 8), *range(9, 21), *range(22, 33), 43)

# Pairs that one still face cannot show together (FACS 2002, Table 9-1, and anatomy): worth a warning, never a correction.
CONFLICTS: tuple[tuple[int, int], ...] = (
    *((5, 43), (18, 20), (22, 28), (24, 25), (26, 27), (43, 46)),
    *((51, 52), (53, 54), (55, 56), (57, 58), (61, 62), (63, 64), (65, 66)),
)

# What a code may look like in a label file: "AU12", "au06", "AU_4", sided "AUL12" and "AU12L", graded "AU12C".
_CODE = re.compile(r"(?:AU[\s_-]?)?([LR]?)0*([1-9]\d?)([LR]?)[A-E]?", re.IGNORECASE | re.ASCII)


def au_code(text: str) -> str | None:
    """Canonical code of one Action Unit: "AU12", or "AUL12" and "AUR12" for the sides of the person's face.

    Args:
        text: what a label file says, such as "AU06", "12", "AUL12" or "AU12C" (the grade is dropped).

    Returns:
        The code, or None if the text names no unit of the table.
    """
    match = _CODE.fullmatch(text.strip())
    if match is None or int(match[2]) not in ACTION_UNITS or (match[1] and match[3]):
        return None
    return f"AU{(match[1] or match[3]).upper()}{int(match[2])}"


def au_number(code: str) -> int:
    """FACS number of a canonical code, its side dropped: 12 for "AU12" and for "AUL12"."""
    return int(code.lstrip("AULR"))


# Units of the whole head or both eyes that have a side in their number: turned, tilted, looking left and right.
_MIRRORED = {51: 52, 52: 51, 55: 56, 56: 55, 61: 62, 62: 61}


def mirrored(code: str) -> str:
    """The code after the image was flipped: "AUL12" and "AUR12" change places, and so do "AU51" and "AU52"."""
    number = au_number(code)
    side = code.removeprefix("AU").removesuffix(str(number))
    return f"AU{side.translate(str.maketrans('LR', 'RL'))}{mirrored_number(number)}"


def mirrored_number(number: int) -> int:
    """The unit that a unit becomes when the image is flipped: 52 for 51, and 12 for 12."""
    return _MIRRORED.get(number, number)


# --- emotions ---------------------------------------------------------------------------------------------------------

EMOTION_SETS: dict[str, tuple[str, ...]] = {
    "basic7": ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    "basic8": ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    # The compound classes of RAF-DB (Li, Deng & Du, CVPR 2017).
    "compound11": (
        *("happily surprised", "happily disgusted", "sadly fearful", "sadly angry", "sadly surprised"),
        *("sadly disgusted", "fearfully angry", "fearfully surprised", "angrily surprised"),
        *("angrily disgusted", "disgustedly surprised"),
    ),
}

_SYNONYMS: dict[str, str] = {
    "anger": "angry annoyed annoyance irritated irritation furious fury mad rage",
    "contempt": "contemptuous scorn scornful disdain disdainful",
    "disgust": "disgusted revulsion repulsed",
    "fear": "afraid fearful scared fright frightened terror terrified",
    "happiness": "happy joy joyful joyous smiling delight delighted cheerful glad",
    "neutral": "neutrality calm expressionless",
    "sadness": "sad sorrow sorrowful unhappy grief",
    "surprise": "surprised surprising astonished astonishment amazed amazement",
}
# What models say that were taught in other languages: Spanish, French, German, Chinese, Japanese, Korean.
_TRANSLATIONS: dict[str, str] = {
    "anger": "ira enojo enfado colère wut ärger 愤怒 生气 憤怒 怒り 분노",
    "contempt": "desprecio mépris verachtung 轻蔑 蔑视 軽蔑 경멸",
    "disgust": "asco dégoût ekel 厌恶 恶心 嫌悪 혐오",
    "fear": "miedo peur angst 恐惧 害怕 恐怖 공포",
    "happiness": "felicidad alegría joie bonheur freude glück 高兴 快乐 开心 幸福 喜び 행복 기쁨",
    "neutral": "neutre 中性 平静 中立 중립",
    "sadness": "tristeza tristesse trauer traurigkeit 悲伤 伤心 难过 悲しみ 슬픔",
    "surprise": "sorpresa überraschung 惊讶 驚き 놀람",
}
_CANONICAL: dict[str, str] = {
    word: noun for table in (_SYNONYMS, _TRANSLATIONS) for noun, words in table.items() for word in words.split()
}
EMOTION_WORDS: dict[str, str] = {**{noun: noun for noun in _SYNONYMS}, **_CANONICAL}  # what may be said, and its noun
# "Happily surprised" is two emotions in one: an adverb, and a word that has lost none of its form.
_ADVERBS = {form: noun for word, noun in EMOTION_WORDS.items() for form in (f"{word}ly", f"{word[:-1]}ily")}
_CORE = re.compile(r"[^\W_](?:.*[^\W_])?", re.DOTALL)  # from the first letter or digit to the last
_GAPS = re.compile(r"[\s_-]+")


def plain_word(text: str) -> str:
    """A word as it is compared: without case, surrounding punctuation, hyphens and line breaks."""
    core = _CORE.search(text)
    return _GAPS.sub(" ", core[0]).casefold() if core else ""


def emotion_name(text: str, vocabulary: Collection[str] = ()) -> str:
    """Canonical name of an emotion word; rewards, metrics and synthesis all compare these.

    Case, surrounding punctuation and spacing do not matter. A word of the vocabulary stands for itself; otherwise
    synonyms become the noun ("Angry." is "anger").

    Args:
        text: an answer or a label.
        vocabulary: the allowed emotions, as `plain_word` leaves them; a noun outside a non-empty vocabulary is not used for a
            synonym.

    Returns:
        The canonical name; the cleaned text itself if it is no known word; "" if nothing is left.
    """
    word = plain_word(text)
    if word in vocabulary:
        return word
    noun = _CANONICAL.get(word, word)
    return noun if not vocabulary or noun in vocabulary else word


def compound_parts(name: str) -> frozenset[str]:
    """The two emotions of a compound one (Du, Tao & Martinez, 2014), as nouns; none of any other word.

    >>> sorted(compound_parts("happily surprised")), sorted(compound_parts("surprise"))
    (['happiness', 'surprise'], [])
    """
    first, _, second = name.partition(" ")
    parts = frozenset(filter(None, (_ADVERBS.get(first), EMOTION_WORDS.get(second))))
    return parts if len(parts) == 2 else frozenset()


# --- prototypes -------------------------------------------------------------------------------------------------------


def _sets(*codes: str) -> tuple[frozenset[int], ...]:
    return tuple(frozenset(int(number) for number in code.split("+")) for code in codes)


# EMFACS-style prototypes, the first of each being the usual one (Friesen & Ekman, EMFACS-7, 1983; FACS Investigator's
# Guide, 2002, Table 10-1; variants as quoted by OpenDBM 2.0 and Pochedly et al., 2012).
PROTOTYPES: dict[str, tuple[frozenset[int], ...]] = {
    "anger": _sets("4+5+7+23", "4+5+7+24", "4+7+17+23", "4+7+10+23", "4+5+7+25+26"),
    "contempt": _sets("12+14", "14"),
    "disgust": _sets("9+15+16", "9+15+17", "10+15+16", "9+10+17"),
    "fear": _sets("1+2+4+5+7+20+26", "1+2+4+5+20+26", "1+2+4+5+7+20+25"),
    "happiness": _sets("6+12", "6+12+25", "12"),
    "neutral": (frozenset(),),
    "sadness": _sets("1+4+15", "1+4+15+17", "1+4+11+15", "6+15"),
    "surprise": _sets("1+2+5+26", "1+2+5+25+26", "1+2+5+27"),
}


def nearest_emotions(aus: Iterable[int], vocabulary: Iterable[str] = tuple(PROTOTYPES)) -> frozenset[str]:
    """Emotions whose prototype is nearest to a set of Action Units, by Jaccard similarity; ties give several.

    Args:
        aus: FACS numbers.
        vocabulary: the emotions to choose from; those without a prototype are left out.

    Returns:
        The nearest emotions; empty if no prototype shares anything with the set.
    """
    shown = frozenset(aus)
    scores = {word: max(_jaccard(shown, p) for p in PROTOTYPES[word]) for word in vocabulary if word in PROTOTYPES}
    best = max(scores.values(), default=0.0)
    return frozenset(word for word, score in scores.items() if score == best and best > 0)


def _jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b) if a or b else 1.0


Emotions = str | list[str]


def emotion_set(emotions: Emotions) -> tuple[str, ...]:
    """The words of a preset, or a list as it is.

    Raises:
        FEAError: no such preset, no word at all, or an empty one.
    """
    if isinstance(emotions, str):
        if emotions not in EMOTION_SETS:
            raise FEAError(
                f"emotions: '{emotions}' is no preset; presets are {', '.join(EMOTION_SETS)}, or give a list of words"
            )
        return EMOTION_SETS[emotions]
    words = tuple(dict.fromkeys(map(plain_word, emotions)))
    if not words or "" in words:
        raise FEAError(f"emotions: found {emotions}; name at least one emotion, and none without letters")
    return words
