"""The demo's board: its table as printed, its curves and faces on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from fea.data.example import Example
from fea.demo.board import Entry, write_board
from fea.prompts.answer import parse

TABLE = """
24 held-out faces

stage                                    \
  AU F1  accuracy  AU F1, sampled  accuracy, sampled  invented, sampled  format, sampled
-----------------------------------------\
----------------------------------------------------------------------------------------
base                                     \
  0.000     0.000           0.000              0.000               0.00            0.000
SFT                                      \
  0.000     0.000           1.000              1.000               0.00            1.000
+ GRPO                                   \
  1.000     1.000           1.000              1.000               0.00            1.000
ceiling: the best guess from the true AUs\
  1.000     0.924           1.000              0.924               0.00            1.000

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
    write_board(runs, examples, entries, ["sft-1", "grpo-1"], ["fea fit --config sft.yaml"])
    shown = capsys.readouterr().out
    assert shown.startswith(TABLE)
    assert f"\nreport: {runs / 'report.html'}\ntry:    fea analyze {runs.parent}/faces/test-*/images/" in shown
    page = (runs / "report.html").read_text()
    assert re.findall(r"<figcaption>([^<]*)", page) == ["sft-1: train/loss"]
    assert re.findall(r"<tr class=strong><td>([^<]*)", page) == ["+ GRPO"]
    assert [page.count(f"<b>{name}</b>") for name in ("base", "SFT", "+ GRPO")] == [0, 8, 8]
