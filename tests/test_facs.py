"""Action Unit codes, emotion words and prototypes."""

from __future__ import annotations

import pytest

from fea.facs import (
    ACTION_UNITS,
    EMOTION_SETS,
    PROMPTED_AUS,
    PROTOTYPES,
    au_code,
    au_number,
    emotion_name,
    mirrored,
    mirrored_number,
    nearest_emotions,
    plain_word,
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("AU12", "AU12"),
        ("au06", "AU6"),
        (" AU_4 ", "AU4"),
        ("AU 25", "AU25"),
        ("AU-1", "AU1"),
        ("12", "AU12"),
        ("AU12C", "AU12"),
        ("AUL12", "AUL12"),
        ("aur6", "AUR6"),
        ("AU12L", "AUL12"),
        ("R12A", "AUR12"),
        ("AU99", None),
        ("AU3", None),
        ("AU0", None),
        ("AU120", None),
        ("AUL12R", None),
        ("12.0", None),
        ("smile", None),
        ("", None),
    ],
)
def test_codes_of_label_files_become_canonical_or_nothing(text: str, code: str | None) -> None:
    assert au_code(text) == code


def test_table_and_lists_name_only_known_units() -> None:
    assert len(PROMPTED_AUS) == len(set(PROMPTED_AUS)) == 30
    units = [*PROMPTED_AUS]
    units += [n for prototypes in PROTOTYPES.values() for prototype in prototypes for n in prototype]
    assert set(units) <= set(ACTION_UNITS)
    assert [unit.number for unit in ACTION_UNITS.values()] == list(ACTION_UNITS)
    assert ACTION_UNITS[12][1:3] == ("lip corner puller", "mouth")


@pytest.mark.parametrize(
    ("code", "other"),
    [("AU12", "AU12"), ("AUL12", "AUR12"), ("AUR1", "AUL1"), ("AU51", "AU52"), ("AU56", "AU55"), ("AU61", "AU62")],
)
def test_a_mirror_swaps_sides_and_directions(code: str, other: str) -> None:
    assert (mirrored(code), mirrored(other)) == (other, code)
    assert mirrored_number(au_number(code)) == au_number(other)


@pytest.mark.parametrize(
    ("text", "vocabulary", "name"),
    [
        ("Angry.", (), "anger"),
        ("  **Happiness**\n", (), "happiness"),
        ("joy", (), "happiness"),
        ("Happily_surprised", (), "happily surprised"),
        ("pain", (), "pain"),
        ("angry", ("angry", "calm"), "angry"),
        ("calm", ("angry", "calm"), "calm"),
        ("calm", ("neutral", "calm"), "calm"),
        ("rage", ("angry", "calm"), "rage"),
        ("rage", ("anger",), "anger"),
        ("Self-Conscious!", ("self conscious",), "self conscious"),
        ("?!", (), ""),
        ("", (), ""),
    ],
)
def test_words_meet_in_one_name(text: str, vocabulary: tuple[str, ...], name: str) -> None:
    assert emotion_name(text, vocabulary) == name


def test_presets_are_plain_words_without_repetition() -> None:
    assert (len(EMOTION_SETS["basic7"]), len(EMOTION_SETS["basic8"])) == (7, 8)
    assert set(EMOTION_SETS["basic8"]) - set(EMOTION_SETS["basic7"]) == {"contempt"}
    for words in EMOTION_SETS.values():
        assert list(words) == list(dict.fromkeys(map(plain_word, words)))
        assert all(emotion_name(word, words) == word for word in words)


@pytest.mark.parametrize(
    ("aus", "emotions"),
    [
        ({12}, {"happiness"}),
        ({14}, {"contempt"}),
        ({1, 4}, {"sadness"}),
        ({4, 7, 17}, {"anger"}),
        ({5}, {"anger", "surprise"}),  # both 1/4: AU5 is one of four units of each
        (set(), {"neutral"}),
        ({33}, set()),
    ],
)
def test_nearest_prototypes(aus: set[int], emotions: set[str]) -> None:
    assert nearest_emotions(aus) == emotions


def test_nearest_prototype_stays_inside_the_vocabulary() -> None:
    assert nearest_emotions({14}, ("happiness", "pain")) == set()
    assert nearest_emotions({12, 14}, ("happiness", "pain")) == {"happiness"}
