"""`fea analyze`: what is analyzed, the files that the answers go to, and going on after a kill."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from photographed import CUT, EMOTIONS, person

from fea.analysis import loading
from fea.analysis.analyzer import Analyzer
from fea.analysis.foreign import LIBREFACE, OPENFACE, PYFEAT
from fea.analysis.inputs import inputs_of
from fea.analysis.layout import Layout, Results, to_csv
from fea.analysis.tables import NO_FACE, Result
from fea.cli import main
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.evaluation.votes import vote
from fea.prompts.answer import parse, render

pytest_plugins = ("photographing",)

Says = Callable[[Callable[[Prompt, int], str]], list[list[str]]]


def names(*given: object, recursive: bool = False) -> list[str]:
    return [one.name for one in inputs_of([str(one) for one in given], recursive)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.png", "b.jpg", "in/c.png", "in/deep/d.webp", "in/.hidden/e.png", "in/f.mp4", "in/g.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


# --- which pictures ---


def test_folders_are_looked_through_if_asked(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert names(tree) == [f"{tree}/a.png", f"{tree}/b.jpg"]
    assert "1 folder" in capsys.readouterr().err
    found = ["a.png", "b.jpg", "in/c.png", "in/deep/d.webp"]
    assert names(tree, recursive=True) == [f"{tree}/{name}" for name in found]
    assert "note: left out of the folders: 1 .mp4, 1 .csv\n" in capsys.readouterr().err


def test_patterns_find_files_and_a_file_of_that_name_comes_first(tree: Path) -> None:
    assert names(tree / "*.png", tree / "**" / "*.webp") == [f"{tree}/a.png", f"{tree}/in/deep/d.webp"]
    (tree / "[a].png").touch()
    assert names(tree / "[a].png") == [f"{tree}/[a].png"]
    with pytest.raises(FEAError, match=r"^no file is like '.*\*.gif'; check the pattern$"):
        names(tree / "*.gif")


def test_a_list_names_files_from_its_own_folder(tree: Path, tmp_path: Path) -> None:
    listed = tree / "in" / "list.txt"
    listed.write_text(f"\ufeffc.png\n# a note\n\n../a.png\n{tree}/b.jpg\nnowhere.png\n", encoding="utf-8")
    expected = [f"{tree}/in/c.png", f"{tree}/in/../a.png", f"{tree}/b.jpg", f"{tree}/in/nowhere.png"]
    assert names(listed) == expected
    listed.write_text("\n")
    with pytest.raises(FEAError, match="names no file; write a path on each line"):
        names(listed)
    listed.write_bytes(b"a\xff.png")
    with pytest.raises(FEAError, match="is no list of files: byte 1 is no UTF-8"):
        names(listed)
    listed.write_text("list.txt\n")
    with pytest.raises(FEAError, match=r"names another list, '.*list.txt'; name that one beside it"):
        names(listed)


# --- going on ---


def test_the_last_line_says_what_became_of_the_answers(
    loaded: Analyzer, pictures: Path, tmp_path: Path, says: Says, capsys: pytest.CaptureFixture[str]
) -> None:
    says(lambda prompt, number: ("<think>A" + CUT) if prompt.example.id.endswith("5.png") else "What?")
    out = tmp_path / "a.csv"
    assert run(pictures, out) == 2
    malformed = "answers that are not well-formed: 8, 1 of them cut off at --max_tokens 4"
    told = f"1 of the images could not be read; {malformed}"
    assert capsys.readouterr().err.splitlines()[-1] == f"{out}: 9 rows; {told}"
    assert main(["analyze", str(pictures / "5.png"), "--model", "owner/model", "--max_tokens", "4"]) == 0
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed == "note: answers that are not well-formed: 1, 1 of them cut off at --max_tokens 4"
    says(lambda *_: render("A smile (AU12).", "boredom"))
    assert run(pictures / "5.png", out) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"{out}: 1 row; answers whose emotion is none of the allowed: 1"
    says(words)
    assert run(pictures / "5.png", out) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"{out}: 1 row"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Nine pictures, one of which is damaged."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(8):
        person(number, 56).save(folder / f"{number}.png")
    (folder / "3-damaged.png").write_bytes((folder / "3.png").read_bytes()[:200])
    return folder


def run(folder: Path, out: Path, *more: str) -> int:
    options = ["--max_tokens", "4", "--num-workers", "0"]  # workers take longer to start than the pictures to be read
    return main(["analyze", str(folder), "--model", "owner/model", "--out", str(out), *options, *more])


def words(prompt: Prompt, number: int) -> str:
    return render(f"Of {Path(prompt.example.id).stem}: a smile (AU12).", EMOTIONS[int(prompt.example.meta[1]) % 7])


def dying(after: int) -> Callable[[Prompt, int], str]:
    """Says `words` so many times, and then no more."""
    asked = iter(range(after))

    def dies(prompt: Prompt, number: int) -> str:
        if next(asked, None) is None:
            raise RuntimeError
        return words(prompt, number)

    return dies


@pytest.mark.parametrize(("ending", "older"), [("csv", False), ("csv", True), ("jsonl", False), ("parquet", True)])
def test_a_run_that_goes_on_ends_with_the_same_bytes(
    loaded: Analyzer,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: Says,
    ending: str,
    older: bool,
) -> None:
    monkeypatch.setattr(loading, "_POOL", 2)
    whole, out = tmp_path / f"whole.{ending}", tmp_path / f"out.{ending}"
    says(words)
    assert run(pictures, whole, "--batch-size", "1") == 2
    if older:
        shutil.copy(whole, out)
    asked: list[str] = []

    def dies(prompt: Prompt, number: int) -> str:
        asked.append(prompt.example.id)
        if len(asked) == 7:  # in the middle of a part of the work
            raise RuntimeError
        return words(prompt, number)

    says(dies)
    with pytest.raises(RuntimeError):
        run(pictures, out, "--batch-size", "1")
    (log,) = tmp_path.glob("*.resume")
    written = tmp_path / json.loads(log.read_text().split("\n")[0])["written"]
    with written.open("ab") as stream:  # as a kill leaves it
        stream.write(b"torn li")
    with log.open("ab") as stream:
        stream.write(b'{"place": [7')
    assert run(pictures, out, "--batch-size", "1") == 2  # not without being told to
    batches = says(words)
    assert run(pictures, out, "--batch-size", "1", "--resume") == 2
    assert [Path(name).stem for batch in batches for name in batch] == ["5", "6", "7"]
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"out.{ending}", "pictures", f"whole.{ending}"]


def test_answers_that_were_asked_otherwise_are_not_gone_on_with(
    loaded: Analyzer, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: Says,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(loading, "_POOL", 2)
    out = tmp_path / "a.csv"
    says(dying(after=3))
    with pytest.raises(RuntimeError):
        run(pictures, out, "--batch-size", "1")
    for more, told in (
        (["--question", "How?"], "begun with another question (, not How?); give the same"),
        (["--samples", "3"], "begun with another samples (0, not 3)"),
        (["--recursive", "--emotions", "basic8"], "begun with another emotions"),
    ):
        assert run(pictures, out, "--batch-size", "1", "--resume", *more) == 2
        assert told in capsys.readouterr().err
    (pictures / "9.png").write_bytes((pictures / "1.png").read_bytes())
    assert run(pictures, out, "--batch-size", "1", "--resume") == 2
    assert "begun with another list of images; give the same" in capsys.readouterr().err
    (pictures / "9.png").unlink()
    os.truncate(out, 10)
    assert run(pictures, out, "--batch-size", "1", "--resume") == 2
    assert "does not hold the answers that were written" in capsys.readouterr().err


def test_a_run_that_was_killed_before_its_last_step_is_finished(
    loaded: Analyzer, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: Says
) -> None:
    says(words)
    out = tmp_path / "a.csv"
    run(pictures, out)
    told, replace = out.read_bytes(), os.replace
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(RuntimeError))
    with pytest.raises(RuntimeError):
        run(pictures, out)
    monkeypatch.setattr(os, "replace", replace)
    batches = says(words)
    assert run(pictures, out, "--resume") == 2
    assert batches == []
    assert out.read_bytes() == told
    assert len(list(tmp_path.iterdir())) == 2


def test_a_run_that_was_killed_in_its_first_part_begins_anew(
    loaded: Analyzer, pictures: Path, tmp_path: Path, says: Says
) -> None:
    says(dying(after=1))
    with pytest.raises(RuntimeError):
        run(pictures, tmp_path / "a.csv", "--batch-size", "1")
    assert "0.png" in (tmp_path / "a.csv").read_text()
    says(words)
    assert run(pictures, tmp_path / "a.csv", "--batch-size", "1", "--resume") == 2
    assert run(pictures, tmp_path / "whole.csv", "--batch-size", "1") == 2
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_resume_of_nothing_begins(loaded: Analyzer, pictures: Path, tmp_path: Path, says: Says) -> None:
    says(words)
    assert run(pictures, tmp_path / "a.csv", "--resume") == 2
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 10


def test_a_resume_replaces_nothing_that_is_complete(
    loaded: Analyzer, pictures: Path, tmp_path: Path, says: Says, capsys: pytest.CaptureFixture[str]
) -> None:
    says(words)
    out = tmp_path / "a.csv"
    run(pictures, out)
    told, batches = out.read_bytes(), says(words)
    assert run(pictures / "0.png", out, "--resume") == 2
    assert "a.csv' is complete; leave resume out to have its answers replaced" in capsys.readouterr().err
    assert (batches, out.read_bytes()) == ([], told)
    assert run(pictures / "0.png", out) == 0
    assert out.read_bytes() != told


def test_parquet_holds_what_csv_does(loaded: Analyzer, pictures: Path, tmp_path: Path, says: Says) -> None:
    import pyarrow.parquet as pq

    says(words)
    for ending in ("csv", "parquet"):
        run(pictures, tmp_path / f"a.{ending}", "--samples", "2", "--faces", "largest")
    table = pq.read_table(tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert table.column_names == list(rows[0])
    texts = [{name: "" if value is None else str(value) for name, value in row.items()} for row in table.to_pylist()]
    assert texts == rows
    kinds = {name: str(kind) for name, kind in zip(table.column_names, table.schema.types, strict=True)}
    assert (kinds["image"], kinds["valid"], kinds["x"], kinds["vote_AU12"]) == ("string", "bool", "int64", "double")


# --- columns of other programs ---

SMILE = Result(
    "a.png", ("AU6", "AU12", "AU30"), "happiness", "", True, "", box=(10, 20, 30, 40), score=0.9, face_id=1,
)  # fmt: skip
KNOWN = frozenset({4, 6, 12, 45})


def cells(result: Result, kind: str, film: bool = False) -> dict[str, object]:
    layout = Layout(kind, faces=True, film=film, emotions=EMOTIONS, known=KNOWN)  # type: ignore[arg-type]
    return {name: value for name, value in zip(layout.header, layout.cells(result), strict=True) if value is not None}


def test_the_columns_are_those_of_the_programs() -> None:
    numbers = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
    aus = [f"AU{number:02}" for number in numbers]
    emotions = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    boxes = ["frame", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
    points = [f"{axis}_{number}" for axis in "xy" for number in range(68)]
    assert [*boxes, *points, "Pitch", "Roll", "Yaw", *aus, *emotions, "input"] == list(PYFEAT)
    assert len(PYFEAT) == 173
    graded = ["01", "02", "04", "05", "06", "07", "09", "10", "12", "14", "15", "17", "20", "23", "25", "26", "45"]
    shown = ["01", "02", "04", "05", "06", "07", "09", "10", "12", "14", "15", "17", "20", "23", "25", "26", "28", "45"]
    assert list(OPENFACE[-35:]) == [*(f"AU{n}_r" for n in graded), *(f"AU{n}_c" for n in shown)]
    assert OPENFACE[:13] == (
        "frame", "face_id", "timestamp", "confidence", "success", "gaze_0_x", "gaze_0_y", "gaze_0_z", "gaze_1_x", "gaze_1_y",
        "gaze_1_z", "gaze_angle_x", "gaze_angle_y",
    )  # fmt: skip
    assert len(OPENFACE) == len(set(OPENFACE)) == 714
    assert LIBREFACE[:4] == ("lm_mp_0_x", "lm_mp_0_y", "lm_mp_0_z", "lm_mp_1_x")
    ones, grades = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24), (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
    assert list(LIBREFACE[3 * 478 :]) == [
        "pitch", "yaw", "roll", "facial_expression", *(f"au_{n}" for n in ones), *(f"au_{n}_intensity" for n in grades),
        "gaze_yaw", "gaze_pitch",
    ]  # fmt: skip


def test_what_is_not_known_is_empty_and_never_0() -> None:
    assert cells(SMILE, "pyfeat") == {
        "FaceRectX": 10, "FaceRectY": 20, "FaceRectWidth": 30, "FaceRectHeight": 40, "FaceScore": 0.9, "AU04": 0.0,
        "AU06": 1.0, "AU12": 1.0, **dict.fromkeys(EMOTIONS, 0.0), "happiness": 1.0, "input": "a.png",
    }  # fmt: skip
    assert cells(SMILE, "openface") == {
        "face_id": 1, "confidence": 0.9, "success": 1, "AU04_c": 0, "AU06_c": 1, "AU12_c": 1, "AU45_c": 0, "input": "a.png",
    }  # fmt: skip
    expected = {"facial_expression": "Happiness", "au_4": 0, "au_6": 1, "au_12": 1, "input_image_path": "a.png"}
    assert cells(SMILE, "libreface") == expected
    framed = SMILE._replace(frame=7, time=0.25)
    assert cells(framed, "openface", film=True)["frame"] == 8
    assert {"frame_idx": 7, "frame_time_in_ms": 250.0}.items() <= cells(framed, "libreface", film=True).items()


@pytest.mark.parametrize("result", [Result("a.png", error=NO_FACE), Result("a.png", text="What?", emotion="")])
def test_a_face_that_is_not_there_and_an_answer_that_cannot_be_read_say_nothing(result: Result) -> None:
    assert cells(result, "pyfeat") == {"input": "a.png"}
    assert cells(result, "libreface") == {"input_image_path": "a.png"}
    found = {"face_id": 0, "success": int(not result.error), "input": "a.png"}
    assert cells(result, "openface") == found


def test_votes_are_the_probabilities_of_py_feat() -> None:
    voted = SMILE._replace(votes={"AU6": 0.25, "AU12": 0.75}, emotion_votes={"happiness": 0.5, "fear": 0.25})
    shown = cells(voted, "pyfeat")
    assert [shown[name] for name in ("AU04", "AU06", "AU12", "happiness", "fear", "anger")] == [
        0,
        0.25,
        0.75,
        0.5,
        0.25,
        0,
    ]
    assert [cells(voted, "openface")[f"AU{n}_c"] for n in ("04", "06", "12")] == [0, 0, 1]


@pytest.mark.parametrize("kind", ["pyfeat", "openface", "libreface"])
def test_what_reads_the_tables_of_others_reads_ours(
    loaded: Analyzer, pictures: Path, tmp_path: Path, says: Says, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    says(lambda prompt, _: render("A smile (AU12).", "happiness"))
    assert run(pictures, tmp_path / "a.csv", "--format", kind) == 2
    out = tmp_path / "lines.jsonl"
    assert main(["data", "convert", str(tmp_path / "a.csv"), "-o", str(out), "--image_root", str(pictures)]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {tuple(line["AUs"]) for line in lines} == {("AU12",)}
    assert [Path(line["image"]).name for line in lines] == [f"{number}.png" for number in range(8)]
    assert {tuple(line.get("labels", ())) for line in lines} == {() if kind == "openface" else ("happiness",)}


def test_a_table_of_another_format_gives_way_to_a_new_one(
    loaded: Analyzer, pictures: Path, tmp_path: Path, says: Says
) -> None:
    says(words)
    for kind in ("pyfeat", "fea", "libreface"):
        assert run(pictures, tmp_path / "a.csv", "--format", kind) == 2
    assert (tmp_path / "a.csv").read_text().startswith("lm_mp_0_x,")


def test_a_frame_of_pandas_has_the_columns_of_the_table() -> None:
    results = Results([SMILE, Result("b.png", error=NO_FACE)])
    results.layout = Layout(faces=True)
    with pytest.raises(FEAError, match="format: 'py-feat'; choose fea, pyfeat, openface, libreface"):
        results.to_frame("py-feat")  # type: ignore[arg-type]
    frame = results.to_frame()
    assert list(frame) == to_csv([], layout=results.layout).strip().split(",")
    assert [str(frame[name].dtype) for name in ("face_id", "x", "score")] == ["Int64", "Int64", "float64"]
    assert frame["x"].tolist()[0] == 10
    assert frame["x"].isna().tolist() == [False, True]
    foreign = results.to_frame("pyfeat")
    assert list(foreign) == list(PYFEAT)
    assert {str(kind) for name, kind in foreign.dtypes.items() if name != "input"} == {"float64"}
    assert list(Results([]).to_frame("pyfeat")) == list(PYFEAT)


# --- votes ---


@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        (["nothing", "<think>AU4"], 0),
        ([render("AU1", "fear"), render("AU1, AU2", "anger"), render("AU1, AU2", "anger")], 1),
        ([render("AU1", "fear"), render("AU4", "anger")], 0),
        ([render("AU4", "fear"), render("AU1, AU2", "fear"), render("AU1", "fear"), render("AU1", "anger")], 2),
    ],
)
def test_the_answer_that_speaks_for_all(texts: list[str], chosen: int) -> None:
    assert vote([parse(text) for text in texts]).answer.text == texts[chosen]
