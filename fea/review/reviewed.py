"""A file as its reviewers leave it: rejected lines gone, edits in, and for each line whether it may be tested on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fea.data.example import Example
from fea.data.table import open_jsonl
from fea.errors import FEAError
from fea.evaluation.scores import au_f1, emotion_match, format_match
from fea.prompts.answer import parse
from fea.records.jsonl import read_lines
from fea.records.person import person
from fea.records.record import Record, Rules, read_record
from fea.review.decisions import Decision, Unreviewed
from fea.review.logs import reviews_of


class ReviewedLine(NamedTuple):
    """A line as its reviewers leave it.

    Attributes:
        raw: its JSON, with the edited description and who accepted it.
        example: what it says.
        reviewed: somebody accepted it, or it is taken for reviewed.
        testable: it is reviewed, and its text agrees with the labels.
        subject: name of the person; "" if it names none.
    """

    raw: dict[str, Any]
    example: Example
    reviewed: bool
    testable: bool
    subject: str


class Reviewed(NamedTuple):
    """A reviewed file.

    Attributes:
        lines: that are kept.
        dropped: by reason, how many are not.
        stale: decisions about texts that are not in the file, or not any more.
    """

    lines: list[ReviewedLine]
    dropped: Counter[str]
    stale: int


def read_reviewed(file: Path, root: Path, rules: Rules, unreviewed: Unreviewed) -> Reviewed:
    """Reads a file together with the decisions about it.

    Args:
        file: JSONL in FEA-20K format.
        root: folder of its images.
        rules: how to read the lines.
        unreviewed: "drop" lines that nobody accepted; "any" takes them for reviewed; "train" keeps them as they are.

    Raises:
        FEAError: a line cannot be read, nobody reviewed the file, or two reviewers edited a line differently.
    """
    reviews = reviews_of(file)
    if not any(reviews.values()) and unreviewed != "any":
        raise FEAError(
            f"'{file}' has no reviews, and only reviewed lines go to the test set; run `fea review {file}` first, or add "
            "--unreviewed any if it was checked elsewhere or has labels alone"
        )
    rules = rules.within(root)
    raws, keys, dropped = _raws(file, rules)
    table, lines = open_jsonl(file, root, rules, "raise"), []
    for number, (raw, key) in enumerate(zip(raws, keys, strict=True)):
        decisions = {reviewer: log[key] for reviewer, log in reviews.items() if key in log}
        if any(decision.verdict == "reject" for decision in decisions.values()):
            dropped["rejected"] += 1
            continue
        line = _line(raw, table[number], decisions, rules, taken=unreviewed == "any")
        if unreviewed == "drop" and not line.reviewed:
            dropped["not reviewed"] += 1
        else:
            lines.append(line)
    return Reviewed(lines, dropped, stale=sum(len(log.keys() - set(keys)) for log in reviews.values()))


def _raws(file: Path, rules: Rules) -> tuple[list[dict[str, Any]], list[str], Counter[str]]:
    """The JSON and the key of each valid line, and how many lines are not valid."""
    raws, keys, dropped = [], [], Counter[str]()
    for _, raw, record in read_lines(file, rules):
        if isinstance(record, FEAError):
            raise FEAError(f"{record}; mend the line")
        if record is None:
            dropped["marked invalid"] += 1
        else:
            raws.append(raw)
            keys.append(record.key)
    return raws, keys, dropped


def _line(
    raw: dict[str, Any], example: Example, decisions: Mapping[str, Decision], rules: Rules, taken: bool
) -> ReviewedLine:
    meta = raw.get("meta_info") or {}
    if not isinstance(meta, dict):
        raise FEAError(f'{example.place}: key \'meta_info\': expected an object such as {{"subject": "S1"}}')
    accepted = {reviewer: decision for reviewer, decision in decisions.items() if decision.verdict == "accept"}
    text = _edited(accepted, example.place)
    if text:
        raw = {**raw, "description": text}
        record = read_record(raw, 0, rules)
        assert isinstance(record, Record)
        example = example._replace(analysis=record.analysis)
    if accepted:
        raw = {**raw, "meta_info": {**meta, "review": {"accepted_by": sorted(accepted), "edited": bool(text)}}}
    reviewed = bool(accepted) or taken
    return ReviewedLine(raw, example, reviewed, reviewed and _flawless(example), _subject(meta, example.place))


def _edited(accepted: Mapping[str, Decision], place: str) -> str:
    """The description that reviewers put in place of the line's own; "" if nobody did."""
    by = {decision.text: reviewer for reviewer, decision in accepted.items() if decision.text}
    if len(by) > 1:
        first, second, *_ = by.values()
        raise FEAError(
            f"{place}: '{first}' and '{second}' edited the description differently; settle on one text, or let one of them "
            "reject the line"
        )
    return next(iter(by), "")


def _flawless(example: Example) -> bool:
    """Whether a text, if there is one, passes the triple check without any tolerance."""
    if example.analysis is None:
        return True
    answer = parse(example.analysis, example.emotions)
    scores = au_f1(answer, example), emotion_match(answer, example), format_match(answer)
    return all(score in (None, 1.0) for score in scores)


def _subject(meta: Mapping[str, Any], place: str) -> str:
    subject = meta.get("subject")
    if isinstance(subject, bool) or not isinstance(subject, str | int | float | None):
        raise FEAError(f"{place}: key 'meta_info': 'subject' is {subject!r}; give a text or a number")
    return person(subject)
