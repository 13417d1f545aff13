"""What is searched: the analyses of a file, or its faces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from fea.data.example import Example
from fea.data.table import Table, open_jsonl
from fea.errors import FEAError
from fea.facs import ACTION_UNITS, au_number
from fea.prompts.answer import parse
from fea.records.record import Rules

What = Literal["analyses", "faces"]
Codes = Literal["kept", "stripped"]

_CODE = r"AUs?\s?[LR]?\d{1,2}[A-ELR]?"
_JOINT = r"(?:\s?(?:,|\+|and|&)\s?)"
# A code with the parentheses around it, or several of them: "(AU6)", "(AU6, AU12)", "AU4 and AU7".
_CODES = re.compile(rf"\s?\(\s?{_CODE}(?:{_JOINT}{_CODE})*\s?\)|\s?\b{_CODE}(?:{_JOINT}{_CODE})*\b", re.IGNORECASE)


class Document(NamedTuple):
    """One analysis or face.

    Attributes:
        example: what it is about.
        text: that is searched.
        units: FACS numbers that it claims; of a face by its labels, those that are known to be present.
        emotions: that it comes to, one or none; of a face by its labels, those that are right.
        well_formed: whether the text keeps the format; of a face by its labels always.
    """

    example: Example
    text: str
    units: frozenset[int]
    emotions: frozenset[str]
    well_formed: bool


def stripped(text: str) -> str:
    """A text without the codes of Action Units, so that only words can tell what it says.

    >>> stripped("The cheeks are up (AU6), and AU12 shows.")
    'The cheeks are up, and shows.'
    """
    return _CODES.sub("", text)


def spelled(text: str) -> str:
    """A text with the names and signs of Action Units in place of their codes: a query where documents have no codes.

    >>> spelled("AU12 and no AU4")
    'lip corner puller: the lip corners go up and back and no brow lowerer: the brows come down and together'
    """

    def sign(match: re.Match[str]) -> str:
        unit = ACTION_UNITS.get(int(match["number"]))
        return f"{unit.name}: {unit.sign}" if unit else ""

    return re.sub(r"\bAUs?\s?[LR]?(?P<number>\d{1,2})[A-ELR]?\b", sign, text, flags=re.IGNORECASE)


class Corpus:
    """The documents of a file. Their texts stand in memory; what they say is read when it is asked for.

    Args:
        table: the lines.
        what: "analyses", of the lines that have one; or "faces", which are known by their labels, all lines.
        codes: "kept", or "stripped" from the texts; what these claim is read before.

    Attributes:
        rows: of the table, by document.
        texts: by document.
        answers: what a model says of each face, by which they are known then; see `answered`.
    """

    answers: Sequence[str] = ()

    def __init__(self, table: Table, what: What, codes: Codes):
        self.table, self.what, self.codes = table, what, codes
        if what == "analyses":
            told = [(row, text) for row, text in enumerate(table.column("analysis")) if text is not None]
            self.rows = [row for row, _ in told]
            self.texts = self._shown([text for _, text in told])
        else:
            units, labels = table.column("AUs"), table.column("labels")
            self.rows = list(range(len(table)))
            self.texts = [_labels(*known) for known in zip(units, labels, strict=True)]
        self.document = lru_cache(maxsize=None)(self._document)

    def __len__(self) -> int:
        return len(self.rows)

    def answered(self, answers: Sequence[str]) -> None:
        """Has faces be known by what a model says of them, in place of their labels."""
        self.answers, self.texts = answers, self._shown(answers)
        self.document.cache_clear()

    def example(self, number: int) -> Example:
        """What a document is about."""
        return self.table[self.rows[number]]

    def _document(self, number: int) -> Document:
        example, text = self.example(number), self.texts[number]
        if self.what == "faces" and not self.answers:
            return Document(example, text, example.present, frozenset(example.labels), True)
        return said(example, self.answers[number] if self.answers else example.analysis or "")._replace(text=text)

    def _shown(self, texts: Sequence[str]) -> list[str]:
        return [stripped(text) if self.codes == "stripped" else text for text in texts]


def said(example: Example, text: str) -> Document:
    """A text about a face as a document."""
    answer = parse(text, example.emotions)
    return Document(example, text, answer.aus, frozenset(filter(None, [answer.emotion])), answer.well_formed)


def read(file: Path, image_root: Path | None, emotions: tuple[str, ...], what: What, codes: Codes) -> Corpus:
    """The documents of a file.

    Args:
        file: JSONL in FEA-20K format; texts are taken as they stand.
        image_root: folder of the images; by default that of the file.
        emotions: words that an analysis may come to, and labels may be; other labels are unknown.
        what: "analyses" or "faces".
        codes: of analyses, "kept" or "stripped".

    Raises:
        FEAError: the file cannot be read, or no line has an analysis.
    """
    table = open_jsonl(file, image_root or file.parent, Rules(emotions, "unknown", wrap=False), "raise")
    corpus = Corpus(table, what, codes)
    if not len(corpus):
        raise FEAError(f"no line of '{file}' has an analysis (key 'description'); search its faces: --what faces")
    return corpus


def _labels(units: Sequence[str] | None, labels: Sequence[str]) -> str:
    """What is known of a face, in words; nothing for what is unknown."""
    codes = sorted(units or (), key=lambda code: (au_number(code), code))
    return "; ".join(filter(None, [", ".join(codes), " or ".join(labels)]))
