"""An analysis as a reviewer reads it: in pieces, each claim marked by what the labels say about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from fea.data.example import Example
from fea.evaluation.scores import au_f1, emotion_match
from fea.prompts.answer import Answer
from fea.prompts.mentions import Mention

Kind = Literal["plain", "tag", "right", "wrong", "unknown", "supposed"]


class Piece(NamedTuple):
    """A part of a text.

    Attributes:
        text: its characters.
        kind: "right" and "wrong" are claims that the labels confirm and deny; "unknown" ones nobody looked for; "supposed"
            is a unit that the text denies or only supposes.
        au: FACS number of the unit that is named; 0 for none.
    """

    text: str
    kind: Kind
    au: int = 0


class Marked(NamedTuple):
    """A text with its marks.

    Attributes:
        text: the whole text.
        pieces: which make it up again.
        missed: FACS numbers of units that are there and not claimed.
        score: F1 of the claimed units, as `scores.au_f1` gives it; None if none were looked for.
        well_formed: it is one think block and one answer block.
    """

    text: str
    pieces: list[Piece]
    missed: list[int]
    score: float | None
    well_formed: bool


def marked(answer: Answer, example: Example) -> Marked:
    """Marks what an answer claims about an example.

    Args:
        answer: the parsed text.
        example: the face it is about; a claim about what nobody looked at is neither right nor wrong.

    Returns:
        The text in pieces: its tags, the units it names, the emotion it answers, and what lies between them.
    """
    marks = [(*mention.span, _kind(mention, example), mention.number) for mention in answer.mentions]
    for span, name in ((answer.think_span, "think"), (answer.answer_span, "answer")):
        if span:
            opened, closed = span[0] + len(f"<{name}>"), span[1] - len(f"</{name}>")
            marks += [(span[0], opened, "tag", 0), (closed, span[1], "tag", 0)]
            marks += [(opened, closed, _emotion_kind(answer, example), 0)] if name == "answer" else []
    pieces, end = [], 0
    for start, stop, kind, au in sorted(marks):
        pieces += [Piece(answer.text[end:start], "plain"), Piece(answer.text[start:stop], kind, au)]
        end = stop
    pieces.append(Piece(answer.text[end:], "plain"))
    missed = sorted(example.present - answer.aus)
    return Marked(
        answer.text, [piece for piece in pieces if piece.text], missed, au_f1(answer, example), answer.well_formed
    )


def _kind(mention: Mention, example: Example) -> Kind:
    if not mention.claimed:
        return "supposed"
    if mention.number not in example.coded:
        return "unknown"
    return "right" if mention.number in example.present else "wrong"


def _emotion_kind(answer: Answer, example: Example) -> Kind:
    match = emotion_match(answer, example)
    if match is None:
        return "unknown"
    return "right" if match else "wrong"
