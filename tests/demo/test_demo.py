"""`fea demo --quick` from an empty folder: every stage runs, the reward rises, the report can be opened anywhere."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from processes import fork_fits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fea.cli import main


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished quick demo."""
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fea.training.fits.children", fork_fits())
        assert main(["demo", "--quick", "--controls", "--out", str(out)]) == 0
    return out / "quick"


def test_the_reward_rises(demo: Path) -> None:
    rewards = [
        event.value for event in EventAccumulator(str(demo / "seed-0" / "grpo-1")).Reload().Scalars("reward/total")
    ]
    third = len(rewards) // 3
    assert sum(rewards[-third:]) > sum(rewards[:third])


def test_the_report_is_one_self_contained_file(demo: Path) -> None:
    page = (demo / "seed-0" / "report.html").read_text()
    assert "control: SFT on true analyses" in page
    assert page.count("data:image/png;base64,") == 8
    assert page.count("<svg") >= 6
    assert page.count("fea fit --config") == 6
    assert not re.search(r"""(?:src|href)=["']?(?:https?:|/)""", page)


def test_its_outcome_answers_about_images_and_the_base_is_kept(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(next(demo.glob("faces/test-*/images/*.png")))
    assert main(["analyze", image, "--model", str(demo), "--out", str(tmp_path / "a.csv")]) == 0
    assert "drawn faces only" in capsys.readouterr().err
    assert [row["image"] for row in csv.DictReader((tmp_path / "a.csv").open())] == [image]
    assert (demo / "base" / "model" / "model.safetensors").exists()
