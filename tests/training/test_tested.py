"""`fea test --protocol`: scores and answers in the folder of the run, and what does not fit before the work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import by_itself, fit, fit_arguments
from processes import ended, start_together

from fea.cli import main
from fea.drawn.faces import write_faces
from fea.protocols.scored import Scored, read, write


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with six faces to be tested on."""
    folder = tmp_path_factory.mktemp("tested")
    with by_itself(tmp_path_factory):
        fit("sft", folder / "run", trainer__max_steps=2, data__test_faces=6)
    return folder / "run"


def test_scores_and_answers_lie_in_the_folder_of_the_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--run", str(trained), "--protocol", "facial-r1"]) == 0
    shown = capsys.readouterr().out
    assert f"scores: {trained}/metrics.json" in shown
    assert ("replaces" in shown, "Test metric" in shown) == (False, False)  # nor the long table of the trainer
    scored, cases = read(trained)
    assert (scored.protocol, scored.faces, len(cases)) == ("facial-r1", 6, 6)
    assert scored.model["step"] == 2
    assert scored.model["weights"].startswith(f"'{trained}/checkpoints/")
    truth = [
        json.loads(line) for line in next(trained.parent.glob("faces/test-6*/faces.jsonl")).read_text().splitlines()
    ]
    assert [case.example.id for case in cases] == [line["id"] for line in truth]
    assert [list(case.example.labels) for case in cases] == [line["labels"][:1] for line in truth]
    assert all(case.answer.text for case in cases)
    # and `fea score` makes the same of the answers
    out = trained.parent / "again"
    assert main(["score", str(trained / "predictions.jsonl"), "--protocol", "facial-r1", "-o", str(out)]) == 0
    assert read(out)[0].scores == pytest.approx(scored.scores)
    assert set(scored.thinking) >= {"consistency", "evidence"}
    assert all(0 <= scored.thinking[name] <= 1 for name in ("consistency", "evidence"))
    assert ("<h2>Thinking</h2>" in (trained / "report.html").read_text(), read(out)[0].thinking) == (True, {})
    for folder in (trained, out):
        page = (folder / "report.html").read_text()
        assert "facial-r1" in page
        assert f"{scored.scores['accuracy']:.3f}" in page


def test_sampled_answers_vote(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    write(run, Scored("fea20k", "", 0, 0, "faces", False, {}, {}), [])
    assert main(["test", "--run", str(run), "--protocol", "facial-r1", "--samples", "4"]) == 0
    told = f"note: replaces the report of fea20k in '{run}'; --trainer.logger.init_args.save_dir DIR keeps both"
    assert told in capsys.readouterr().out
    scored, cases = read(run)
    assert all(case.votes is not None and 4 * case.votes in range(5) for case in cases)
    assert sum(one["faces"] for one in scored.calibration["bins"]) == 6
    assert 0 <= scored.calibration["error"] <= 1
    assert "votes" in (run / "report.html").read_text()
    assert main(["test", "--run", str(run), "--samples", "4"]) == 2
    assert "samples: votes are told by a protocol's report" in capsys.readouterr().err
    assert main(["test", "--run", str(run), "--protocol", "facial-r1", "--samples", "-1"]) == 2
    assert "samples: -1; give a number of answers" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["first", "only"])
