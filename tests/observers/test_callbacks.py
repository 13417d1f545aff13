"""Observers, the answers of `fea predict`, and a reward of the user's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import fit, fit_arguments
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fea.callbacks import sample_table
from fea.cli import main
from fea.drawn.faces import write_faces

SMILE = '''
from fea.rewards import RewardCallback


class SmileReward(RewardCallback):
    """1 if the answer speaks of a smile."""

    def reward(self, answer, example, text):
        return float("smile" in text)
'''


def test_ten_lines_in_an_empty_folder_make_a_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(SMILE.strip().splitlines()) <= 10
    (tmp_path / "my_rewards.py").write_text(SMILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    arguments = fit_arguments("grpo", Path("runs/demo/grpo"), trainer__max_steps=1, data__folder="runs/demo/faces")
    assert main([*arguments, "--trainer.callbacks+=my_rewards.SmileReward"]) == 0
    tags = EventAccumulator("runs/demo/grpo").Reload().Tags()["scalars"]
    assert {"reward/SmileReward", "reward/AUMacroF1", "reward/EmotionMacroF1", "reward/FormatReward"} <= set(tags)


def test_samples_are_shown_with_picture_text_and_rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = '[{"class_path": "fea.callbacks.FormatReward"}, '
    table += '{"class_path": "fea.callbacks.SampleTable", "init_args": {"every": 2}}]'
    monkeypatch.setattr(sample_table, "_SIDE", 50)
    fit("grpo", tmp_path / "run", trainer__callbacks=table, trainer__max_steps=4)
    events = EventAccumulator(str(tmp_path / "run"), {"tensors": 0, "images": 0}).Reload()
    assert [(event.step, event.width) for event in events.Images("samples/0")] == [(0, 50), (2, 50)]
    text = events.Tensors("samples/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| face | id | labels | completion | FormatReward |" in text
    assert text.count("| 0 |") >= 1


def test_predict_writes_a_row_for_each_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = fit_arguments("sft", Path("runs/sft"), trainer__max_steps=1)
    assert main(arguments) == 0
    file = write_faces(Path("mine"), 5, seed=9, text="none")
    kept = [
        a for a in arguments[1:] if not a.startswith(("--data.folder", "--data.train", "--data.val", "--data.text"))
    ]
    predict = ["--data=FEADataModule", f"--data.predict=[{file}]", "--ckpt_path=runs/sft/checkpoints/last.ckpt"]
    assert main(["predict", *kept, *predict]) == 0
    rows = [json.loads(line) for line in Path("runs/sft/answers.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"face-9-{n}" for n in range(5)]
    assert set(rows[0]) >= {"image", "AUs", "emotion", "reasoning", "valid", "text"}


def test_test_measures_each_unit_and_each_emotion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [a for a in fit_arguments("sft", tmp_path / "run", data__test_faces=8) if "limit_val" not in a]
    assert main(["test", *arguments[1:], "--ckpt_path=start"]) == 0
    shown = capsys.readouterr().out
    assert "test/au_f1" in shown
    for name in ("f1/AU", "recall/AU", "recall/happiness", "claims/AU12", "present/AU12", "labels/happiness"):
        assert f"test/{name}" in shown
    assert "test/emotion_uar" in shown
