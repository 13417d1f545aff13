"""`parse` reads a text into the one `Answer` that rewards, metrics, synthesis and prediction share; `render` is its inverse."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from fea.facs import emotion_name
from fea.prompts.mentions import Mention, find_mentions


class Answer(NamedTuple):
    """What a text says, read once.

    >>> answer = parse("<think>Cheeks up (AU6), no frown (AU4).</think><answer>Happy.</answer>")
    >>> sorted(answer.aus), answer.emotion, answer.well_formed, answer.think_span
    ([6], 'happiness', True, (0, 47))
    >>> [(mention.number, mention.claimed) for mention in answer.mentions]
    [(6, True), (4, False)]

    Attributes:
        text: the whole text.
        aus: FACS numbers claimed inside the think block.
        emotion: canonical name of the answer; None without an answer block, or if several blocks disagree.
        well_formed: the text is exactly one non-empty think block, then one non-empty answer block.
        think: content of the first closed think block, or None.
        answer: content of the first answer block, or None.
        mentions: every Action Unit mentioned inside the think block; spans count from the start of the text.
        think_span: first character and end of the think block with its tags, or None.
        answer_span: the same for the answer block.
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


def render(think: str, answer: str) -> str:
    """The text of an analysis: `parse(render(think, answer))` gives both back."""
    return f"<think>{think}</think><answer>{answer}</answer>"


_TAG = re.compile(r"</?(?:think|answer)>")


def parse(text: str, emotions: Collection[str] = ()) -> Answer:
    """Reads a text. Never raises, whatever the text.

    Args:
        text: what a model or a person wrote.
        emotions: the allowed emotions; their words stand for themselves, synonyms of others are resolved to them.

    Returns:
        The answer; a part that cannot be read is None or empty, which rewards and metrics count as wrong.
    """
    tags = [(match[0], match.start(), match.end()) for match in _TAG.finditer(text)]
    think_span = next(iter(_blocks(tags, "think")), None)
    after_think = [tag for tag in tags if think_span is None or tag[1] >= think_span[1]]
    answer_spans = _blocks(after_think, "answer")
    think = _content(text, think_span, "think")
    words = {emotion_name(_content(text, span, "answer") or "", emotions) for span in answer_spans}
    emotion = words.pop() if len(words) == 1 else ""
    mentions = tuple(find_mentions(think)) if think else ()
    offset = think_span[0] + len("<think>") if think_span else 0
    answer_span = answer_spans[0] if answer_spans else None
    return Answer(
        text=text,
        aus=frozenset(mention.number for mention in mentions if mention.claimed),
        emotion=emotion or None,
        well_formed=_well_formed(text, tags),
        think=think,
        answer=_content(text, answer_span, "answer"),
        mentions=tuple(m._replace(span=(m.span[0] + offset, m.span[1] + offset)) for m in mentions),
        think_span=think_span,
        answer_span=answer_span,
    )


_Tag = tuple[str, int, int]


def _blocks(tags: list[_Tag], name: str) -> list[tuple[int, int]]:
    """Spans from each first opening tag to the next closing one."""
    spans, start = [], None
    for tag, begin, end in tags:
        if tag == f"<{name}>" and start is None:
            start = begin
        elif tag == f"</{name}>" and start is not None:
            spans.append((start, end))
            start = None
    return spans


def _content(text: str, span: tuple[int, int] | None, name: str) -> str | None:
    return text[span[0] + len(name) + 2 : span[1] - len(name) - 3] if span else None


def _well_formed(text: str, tags: list[_Tag]) -> bool:
    if [tag for tag, _, _ in tags] != ["<think>", "</think>", "<answer>", "</answer>"]:
        return False
    (_, _, think), (_, think_end, after), (_, answer, words), (_, words_end, end) = tags
    outside = text[: tags[0][1]] + text[after:answer] + text[end:]
    return not outside.strip() and bool(text[think:think_end].strip()) and bool(text[words:words_end].strip())
