"""`fea test --protocol`: scores and answers in the folder of the run, and what does not fit before the work."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from conftest import fit

from fea.cli import main
from fea.evaluation.scored import read


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with six faces to be tested on."""
    folder = tmp_path_factory.mktemp("tested")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fea"])
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "cache")
        fit("sft", folder / "run", trainer__max_steps=2, data__test_faces=6)
    return folder / "run"


def test_scores_and_answers_lie_in_the_folder_of_the_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--run", str(trained), "--protocol", "facial-r1"]) == 0
    shown = capsys.readouterr().out
    assert f"scores: {trained}/metrics.json" in shown
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
