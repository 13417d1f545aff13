"""The demo's board: its table as printed, its curves and faces on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from fea.data.example import Example
from fea.demo.board import Entry, write_board
from fea.drawn.world import EMOTIONS, SKEWED, World
from fea.prompts.answer import parse

TABLE = """
24 held-out faces

stage                                      AU F1  AU micro F1  accuracy  emotion F1  invented  format
-----------------------------------------------------------------------------------------------------
base                                       0.000        0.000     0.000       0.000      0.00   0.000
SFT                                        0.000        0.000     0.000       0.000      0.00   0.000
+ GRPO                                     1.000        1.000     1.000       1.000      0.00   1.000
base, sampled                              0.000        0.000     0.000       0.000      0.00   0.000
SFT, sampled                               1.000        1.000     1.000       1.000      0.00   1.000
+ GRPO, sampled                            1.000        1.000     1.000       1.000      0.00   1.000
ceiling: the best guess from the true AUs  1.000        1.000     0.924       0.925      0.00   1.000

SFT to + GRPO, greedy: AU F1 +1.000 ["""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of two runs, with a scalar that the page shows in the first and one that it does not show in both."""
    for run, tags in {"sft-1": ("train/loss", "lr"), "grpo-1": ("lr",)}.items():
        with SummaryWriter(str(tmp_path / "seed-0" / run)) as events:
            for step in (10, 20, 30):
                for tag in tags:
                    events.add_scalar(tag, step / 40, step)
    return tmp_path / "seed-0"


def test_the_board_compares_the_stages(runs: Path, examples: list[Example], capsys: pytest.CaptureFixture[str]) -> None:
    silent, right = (
        [[parse("no idea")] for _ in examples],
        [[parse(face.analysis or "", face.emotions)] for face in examples],
    )
    entries = [Entry("base", silent, silent), Entry("SFT", silent, right), Entry("+ GRPO", right, right)]
    write_board(runs, examples, entries, ["sft-1", "grpo-1"], ["fea fit --config sft.yaml"], World())
    shown = capsys.readouterr().out
    assert shown.startswith(TABLE)
    assert f"\nreport: {runs / 'report.html'}\ntry:    fea analyze {runs.parent}/faces/test-*/images/" in shown
    page = (runs / "report.html").read_text()
    assert re.findall(r"<figcaption>([^<]*)", page) == ["sft-1: train/loss"]
    assert re.findall(r"<tr class=strong><td>([^<]*)", page) == ["+ GRPO", "+ GRPO, sampled"]
    assert [page.count(f"<b>{name}</b>") for name in ("base", "SFT", "+ GRPO")] == [0, 8, 8]


def test_it_names_what_a_stage_never_says(
    runs: Path, examples: list[Example], capsys: pytest.CaptureFixture[str]
) -> None:
    faces = [face for face in examples if face.labels != ("fear",) and 16 not in face.present]
    right = [[parse(face.analysis or "", face.emotions)] for face in faces]
    forgetful = [
        [parse((face.analysis or "").replace("(AU4)", "").replace("sadness", "neutral"), face.emotions)]
        for face in faces
    ]
    blind = [[parse("<think>(AU16)</think><answer>fear</answer>", face.emotions)] for face in faces]
    entries = [Entry("base", blind, blind), Entry("SFT", right, blind), Entry("+ GRPO", forgetful, right)]
    write_board(runs, faces, [*entries, Entry("blind", blind, right)], ["sft-1", "grpo-1"], [], World(SKEWED, 9, 0.1))
    shown = capsys.readouterr().out
    units = sorted({n for face in faces for n in face.present})
    for line in (
        "SFT, greedy: answers every emotion that occurs; claims every AU that occurs",
        "+ GRPO, greedy: never answers sadness; never claims AU4",
        f"blind, greedy: never answers {', '.join(word for word in EMOTIONS if word != 'fear')}; "
        f"never claims {', '.join(f'AU{n}' for n in units)}",
    ):
        assert f"\n{line}\n" in shown
    assert "base, greedy" not in shown
    assert re.search(r"^SFT to \+ GRPO, greedy: .*, emotion F1 -0\.\d{3} \[", shown, re.MULTILINE)
    page = (runs / "report.html").read_text()
    assert "+ GRPO, greedy: never answers sadness; never claims AU4" in page
    assert "Emotions: happiness 36.0%, neutral 30.0%, " in page
    assert "AU16 1.5%. Grades of these: 1 100%. People in each set, and in no other: 9." in page
    assert re.search(r"^ceiling.* 1\.000 +1\.000 +0\.900 +0\.876 ", shown, re.MULTILINE)
