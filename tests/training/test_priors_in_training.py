"""Rewards that depend on other faces and other answers, through the real entry point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit
from test_grpo import Recorder

from fea.callbacks import AUReward, EmotionReward, MacroF1Reward
from fea.data.example import Example
from fea.prompts.answer import Answer
from fea.rewards import RewardCallback


class Letters(RewardCallback):
    """Lets a random model learn something, so that the weights tell of what was drawn."""

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        return sum(letter in "aeiou" for letter in text.lower()) / max(1, len(text))


def listed(*entries: tuple[str, dict[str, Any]]) -> str:
    found = [
        {"class_path": name if "." in name else f"fea.callbacks.{name}", "init_args": own} for name, own in entries
    ]
    return json.dumps([*found, json.loads(SAVE_EACH_STEP)])


CALLBACKS = listed(
    ("EmotionReward", {"corrected": True, "balance": 0.5}),
    ("AUReward", {"corrected": True, "balance": 0.5}),
    ("AUReward", {"name": "balanced", "balance": 1.0}),
    ("MacroF1Reward", {"of": "emotion", "half_life": 12}),
    ("MacroF1Reward", {"of": "au"}),
    ("OverlongPenalty", {}),
    ("RewardGap", {}),
    ("test_priors_in_training.Letters", {}),
    ("test_grpo.Recorder", {}),
)
SETTINGS: dict[str, Any] = {
    "trainer__callbacks": CALLBACKS, "trainer__limit_val_batches": 1, "trainer__val_check_interval": 2,
    "trainer__num_sanity_val_steps": 1, "data__mirror": "true", "model__optimization__lr": 5e-3, "model__mu": 2,
    "trainer__max_steps": 6, "data__balance": "null", "data__balance_power": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[Any]]:
    """A run with all of them: each validation asks them too, and the first one comes before training."""
    Recorder.rollouts = []
    folder = tmp_path_factory.mktemp("priors") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fea"])
        return folder, fit("grpo", folder, **SETTINGS), Recorder.rollouts


def states(run: Any) -> dict[str, Any]:
    return {c.name: c.state_dict() for c in run.trainer.callbacks if isinstance(c, MacroF1Reward)}


def test_shares_are_those_of_the_training_faces(whole: tuple[Path, Any, list[Any]]) -> None:
    _, run, rollouts = whole
    table = run.trainer.datamodule.tables["train"][0]
    faces = [table[number] for number in range(len(table))]
    rewards = {c.name: c for c in run.trainer.callbacks if isinstance(c, RewardCallback)}
    shares = rewards["EmotionReward"].shares
    assert shares is rewards["AUReward"].shares
    for word, share in shares.emotions[faces[0].emotions].items():
        assert share == pytest.approx(sum(word in face.labels for face in faces) / len(faces))
    for unit, share in shares.units.items():
        assert share == pytest.approx(sum(unit in face.present for face in faces) / len(faces))
    assert len(rollouts) == 3
    known = shares.emotions[faces[0].emotions].values()
    dearest = -max(share / (len(known) * share) ** 0.5 for share in known)
    for rollout, scores in rollouts:  # of a model that writes no answer
        unread = torch.tensor([answer.emotion is None for answer in rollout.answers]).view(-1, rollout.group)
        assert unread.any()
        assert scores["EmotionReward"][unread].unique().tolist() == pytest.approx([dearest], abs=1e-6)
        assert all(values.isfinite().all() for values in scores.values())


def test_counts_are_of_training_answers_alone_and_go_on_where_they_stood(
    whole: tuple[Path, Any, list[Any]], tmp_path: Path
) -> None:
    folder, run, rollouts = whole
    answers = [len(rollout.answers) for rollout, _ in rollouts]
    assert states(run)["EmotionMacroF1"]["answers"] == pytest.approx(
        sum(n * 0.5 ** ((len(answers) - 1 - age) / 3) for age, n in enumerate(answers))
    )
    assert sum(present for _, _, present in states(run)["AUMacroF1"]["classes"].values()) > 0
    for step in (1, 2, 3):  # of two steps a rollout
        again = fit(
            "grpo",
            tmp_path / "again",
            ckpt_path=folder / "checkpoints" / f"step{step}.ckpt",
            overwrite=True,
            **SETTINGS,
        )
        assert states(again) == states(run)
        for (name, weight), other in zip(
            run.model.policy.named_parameters(), again.model.policy.parameters(), strict=True
        ):
            assert torch.equal(weight, other), name


def test_these_settings_are_those_of_a_config(whole: tuple[Path, Any, list[Any]]) -> None:
    by_name = {c.name: c for c in whole[1].trainer.callbacks if isinstance(c, AUReward | EmotionReward | MacroF1Reward)}
    assert [(c.corrected, c.balance) for c in by_name.values() if not isinstance(c, MacroF1Reward)] == [
        (True, 0.5), (True, 0.5), (False, 1.0),
    ]  # fmt: skip
    assert {"EmotionMacroF1", "AUMacroF1"} <= by_name.keys()
