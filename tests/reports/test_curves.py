"""Curves come from what TensorBoard was told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from fea.reports.curves import curves_of


def test_every_scalar_is_read_with_its_steps(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as events:
        for step in (3, 6, 9):
            events.add_scalar("val/au_f1", step / 8, step)
        events.add_scalar("test/score", 0.5, 9)
        events.add_text("answers", "no scalar", 9)
    assert curves_of(tmp_path) == {
        "val/au_f1": [(3, 0.375), (6, 0.75), (9, 1.125)],
        "test/score": [(9, 0.5)],
    }


def test_a_run_without_events_is_read_from_its_table(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/score\n0,2.5,\n0,,0.25\n1,1.5,\n1,1.25,\n2,0.5")
    (tmp_path / "metrics.test.csv").write_text("step,test/score\n3,0.75\n")
    assert curves_of(tmp_path) == {
        "train/loss": [(0, 2.5), (1, 1.25), (2, 0.5)],
        "val/score": [(0, 0.25)],
        "test/score": [(3, 0.75)],
    }


def test_events_count_where_there_are_both(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss\n0,2.5\n")
    with SummaryWriter(str(tmp_path)) as events:
        events.add_scalar("train/loss", 0.5, 9)
    assert curves_of(tmp_path) == {"train/loss": [(9, 0.5)]}


def test_importing_reports_loads_nothing_heavy() -> None:
    code = "import sys, fea.reports.page, fea.reports.tables; print({'torch', 'tensorboard', 'numpy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
