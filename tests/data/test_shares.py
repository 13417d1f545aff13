"""Shares of labels among the faces as they are drawn, against a count face by face."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_data_module import attach, relabeled

from fea.data.example import Example
from fea.data.loader import EpochSampler
from fea.data.mixture import Examples
from fea.data.module import FEADataModule
from fea.data.shares import Shares, check_power, shares_of
from fea.data.source import Source
from fea.data.table import open_jsonl
from fea.errors import FEAError
from fea.facs import EMOTION_SETS
from fea.records.record import Rules

LINES: list[dict[str, Any]] = [
    {"dataset": "mine", "AUs": ["AU6", "AU12"], "labels": ["happiness"]},
    {"dataset": "mine", "AUs": ["AUL12"], "labels": ["happiness"]},
    {"dataset": "mine", "AUs": ["AU1", "AU4"], "labels": ["fear", "surprise"]},
    {"dataset": "mine", "AUs": [], "labels": ["neutral"]},
    {"dataset": "mine", "labels": ["sadness"]},
    {"dataset": "mine", "AUs": ["AU51"], "AUs_coded": ["AU51", "AU25"]},
    {"dataset": "other", "AUs": ["AU4"], "labels": ["anger"]},
    {"dataset": "other", "AUs": ["AU4"], "AUs_coded": ["AU4", "AU9"], "labels": ["anger"]},
]


def opened(folder: Path, *files: tuple[list[dict[str, Any]], str]) -> Examples:
    """Examples of several files, each with a set of emotions."""
    tables = []
    for number, (lines, emotions) in enumerate(files):
        path = folder / f"{number}.jsonl"
        path.write_text("".join(json.dumps({"image": "x.png", **line}) + "\n" for line in lines))
        tables.append(open_jsonl(path, folder, Rules(EMOTION_SETS[emotions]), "raise"))
    return Examples(tables)


def counted(faces: list[tuple[Example, float]]) -> Shares:
    """The definition, one share at a time."""

    def share(among: Any, of: Any) -> float:
        return sum(w for f, w in faces if among(f) and of(f)) / sum(w for f, w in faces if among(f))

    numbers = sorted({n for face, _ in faces for n in face.coded})
    return Shares(
        emotions={
            allowed: {
                word: share(lambda f: f.labels and f.emotions == allowed, lambda f: word in f.labels)  # noqa: B023
                for word in allowed
                if any(word in face.labels and face.emotions == allowed for face, _ in faces)
            }
            for allowed in {face.emotions for face, _ in faces}
        },
        units={
            n: share(lambda f: n in f.coded, lambda f: n in f.present)  # noqa: B023
            for n in numbers
            if any(n in face.present for face, _ in faces)
        },
        coded={n: share(lambda f: bool(f.coded), lambda f: n in f.coded) for n in numbers},  # noqa: B023
    )


def same(found: Shares, expected: Shares) -> None:
    assert found.units == pytest.approx(expected.units, abs=1e-12)
    assert found.coded == pytest.approx(expected.coded, abs=1e-12)
    assert found.emotions.keys() == expected.emotions.keys()
    for allowed, shares in expected.emotions.items():
        assert found.emotions[allowed] == pytest.approx(shares, abs=1e-12)


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_shares_are_those_of_each_face_counted_by_itself(tmp_path: Path, weighed: bool, mirror: bool) -> None:
    examples = opened(tmp_path, (LINES, "basic7"), ([{"labels": ["contempt"]}, *LINES[2:5]], "basic8"))
    weights = np.random.default_rng(0).random(len(examples)) if weighed else np.ones(len(examples))
    every = [(examples[i], float(weights[i])) for i in range(len(examples))]
    shown = [(face.mirror(), weight) for face, weight in every] if mirror else []
    expected = counted([*every, *shown])
    found = shares_of(examples, weights if weighed else None, mirror)
    same(found, expected)
    assert (list(found.units), list(found.coded)) == (sorted(found.units), sorted(found.coded))
    if not weighed and not mirror:
        five = ("contempt", "fear", "surprise", "neutral", "sadness")
        assert expected.emotions[EMOTION_SETS["basic8"]] == dict.fromkeys(five, 1 / 4)
        assert (expected.units[12], expected.units[1], expected.coded[12]) == (2 / 4, 2 / 6, 4 / 9)


def test_what_no_drawn_face_shows_has_no_share(tmp_path: Path) -> None:
    examples = opened(tmp_path, (LINES, "basic7"))
    weights = np.array([1.0, 1, 0, 1, 1, 1, 1, 1])
    found = shares_of(examples, weights)
    assert not {"fear", "surprise", "disgust"} & found.emotions[EMOTION_SETS["basic7"]].keys()
    assert not {1, 25} & found.units.keys()
    assert {1, 25} <= found.coded.keys()
    assert shares_of(opened(tmp_path, ([{}, {"labels": []}], "basic7"))) == Shares({EMOTION_SETS["basic7"]: {}}, {}, {})


def test_only_examples_that_are_kept_are_counted(tmp_path: Path) -> None:
    told = {"description": "<think>AU1</think><answer>fear</answer>"}
    lines = [{**line, **(told if number % 2 else {})} for number, line in enumerate(LINES)]
    tables = opened(tmp_path, (lines, "basic7"), (lines[::-1], "basic8")).tables
    kept = Examples(tables, analysed=True)
    same(shares_of(kept), counted([(kept[i], 1.0) for i in range(len(kept))]))


def test_one_that_all_faces_show_has_a_share_of_one_to_the_last_bit(tmp_path: Path) -> None:
    lines = [{"AUs": ["AU4", f"AU{1 + number % 2}"], "labels": ["anger"]} for number in range(50)]
    found = shares_of(opened(tmp_path, (lines, "basic7")), np.random.default_rng(1).random(50))
    assert (found.units[4], found.emotions[EMOTION_SETS["basic7"]]["anger"]) == (1.0, 1.0)


def test_the_data_module_counts_faces_as_it_draws_them(tmp_path: Path, faces_file: Path) -> None:
    bare = {"description": None}
    rare = [{"labels": ["fear"], **bare}, *[{"labels": ["anger"], **bare}] * 15]
    heavy = relabeled(faces_file, tmp_path / "heavy.jsonl", *[{"labels": ["neutral"], **bare}] * 4)
    root = str(faces_file.parent)
    sources = [
        Source(str(relabeled(faces_file, tmp_path / "f.jsonl", *rare)), root),
        Source(str(heavy), root, weight=4.0),
    ]

    def shares(**settings: Any) -> Any:
        data = attach(FEADataModule(train=list(sources), batch_size=4, num_workers=0, **settings))
        return data, data.shares().emotions[EMOTION_SETS["basic7"]]

    data, plain = shares()
    assert plain == pytest.approx({"fear": 1 / 32, "anger": 15 / 32, "neutral": 16 / 32})
    assert data.shares() is data.shares()
    _, even = shares(balance="emotion")
    assert even == pytest.approx({"fear": 1 / 6, "anger": 1 / 6, "neutral": 4 / 6})
    # A synthesis makes faces rarer: from when the data are next loaded.
    data.reweigh({f"{sources[0].file}:{line}": 0.0 for line in range(2, 17)})
    assert data.shares().emotions[EMOTION_SETS["basic7"]] == plain
    sampler: EpochSampler = data.train_dataloader().sampler
    assert data.shares().emotions[EMOTION_SETS["basic7"]] == pytest.approx({"fear": 1 / 17, "neutral": 16 / 17})
    drawn = sampler.weights.numpy() / sampler.weights.sum().item()  # type: ignore[union-attr]
    assert (drawn[0], drawn[16:].sum()) == (pytest.approx(1 / 17), pytest.approx(16 / 17))


@pytest.mark.parametrize("power", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_power_outside_of_its_range_is_refused(power: float) -> None:
    with pytest.raises(FEAError, match=r"data.balance_power: .*give 0 to leave"):
        check_power("data.balance_power", power)
    assert check_power("", 0.5) == 0.5
