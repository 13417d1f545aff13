"""The rules of one line: what is read, and the sentence for what is not."""

from __future__ import annotations

from typing import Any

import pytest

from fea.data.record import Rules, key_of, read_record
from fea.errors import FEAError
from fea.facs import EMOTION_SETS

RULES = Rules(EMOTION_SETS["basic7"])


def test_a_full_line_is_read() -> None:
    raw = {
        "id": 7,
        "dataset": "lab",
        "image": ["a\\b.png"],
        "question": None,
        "AUs": ["au06", "AUL12C", 25],
        "AUs_coded": ["AU6", 12, 25],
        "labels": ["Happy", "joy"],
        "description": "<think>AU6</think><answer>happiness</answer>",
        "AU_intensities": {"AU06": 2.5},
        "valence": 1,
        "arousal": -0.25,
        "meta_info": {"subject": "é"},
        "is_valid": True,
    }
    record = read_record(raw, 3, RULES)
    assert record is not None
    assert record._asdict() == {
        "id": "7",
        "dataset": "lab",
        "image": "a/b.png",
        "question": "",
        "AUs": ["AU6", "AUL12", "AU25"],
        "AUs_coded": ["AU6", "AU12", "AU25"],
        "labels": ["happiness"],
        "analysis": "<think>AU6</think><answer>happiness</answer>",
        "AU_intensities": '{"AU6": 2.5}',
        "valence": 1.0,
        "arousal": -0.25,
        "meta_info": '{"subject": "\\u00e9"}',
        "line": 3,
        "key": key_of(raw),
    }


def test_an_image_alone_is_enough_and_all_else_unknown() -> None:
    record = read_record({"image": "a.png"}, 3, RULES)
    assert record is not None
    assert (record.id, record.AUs, record.AUs_coded, record.labels, record.analysis) == ("3", None, None, [], None)
    assert (record.valence, record.arousal, record.AU_intensities, record.meta_info) == (None, None, "{}", "{}")


@pytest.mark.parametrize("value", [None, ""])
def test_a_line_without_an_id_is_known_by_its_number(value: str | None) -> None:
    record = read_record({"image": "a.png", "id": value}, 3, RULES)
    assert record is not None
    assert record.id == "3"


def test_a_line_marked_invalid_is_no_record_and_no_error() -> None:
    assert read_record({"is_valid": False}, 1, RULES) is None


@pytest.mark.parametrize(
    ("description", "labels", "wrap", "analysis"),
    [
        ("AU4.", ["angry"], True, "<think>AU4.</think><answer>anger</answer>"),
        ("AU4.", [], True, None),  # there is no answer to teach
        ("AU4.", [], False, "AU4."),
        ("AU4.</think> <answer>", ["anger"], True, "AU4.</think> <answer>"),
        (" ", ["anger"], False, None),
        (None, ["anger"], True, None),
    ],
)
def test_descriptions_without_tags_get_them(
    description: str | None, labels: list[str], wrap: bool, analysis: str | None
) -> None:
    record = read_record({"image": "a", "description": description, "labels": labels}, 1, RULES._replace(wrap=wrap))
    assert record is not None
    assert record.analysis == analysis


def test_unknown_labels_become_unknown_on_request() -> None:
    raw = {"image": "a", "labels": ["pain", "fear"]}
    record = read_record(raw, 1, RULES._replace(on_unknown_label="unknown"))
    assert record is not None
    assert record.labels == ["fear"]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([1], "expected a JSON object with at least the key 'image', found [1]"),
        (None, "found null"),
        ({}, "key 'image': expected the path of one image, found null"),
        ({"image": ["a", "b"]}, "key 'image': expected the path of one image, found [\"a\", \"b\"]"),
        ({"image": "../a.png"}, "key 'image': \"../a.png\" leaves the image root"),
        ({"image": "x/../../a.png"}, "leaves the image root"),
        ({"image": ".."}, "leaves the image root"),
        ({"image": "/etc/passwd"}, "leaves the image root"),
        ({"image": "..\\a.png"}, "leaves the image root"),
        ({"image": "C:\\a.png"}, "leaves the image root"),
        ({"AUs": ["AU99"]}, "key 'AUs': \"AU99\" is no Action Unit; write \"AU12\""),
        ({"AUs": [12.5]}, "key 'AUs': 12.5 is no Action Unit"),
        ({"AUs": [None]}, "key 'AUs': null is no Action Unit"),
        ({"AUs": "AU12"}, "key 'AUs': expected a list such as [\"AU6\", \"AU12\"], found \"AU12\""),
        ({"AUs_coded": {"AU1": 1}}, "key 'AUs_coded': expected a list"),
        ({"labels": ["pain"]}, "key 'labels': unknown emotion \"pain\"; allowed are anger, disgust, fear"),
        ({"labels": "pain"}, "unknown emotion \"pain\""),
        ({"labels": [3]}, "key 'labels': expected a list of emotions, found [3]"),
        ({"labels": 0}, "key 'labels': expected a list of emotions, found 0"),
        ({"question": ["x"]}, "key 'question': expected text, found [\"x\"]"),
        ({"description": "x", "dataset": 5}, "key 'dataset': expected text, found 5"),
        ({"AU_intensities": ["AU12"]}, "key 'AU_intensities': expected an object such as {\"AU12\": 3}"),
        ({"AU_intensities": {"AU99": 1}}, "key 'AU_intensities': \"AU99\" is no Action Unit"),
        ({"AU_intensities": {"AU12": 6}}, "AU12 is graded 6; grades go from 0 to 5"),
        ({"AU_intensities": {"AU12": True}}, "AU12 is graded true"),
        ({"AU_intensities": {"AU12": float("nan")}}, "AU12 is graded NaN"),
        ({"valence": 1.5}, "key 'valence': expected a number from -1 to 1, or null for unknown, found 1.5"),
        ({"valence": -1.01}, "found -1.01"),
        ({"arousal": "high"}, "key 'arousal': expected a number from -1 to 1, or null for unknown, found \"high\""),
        ({"question": [0] * 99}, "found [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ..."),
    ],
)  # fmt: skip
def test_each_refusal_names_the_key_and_what_was_found(raw: Any, message: str) -> None:
    line = {"image": "a.png", **raw} if isinstance(raw, dict) and raw else raw
    with pytest.raises(FEAError) as refusal:
        read_record(line, 17, RULES)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
