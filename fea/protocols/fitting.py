"""What of a data file a protocol judges: found out, and refused in one sentence, before anything is answered or scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fea.data.example import Example
from fea.errors import FEAError
from fea.facs import au_code, au_number
from fea.protocols.cases import codes, meta_of
from fea.protocols.known import Protocol
from fea.records.person import person

_NOTHING_KNOWN = "nothing that the protocol judges is known of the face (not judged)"
_PARTS = ("val", "validation", "test")  # of a data set: nobody is judged on what everybody trains on


class Truth(NamedTuple):
    """A face as a protocol sees it.

    Attributes:
        example: with the units, the emotions and the threshold of the protocol.
        fold: that tests on the face, from 1; None without folds.
    """

    example: Example
    fold: int | None


class Fitted(NamedTuple):
    """The faces of a file that a protocol judges.

    Attributes:
        truths: in the order of the file.
        units: FACS numbers that macro scores are over, in the order of the protocol.
        emotions: its classes.
        left_out: why other faces are not judged, and their ids.
    """

    truths: list[Truth]
    units: tuple[int, ...]
    emotions: tuple[str, ...]
    left_out: dict[str, list[str]]


def fitted(protocol: Protocol, examples: Iterable[Example]) -> Fitted:
    """Takes from a file what a protocol judges.

    Args:
        protocol: by which it is scored.
        examples: of the file.

    Raises:
        FEAError: the file does not fit the protocol: another data set, people of no fold, another fold than the protocol has
            a person in, another threshold, units or emotions that nobody looked for.
    """
    truths: list[Truth] = []
    left_out: dict[str, list[str]] = {}
    for example in examples:
        found = _truth(protocol, example)
        if isinstance(found, str):
            left_out.setdefault(found, []).append(example.id)
        else:
            truths.append(found)
    if not truths:
        why = next(iter(left_out), "it is empty")
        raise FEAError(f"protocol {protocol.name}: no face of the file can be judged: {why}")
    units = _units(protocol, [truth.example for truth in truths])
    emotions = protocol.emotions or (truths[0].example.emotions if protocol.any_emotion else ())
    if emotions and not units and not any(truth.example.labels for truth in truths):
        raise FEAError(
            f"protocol {protocol.name}: no face is labeled with any of {', '.join(emotions)}; give a file with 'labels'"
        )
    whole = protocol.reading == "facial-r1"  # there, every unit of the file was looked for on every face
    judged: list[Truth] = []
    for truth in truths:
        example = _restricted(truth.example, units, whole)
        if example.coded or example.labels or (protocol.texts and example.analysis):
            judged.append(truth._replace(example=example))
        else:
            left_out.setdefault(_NOTHING_KNOWN, []).append(example.id)
    if not judged:
        raise FEAError(
            f"protocol {protocol.name}: nothing that it judges is known of any face; give a file with such labels"
        )
    return Fitted(judged, units, emotions, left_out)


def _truth(protocol: Protocol, example: Example) -> Truth | str:
    """A face as the protocol sees it, or why it is not judged."""
    name = example.dataset.lower()
    if name and protocol.datasets and not name.startswith(protocol.datasets):
        raise FEAError(
            f"protocol {protocol.name}: {example.place} is of '{example.dataset}', and the protocol is about "
            f"{' or '.join(protocol.datasets)}; give a file of that, choose fea20k or facial-r1, which take any data, or none"
        )
    meta = meta_of(example)
    split = str(meta.get("split", ""))
    if not protocol.folds and protocol.datasets and split and split not in _PARTS:
        return f"the face is of the part '{split}' (not judged)"
    if protocol.emotions:
        labels = tuple(label for label in example.labels if label in protocol.emotions)
        if example.labels and not labels and not (protocol.units is None or protocol.units):
            return f"the emotion is none of the protocol's: {example.labels[0]} (not judged)"
        example = example._replace(labels=labels, emotions=protocol.emotions)
    elif not protocol.any_emotion:
        example = example._replace(labels=())
    if protocol.reading == "facial-r1":  # of several labels the first one was compared
        example = example._replace(labels=example.labels[:1])
    return Truth(_at_threshold(protocol, example), _fold(protocol, example))


def _fold(protocol: Protocol, example: Example) -> int | None:
    if not protocol.folds:
        return None
    meta = meta_of(example)
    subject = person(meta.get("subject"))
    if not subject:
        raise FEAError(
            f"protocol {protocol.name}: {example.place} does not say who it shows, and folds are of people; give its line "
            "meta_info.subject, as fea data convert does"
        )
    fold = protocol.fold_of(subject)
    if fold is None:
        raise FEAError(
            f"protocol {protocol.name}: '{subject}' ({example.place}) is in none of its folds; leave that person out"
        )
    named = meta.get("fold")
    if named not in (None, "", fold, str(fold)):
        raise FEAError(
            f"protocol {protocol.name}: {example.place} puts '{subject}' into fold {named}, and the protocol tests on that "
            f"person in fold {fold}; correct meta_info.fold, or leave it out"
        )
    return fold


def _at_threshold(protocol: Protocol, example: Example) -> Example:
    """The units that show from the protocol's intensity on."""
    if protocol.threshold is None or example.aus is None:
        return example
    named = meta_of(example).get("threshold", protocol.threshold)
    grades = {au_code(code) or code: grade for code, grade in example.intensities.items()}
    if not grades:
        if named != protocol.threshold:
            raise FEAError(
                f"protocol {protocol.name}: {example.place} counts units from {named} on, the protocol from "
                f"{protocol.threshold:g}; convert the data with --threshold {protocol.threshold:g}, or give AU_intensities"
            )
        return example
    ungraded = {code for code in example.aus if code not in grades}
    return example._replace(
        aus=frozenset({code for code, grade in grades.items() if grade >= protocol.threshold} | ungraded)
    )


def _units(protocol: Protocol, examples: Sequence[Example]) -> tuple[int, ...]:
    """The units that macro scores are over."""
    if protocol.units == ():
        return ()
    present = Counter(unit for example in examples for unit in example.present)
    coded = Counter(unit for example in examples for unit in example.coded)
    if protocol.units is None:
        return tuple(sorted(unit for unit, count in present.items() if count >= protocol.support))
    missing = codes(unit for unit in protocol.units if not coded[unit])
    if len(missing) == len(protocol.units) and protocol.emotions and any(example.labels for example in examples):
        return ()  # a file with emotions alone
    if missing:
        raise FEAError(
            f"protocol {protocol.name}: nobody looked for {', '.join(missing)} in the file; list in "
            "AUs_coded what was looked for, or choose another protocol"
        )
    return protocol.units


def _restricted(example: Example, units: tuple[int, ...], whole: bool) -> Example:
    """The face with what is known of these units alone."""
    kept = frozenset(units)
    coded = kept if whole else example.coded & kept
    aus = frozenset(code for code in example.aus or () if au_number(code) in kept)
    intensities = {code: grade for code, grade in example.intensities.items() if au_number(code) in kept}
    return example._replace(aus=aus if coded else None, coded=coded, intensities=intensities)
