"""`fea data check`: what is in a data file, and what is wrong with it, in one pass over its lines and one over its images."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fea.data.image_check import Look
    from fea.data.overlap import Side
    from fea.records.record import Record, Rules

_SHOWN = 10  # problems of a kind that are listed
_NEARLY = 0.9  # share of missing images from which on their folder is wrong: a few may have a namesake elsewhere


class _Tally:
    """Counts over the lines of one file."""

    def __init__(self, file: Path, root: Path, rules: Rules) -> None:
        from fea.records.doubts import Doubts

        self.file, self.root, self.doubts = file, root, Doubts(rules)
        self.lines = self.kept = self.invalid = self.coded = self.labeled = self.analysed = self.wrapped = (
            self.conflicts
        ) = 0
        self.aus: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.ids: set[int] = set()
        self.occurring: dict[str, set[int]] = defaultdict(set)
        self.labels_of: dict[str, dict[tuple[str, ...], int]] = {}  # by image, its labels with the first line of each
        self.named: dict[str, list[tuple[str, str, str]]] = defaultdict(list)  # by split, the lines that name a person
        self.split_of: dict[str, str] = {}  # by image, where lines name their split
        self.twice: list[str] = []
        self.problems: list[str] = []
        self.missing: dict[str, str] = {}  # by image, the first line that names it
        self.unreadable: list[str] = []
        self.warnings: list[str] = []

    def add(self, raw: Mapping[str, Any], record: Record) -> None:
        from fea.facs import CONFLICTS, au_number

        place = f"{self.file}:{record.line}"
        self.kept += 1
        self.coded += record.AUs is not None
        self.labeled += bool(record.labels)
        self.analysed += record.analysis is not None
        self.wrapped += record.analysis is not None and record.analysis != raw["description"]
        self.aus.update(record.AUs or ())
        self.labels.update(record.labels)
        self.doubts.add(raw, record)
        numbers = set(map(au_number, record.AUs or ()))
        self.occurring[record.dataset].update(numbers, map(au_number, record.AUs_coded or ()))
        self.conflicts += any(a in numbers and b in numbers for a, b in CONFLICTS)
        if not (self.root / record.image).is_file():
            self.missing.setdefault(record.image, f"{place}: image '{self.root / record.image}' does not exist")
        else:
            self.labels_of.setdefault(record.image, {}).setdefault(tuple(record.labels), record.line)
        self._place_in_split(record, place)
        if hash(record.id) in self.ids:  # hashes: a million ids would cost ten times the memory
            self.twice.append(f"{place}: id '{record.id}' occurs twice")
        self.ids.add(hash(record.id))

    def _place_in_split(self, record: Record, place: str) -> None:
        if '"s' not in record.meta_info:  # of a million lines, most name neither a split nor a subject
            return
        meta = json.loads(record.meta_info)
        split = str(meta.get("split") or "")
        if split:
            self.split_of.setdefault(record.image, split)
        if "subject" in meta:
            self.named[split].append((record.dataset, record.meta_info, place))

    @property
    def splits(self) -> list[str]:
        """The splits that lines name; "" stands for those that name none."""
        unnamed = len(self.split_of) < len(self.labels_of) or not self.labels_of
        return [*dict.fromkeys(self.split_of.values()), *[""] * unnamed]

    @property
    def elsewhere(self) -> str:
        """What is said if the images lie in another folder; "" if they do not."""
        every = len(self.missing) + len(self.labels_of)
        if not self.missing or len(self.missing) < _NEARLY * every:
            return ""
        first = self.root / next(iter(self.missing))
        return f"{len(self.missing)} of {every} images are not there, such as '{first}'; name their folder with --image_root"

    @property
    def learned(self) -> bool:
        """Whether anything is understood that a model could learn."""
        return bool(self.labeled or self.coded or self.analysed)

    def place_of(self, image: str) -> str:
        """File and first line that name an image."""
        return f"{self.file}:{min(self.labels_of[image].values())}"


def check_file(
    file: list[str],
    image_root: Path | None = None,
    emotions: str | list[str] = "basic7",
    as_is: bool = False,
    images: bool | None = None,
) -> int:
    """Counts what is in a data file and lists what is wrong with it.

    Of several files, or of one whose lines name their `split` in `meta_info`, it also lists the people and the images that are
    on two sides: the same, or saved again, rescaled, mirrored, or cut at the edges.

    Args:
        file: JSONL in FEA-20K format; several, such as those of training, validation and test, are compared, too.
        image_root: folder of the images; by default the folder of the file.
        emotions: allowed emotions: "basic7", "basic8", "compound11" or a list.
        as_is: take descriptions as they stand; otherwise those without think and answer tags get them.
        images: open every image; by default where there are 20,000 or fewer.

    Returns:
        0, or 2 if a line or an image cannot be read, nothing in a file says what is to be learned, or two sides overlap.

    Raises:
        FEAError: there is no such file, or it is of another format.
    """
    tallies = [_read(Path(name), image_root, emotions, as_is) for name in file]
    compare = sum(len(tally.splits) for tally in tallies) > 1
    sides: list[Side] = []
    for tally in tallies:
        looks: dict[str, Look] = {}
        tally.warnings += _look(tally, images, compare, looks)
        print(_report(tally.file, tally))
        sides += _sides(tally, looks) if compare else []
    shared = list(_shared(sides))
    print(*shared, sep="\n", end="\n" * bool(shared))
    bad = any(t.problems or t.missing or t.unreadable or not t.learned for t in tallies)
    return 2 if bad or shared else 0


def _read(file: Path, image_root: Path | None, emotions: str | list[str], as_is: bool) -> _Tally:
    """The lines of a file."""
    from fea.errors import FEAError
    from fea.facs import emotion_set
    from fea.records.jsonl import read_lines
    from fea.records.record import Rules
    from fea.records.unknown import coded_in

    root = image_root or file.parent
    rules = Rules(emotion_set(emotions), "raise", wrap=not as_is).within(root)
    tally = _Tally(file, root, rules)
    for _, raw, record in read_lines(file, rules):
        tally.lines += 1
        if isinstance(record, FEAError):
            tally.problems.append(str(record))
        elif record is None:
            tally.invalid += 1
        else:
            tally.add(raw, record)
    tally.warnings += tally.doubts.told({name: coded_in(name, units) for name, units in tally.occurring.items()})
    return tally


def _look(t: _Tally, images: bool | None, compare: bool, looks: dict[str, Look]) -> Iterator[str]:
    """Opens the images if that is wanted; what is wrong with them, and with the labels of images that are the same."""
    from fea.data.image_check import MOST_OPENED, copies, look_at_all, told

    if images or (images is None and len(t.labels_of) <= MOST_OPENED):
        seen = look_at_all({str(t.root / image): t.place_of(image) for image in t.labels_of}, compare=compare)
        looks |= dict(zip(t.labels_of, seen.values(), strict=True))
        t.unreadable += [look.problem for look in looks.values() if look.problem]
    elif images is None:
        yield f"images were not opened: {len(t.labels_of)} are more than {MOST_OPENED}; open them with --images true"
    yield from told(looks)
    yield from _contradictions(t, copies(looks))


def _sides(t: _Tally, looks: dict[str, Look]) -> Iterator[Side]:
    """A file as a side of a split, or each split that its lines name."""
    from fea.data.overlap import Side, people_in

    for split in t.splits:
        images = [image for image in t.labels_of if t.split_of.get(image, "") == split]
        thumbnails = {image: looks[image].thumbnail for image in images if image in looks}
        yield Side(
            f"{t.file}, {split}" if len(t.splits) > 1 else str(t.file),
            people_in(t.named[split]),
            {str(t.root / image): t.place_of(image) for image in images},
            {str(t.root / image): seen for image, seen in thumbnails.items() if seen is not None},
        )


def _shared(sides: list[Side]) -> Iterator[str]:
    from itertools import combinations

    from fea.data.overlap import overlap

    for first, second in combinations(sides, 2):
        for told in overlap(first, second).told(first.name, second.name):
            yield f"overlap: {told}"


def _contradictions(t: _Tally, first_of: Mapping[str, str]) -> Iterator[str]:
    """Images with labels that have none in common, copies among them."""
    labels: dict[str, dict[tuple[str, ...], int]] = {}
    for image, given in t.labels_of.items():
        own = labels.setdefault(first_of.get(image, image), {})
        for words, line in given.items():
            if words:
                own.setdefault(words, line)
    found = [
        f"{image}: " + ", ".join(f"{' or '.join(words)} (line {line})" for words, line in given.items())
        for image, given in labels.items()
        if len(given) > 1 and not set.intersection(*map(set, given))
    ]
    if found:
        more = [f"  ... and {len(found) - _SHOWN} more"] * (len(found) > _SHOWN)
        told = [f"{len(found)} images have labels that contradict each other", *(f"  {one}" for one in found[:_SHOWN])]
        yield "\n".join([*told, *more])


def _report(file: Path, t: _Tally) -> str:
    from fea.facs import ACTION_UNITS, au_number
    from fea.reports import tables

    def share(count: int) -> str:
        return f"{count} ({100 * count / max(1, t.kept):.0f} %)"

    codes = sorted((au_number(code), code) for code in t.aus)
    lines = [
        f"{file}: {t.lines} lines, {t.kept} usable, {len(t.problems)} bad, {t.invalid} marked invalid",
        f"emotion known: {share(t.labeled)}",
        tables.plain("  {:<20} {}", t.labels.most_common()),
        f"Action Units coded: {share(t.coded)}",
        tables.plain("  {:<6} {:<22} {}", [(code, ACTION_UNITS[unit].name, t.aus[code]) for unit, code in codes]),
        f"analyses: {share(t.analysed)}, of which {t.wrapped} get think and answer tags",
    ]
    if t.conflicts:
        lines.append(f"warning: {t.conflicts} faces carry units that no still face shows together")
    lines += [f"warning: {warning}" for warning in t.warnings]
    if t.kept and not t.learned:
        lines.append(
            "no label and no analysis is understood in any line: these faces can be predicted, and nothing else"
        )
    if t.elsewhere:
        lines.append(t.elsewhere)
    for title, found in (
        ("bad lines", t.problems),
        ("missing images", [] if t.elsewhere else [*t.missing.values()]),
        ("unreadable images", t.unreadable),
        ("repeated ids", t.twice),
    ):
        if found:
            more = [f"  ... and {len(found) - _SHOWN} more"] * (len(found) > _SHOWN)
            lines += [f"{title}: {len(found)}", *(f"  {problem}" for problem in found[:_SHOWN]), *more]
    return "\n".join(filter(None, lines))  # a table without rows is no line
