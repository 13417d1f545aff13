"""`Dataset`: what is known of a data set beyond its files."""

from __future__ import annotations

from typing import NamedTuple


class Dataset(NamedTuple):
    """What is known of a data set.

    Attributes:
        name: how the names of it and of its parts begin, in lower case.
        license: what the owners of its images say, in short; "" if unknown.
        coded: FACS numbers that its coders looked for, where that is public knowledge; else it is taken to have coded the units
            that occur in its file.
        exact: whether a name has to be the whole name, for one that may begin the name of another data set.
        folds: the people in the test part of each published fold, the first fold first; nobody is in two.
    """

    name: str
    license: str = ""
    coded: frozenset[int] | None = None
    exact: bool = False
    folds: tuple[frozenset[str], ...] = ()

    def fold_of(self, subject: str) -> int | None:
        """The fold, counted from 1, that tests on a person; None for somebody who is in no fold."""
        return next((number for number, people in enumerate(self.folds, 1) if subject in people), None)
