"""The rules of one line: what is read, and the sentence for what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fea.errors import FEAError
from fea.facs import EMOTION_SETS, plain_word
from fea.records.record import Record, Rules, key_of, read_record

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
        "rejected": None,
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
        ({"image": {"bytes": "iVBO"}}, "the content of an image; save it as a file"),
        ({"image": "data:image/png;base64,iVBO"}, "is the content of an image; save it as a file"),
        ({"image": "/9j/4AAQSkZJRg" * 30}, "is the content of an image; save it as a file"),
        ({"image": "https://host/a.jpg"}, "key 'image': \"https://host/a.jpg\" is an address; save the image as a file"),
        ({"image": "s3://bucket/a.jpg"}, "is an address"),
        ({"image": "a/clip.MP4"}, "key 'image': \"a/clip.MP4\" is a film; save the frames"),
        ({"image": "x/faces.zip/a.png"}, "lies in an archive; unpack 'faces.zip' first"),
        ({"image": "faces.tar.gz"}, "lies in an archive; unpack 'faces.tar.gz' first"),
        ({"image": None, "img_path": "a.png"}, "found null; the key 'img_path' seems to be meant: rename it"),
        ({"image": "../a.png"}, "key 'image': \"../a.png\" leaves the image root"),
        ({"image": "x/../../a.png"}, "leaves the image root"),
        ({"image": ".."}, "leaves the image root"),
        ({"image": "/etc/passwd"}, "leaves the image root"),
        ({"image": "..\\a.png"}, "leaves the image root"),
        ({"image": "C:\\a.png"}, "leaves the image root"),
        ({"AUs": ["AU99"]}, "key 'AUs': \"AU99\" is no Action Unit; write \"AU12\""),
        ({"AUs": [12.5]}, "key 'AUs': 12.5 is no Action Unit"),
        ({"AUs": [[]]}, "key 'AUs': [] is no Action Unit"),
        ({"AUs_coded": 12}, "key 'AUs_coded': expected a list such as [\"AU6\", \"AU12\"], found 12"),
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
        ({"AU_intensities": {"AU12": float("inf")}}, "AU12 is graded Infinity"),
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


# --- what is missing ---


def read(**changes: Any) -> Record:
    record = read_record({"image": "a.png", **changes}, 1, RULES)
    assert record is not None
    return record


@pytest.mark.parametrize("value", [None, float("nan"), "", " ", "NaN", "nan", "None", "null", "<NA>", "N/A"])
def test_a_missing_value_costs_itself_alone(value: Any) -> None:
    keys = ("dataset", "question", "AUs", "AUs_coded", "labels", "description", "AU_intensities", "valence", "arousal")
    assert read(id="x", **dict.fromkeys(keys, value)) == read(id="x")._replace(key=read(id="x", description=value).key)
    kept = read(AUs=["AU4", value], labels=["fear", value], AU_intensities={"AU4": 2, "AU6": value})
    assert (kept.AUs, kept.labels, kept.AU_intensities) == (["AU4"], ["fear"], '{"AU4": 2}')


@pytest.mark.parametrize(
    "word", ["None", "none", "NaN", "null", "uncertain", "Unknown", "NF", "N/A", "no-face", "?", "Not found."]
)
def test_a_word_that_names_no_emotion_is_an_unknown_label(word: str) -> None:
    assert read(labels=[word]).labels == read(labels=word).labels == []
    own = read_record({"image": "a.png", "labels": [word]}, 1, Rules((plain_word(word), "joy")))
    assert own is not None
    assert own.labels == ([plain_word(word)])  # a set of emotions may have such a word


# --- keys ---


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"label": "happy"}, "key is not read: 'label' (is 'labels' meant?); rename"),
        ({"Labels": ["happy"]}, "'Labels' (is 'labels' meant?)"),
        ({"lables": ["pain"]}, "'lables' (is 'labels' meant?)"),
        ({"emotion": 3}, "'emotion' (is 'labels' meant?)"),
        ({"gt": ["Sad", "fear"]}, "'gt' (is 'labels' meant?)"),
        ({"happiness": 0.8}, "'happiness' (is 'labels' meant?)"),
        ({"labels": [], "class": "joy"}, "'class' (is 'labels' meant?)"),
        ({"AU": ["AU6"]}, "'AU' (is 'AUs' meant?)"),
        ({"aus": "6, 12"}, "'aus' (is 'AUs' meant?)"),
        ({"found": ["AU6"]}, "'found' (is 'AUs' meant?)"),
        ({"AU06_c": 1, "AU12_c": 0}, "keys are not read: 'AU06_c' (is 'AUs' meant?), 'AU12_c' (is 'AUs' meant?); write"),
        ({"AU values": {"AU6": 2.5}}, "'AU values' (is 'AU_intensities' meant?)"),
        ({"emotion": "sad", "AU": [4]}, "'AU' (is 'AUs' meant?), 'emotion' (is 'labels' meant?)"),
        ({f"AU{n}": 1 for n in (1, 2, 4, 5, 6)}, "'AU4' (is 'AUs' meant?), 2 more; write"),
    ],
)  # fmt: skip
def test_a_line_whose_labels_stand_under_another_key_is_refused(line: dict[str, Any], told: str) -> None:
    with pytest.raises(FEAError) as refusal:
        read_record({"image": "a.png", **line}, 1, RULES)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "line",
    [
        {"split": "train", "subject": "S1", "age": 31},
        {"bbox": [1, 4, 20, 30]},
        {"label_source": "expert"},
        {"labels": ["fear"], "emotion": "sad"},  # the key that counts is there
        {"emotion": None},
        {"emotion": "not rated"},
        {"AUs": ["AU4"], "class": 3},
        {"category": "portrait"},
        {"caption": "A woman smiles."},
        {"Question": "Who?"},
    ],
)
def test_other_keys_are_no_error(line: dict[str, Any]) -> None:
    assert read(**line).labels == line.get("labels", [])


# --- images ---


def test_a_full_path_is_taken_where_it_lies_in_the_image_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    for root in (tmp_path / "real", tmp_path / "linked"):
        for folder in (tmp_path / "real", tmp_path / "linked"):
            record = read_record({"image": f"{folder}/s/../s/a.png"}, 1, RULES.within(root))
            assert record is not None
            assert record.image == "s/a.png"
    with pytest.raises(FEAError, match=r"leaves the image root '.*/real'; set 'image_root' to a folder that holds it"):
        read_record({"image": f"{tmp_path}/realm/a.png"}, 1, RULES.within(tmp_path / "real"))


def test_a_folder_may_be_called_like_an_archive_or_a_film(tmp_path: Path) -> None:
    (tmp_path / "faces.zip").mkdir()
    for image in ("faces.zip/a.png", "clip.mp4/0001.png", "ab:c.png", "v1.2/x.tar.png"):
        record = read_record({"image": image}, 1, RULES.within(tmp_path))
        assert record is not None
        assert record.image == image
