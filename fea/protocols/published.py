"""Answers as the evaluation that Facial-R1 (arXiv 2511.10254v1) published reads them, so that its tables can be compared with.

    units      `AU` and digits, in capitals, within the first think block, or in the whole text where there is none: "AU 12" is
               missed, "no AU4" and "might be AU4" name AU4, "AU04" is not AU4, and AU120 is a unit that no label has
    emotion    the first word of the first answer block, or of the whole text where there is none; words end at commas,
               semicolons and blanks, and are compared letter by letter: "Sadness" and "sadness." are not "sadness"
    texts      compared whole, with their tags

An empty answer block ended that evaluation; here it is wrong. Our own rules are those of `fea.prompts.answer.parse`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fea.prompts.answer import Answer
from fea.protocols.cases import said

_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_UNIT = re.compile(r"AU(\d+)")
_BETWEEN = re.compile(r"[,;\s]+")
_HIGHEST = 99  # FACS numbers have at most two digits; a higher one is in no label


def published_answer(text: str, emotions: Sequence[str]) -> Answer:
    """Reads a text by these rules.

    Args:
        text: as it was written.
        emotions: the allowed ones; they decide nothing here but the form.

    Returns:
        The answer; its emotion is the word as it stands, "" where there is none.
    """
    think, answer = _THINK.search(text), _ANSWER.search(text)
    codes = _UNIT.findall(think[1] if think else text)
    units = {int(code) for code in codes if not code.startswith("0") and len(code) <= 2 and int(code) <= _HIGHEST}
    words = [word for word in _BETWEEN.split((answer[1] if answer else text).strip()) if word]
    return said(text or " ", units, words[0] if words else "", emotions, lenient=True)
