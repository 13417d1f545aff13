"""`parse` reads a text into the one `Answer` that rewards, metrics, synthesis and prediction share; `render` is its inverse."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from fea.prompts.emotion import answered_emotion, stated_emotion
from fea.prompts.mentions import Mention, find_mentions
from fea.prompts.numbers import AFFECT, Number, Numbers, read_affect

# Where the answer stands: behind the thinking, as files have it and all is trained by default; before it; or alone.
Form = Literal["after_thinking", "first", "only"]
_BLOCKS: dict[Form, tuple[str, ...]] = {
    "after_thinking": ("think", "answer"),
    "first": ("answer", "think"),
    "only": ("answer",),
}
MOST_TOKENS = (
    32_768  # of an answer: the context of the smallest models that are tuned; one about a face has some hundred
)
FORMS = tuple(_BLOCKS)


class Answer(NamedTuple):
    """What a text says, read once.

    >>> answer = parse("<think>Cheeks up (AU6), no frown (AU4).</think><answer>Happy.</answer>")
    >>> sorted(answer.aus), answer.emotion, answer.well_formed, answer.think_span
    ([6], 'happiness', True, (0, 47))
    >>> [(mention.number, mention.claimed) for mention in answer.mentions]
    [(6, True), (4, False)]

    Attributes:
        text: the whole text.
        aus: FACS numbers claimed inside the think blocks.
        emotion: canonical name of the answer; None without an answer block, or if two emotions are answered.
        well_formed: the text is exactly one non-empty think block, then one non-empty answer block; or what else was asked.
        think: content of the first think block that says something, or None.
        answer: content of the first answer block that says something, or None.
        mentions: every Action Unit mentioned inside the think blocks; spans count from the start of the text.
        think_span: first character and end of that think block with its tags, or None.
        answer_span: the same for the answer block.
        form: that was asked for; of a text that was to be an answer only nobody expects units.
        numbers: that were asked for.
        valence: that the answer tells, in [-1, 1]; None if it tells none that can be read.
        arousal: likewise.
    """

    text: str
    aus: frozenset[int]
    emotion: str | None
    well_formed: bool
    think: str | None
    answer: str | None
    mentions: tuple[Mention, ...]
    think_span: tuple[int, int] | None
    answer_span: tuple[int, int] | None
    form: Form = "after_thinking"
    numbers: Numbers = ()
    valence: float | None = None
    arousal: float | None = None


def render(think: str, answer: str, form: Form = "after_thinking") -> str:
    """The text of an analysis: `parse(render(think, answer))` gives both back.

    Args:
        think: what is seen, and why it is this emotion.
        answer: the emotion.
        form: where the answer stands; where it stands alone, the thinking is left out.
    """
    content = {"think": think, "answer": answer}
    return "".join(f"<{name}>{content[name]}</{name}>" for name in _BLOCKS[form])


def reordered(text: str, form: Form, asked: Form = "after_thinking") -> str:
    """An analysis in another form; one that is not well-formed stays as it is.

    >>> reordered("<think>Cheeks up (AU6).</think><answer>happiness</answer>", "first")
    '<answer>happiness</answer><think>Cheeks up (AU6).</think>'

    Args:
        text: the analysis.
        form: that it gets; from "only" there is no way back.
        asked: that it has.
    """
    if form == asked:
        return text
    answer = parse(text, form=asked)
    return render(answer.think or "", answer.answer or "", form) if answer.well_formed else text


def parse(
    text: str,
    emotions: Collection[str] = (),
    lenient: bool = False,
    form: Form = "after_thinking",
    numbers: Numbers = (),
) -> Answer:
    """Reads a text. Never raises, whatever the text.

    Tags are read in any case, with blanks inside, as `<thinking>`, without the opening one that a chat template has already
    written, and without the closing one of the last answer or of the thinking before it; such texts are not well-formed.

    Args:
        text: what a model or a person wrote.
        emotions: the allowed emotions; their words stand for themselves, synonyms of others are resolved to them.
        lenient: read a text without blocks as a whole, for models that were never told of them.
        form: that was asked for: which order is well-formed, and which block is the last and may be cut off.
        numbers: that were asked for; without one of them, or with one that cannot be read, a text is not well-formed.

    Returns:
        The answer; a part that cannot be read is None or empty, which rewards and metrics count as wrong.
    """
    tags, thinks, answers = _found(text, form)
    think, answer = _first(text, thinks), _first(text, answers)
    affect, emotion = _read(text, answers, emotions, lenient)
    if lenient and not thinks:
        thinks = [_Block((0, len(text)), (0, len(text)))]
    mentions = find_mentions(_only(text, thinks))
    return Answer(
        text=text,
        aus=frozenset(mention.number for mention in mentions if mention.claimed),
        emotion=emotion,
        well_formed=_well_formed(text, tags, form) and _has(numbers, affect, mentions),
        think=text[slice(*think.content)] if think else None,
        answer=text[slice(*answer.content)] if answer else None,
        mentions=tuple(mentions),
        think_span=think.span if think else None,
        answer_span=answer.span if answer else None,
        form=form,
        numbers=numbers,
        valence=affect.get("valence"),
        arousal=affect.get("arousal"),
    )


def read_emotion(text: str, emotions: Collection[str] = ()) -> str | None:
    """The emotion of `parse(text, emotions, lenient=True)` alone, without the units: in a tenth of the time."""
    return _read(text, _found(text, "after_thinking")[2], emotions, lenient=True)[1]


def _found(text: str, form: Form) -> tuple[list[_Tag], list[_Block], list[_Block]]:
    """The tags of a text, its think blocks and its answer blocks."""
    tags = [_Tag(match["name"].lower(), match["close"] != "", *match.span()) for match in _TAG.finditer(text)]
    thinks = _blocks(tags, "think", len(text), form)
    return tags, thinks, list(_outside(_blocks(tags, "answer", len(text), form), thinks))


def _read(
    text: str, answers: list[_Block], emotions: Collection[str], lenient: bool
) -> tuple[dict[Number, float], str | None]:
    """The numbers and the emotion of the answer blocks."""
    free = lenient and not answers
    said = [text] if free else [text[slice(*block.content)] for block in answers if _says(text, block)]
    affect, words = read_affect(_END.join(said))
    said = words.split(_END)
    return affect, stated_emotion(words, emotions) if free else answered_emotion(said if any(said) else (), emotions)


def _has(numbers: Numbers, affect: Mapping[Number, float], mentions: Sequence[Mention]) -> bool:
    """Whether all numbers that were asked for can be read."""
    graded = "intensity" not in numbers or all(mention.grade for mention in mentions if mention.claimed)
    return graded and all(name in affect for name in AFFECT if name in numbers)


_END = "\x1e"  # between answers, which are read together


class _Tag(NamedTuple):
    name: str
    closes: bool
    start: int
    end: int


class _Block(NamedTuple):
    """First character and end of a block, with its tags and without them."""

    span: tuple[int, int]
    content: tuple[int, int]


_TAG = re.compile(r"<\s{0,3}(?P<close>/?)\s{0,3}(?P<name>think|answer)(?:ing)?\s{0,3}>", re.IGNORECASE)


def _blocks(tags: list[_Tag], name: str, end: int, form: Form) -> list[_Block]:
    """From each first opening tag to the next closing one."""
    blocks: list[_Block] = []
    opened: _Tag | None = None
    if name == "think" and (first := next(iter(tags), None)) and first.closes and first.name == name:
        opened = _Tag(name, False, 0, 0)  # the template wrote the opening tag
    for tag in tags:
        if tag.name != name:
            continue
        if opened is None:
            opened = None if tag.closes else tag
        elif tag.closes or name == "answer":  # "<answer>joy<answer>": the slash was forgotten
            blocks.append(_Block((opened.start, tag.end), (opened.end, tag.start)))
            opened = None
    if (
        opened is not None
    ):  # never closed: the last block is cut off at the end, the one before it ends where that begins
        later = (tag.start for tag in tags if tag.start > opened.start and tag.name != name)
        ends = end if name == _BLOCKS[form][-1] else next(later, end if name == "answer" else None)
        blocks += [_Block((opened.start, ends), (opened.end, ends))] if ends is not None else []
    return blocks


def _outside(blocks: list[_Block], others: list[_Block]) -> Iterator[_Block]:
    """The blocks that do not begin inside one of the others; both are in order."""
    remaining = iter(others)
    other = next(remaining, None)
    for block in blocks:
        while other is not None and other.span[1] <= block.span[0]:
            other = next(remaining, None)
        if other is None or block.span[0] < other.span[0]:
            yield block


def _says(text: str, block: _Block) -> bool:
    return bool(text[slice(*block.content)].strip())


def _first(text: str, blocks: list[_Block]) -> _Block | None:
    return next((block for block in blocks if _says(text, block)), next(iter(blocks), None))


def _only(text: str, blocks: list[_Block]) -> str:
    """The text with line ends in place of all that is not content of a block, so that places stay the same."""
    parts, position = [], 0
    for start, end in (block.content for block in blocks):
        parts += ["\n" * (start - position), text[start:end]]
        position = end
    return "".join(parts)


def _well_formed(text: str, tags: list[_Tag], form: Form) -> bool:
    asked = [tag for name in _BLOCKS[form] for tag in (f"<{name}>", f"</{name}>")]
    if [text[tag.start : tag.end] for tag in tags] != asked:
        return False
    edges = [0, *(edge for tag in tags for edge in (tag.start, tag.end)), len(text)]
    # Beside tags, what lies outside of blocks and inside of them takes turns.
    outside, inside = ([text[edges[i] : edges[i + 1]].strip() for i in range(i, len(edges), 4)] for i in (0, 2))
    return not any(outside) and all(inside)
