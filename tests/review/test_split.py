"""`fea data split`: nobody on both sides, even shares, and nothing of a reviewed file lost on the way."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagehash
import psutil
import pytest
from PIL import Image

from fea.cli import main
from fea.drawn.faces import write_faces
from fea.records.record import key_of
from fea.review import split

Record = dict[str, Any]
ONE = '{"cheeks": "<AU6>"}'  # free-form text that has to come through as it is
COPIES = {10: 40, 70: 10, 5: 85, 50: 20, 33: 62}  # which line shows which other line's face, both counted from 0


def lines_of(file: Path) -> list[Record]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write(file: Path, records: Sequence[Record]) -> Path:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def decide(file: Path, reviewer: str, *decisions: tuple[Record, str, str]) -> None:
    """Appends to a reviewer's log: lines with the verdict and the edited text."""
    log = file.with_name(f"{file.name}.reviews") / f"{reviewer}.jsonl"
    log.parent.mkdir(exist_ok=True)
    with log.open("a") as stream:
        for record, verdict, text in decisions:
            entry = {"key": key_of(record), "verdict": verdict, "reason": "", "text": text, "time": "2026-01-01"}
            stream.write(json.dumps(entry) + "\n")


def accept(file: Path, records: Sequence[Record], reviewer: str = "ana") -> None:
    decide(file, reviewer, *((record, "accept", "") for record in records))


def sides(out: Path) -> tuple[list[Record], list[Record]]:
    return lines_of(out / "train.jsonl"), lines_of(out / "test.jsonl")


