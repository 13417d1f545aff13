"""Which Action Units a text names, where, and whether it claims them."""

from __future__ import annotations

import pytest

from fea.prompts.mentions import find_mentions


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("AU12", "AU12"),
        ("AU 12.", "AU 12"),
        ("(AU06)", "AU06"),
        ("**AU-12**", "AU-12"),
        ("au_4", "au_4"),
        ("AUs 6 and 12", "AUs 6|12"),
        ("AUs: 1, 2, and 4", "AUs: 1|2|4"),
        ("AU6+12", "AU6|12"),
        ("AU12/AU6", "AU12|AU6"),
        ("AU6, AU12 & AU25", "AU6|AU12|AU25"),
        ("AU1 as well as AU2", "AU1|AU2"),
        ("action unit 12", "action unit 12"),
        ("Action Units 1 and 2", "Action Units 1|2"),
        ("AU1 (inner brow raiser), 2 (outer brow raiser)", "AU1|2"),
        ("AUL12 and AU12R", "AUL12|AU12R"),
        ("AU12C, AU6e", "AU12C|AU6e"),
        ("AU99", "AU99"),
        ("AU0", ""),
        ("AU120", ""),
        ("AU12.5", ""),
        ("AU12%", ""),
        ("AU12th", ""),
        ("beau 12", ""),
        ("12 and 6", ""),
        ("AU", ""),
        ("AU: [4, 7]", "AU: [4|7"),
        ("Action units present: 9, 15 and 17.", "Action units present: 9|15|17"),
        ("the active AUs are 6 and 12", "AUs are 6|12"),
        ("AUs 4; 5; 7.", "AUs 4|5|7"),
        ("AU1-2 and AU25–27", "AU1|2|AU25|27"),  # noqa: RUF001
        ("FACS: 6+12", "FACS: 6|12"),
        ("cheek raiser (6), lips part (25)", "cheek raiser (6)|lips part (25)"),
        ("the cheek raiser is active, the lips part", "cheek raiser"),
        ("cheek raiser (AU6)", "AU6"),
        ("AU12 and 2 deep folds", "AU12"),
        ("AU12, 4/5; AU6, 3/5", "AU12|AU6"),
        ("AU04_r: 2.3, AU4_brow_lowerer", "AU04|AU4"),
        ("$AU_{4}$ and $AU_{12}$", "AU_{4|AU_{12"),
        ("皱眉AU4和AU7", "AU4|AU7"),
        ("| AU | sign |\n|---|---|\n| 4, 7 | low |\n| 3 | 12 |", "4|7|3"),
    ],
)
def test_spellings_with_their_spans(text: str, found: str) -> None:
    assert "|".join(text[slice(*m.span)] for m in find_mentions(text)) == found


def test_numbers_sides_and_grades_are_read() -> None:
    mentions = find_mentions("AUL06, 12C and AU R4 plus AU25L, AUL12B")
    assert [(m.number, m.side, m.grade) for m in mentions] == [
        (6, "L", ""),
        (12, "", "C"),
        (4, "R", ""),
        (25, "L", ""),
        (12, "L", "B"),
    ]


# Every AU1, 2, 6, 12 below is claimed, every other unit is denied or only supposed.
@pytest.mark.parametrize(
    "text",
    [
        "no AU4",
        "without AU4",
        "AU4 is absent",
        "AU4 absent",
        "AU4: absent",
        "AU4 - absent",
        "AU4 (brow lowerer) is absent",
        "AU4 and AU5 are both absent",
        "Absent: AU4, AU5",
        "AU4 is not present",
        "AU4 isn't visible",
        "AU4 isn’t visible",  # noqa: RUF001
        "AU4, which is not clearly active",
        "AU4 is no longer visible",
        "AU4 does not appear",
        "AU4 doesn’t show",  # noqa: RUF001
        "AU4 appears to be absent",
        "AU4 seems not to be active",
        "AU4 cannot be seen",
        "there is no sign of AU4 or AU5",
        "lack of AU4",
        "neither AU4 nor AU5",
        "no AU4, AU5 or AU7",
        "no frown (AU4), wide eyes (AU5) or open lips (AU25)",
        "the lips are not parted (AU25)",
        "I am not sure about AU4",
        "maybe AU4",
        "possibly AU4 and AU7",
        "AU4 (possibly)",
        "AU4, possibly.",
        "AU4 perhaps",
        "AU4?",
        "AU4 might be present",
        "AU4 is probably present",
        "AU4 is likely",
        "AU4 is uncertain",
        "it could be AU4",
        "AU12",
        "AU12 is clearly present",
        "AU12 likely indicates happiness",
        "AU6 and AU12 probably mean joy",
        "AU12, possibly with AU4",
        "AU12, possibly AU7",
        "AU12 but not AU4",
        "AU12, not AU4",
        "AU12 without AU4",
        "not only AU12 but also AU6",
        "no doubt AU12",
        "no AU4. AU12",
        "without AU4 the smile (AU12) is warm",
        "no AU4, but AU12",
        "no AU4; AU12",
        "no AU4\nAU12",
        "AU1 is present and AU4 is absent",
        "AU4 is absent, AU12 is present",
        "the brows do not move and AU12 shows",
        "AU12 is neither strong nor weak",
        "the eyes look as if AU6 narrowed them",
        "AU12 seems to be present",
    ],
)
def test_denied_and_supposed_units_are_not_claimed(text: str) -> None:
    mentions = find_mentions(text)
    assert mentions
    assert {m.number: m.claimed for m in mentions} == {m.number: m.number in (1, 2, 6, 12) for m in mentions}
