"""Puts numbers that are known of a face into an analysis that tells none: what a model is taught to write."""

from __future__ import annotations

from collections.abc import Mapping

from fea.prompts.answer import Form, parse
from fea.prompts.numbers import AFFECT, Number, Numbers, letter_of, written_affect


def numbered(
    text: str,
    numbers: Numbers,
    grades: Mapping[int, float],
    affect: Mapping[Number, float],
    form: Form = "after_thinking",
) -> str:
    """An analysis with the numbers that are asked for. Those that stand in it stay; what nobody knows is left out.

    >>> numbered("<think>A smile (AU12).</think><answer>happiness</answer>", ("valence", "intensity"), {12: 3}, {"valence": 1})
    '<think>A smile (AU12C).</think><answer>happiness; valence 1.0</answer>'

    Args:
        text: the analysis.
        numbers: that are asked for.
        grades: by FACS number.
        affect: valence and arousal, as far as they are known.
        form: of the analysis.
    """
    answer = parse(text, form=form)
    told: dict[Number, float | None] = {"valence": answer.valence, "arousal": answer.arousal}
    known = {
        name: found for name in AFFECT if (found := affect.get(name) if told[name] is None else told[name]) is not None
    }
    asked = {name: known[name] for name in known if name in numbers}
    changes: list[tuple[int, int, str]] = []
    if answer.answer_span and answer.answer and answer.emotion and any(told[name] is None for name in asked):
        start = text.index(answer.answer, answer.answer_span[0])
        changes.append((start, start + len(answer.answer), written_affect(answer.emotion, asked)))
    if "intensity" in numbers:
        for mention in answer.mentions:
            letter = letter_of(grades.get(mention.number, 0.0)) if mention.claimed and not mention.grade else ""
            changes += [(mention.span[1], mention.span[1], letter)] if letter else []
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text
