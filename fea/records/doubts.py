"""What a data file says that nothing reads, that says nothing, or that contradicts itself: counted, with the first places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fea.facs import au_number
from fea.prompts.answer import parse
from fea.records.keys import KEYS, meant, unread
from fea.records.missing import missing
from fea.records.record import Record, Rules, given_labels, has_tags
from fea.records.unknown import coded_of

# Analyses that are read; to read one takes a tenth of a millisecond and more, several times what its line takes else.
MOST_READ = 20_000
_SHOWN = 5  # lines, keys or words that are named
_REMEMBERED = 1000  # different keys or words that are counted

_GRADED = "grade Action Units but have no 'AUs': which of these were looked for, and show, counts as unknown"
_NO_UNITS = "have 'AUs' that say nothing: they count as unknown"
_LEFT_OUT = "have a description without tags and no label for an answer block: it is left out"
_FORM = "are not one think block and one answer block"
_CONTRARY = "answer another emotion than their label"
_FOREIGN = "answer none of the allowed emotions"
_INVENTED = "claim Action Units that were looked for and not found"


class _Claim(NamedTuple):
    """Units that an analysis claims and that its face is not known to show."""

    line: int
    record: Record
    units: frozenset[int]


class Doubts:
    """Filled line by line.

    Args:
        rules: by which the lines were read.
    """

    def __init__(self, rules: Rules):
        self.rules = rules
        self.keys: Counter[str] = Counter()
        self.meant: dict[str, str] = {}
        self.words: Counter[str] = Counter()
        self.lines: dict[str, list[int]] = {}
        self.read = 0
        self.claims: list[_Claim] = []

    def add(self, raw: Mapping[str, Any], record: Record) -> None:
        """Takes a line that became a record."""
        for key in () if raw.keys() <= KEYS else unread(raw):
            if key in self.keys or len(self.keys) < _REMEMBERED:
                self.keys[key] += 1
                if key not in self.meant and (right := meant(raw, key, self.rules.emotions)):
                    self.meant[key] = right
        if not record.labels and raw.get("labels"):
            words = [str(word) for word in given_labels(raw)]
            self.words.update(word for word in words if word in self.words or len(self.words) < _REMEMBERED)
        if record.AUs is None:
            if raw.get("AUs") and not isinstance(raw["AUs"], float):
                self._doubt(_NO_UNITS, record)
            elif record.AU_intensities != "{}":
                self._doubt(_GRADED, record)
        if record.analysis is not None and self.read < MOST_READ:
            self._read(record, record.analysis)
        elif record.analysis is None and not missing(raw.get("description")):
            self._doubt(_LEFT_OUT, record)

    def _doubt(self, kind: str, record: Record) -> None:
        self.lines.setdefault(kind, []).append(record.line)

    def _read(self, record: Record, analysis: str) -> None:
        """Compares an analysis with its labels; one that is wrong in its form is not compared."""
        self.read += 1
        answer = parse(analysis, self.rules.emotions)
        if not answer.well_formed and (self.rules.wrap or has_tags(analysis)):
            self._doubt(_FORM, record)
        elif answer.well_formed and answer.emotion not in (record.labels or self.rules.emotions):
            self._doubt(_CONTRARY if record.labels else _FOREIGN, record)
        elif record.AUs is not None and (units := answer.aus - frozenset(map(au_number, record.AUs))):
            self.claims.append(_Claim(record.line, record, units))

    def told(self, coded: Mapping[str, frozenset[int]]) -> list[str]:
        """A sentence for each kind.

        Args:
            coded: `coded_in` of the data sets in the file.
        """
        invented = [claim.line for claim in self.claims if claim.units & coded_of(claim.record, coded)]
        return list(self._told({**self.lines, _INVENTED: invented}))

    def _told(self, lines: Mapping[str, list[int]]) -> Iterator[str]:
        if self.keys:
            yield f"keys that nothing reads: {_first([self._key(key, n) for key, n in self.keys.most_common()])}"
        if self.words:
            words = [f"'{word}' {count}" for word, count in self.words.most_common()]
            yield f"labels that name none of the emotions, and count as unknown: {_first(words)}"
        for kind in (_NO_UNITS, _GRADED, _LEFT_OUT):
            if found := lines.get(kind):
                yield f"{len(found)} lines {kind}: {_places(found)}"
        of = f"of {'the first ' * (self.read == MOST_READ)}{self.read} analyses"
        for kind in (_FORM, _CONTRARY, _FOREIGN, _INVENTED):
            if found := lines.get(kind):
                yield f"{len(found)} {of} {kind}: {_places(found)}"

    def _key(self, key: str, count: int) -> str:
        right = f"is '{self.meant[key]}' meant? " if key in self.meant else ""
        return f"'{key}' ({right}{count} lines)"


def _places(lines: list[int]) -> str:
    return f"line{'s' * (len(lines) > 1)} {_first([str(line) for line in lines])}"


def _first(words: list[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more
