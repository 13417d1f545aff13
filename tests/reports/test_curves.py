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


def test_importing_reports_loads_nothing_heavy() -> None:
    code = "import sys, fea.reports.page, fea.reports.tables; print({'torch', 'tensorboard', 'numpy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
