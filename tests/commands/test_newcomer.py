"""From a folder of images with a table of labels to a tested run, by the five commands of the README."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import CONFIGS, SMALL

from fea.cli import main
from fea.drawn.faces import write_faces

README = (CONFIGS.parent / "README.md").read_text(encoding="utf-8")
ROAD = README[README.index("**Your own folder in five commands.**") :]
LINES = re.findall(r"^    (fea .+)$", ROAD, re.MULTILINE)[:5]
# A smaller model than the one of the overlay, and answers that say nothing.
LITTLE = [
    *(f"--model.policy.tiny.{name}={value}" for name, value in vars(SMALL).items()),
    *("--model.generation.max_tokens=3", "--trainer.max_steps=1", "--trainer.val_check_interval=1"),
    *("--trainer.limit_val_batches=1", "--data.batch_size=4", "--data.eval_batch_size=8"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images and a table, as somebody has them, in the working directory of the README's reader."""
    file = write_faces(tmp_path / "drawn", 60, seed=4, people=12)
    records = [json.loads(line) for line in file.read_text().splitlines()]
    units = records[0]["AUs_coded"]
    (tmp_path / "data/photos").mkdir(parents=True)
    with (tmp_path / "data/labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "emotion", "subject", *(f"AU{int(unit[2:]):02d}" for unit in units)])
        for number, record in enumerate(records):
            name = f"photos/{number}.png"
            shutil.copy(tmp_path / "drawn" / record["image"], tmp_path / "data" / name)
            shows = (int(unit in record["AUs"]) for unit in units)
            table.writerow([name, record["labels"][0].title(), record["meta_info"]["subject"], *shows])
    shutil.rmtree(tmp_path / "drawn")
    shutil.copytree(CONFIGS, tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_five_commands_lead_from_a_folder_to_a_tested_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = re.search(r"add `(.+?)` to both fits and `(.+?)` to the second", " ".join(ROAD.split()))
    assert told is not None
    without_gpu, second = map(shlex.split, told.groups())
    fits = 0
    for line in LINES:
        words = shlex.split(line)[1:]
        if words[0] == "fit":
            words += [*without_gpu, *(second * fits), *LITTLE]
            fits += 1
        elif words[0] == "test":
            words = [word.replace("runs/grpo", "runs/demo/grpo") for word in words]
        assert main(words) == 0, line
    assert [shlex.split(line)[1] for line in LINES] == ["data", "data", "fit", "fit", "test"]
    assert sorted(path.name for path in (folder / "data").glob("*.jsonl")) == [
        "faces.jsonl", "test.jsonl", "train.jsonl", "val.jsonl",
    ]  # fmt: skip
    shown = capsys.readouterr().out
    assert "60 faces of 60 rows" in shown
    assert "test/" in shown
