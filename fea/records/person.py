"""Who a face shows, as `meta_info.subject` says it: the one rule for splits, folds, overlaps, intervals and reports."""

from __future__ import annotations

from typing import Any

from fea.records.missing import missing


def person(subject: Any) -> str:
    """The name of a person; "" if nobody says.

    A number is a name, 0 too; blanks at the ends are none. What tables write for an empty cell ("nan") names nobody: all faces
    that name nobody would otherwise be one person's.

    Args:
        subject: the value of the key.

    >>> person(" S001 "), person(0), person(7.0), person("nan"), person(None)
    ('S001', '0', '7', '', '')
    """
    if isinstance(subject, bool) or missing(subject):
        return ""
    if isinstance(subject, float) and subject.is_integer():
        return str(int(subject))  # a column of numbers that has an empty cell becomes one of fractions
    return " ".join(str(subject).split())