def ids(records: Sequence[Record]) -> set[str]:
    return {record["id"] for record in records}


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 faces of 30 people, some of whom show the face of another: saved again as JPEG, and rescaled."""
    folder = tmp_path_factory.mktemp("people")
    records = lines_of(write_faces(folder, 90, seed=3))
    for number, record in enumerate(records):
        record |= {"meta_info": {"subject": number // 3, "film": ONE}, "camera": {"lens": None, "ünit": 1e-3}}
    for (number, source), size in zip(COPIES.items(), itertools.cycle((112, 90, 300)), strict=False):
        image = f"images/copy-{number}.jpg"
        with Image.open(folder / records[source]["image"]) as opened:
            opened.convert("RGB").resize((size, size)).save(folder / image, quality=80)
        records[number]["image"] = image
    return write(folder / "faces.jsonl", records)


@pytest.fixture
def file(drawn: Path, tmp_path: Path) -> Path:
    """These faces, not reviewed yet."""
    (tmp_path / "images").symlink_to(drawn.parent / "images")
    return write(tmp_path / "faces.jsonl", lines_of(drawn))


# --- who is kept together ---


def test_neither_people_nor_copies_are_on_both_sides(
    file: Path, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(file, lines_of(file))
    for seed in range(3):
        out = file.parent / f"out{seed}"
        assert main(["data", "split", str(file), "--out", str(out), "--test_share=0.4", "--seed", str(seed)]) == 0
        train, test = sides(out)
        assert ids(train) | ids(test) == ids(lines_of(file))
        assert len(train) + len(test) == 90
        assert not {line["meta_info"]["subject"] for line in train} & {line["meta_info"]["subject"] for line in test}
        hash_of = {
            line["image"]: int(str(imagehash.phash(Image.open(drawn.parent / "images" / line["image"]), 16)), 16)
            for line in (*train, *test)
        }
        apart = [(hash_of[a["image"]] ^ hash_of[b["image"]]).bit_count() for a in train for b in test]
        assert min(apart) > 12
    shown = capsys.readouterr().out
    for pair in ((6, 86), (11, 41), (21, 51), (34, 63), (41, 71)):
        assert "    {0}:{1} and {0}:{2}: ".format(file, *pair) in shown
    assert "  27 lines are of people who are kept together because" in shown


def test_lines_without_a_subject_are_people_of_their_own(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = lines_of(file)
    for record in records[:5]:
        del record["meta_info"]["subject"]
    records[5] |= {"meta_info": {"subject": "2"}}  # the same as the number 2
    write(file, records)
    assert main(["data", "split", str(file), "--out", str(file.parent / "out"), "--unreviewed=any"]) == 0
    shown = capsys.readouterr().out
    assert "  5 lines name no subject in meta_info: each counts as a person of its own\n" in shown
    train, test = (int(n) for n in re.findall(r"(\d+) in the t", shown))
    assert train + test == 5 + 29 - 1  # subject 0 has no line left, subject 1 one


# --- shares ---


def test_the_seed_decides(file: Path) -> None:
    accept(file, lines_of(file))
    found = []
    for number, seed in enumerate((0, 0, 1)):
        out = file.parent / f"out{number}"
        assert main(["data", "split", str(file), "--out", str(out), "--test_share=0.4", "--seed", str(seed)]) == 0
        found.append([(out / f"{name}.jsonl").read_bytes() for name in ("train", "test")])
    assert found[0] == found[1] != found[2]


# --- what reviewers decided ---


def test_rejected_lines_are_gone_and_edits_are_in(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = lines_of(file)
    accept(file, records[:80])
    accept(file, records[60:70], reviewer="ben")
    mended = [record["description"].replace("<think>", "<think>Look: ") for record in records]
    decide(file, "ana", *((records[n], "accept", mended[n]) for n in range(60, 66)), (records[80], "reject", ""))
    decide(file, "ben", (records[60], "accept", mended[60]), (records[3], "reject", ""), (records[4], "skip", "draft"))
    decide(file, "ben", ({"id": "gone", "description": "x"}, "accept", ""))
    assert main(["data", "split", str(file), "--out", str(file.parent / "out"), "--test_share=0.5"]) == 0
    shown = capsys.readouterr().out
    assert f"{file}: 88 lines; dropped: 2 rejected\n" in shown
    assert "  1 decisions are about texts that are not in the file\n" in shown
    train, test = sides(file.parent / "out")
    found = {line["id"]: line for line in (*train, *test)}
    assert not found.keys() & {records[3]["id"], records[80]["id"]}
    assert not ids(test) & ids(records[80:])
    for number, record in enumerate(records):
        line = found.get(record["id"], {})
        edited, by = 60 <= number < 66, ["ana", "ben"] if 60 <= number < 70 else ["ana"]
        review = {"review": {"accepted_by": by, "edited": edited}} if number < 80 else {}
        expected = record | {
            "description": mended[number] if edited else record["description"],
            "image": line.get("image"),
        }
        assert not line or line == expected | {"meta_info": record["meta_info"] | review}


def test_an_undone_decision_does_not_count(file: Path) -> None:
    records = lines_of(file)
    accept(file, records)
    decide(file, "ana", *((record, "undo", "") for record in records[30:]))
    assert main(["data", "split", str(file), "--out", str(file.parent / "out"), "--test_share=0.2"]) == 0
    test = sides(file.parent / "out")[1]
    assert test
    assert ids(test) <= ids(records[:30])


def test_unreviewed_lines_are_for_training_or_dropped(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = lines_of(file)
    reviewed = [record for record in records if record["meta_info"]["subject"] < 20]
    accept(file, reviewed)
    for name, kept in (("train", records), ("drop", reviewed)):
        out = file.parent / name
        assert main(["data", "split", str(file), "--out", str(out), "--unreviewed", name]) == 0
        train, test = sides(out)
        assert test
        assert ids(test) <= ids(reviewed)
        assert ids(train) | ids(test) == ids(kept)
    assert "dropped: 30 not reviewed" in capsys.readouterr().out


def test_unreviewed_lines_of_people_in_the_test_set_are_in_neither(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = lines_of(file)
    accept(file, records[1::3])
    assert main(["data", "split", str(file), "--out", str(file.parent / "out"), "--test_share=0.2"]) == 0
    train, test = sides(file.parent / "out")
    assert ids(test) <= ids(records[1::3])
    tested = {line["meta_info"]["subject"] for line in test}
    lost = [record for record in records if record["meta_info"]["subject"] in tested and record["id"] not in ids(test)]
    assert len(train) + len(test) + len(lost) == 90
    assert f"  {len(lost)} lines of people in the test set are in neither" in capsys.readouterr().out


def test_a_text_that_does_not_agree_with_its_labels_is_not_tested_on(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = lines_of(file)
    for record in records[:12]:
        record["description"] = record["description"].replace(
            "<think>", "<think>The nose is wrinkled (AU9) and (AU12). "
        )
    for record in records[12:24]:
        record["description"] = re.sub("<answer>.*</answer>", "<answer>contempt</answer>", record["description"])
    for record in records[24:36]:
        record["description"] += " Indeed."
    for record in records[36:42]:
        del record["description"]  # labels alone say nothing wrong
    accept(write(file, records), records)
    decide(file, "ben", *((r, "accept", r["description"].removesuffix(" Indeed.")) for r in records[30:36]))
    decide(file, "ben", *((r, "accept", r["description"] + " Indeed.") for r in records[42:48]))
    wrong, right = [*records[:30], *records[42:48]], [*records[30:42], *records[48:]]
    assert main(["data", "split", str(file), "--out", str(file.parent / "out"), "--test_share=0.5"]) == 0
    train, test = sides(file.parent / "out")
    assert len(test) > 25
    assert not ids(test) & ids(wrong)
    assert ids(test) & ids(records[30:36])
    assert ids(test) & ids(records[36:42])
    assert ids(right) <= ids(train) | ids(test)
    faulty = len(ids(train) & ids(wrong))
    assert f"  {faulty} reviewed lines are in the train set because they do not agree" in capsys.readouterr().out


# --- what comes out ---


@pytest.mark.parametrize("beside", [True, False])
def test_the_files_can_be_checked_and_find_their_images(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], beside: bool
) -> None:
    file = write(drawn.parent / f"{beside}.jsonl", lines_of(drawn))
    out, root = (drawn.parent, drawn.parent) if beside else (tmp_path / "new" / "out", drawn.parent / "images")
    assert main(["data", "split", str(file), "--out", str(out), "--unreviewed=any"]) == 0
    shown = capsys.readouterr().out
    options = (
        f"--data.{name} '[{{file: {out / name}.jsonl, image_root: {root.resolve()}}}]'" for name in ("train", "test")
    )
    words = [] if beside else ["--image_root", str(root.resolve())]
    said = (
        f"the images are relative to '{root.resolve()}'; give it with the file: {' '.join(options)}; "
        f"to commands such as fea data check: {' '.join(words)}\n"
    )
    assert (said in shown, "image_root" in shown) == (not beside, not beside)
    for name, count in zip(("train", "test"), map(len, sides(out)), strict=True):
        assert main(["data", "check", str(out / f"{name}.jsonl"), *words]) == 0
        assert f"{count} lines, {count} usable, 0 bad" in capsys.readouterr().out
        (out / f"{name}.jsonl").unlink()


def test_a_side_knows_which_units_its_whole_file_was_coded_for(file: Path) -> None:
    records = lines_of(file)
    for number, record in enumerate(records):
        del record["AUs_coded"]
        record["dataset"], record["AUs"] = ("a" if number < 80 else "b"), ["AU4"] if number != 80 else ["AUL46"]
        record["AU_intensities"] = {}
    del records[20]["AUs"]
    write(file, records)
    for record in records:
        record.pop("description")
    assert main(["data", "split", str(write(file, records)), "--out", str(file.parent), "--unreviewed=any"]) == 0
    train, test = sides(file.parent)
    coded = {line["id"]: line.get("AUs_coded") for line in (*train, *test)}
    expected = [["AU4"] if number < 80 else ["AU4", "AU46"] for number in range(90)]
    assert [coded[record["id"]] for number, record in enumerate(records) if number != 20] == expected[:20] + expected[
        21:
    ]
    assert coded[records[20]["id"]] is None


def test_the_table_counts_both_sides(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "split", str(file), "--out", str(file.parent), "--unreviewed=any", "--test_share=0.3"]) == 0
    shown = capsys.readouterr().out
    train, test = sides(file.parent)
    assert f"train set: {len(train)} lines; test set: {len(test)}, or {len(test) / 90:.1%}\n" in shown
    people = [len({line["meta_info"]["subject"] for line in side}) for side in (train, test)]
    assert f"people: {people[0]} in the train set, {people[1]} in the test set\n" in shown
    *_, heads, every = shown[: shown.index("\nanger")].splitlines()
    assert heads == "                               train    test   share"
    assert every == f"{'all':<28}{len(train):>8}{len(test):>8}{len(test) / 90:>8.1%}"
    for name, label, key in (("fear", "fear", "labels"), ("AU4 brow lowerer", "AU4", "AUs")):
        counts = [sum(label in line[key] for line in side) for side in (train, test)]
        assert f"{name:<28}{counts[0]:>8}{counts[1]:>8}{counts[1] / sum(counts):>8.1%}" in shown.splitlines()


def test_both_files_are_written_or_none(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written, turns = split.jsonl, iter((True, False))

    def full_disk(records: Any) -> bytes:
        if next(turns):
            return written(records)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(split, "jsonl", full_disk)
    assert main(["data", "split", str(file), "--out", str(file.parent / "out"), "--unreviewed=any"]) == 2
    assert f"'{file.parent}/out': the disk is full; make room" in capsys.readouterr().err
    assert not (file.parent / "out").exists()


@pytest.mark.parametrize("moment", [0, 1])
def test_the_same_command_repairs_what_a_kill_left_in_a_folder(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moment: int
) -> None:
    words = ["data", "split", str(file), "--out", str(file.parent), "--unreviewed=any"]
    true, left = os.replace, iter(range(moment))

    def replace(source: Path, target: Path) -> None:
        if "moving" in str(source) and next(left, None) is None:
            raise KeyboardInterrupt
        true(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        assert main(words) == 130
    assert sorted(found.name for found in file.parent.glob("t*.jsonl")) == ["test.jsonl"] * moment
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: False)
    assert main(words) == 0
    assert sorted(found.name for found in file.parent.glob("*t*.jsonl*")) == ["test.jsonl", "train.jsonl"]


def test_a_new_folder_has_both_files_or_is_not_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    out = file.parent / "out"
    assert main(["data", "split", str(file), "--out", str(out), "--unreviewed=any"]) == 130
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_found_before_an_image_is_read(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(split, "hashes_of", lambda *_: pytest.fail("read"))
    monkeypatch.setattr("fea.review.reviewed.read_reviewed", lambda *_: pytest.fail("read"))
    assert main(["data", "split", str(file), "--out", f"{file}/out", "--unreviewed=any"]) == 2
    told = "a part of the path is a file and no folder; check the path"
    assert capsys.readouterr().err == f"fea: error: '{file}/out': {told}\n"


# --- refusals ---

ANY = ("--unreviewed=any",)


def change(**keys: Any) -> Callable[[list[Record]], None]:
    """A change to the third line."""
    return lambda records: records[2].update(keys)


def one_person(records: list[Record]) -> None:
    for record in records:
        record["meta_info"]["subject"] = "S"


REFUSED: dict[str, tuple[Callable[[list[Record]], None], tuple[str, ...], str]] = {
    "no review": (change(), (), "'{file}' has no reviews, .*; run `fea review {file}` first, or add --unreviewed any"),
    "share of nothing": (change(), ("--test_share=0",), "test_share: 0.0; give a share between 0 and 1"),
    "share of all": (change(), ("--test_share=1",), "test_share: 1.0; give"),
    "negative distance": (change(), ("--distance=-1",), "distance: -1; give a number from 0 to 127"),
    "endless distance": (change(), ("--distance=128",), "distance: 128; give"),
    "image too large": (
        change(), (*ANY, "--max_image_pixels=99"), "{file}:.*: image .* pixels, more than the 99 that are allowed.; make it",
    ),
    "no pixel": (change(), ("--max_image_pixels=0",), "max_image_pixels: 0; give a number from 1 to"),
    "negative seed": (change(), ("--seed=-1",), "seed: -1; give a number from 0 up"),
    "no such way": (change(), ("--unreviewed=test",), "unreviewed: expected one of 'train', 'drop', 'any', found 'test'"),
    "no image": (change(image="images/no.png"), ANY, "{file}:3: image '.*no.png' does not exist; check 'image_root'$"),
    "image in pieces": (change(image="faces.jsonl"), ANY, "{file}:3: image '.*' cannot be read .*; replace it$"),
    "bad line": (change(labels=["grumpy"]), ANY, '{file}:3: .*unknown emotion "grumpy"; .*; mend the line$'),
    "free text for meta_info": (change(meta_info="S1"), ANY, "{file}:3: key 'meta_info': expected an object such as"),
    "list of subjects": (
        change(meta_info={"subject": ["S1"]}), ANY, r"{file}:3: key 'meta_info': 'subject' is \['S1'\]; give a text or",
    ),
    "truth for a subject": (change(meta_info={"subject": True}), ANY, "'subject' is True; give a text or a number$"),
    "one person": (one_person, ANY, "nobody in '{file}' can go to the test set, .* there are 1 people"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "words", "told"), list(REFUSED.values()), ids=list(REFUSED))
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(
    file: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[list[Record]], None],
    words: tuple[str, ...],
    told: str,
) -> None:
    records = lines_of(file)
    spoil(records)
    assert main(["data", "split", str(write(file, records)), "--out", str(file.parent / "out"), *words]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("fea: error: ")
    assert re.search(told.replace("{file}", re.escape(str(file))), last), last
    assert not (file.parent / "out").exists()


def test_a_missing_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "split", f"{tmp_path}/no.jsonl", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"fea: error: data file '{tmp_path}/no.jsonl' does not exist\n"


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_file_that_is_there_is_left_alone(file: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    there = write(file.with_name(f"{name}.jsonl"), [])
    assert main(["data", "split", str(file), "--out", str(file.parent), *ANY]) == 2
    assert capsys.readouterr().err == f"fea: error: out: '{there}' exists; choose another folder\n"
    assert sorted(found.name for found in file.parent.glob("t*.jsonl")) == [there.name]


def test_two_different_edits_are_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = lines_of(file)
    accept(file, records)
    decide(file, "ana", (records[6], "accept", "<think>One.</think><answer>fear</answer>"))
    decide(file, "ben", (records[6], "accept", "<think>Two.</think><answer>fear</answer>"))
    words = ["data", "split", str(file), "--out", str(file.parent / "out")]
    assert main(words) == 2
    assert f"{file}:7: 'ana' and 'ben' edited the description differently; settle on one" in capsys.readouterr().err
    decide(file, "cleo", (records[6], "reject", ""))
    assert main(words) == 0


def test_a_review_in_which_nothing_was_decided_is_none(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(file, "ana")
    assert main(["data", "split", str(file), "--out", str(file.parent / "out")]) == 2
    assert "has no reviews" in capsys.readouterr().err


def test_reviews_without_a_line_to_test_on_are_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(file, "ana", *((record, "skip", "") for record in lines_of(file)))
    assert main(["data", "split", str(file), "--out", str(file.parent / "out")]) == 2
    assert "of 90 lines 0 are reviewed, and none of these agrees" in capsys.readouterr().err


def test_a_validation_set_shows_further_people(file: Path, drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = file.parent / "out"
    words = ["data", "split", str(file), "--out", str(out), "--unreviewed=any", "--test_share=0.2"]
    assert main([*words, "--val_share=0.2"]) == 0
    shown = capsys.readouterr().out
    (train, test), val = sides(out), lines_of(out / "val.jsonl")
    assert f"validation set: {len(val)} lines" in shown
    assert f"--data.val '[{{file: {out / 'val.jsonl'}, image_root: {drawn.parent / 'images'}}}]'" in shown
    assert 12 <= len(val) <= 24
    assert len(train) + len(test) + len(val) == 90
    people = [{line["meta_info"]["subject"] for line in side} for side in (train, test, val)]
    assert not any(a & b for a, b in itertools.combinations(people, 2))
    counts = [
        f"{len(some)} in the {name} set" for some, name in zip(people, ("train", "test", "validation"), strict=True)
    ]
    assert f"people: {counts[0]}, {counts[2]}, {counts[1]}\n" in shown
    assert f"{'':<28}{'train':>8}{'val':>8}{'test':>8}{'share':>8}\n" in shown
    assert f"{'all':<28}{len(train):>8}{len(val):>8}{len(test):>8}{len(test) / 90:>8.1%}\n" in shown
    assert (
        main(
            [
                "data",
                "check",
                *(str(out / f"{name}.jsonl") for name in ("train", "val", "test")),
                "--image_root",
                str(drawn.parent / "images"),
            ]
        )
        == 0
    )
    assert "overlap" not in capsys.readouterr().out
    assert main([*words[:-1], "--test_share=0.5", "--val_share=0.5"]) == 2
    assert "val_share: 0.5; give a share from 0 up that leaves something to learn from" in capsys.readouterr().err


def test_a_validation_file_of_somebody_else_is_left_alone(file: Path) -> None:
    words = ["data", "split", str(file), "--out", str(file.parent), "--unreviewed=any"]
    mine = write(file.parent / "val.jsonl", [{"mine": 1}])
    assert main([*words, "--val_share=0.2"]) == 2
    assert main(words) == 0
    assert lines_of(mine) == [{"mine": 1}]
    assert (file.parent / "test.jsonl").exists()
