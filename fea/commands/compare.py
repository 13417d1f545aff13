"""`fea compare`: two evaluations on the same faces, with paired differences and their intervals."""

from __future__ import annotations

from pathlib import Path

from fea.errors import FEAError


def compare(first: Path, second: Path, *, out: Path | None = None, draws: int = 2000, seed: int = 0) -> int:
    """Compares two evaluations face by face: every score, Action Unit and emotion, with paired bootstrap intervals.

    Faces are matched by data set, id and name of the image; those in one run alone are counted, named and left out.

    Args:
        first: folder with `metrics.json` and `predictions.jsonl`, as `fea test --protocol` and `fea score` write it.
        second: another one, by the same protocol on the same labels; differences are second - first.
        out: page for the comparison, .html; the table is printed in any case.
        draws: of the bootstrap, over people where all are known, else over faces.
        seed: of the draws.

    Returns:
        0.

    Raises:
        FEAError: a folder holds no evaluation, or the protocols or the labels differ.
    """
    from fea.protocols.compared import compared
    from fea.protocols.scored import read
    from fea.reports.comparison import COMPARISON, text_of, write_comparison
    from fea.system.files import try_place

    if draws < 1 or seed < 0:
        raise FEAError(f"draws: {draws}, seed: {seed}; give at least one draw, and a seed from 0 up")
    if out and out.suffix != ".html":
        raise FEAError(f"out: '{out}' does not end in .html; a comparison is a page: give it that ending")
    if out:
        if out.exists() and COMPARISON not in out.read_bytes()[:2000]:
            raise FEAError(f"out: '{out}' exists and is another page than a comparison; choose another name")
        try_place(out)
    runs = read(first), read(second)
    comparison = compared(*runs, draws, seed)
    names = [str(first), str(second)]
    print(text_of(comparison, names))
    if out:
        write_comparison(out, comparison, names, [scored.model for scored, _ in runs])
        print(f"\nwritten: {out}")
    return 0