def test_a_model_is_measured_in_another_form(form: str, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    words = ["test", "--run", str(run), "--protocol", "facial-r1", "--model.policy.answer", form]
    assert main([*words, "--trainer.logger.init_args.save_dir", str(tmp_path)]) == 0
    scored, cases = read(run)
    assert {(case.answer.form, "AUs" in case.says) for case in cases} == {(form, form == "first")}
    assert bool(scored.thinking) == (form == "first")
    assert ("au_f1" in scored.scores, "accuracy" in scored.scores) == (form == "first", True)
    out = tmp_path / "again"
    assert main(["score", str(run / "predictions.jsonl"), "--protocol", "facial-r1", "-o", str(out)]) == 0
    assert read(out)[0].scores == pytest.approx(scored.scores)


@pytest.mark.parametrize("command", ["test", "predict"])
def test_two_processes_write_what_one_does(command: str, trained: Path, tmp_path: Path) -> None:
    """The place of a run is told by one process to all: whoever asks for it alone waits for ever."""
    faces = write_faces(tmp_path / "faces", 5, seed=9)
    own = ["--protocol", "facial-r1"] if command == "test" else []
    words = [command, "--run", str(trained), *own, "--data=FEADataModule", f"--data.{command}=[{faces}]"]
    for process in start_together([*words, "--trainer.devices=2", "--trainer.strategy=ddp"], 2):
        done = ended(process, 100)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "sync_dist" not in done.stderr  # a line for each of some 90 scores
    file = trained / {"test": "predictions.jsonl", "predict": "answers.jsonl"}[command]
    found = [json.loads(line)["id"] for line in file.read_text().splitlines()]
    assert sorted(found) == [f"face-9-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        ("disfa-8", "faces.jsonl:1 is of 'faces', and the protocol is about disfa"),
        ("disfa", "protocol: there is no 'disfa'; did you mean 'disfa-8'?"),
    ],
)
def test_what_does_not_fit_is_told_before_the_work(
    protocol: str, told: str, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fea.training.module import FEAModule

    monkeypatch.setattr(FEAModule, "configure_model", lambda self: pytest.fail("the model was built"))
    assert main(["test", "--run", str(trained), "--protocol", protocol]) == 2
    assert told in capsys.readouterr().err


def write_disfa(folder: Path, faces_file: Path) -> Path:
    """Drawn faces under the names of people of DISFA, one of each fold."""
    people = ("SN003", "SN013", "SN002")
    rows = [json.loads(line) for line in faces_file.read_text().splitlines()]
    coded = [f"AU{unit}" for unit in (1, 2, 4, 6, 9, 12, 25, 26)]
    for number, row in enumerate(rows):
        row |= {
            "dataset": "DISFA",
            "meta_info": {"subject": people[number % 3]},
            "AUs_coded": coded,
            "AU_intensities": {},
        }
        row["AUs"] = [code for code in row["AUs"] if code in coded]
        row["image"] = str(faces_file.parent / row["image"])
    file = folder / "disfa.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_run_is_tested_on_its_own_fold_and_on_no_other(
    faces_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_disfa(tmp_path, faces_file)
    source = json.dumps([{"file": str(file), "image_root": str(faces_file.parent)}])
    data = {"data": "FEADataModule", "data__train": source, "data__test": source, "data__fold": 1}
    words = [f"--{name.replace('__', '.')}={value}" for name, value in data.items()]
    arguments = [w for w in fit_arguments("sft", tmp_path / "run", trainer__max_steps=1) if not w.startswith("--data.")]
    capsys.readouterr()
    assert main([*arguments, *words, "--data.batch_size=4", "--data.num_workers=0"]) == 0
    assert main(["test", "--run", str(tmp_path / "run"), "--protocol", "disfa-8"]) == 0
    scored, cases = read(tmp_path / "run")
    assert ({case.subject for case in cases}, list(scored.folds), scored.model["fold"]) == ({"SN003"}, ["1"], 1)
    assert main(["test", "--run", str(tmp_path / "run"), "--protocol", "disfa-8", "--data.fold", "2"]) == 2
    told = "data.fold: 2, but the weights were trained with fold 1 of DISFA and have seen the people of the other folds"
    assert told in capsys.readouterr().err
    again = [w.replace(str(tmp_path / "run"), str(tmp_path / "two")) for w in arguments]
    again = [w if "logger.init_args.name" not in w else "--trainer.logger.init_args.name=two" for w in again]
    assert main([*again, *words, "--data.fold=3", f"--model.init_from={tmp_path / 'run'}"]) == 2
    assert f"'{tmp_path / 'run'}' was trained with fold 1 and has seen the people of fold 3" in capsys.readouterr().err
