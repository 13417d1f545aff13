"""A judge as a reward: asked about a whole rollout at once, with a limit of time, and never taken for a 0."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_judge import KEY, Asked, Server, rated

from fea.callbacks import JudgeReward
from fea.data.example import Example
from fea.errors import FEAError
from fea.grpo import GRPOModule
from fea.prompts.answer import parse, render
from fea.rewards import scored
from fea.rollouts.rollout import Rollout
from fea.training.objective import Objective

EMOTIONS = ("fear", "happiness")
SMILE = Example(
    "7", "", "secret.png", "", "", frozenset({"AU12"}), frozenset({4, 12}), ("happiness",), EMOTIONS, None, {}, None, None, ""
)  # fmt: skip
TEXTS = [render("A smile (AU12)" + "." * n, "happiness") for n in (0, 3, 3)] + ["<think>cut off"]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def rollout(texts: list[str], faces: int = 1, form: Any = "after_thinking") -> Rollout:
    prompts: Any = [SimpleNamespace(example=SMILE._replace(id=str(face))) for face in range(faces)]
    none: Any = None
    return Rollout(prompts, len(texts) // faces, none, [parse(text, EMOTIONS, form=form) for text in texts])


def ready(folder: Path, server: Server, advantage: Any = "normalize_then_sum", **more: Any) -> JudgeReward:
    reward = JudgeReward(server.url, "judge-1", **more)
    module = GRPOModule(objective=Objective(advantage=advantage))
    trainer: Any = SimpleNamespace(datamodule=None, log_dir=str(folder), is_global_zero=True)
    reward.setup(trainer, module, "fit")
    return reward


def closed(reward: JudgeReward) -> None:
    none: Any = None
    reward.teardown(none, none, "fit")


def share(text: str) -> float:
    """Of what `rated` gives: one number for every criterion."""
    return len(text) % 10 / 9


def test_answers_earn_the_mean_rating_and_are_asked_about_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    reward = ready(tmp_path, server, key_variable="JUDGE_KEY")
    scores = reward.rewards(rollout(TEXTS, 2))
    torch.testing.assert_close(scores.flatten(), torch.tensor([share(text) for text in TEXTS]), rtol=0, atol=1e-6)
    assert server.texts() == dict.fromkeys(TEXTS, 1)  # two of them are the same
    for asked in server.asked:
        assert (asked.key, asked.body["model"]) == (f"Bearer {KEY}", "judge-1")
        assert set(asked.user) == {"rate", "analysis"}  # neither the image nor what was coded
        assert asked.user["rate"] == ["consistency", "clarity"]
    closed(reward)
    again = ready(tmp_path, server, key_variable="JUDGE_KEY")
    assert torch.equal(again.rewards(rollout(TEXTS, 2)), scores)
    assert len(server.asked) == 3
    told = json.loads((tmp_path / "judge" / "JudgeReward.json").read_text())
    assert (told["model"], told["criteria"], told["rubric"]) == ("judge-1", ["consistency", "clarity"], "1")
    assert "10: the answer follows from the movements" in told["instruction"]
    assert not any(KEY in file.read_text() for file in (tmp_path / "judge").glob("*.json*"))
    closed(again)


def test_facts_are_rated_where_units_were_coded(server: Server, tmp_path: Path) -> None:
    reward = ready(tmp_path, server, criteria=["facts"])
    two = rollout(TEXTS[:2], 2)
    uncoded: Any = [two.prompts[0], SimpleNamespace(example=SMILE._replace(aus=None, coded=frozenset()))]
    scores = reward.rewards(two._replace(prompts=uncoded))
    assert scores.isnan().flatten().tolist() == [False, True]
    assert server.asked[0].user["coded_present"] == ["AU12 lip corner puller"]
    assert reward.rewards(rollout(["<answer>fear</answer>"], form="only")).isnan().all()  # there is nothing to rate
    assert (len(server.asked), reward.late) == (1, 0)
    closed(reward)


def failing(asked: Asked) -> Any:
    return (400, {}, b"no") if len(asked.user["analysis"]) % 2 else rated(asked)


def test_what_the_judge_fails_on_is_unknown_and_warned_of_once(server: Server, tmp_path: Path) -> None:
    server.answer = failing
    texts = [render("AU12" + "." * n, "fear") for n in range(4)]
    wrong = [len(text) % 2 == 1 for text in texts]
    reward = ready(tmp_path, server)
    with pytest.warns(UserWarning, match=r"no verdict on 2 of 4 answers \(rejected \(400\) 2\): they count as unknown"):
        table = scored([reward], rollout(texts, 2))
    assert table.rewards_BGK.isnan().flatten().tolist() == wrong
    assert table.late == {"JudgeReward": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reward.rewards(rollout(texts, 2)).isnan().flatten().tolist() == wrong
    assert sorted(server.texts().values()) == [1, 1, 2, 2]  # a failure is tried again
    closed(reward)
    summed = ready(tmp_path / "summed", server, "sum_then_normalize", name="Whole")
    with pytest.warns(UserWarning, match="'Whole'"):
        found = summed.rewards(rollout([*texts, texts[0], texts[0]], 3))
    assert found.isnan().all(dim=1).tolist() == found.isnan().any(dim=1).tolist() == [True, True, wrong[0]]
    closed(summed)


def test_a_verdict_that_comes_too_late_is_there_the_next_time(server: Server, tmp_path: Path) -> None:
    go = threading.Event()

    def slow(asked: Asked) -> Any:
        if asked.user["analysis"] == TEXTS[1]:
            go.wait(30)
        return rated(asked)

    server.answer = slow
    reward = ready(tmp_path, server, timeout=1.0, concurrency=2)
    reward.seconds = 0.5
    reward.chat.address = reward.chat.address._replace(timeout=30)
    with pytest.warns(UserWarning, match="timeout 1"):
        scores = reward.rewards(rollout(TEXTS[:2]))
    assert scores.isnan().tolist() == [[False, True]]
    go.set()
    reward.seconds = 30
    assert reward.rewards(rollout(TEXTS[:2])).isfinite().all()
    assert server.texts() == {TEXTS[0]: 1, TEXTS[1]: 1}
    assert server.most <= 2
    closed(reward)


def test_a_judge_that_cannot_be_asked_ends_the_fit_at_once_and_not_later(server: Server, tmp_path: Path) -> None:
    server.answer = lambda asked: (401, {}, b'{"error": {"message": "no such key"}}')
    reward = ready(tmp_path, server)
    with pytest.raises(FEAError, match=r"^reward 'JudgeReward': .* answers 401 \(no such key\); check the address"):
        scored([reward], rollout(TEXTS[:1]))
    server.answer = rated
    assert reward.rewards(rollout(TEXTS)).isfinite().all()
    server.answer = lambda asked: (401, {}, b"")
    with pytest.warns(UserWarning, match="no verdict on 1 of 1"):
        assert reward.rewards(rollout(["something new"])).isnan().all()
    closed(reward)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "nowhere"}, "url: 'nowhere' is no address"),
        ({"criteria": ["beauty"]}, r"JudgeReward.criteria: \['beauty'\]; choose some of facts, consistency"),
        ({"criteria": []}, r"JudgeReward.criteria: \[\]"),
        ({"concurrency": 0}, "concurrency: 0"),
        ({"timeout": 0}, "timeout: 0; give a number of seconds"),
        ({"key_variable": "NO_SUCH_KEY"}, "the environment variable 'NO_SUCH_KEY' is not set"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_work(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(FEAError, match=told):
        JudgeReward(**{"url": "http://localhost:1/v1", "model": "judge", **settings})


def test_outside_of_a_fit_nobody_is_asked() -> None:
    with pytest.raises(FEAError, match=r"reward 'JudgeReward': verdicts are kept with a run"):
        JudgeReward("http://localhost:1/v1", "judge").rewards(rollout(TEXTS))
