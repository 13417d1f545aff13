"""Labels of Action Units in the shapes people have them in: what is read, and the sentence for what is not."""

from __future__ import annotations

from typing import Any

import pytest

from fea.errors import FEAError
from fea.records.action_units import read_units

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "present"),
    [
        (["AU6", "AUL12", "au06", 25], ["AU6", "AUL12", "AU6", "AU25"]),
        ("AU6, AU12", ["AU6", "AU12"]),
        ("6; 12", ["AU6", "AU12"]),
        ("6+R12+25", ["AU6", "AUR12", "AU25"]),
        ("AU6 AU12", ["AU6", "AU12"]),
        ("AU 6 AU 12", ["AU6", "AU12"]),
        ("6 12", ["AU6", "AU12"]),
        ("AU6 and AU12", ["AU6", "AU12"]),
        ("12", ["AU12"]),
        ("12.0", ["AU12"]),
        ("['AU6', 'AU12']", ["AU6", "AU12"]),
        ('["AU6"]', ["AU6"]),
        (["AU6, AU12", "AU25"], ["AU6", "AU12", "AU25"]),
        ([6.0, 12.0], ["AU6", "AU12"]),
        (["cheek raiser", "Lip_Corner_Puller"], ["AU6", "AU12"]),
        (["AU06_c", "AU12_r"], ["AU6", "AU12"]),
        (["AU12 (lip corner puller)", "AU6: cheek raiser"], ["AU12", "AU6"]),
        ([], []),
        ("[]", []),
        ([1], ["AU1"]),
        (["AU1", "AU1"], ["AU1", "AU1"]),
        # what is missing costs itself alone
        (["AU6", None, NAN, ""], ["AU6"]),
        ("AU6, nan", ["AU6"]),
        *((value, None) for value in (None, "", " ", NAN, "NaN", "none", "unknown", "N/A", [None], ["nan", ""], {})),
    ],
)
def test_what_can_be_read_in_one_way_is_read(value: Any, present: list[str] | None) -> None:
    assert read_units(value, "AUs") == (present, None)


@pytest.mark.parametrize(
    ("value", "present", "coded"),
    [
        ({"AU6": 1, "AU12": 0}, ["AU6"], ["AU6", "AU12"]),
        ({"AU06_c": 1.0, "cheek raiser": True, "12": "0", "AU4": None, "AU5": NAN}, ["AU6"], ["AU6", "AU12"]),
        ({"AU6": None}, None, None),
    ],
)
def test_a_mapping_says_what_was_looked_for(
    value: dict[str, Any], present: list[str] | None, coded: list[str] | None
) -> None:
    assert read_units(value, "AUs") == (present, coded)


ROW = "is a row of values, and the order of their units stands nowhere"
NO_UNIT = "is no Action Unit"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0, 1, 0, 1], ROW),
        ([1, 1, 1], ROW),
        ([True, False], ROW),
        ([0.0, 2.3], ROW),
        ([0, 1, None], ROW),
        ([1.0, float("inf")], ROW),
        ("0 1 0 1", ROW),
        ("[1, 0]", ROW),
        ([True], NO_UNIT),
        ([12.5], NO_UNIT),
        ([-4], NO_UNIT),
        (["-4"], NO_UNIT),
        ("no AU4", NO_UNIT),
        ("AU4 (absent)", NO_UNIT),
        ("AU12 (brow lowerer)", NO_UNIT),
        ("AU1/AU4", NO_UNIT),
        ("AU1-4", NO_UNIT),
        (["brow"], NO_UNIT),
        ([["AU1"]], NO_UNIT),
        ([{"AU1": 1}], NO_UNIT),
        ([float("inf")], NO_UNIT),
        (12, "expected a list"),
        (True, "expected a list"),
        ({"AU6": 2.5}, "AU6 is 2.5; write 1 if it shows and 0 if not, and grades under 'AU_intensities'"),
        ({"AU6": 9}, "AU6 is 9; write 1"),
        ({"AU6": 1, "AU06_c": 0}, "AU6 is said to show and not to show"),
        ({"brow": 1}, NO_UNIT),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_or_none_is_refused(value: Any, message: str) -> None:
    with pytest.raises(FEAError, match=r"^key 'AUs': ") as refusal:
        read_units(value, "AUs")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
