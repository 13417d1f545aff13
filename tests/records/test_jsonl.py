"""Files of lines: places in messages, unknown against absent, the converted copy, atomic writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets.table import MemoryMappedTable

from fea.data import table as tables
from fea.data.source import OnBad
from fea.data.table import Table, open_jsonl
from fea.errors import FEAError
from fea.facs import EMOTION_SETS
from fea.records import doubts
from fea.records.record import Rules, key_of
from fea.system.files import write_atomically
from fea.system.lines import write_jsonl

RULES = Rules(EMOTION_SETS["basic7"])


def write(file: Path, *lines: dict[str, Any] | str | bytes) -> Path:
    """Writes lines; objects get an image."""
    rows = [json.dumps({"image": "a.png", **line}) if isinstance(line, dict) else line for line in lines]
    file.write_bytes(b"".join((row.encode() if isinstance(row, str) else row) + b"\n" for row in rows))
    return file


def read(file: Path, on_bad: OnBad = "raise", rules: Rules = RULES) -> Table:
    return open_jsonl(file, file.parent / "images", rules, on_bad)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": "a.png"', "broken JSON, Expecting ',' delimiter at column 18"),
        ('{"image": "a.png"} x', "broken JSON, Extra data at column 20"),
        ("[" * 100_000, "nested too deeply"),
        (b'{"image": "\xff.png"}', "not UTF-8 text"),
        ('{"image": "a.png", "id": "\\ud83d"}', "not UTF-8 text"),
        ('{"image": "a.png", "AUs": ["\\uD83D"]}', "not UTF-8 text"),
        ('{"image": "a.png", "valence": ' + "1" * 5000 + "}", "too many digits"),
        ({"labels": ["pain"]}, "key 'labels': unknown emotion \"pain\""),
        ({"AUs": ["AU99"]}, "key 'AUs': \"AU99\" is no Action Unit"),
        ({"image": "../a.png"}, "key 'image': \"../a.png\" leaves the image root"),
    ],
)  # fmt: skip
def test_a_bad_line_is_reported_with_file_and_number_or_skipped(
    tmp_path: Path, line: dict[str, Any] | str | bytes, message: str
) -> None:
    file = write(tmp_path / "faces.jsonl", *[{}] * 14, "", " \t", line, {})
    with pytest.raises(FEAError) as refusal:
        read(file)
    assert str(refusal.value).startswith(f"{file}:17: ")
    assert message in str(refusal.value)
    assert str(refusal.value).endswith("; mend the line, or set 'on_bad: skip'")
    assert len(str(refusal.value).splitlines()) == 1
    table = read(file, "skip")
    assert [table[i].place for i in range(len(table))] == [f"{file}:{n}" for n in (*range(1, 15), 18)]
    assert (table.summary.lines, table.summary.kept, table.summary.refused) == (16, 15, 1)


def test_the_summary_counts_everything(tmp_path: Path) -> None:
    bad = [{"AUs": ["AU99"]}] * 30
    fine = [{"description": "AU4", "labels": ["fear"]}, {"description": "<think>AU4</think>"}, {"is_valid": False}]
    file = write(tmp_path / "faces.jsonl", *bad, *fine)
    summary = read(file, "skip").summary
    assert (summary.lines, summary.kept, summary.invalid, summary.wrapped, summary.refused) == (33, 2, 1, 1, 30)
    assert summary.told() == (
        "2 examples; 1 descriptions wrapped in tags; 1 lines marked invalid; 30 bad lines skipped, the first: "
        f'{file}:1: key \'AUs\': "AU99" is no Action Unit; write "AU12", or "AUL12" for the person\'s left side'
    )


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match=r"data file '.*no\.jsonl' does not exist; .*fea data faces FOLDER --n 2000"):
        read(tmp_path / "no.jsonl")


@pytest.mark.parametrize(("lines", "why"), [([], "usable line"), ([{"valence": 2}], "the first reason: .*:1: key")])
def test_a_file_without_a_usable_line_is_refused(tmp_path: Path, lines: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(FEAError, match=f"holds no usable line.*|{why}"):
        read(write(tmp_path / "faces.jsonl", *lines), "skip")


DISFA = {1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26}
EMOTIONET = {1, 2, 4, 5, 6, 9, 12, 17, 20, 25, 26, 43}


@pytest.mark.parametrize(
    ("row", "aus", "present", "coded"),
    [
        ({}, None, set(), set()),
        ({"AUs": None}, None, set(), set()),
        ({"AUs": None, "AUs_coded": ["AU1"]}, None, set(), set()),
        ({"AUs": []}, set(), set(), {4, 6, 9}),  # what occurs in the file under this data set
        ({"AUs": ["AU4"]}, {"AU4"}, {4}, {4, 6, 9}),
        ({"AUs": [], "AUs_coded": ["AU1", "AUL2"]}, set(), set(), {1, 2}),
        ({"AUs": ["AUL12"], "AUs_coded": ["AU1"]}, {"AUL12"}, {12}, {1, 12}),  # what was found was looked for
        ({"AUs": [], "AUs_coded": []}, set(), set(), set()),
        ({"AUs": [], "dataset": "other"}, set(), set(), {17}),
        ({"AUs": [], "dataset": "DISFA-Test-clean"}, set(), set(), DISFA),
        ({"AUs": ["AU10"], "dataset": "disfa"}, {"AU10"}, {10}, DISFA | {10}),
        ({"AUs": [], "dataset": "EmotioNet"}, set(), set(), EMOTIONET),
    ],
)
def test_unknown_is_not_absent(
    tmp_path: Path, row: dict[str, Any], aus: set[str] | None, present: set[int], coded: set[int]
) -> None:
    others = [{"AUs": ["AU4", "AUR6"]}, {"AUs": [], "AUs_coded": ["AU9"]}, {"AUs": ["AU17"], "dataset": "other"}]
    own = {"AUs_coded": ["AU4", "AU6", "AU9"]} if row == {"AUs": ["AU4"]} else {}
    example = read(write(tmp_path / "faces.jsonl", {**row, **own}, *others))[0]
    assert (example.aus, example.present, example.coded) == (aus, present, coded)


def test_an_example_is_what_its_line_says(tmp_path: Path) -> None:
    row = {
        "id": "x",
        "dataset": "lab",
        "image": "s/1.png",
        "question": "Who?",
        "AUs": ["AU6"],
        "labels": ["joy", "surprise"],
        "description": "AU6.",
        "AU_intensities": {"AU6": 3},
        "valence": 0.5,
        "arousal": None,
        "meta_info": {"a": [1, {"b": None}]},
    }
    example = read(write(tmp_path / "faces.jsonl", {"meta_info": {"a": "text"}}, row))[1]
    assert example._asdict() == {
        "id": "x",
        "dataset": "lab",
        "image": str(tmp_path / "images/s/1.png"),
        "place": f"{tmp_path / 'faces.jsonl'}:2",
        "question": "Who?",
        "aus": {"AU6"},
        "coded": {6},
        "labels": ("happiness", "surprise"),
        "emotions": EMOTION_SETS["basic7"],
        "analysis": "<think>AU6.</think><answer>happiness</answer>",
        "intensities": {"AU6": 3},
        "rejected": None,
        "valence": 0.5,
        "arousal": None,
        "meta": '{"a": [1, {"b": null}]}',
        "flipped": False,
        "form": None,
    }


def test_a_key_is_of_the_line_as_it_stands(tmp_path: Path) -> None:
    plain = {"id": 7, "image": "a.png", "description": "AU4", "labels": ["fear"]}  # gets tags
    lines = [
        {"is_valid": False, "id": "x"},
        plain,
        {"description": None},
        {"id": "7", "description": "AU4", "labels": ["joy"]},
    ]
    table = read(write(tmp_path / "faces.jsonl", *lines))
    assert table.column("key") == [key_of(line) for line in lines[1:]]
    assert table.column("key")[0] == table.column("key")[2] != table.column("key")[1]


# --- the converted copy ---


def test_the_copy_is_memory_mapped_and_holds_all_batches_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_BATCH", 3)
    table = read(write(tmp_path / "faces.jsonl", *({"id": f"n{i}"} for i in range(10))))
    assert isinstance(table.rows.data, MemoryMappedTable)
    assert table.column("id") == [f"n{i}" for i in range(10)] == [table[i].id for i in range(10)]
    assert table.known("id").tolist() == [True] * 10
    assert table.known("analysis").tolist() == [False] * 10


def test_the_copy_is_made_once_and_again_when_the_file_or_its_rules_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, convert = [], tables._convert
    monkeypatch.setattr(tables, "_convert", lambda *args: (made.append(args[0].name), convert(*args))[1])
    file = write(tmp_path / "faces.jsonl", {"id": "a"}, {"id": "b", "labels": ["fear"]})
    first = read(file)
    assert (read(file).summary, len(made)) == (first.summary, 1)
    write(file, {"id": "c", "labels": ["anger"]})
    assert ([e.id for e in map(read(file).__getitem__, range(1))], len(made)) == (["c"], 2)
    os.utime(file, ns=(1, 1))
    assert (len(read(file)), len(made)) == (1, 3)
    assert (read(file, rules=Rules(("anger", "calm")))[0].emotions, len(made)) == (("anger", "calm"), 4)
    assert (read(file, "skip").summary.kept, len(made)) == (1, 5)
    assert [e.id for e in map(first.__getitem__, range(2))] == ["a", "b"]  # an open table keeps what it opened


def test_a_refused_file_leaves_no_copy_behind(tmp_path: Path) -> None:
    file = write(tmp_path / "faces.jsonl", {}, {"AUs": 1})
    for _ in range(2):
        with pytest.raises(FEAError, match=":2: key 'AUs'"):
            read(file)
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "fea"
    assert not list(cache.glob("*.part"))
    write(file, {}, {"AUs": []})
    assert len(read(file)) == 2


def test_a_file_that_keeps_its_size_and_time_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = write(tmp_path / "faces.jsonl", {"labels": ["fear"]})
    stat = file.stat()
    assert read(file)[0].labels == ("fear",)
    file.write_bytes(file.read_bytes().replace(b'"fear"', b'"rage"'))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert read(file)[0].labels == ("anger",)


@pytest.mark.parametrize("kind", ["arrow", "json"])
@pytest.mark.parametrize("damage", ["overwritten", "emptied", "cut", "another", "removed"])
def test_a_damaged_copy_is_made_again(tmp_path: Path, kind: str, damage: str) -> None:
    file = write(tmp_path / "faces.jsonl", *({"id": f"n{i}", "labels": ["fear"]} for i in range(20)))
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "fea"
    before = set(cache.glob("*"))
    read(file)
    (copy,) = (path for path in set(cache.glob("*")) - before if path.suffix == f".{kind}")
    content = copy.read_bytes()
    middle = len(content) // 2
    new = {
        "overwritten": content.replace(b"n1", b"n7") if kind == "arrow" else content[:middle] + content[:-middle],
        "emptied": b"",
        "cut": content[:middle],
        "another": b'[{"state": 1}]',
    }
    if damage in new:
        copy.write_bytes(new[damage])
    else:
        copy.unlink()
    table = read(file)
    assert [table[i].id for i in range(20)] == [f"n{i}" for i in range(20)]
    assert table.summary.labeled == 20


def test_a_full_path_belongs_to_the_root_it_was_read_with(tmp_path: Path) -> None:
    file = write(tmp_path / "faces.jsonl", {"image": str(tmp_path / "images" / "a.png")})
    assert read(file)[0].image == str(tmp_path / "images" / "a.png")
    with pytest.raises(FEAError, match="leaves the image root"):
        open_jsonl(file, tmp_path / "other", RULES, "raise")


# --- what a file says that nothing reads, or that contradicts itself ---


def warnings(file: Path, *lines: dict[str, Any], rules: Rules = RULES) -> list[str]:
    return read(write(file, *lines), rules=rules).summary.warnings


def test_keys_and_words_that_say_nothing_are_counted(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"split": "train", "Question": "Who?", "labels": ["None"]},
        {"split": "test", "question": "Who?", "labels": "nan"},
        {"split": "test", "labels": ["NF", "None"], "AUs": ["nan"]},
        {"AU_intensities": {"AU4": 2}, "labels": ["fear", None]},
        {"description": "AU4 shows."},
    ]
    assert warnings(tmp_path / "faces.jsonl", *lines) == [
        "keys that nothing reads: 'split' (3 lines), 'Question' (is 'question' meant? 1 lines)",
        "labels that name none of the emotions, and count as unknown: 'None' 2, 'nan' 1, 'NF' 1",
        "1 lines have 'AUs' that say nothing: they count as unknown: line 3",
        "1 lines grade Action Units but have no 'AUs': which of these were looked for, and show, counts as unknown: line 4",
        "1 lines have a description without tags and no label for an answer block: it is left out: line 5",
    ]


def test_analyses_that_break_the_form_or_contradict_their_labels_are_counted(tmp_path: Path) -> None:
    good = {"labels": ["fear"], "AUs": ["AU4"], "description": "<think>AU4.</think><answer>fear</answer>"}
    lines: list[dict[str, Any]] = [
        good,
        {**good, "description": "<think>The brows (AU4) and"},
        {**good, "description": "<THINK>AU4.</THINK><ANSWER>fear</ANSWER>"},
        {**good, "description": "<think>AU4.</think><answer>joy</answer>"},
        {**good, "description": "<think>AU4.</think><answer>none</answer>"},
        {"description": "<think>AU4.</think><answer>pain</answer>"},
        {**good, "description": "<think>AU4, AU12 and AU6.</think><answer>fear</answer>"},  # nobody looked for AU6
        {"AUs": ["AU12"], "AUs_coded": ["AU12"], "description": "<think>AU4.</think><answer>fear</answer>"},
        {"description": "AU12 shows.", "labels": ["fear"], "AUs": []},
    ]
    assert warnings(tmp_path / "faces.jsonl", *lines) == [
        "2 of 9 analyses are not one think block and one answer block: lines 2, 3",
        "2 of 9 analyses answer another emotion than their label: lines 4, 5",
        "1 of 9 analyses answer none of the allowed emotions: line 6",
        "2 of 9 analyses claim Action Units that were looked for and not found: lines 7, 9",
    ]
    assert warnings(tmp_path / "captions.jsonl", {"description": "AU4"}, rules=RULES._replace(wrap=False)) == []
    assert warnings(tmp_path / "good.jsonl", good, {"id": "x"}) == []


def test_no_more_analyses_are_read_than_take_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "MOST_READ", 8)
    bad = {"description": "<think>"}
    assert warnings(tmp_path / "faces.jsonl", *[bad] * 30) == [
        "8 of the first 8 analyses are not one think block and one answer block: lines 1, 2, 3, 4, 5 and 3 more"
    ]


# --- writing ---


def test_written_lines_are_read_back(tmp_path: Path) -> None:
    rows = [{"image": "ä.png", "question": 'a\n"b"\u2028'}, {"image": "b.png"}]
    write_jsonl(tmp_path / "new" / "faces.jsonl", rows)
    table = read(tmp_path / "new" / "faces.jsonl")
    assert [table[i].question for i in range(2)] == ['a\n"b"\u2028', ""]


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "faces.jsonl"
    write_jsonl(file, [{"image": "old.png"}])
    old = file.read_bytes()

    def rows() -> Iterator[dict[str, str]]:
        yield {"image": "new.png"}
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_jsonl(file, rows())
    assert (file.read_bytes(), os.listdir(tmp_path)) == (old, ["faces.jsonl"])

    seen: list[bytes] = []

    def no_move(source: Path, target: Path) -> None:
        seen.append(Path(source).read_bytes())
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", no_move)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, b"new")
    assert (seen, file.read_bytes(), os.listdir(tmp_path)) == ([b"new"], old, ["faces.jsonl"])
