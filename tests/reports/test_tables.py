"""Tables are read by eye on the screen and by machines in data cards."""

from __future__ import annotations

from fea.reports import tables


def test_rows_follow_their_layout() -> None:
    assert tables.plain("  {:<6}{:>5}|", [("fear", 3), ("happiness", "12 %"), ("", 1.5)]) == (
        "  fear      3|\n  happiness 12 %|\n          1.5|"  # a cell that is too wide pushes the next one
    )
    assert tables.plain("{}", []) == ""


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert tables.aligned(["run", "F1", "a"], [["sft", "0.5", "1"], ["a longer one", "0.25", "-0.75"]]) == (
        "run             F1      a\n-------------------------\nsft            0.5      1\na longer one  0.25  -0.75"
    )
    assert tables.aligned(["run", "F1"], []) == "run  F1\n-------"
    assert tables.aligned(["{}", "a"], [["{0}", "b"]]) == "{}   a\n------\n{0}  b"


def test_markdown_keeps_cells_apart() -> None:
    assert tables.markdown(["label", "count"], [["joy|fear", 3], ["two\nlines", ""]]) == (
        "| label | count |\n|---|---|\n| joy\\|fear | 3 |\n| two lines |  |"
    )
    assert tables.markdown(["label"], []) == "| label |\n|---|"
