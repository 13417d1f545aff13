"""Synthesis inside training: what it writes, what the next epoch sees of it, and how it survives being stopped."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit, fit_arguments
from processes import Process, ended, start, start_together

from fea.commands.fit import run
from fea.drawn.faces import write_faces
from fea.errors import FEAError
from fea.losses import mean_nll
from fea.rollouts.buffer import Pack

REWARD = '{"class_path": "fea.callbacks.FormatReward"}'


def synthesis(**options: Any) -> str:
    settings = {"recipe": {"attempts": 2, "samples": 1}, "batch_size": 4, **options}
    return json.dumps({"class_path": "accepting.Accepting", "init_args": settings})


def settings(folder: Path, callbacks: str = "", **changes: Any) -> dict[str, Any]:
    """Two epochs on 8 faces with analyses and 12 without, the latter drawn from another seed."""
    bare = write_faces(folder / "bare", 12, seed=3, text="none")
    return {
        "data__train_faces": 8,
        "data__train": f"[{bare}]",
        "model__optimization__lr": 1e-3,
        "model__optimization__decay": "constant",
        "trainer__max_steps": -1,
        "trainer__max_epochs": 2,
        "trainer__reload_dataloaders_every_n_epochs": 1,
        "trainer__callbacks": f"[{', '.join(filter(None, [REWARD, callbacks or synthesis(), SAVE_EACH_STEP]))}]",
        **changes,
    }


def lines(run: Path, name: str) -> list[Any]:
    return [json.loads(line) for line in (run / "synthesis" / name).read_text().splitlines()]


def weights(trained: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in trained.model.policy.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def written(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((run / "synthesis").glob("round-*"))}


def test_what_is_accepted_joins_the_next_epoch_of_stage_1(tmp_path: Path) -> None:
    done = fit("sft", tmp_path / "run", **settings(tmp_path))
    accepted, tried = lines(tmp_path / "run", "round-1.jsonl"), lines(tmp_path / "run", "round-1.jsonl.tried")[1:]
    assert 0 < len(accepted) < 12
    assert {entry["id"] for entry in tried} == {f"face-3-{number}" for number in range(12)}
    assert [line["id"] for line in accepted] == [entry["id"] for entry in tried if entry["accepted"]]
    assert {line["meta_info"]["synthesis"]["round"] for line in accepted} == {1}
    assert done.trainer.global_step == 8 // 4 + (8 + len(accepted)) // 4
    # The second round tries what is left.
    left = {entry["id"] for entry in lines(tmp_path / "run", "round-2.jsonl.tried")[1:]}
    assert left == {f"face-3-{number}" for number in range(12)} - {line["id"] for line in accepted}
    assert "Synthesised analyses" in (tmp_path / "run" / "synthesis" / "DATACARD.md").read_text()


def test_the_last_epoch_is_followed_by_a_round_and_a_part_of_one_is_not(tmp_path: Path) -> None:
    fit("sft", tmp_path / "whole", **settings(tmp_path, trainer__max_epochs=1))
    assert written(tmp_path / "whole").keys() == {"round-1.jsonl", "round-1.jsonl.tried"}
    fit("sft", tmp_path / "part", **settings(tmp_path, trainer__max_steps=1, trainer__max_epochs=1))
    assert not (tmp_path / "part" / "synthesis").exists()


def test_a_share_of_the_faces_and_a_weight_for_what_is_accepted(tmp_path: Path) -> None:
    options = synthesis(share=0.5, weight=3.0)
    done = fit("sft", tmp_path / "run", **settings(tmp_path, options, trainer__max_epochs=1))
    assert len(lines(tmp_path / "run", "round-1.jsonl.tried")) == 1 + 6
    data = done.datamodule
    expected = [1.0] * 8 + [3.0] * len(lines(tmp_path / "run", "round-1.jsonl"))
    assert data.weights(data.analyses()).tolist() == expected


def test_stage_2_draws_solved_faces_less_often_and_replays_their_analyses(tmp_path: Path) -> None:
    changes = {"model__sft_weight": 0.5, "data__balance": "null", "data__balance_power": 1.0}
    done = fit("grpo", tmp_path / "run", **settings(tmp_path, synthesis(rarer=0.25), **changes))
    solved = {f"face-3-{line['id'].rpartition('-')[2]}" for line in lines(tmp_path / "run", "round-1.jsonl")}
    solved |= {line["id"] for line in lines(tmp_path / "run", "round-2.jsonl")}
    examples = done.trainer.train_dataloader.prompts.examples
    drawn = dict(zip((examples[n].id for n in range(len(examples))), done.datamodule.weights(examples), strict=True))
    assert {name for name, weight in drawn.items() if weight == 0.25} == solved
    assert {weight for name, weight in drawn.items() if name not in solved} == {1.0}
    assert all(example.analysis for example in map(done.datamodule.analyses().__getitem__, range(8 + len(solved))))


def test_the_replay_term_is_the_loss_of_stage_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Completions that all score the same teach nothing, so that the term stands alone."""
    changes = {"model__sft_weight": 0.5, "model__objective__beta": 0, "trainer__max_epochs": 1, "data__train_faces": 4}
    done = fit("grpo", tmp_path / "run", **settings(tmp_path, synthesis(every=2), **changes))
    module = done.model
    monkeypatch.setattr(type(module), "log", lambda *_, **__: None)
    pack: Pack = next(iter(done.trainer.train_dataloader))
    assert len(pack.replay) == 4
    replayed = [[prompt.example.id for prompt in drawn.replay] for drawn in done.trainer.train_dataloader]
    assert len(set(map(tuple, replayed))) == len(replayed) > 1
    examples = [module.policy.encoder(prompt.example, with_target=True) for prompt in pack.replay]
    loss = module.training_step(pack._replace(advantages=torch.zeros_like(pack.advantages)), 0)
    ids, mask = (
        torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
        for part in ([e.target for e in examples], [torch.ones_like(e.target) for e in examples])
    )
    expected = 0.5 * mean_nll(module.policy.logps(examples, ids, mask)[0], mask)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    module.training_step(pack, 0)
    assert module.has_signal


def test_with_an_adapter_on_the_tower_faces_are_seen_anew_and_replayed_analyses_teach_it(tmp_path: Path) -> None:
    changes = {"model__sft_weight": 0.5, "model__policy__lora": '{"rank": 4, "alpha": 8, "vision": {"rank": 3}}'}
    done = fit("grpo", tmp_path / "run", **settings(tmp_path, **changes))
    assert 0 < len(lines(tmp_path / "run", "round-1.jsonl")) < 12
    module, pack = done.model, next(iter(done.trainer.train_dataloader))
    assert len(pack.replay) == 4
    assert not any(prompt.features is not None for prompt in [*pack.prompts, *pack.replay])
    module.log, adapter = lambda *_, **__: None, module.policy.vision_adapter()
    module.policy.train().zero_grad()
    module._replayed(pack).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in adapter)


def test_a_fit_that_would_never_see_the_analyses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match=r"set trainer\.reload_dataloaders_every_n_epochs to 1"):
        fit("sft", tmp_path / "run", **settings(tmp_path, trainer__reload_dataloaders_every_n_epochs=0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "every: 0"),
        ({"share": 1.5}, "share: 1.5"),
        ({"minutes": -1}, "minutes: -1"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"temperature": 0}, "temperature: 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(FEAError, match=said):
        fit("sft", tmp_path / "run", **settings(tmp_path, synthesis(**options)))


def test_a_rate_that_ends_nobody_knows_where_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match=r"set trainer\.max_steps, or decay: constant"):
        fit("sft", tmp_path / "run", **settings(tmp_path, model__optimization__decay="linear"))


def test_what_an_earlier_start_wrote_in_the_folder_is_moved_aside(tmp_path: Path) -> None:
    """Its checkpoints are gone, so that a resumed run has to begin anew."""
    own = settings(tmp_path, trainer__max_epochs=1)
    fit("sft", tmp_path / "run", **own)
    before = written(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    fit("sft", tmp_path / "run", resume=True, **{**own, "model__optimization__lr": 1e-2})
    assert written(tmp_path / "run") != before
    assert {
        file.name: file.read_bytes() for file in sorted((tmp_path / "run" / "synthesis.1").glob("round-*"))
    } == before


def test_a_quota_holds_over_all_rounds(tmp_path: Path) -> None:
    recipe = {"attempts": 2, "samples": 1, "quota_emotion": 1}
    fit("sft", tmp_path / "run", **settings(tmp_path, synthesis(recipe=recipe), trainer__max_epochs=3))
    kept = [
        label for n in (1, 2, 3) for line in lines(tmp_path / "run", f"round-{n}.jsonl") for label in line["labels"]
    ]
    assert kept
    assert len(kept) == len(set(kept))


def test_images_that_cannot_be_read_are_skipped_and_counted_once(tmp_path: Path) -> None:
    own = settings(tmp_path, synthesis(batch_size=1), trainer__max_epochs=1)
    for number in (0, 3, 4):
        (tmp_path / "bare" / "images" / f"3-{number:06d}.png").write_bytes(b"none")
    data = {"class_path": "fea.data.module.FEADataModule", "init_args": {
        "train": [str(tmp_path / "bare" / "faces.jsonl")],
        "val": [{"file": str(tmp_path / "bare" / "faces.jsonl"), "overlap": True}],
        "batch_size": 2, "num_workers": 0, "on_bad": "skip",
    }}  # fmt: skip
    (tmp_path / "data.yaml").write_text(json.dumps({"data": data}))
    own = {name: value for name, value in own.items() if not name.startswith("data__")}
    arguments = [word for word in fit_arguments("grpo", tmp_path / "run", **own) if not word.startswith("--data.")]
    run([*arguments[:5], "--config", str(tmp_path / "data.yaml"), *arguments[5:]])
    tried = lines(tmp_path / "run", "round-1.jsonl.tried")[1:]
    assert sorted(entry["id"] for entry in tried) == sorted(f"face-3-{number}" for number in range(12))
    unread = {entry["id"] for entry in tried if entry["reasons"] and entry["reasons"][-1] == ["unreadable"]}
    assert unread == {"face-3-0", "face-3-3", "face-3-4"}
    assert "3 because their image cannot be read" in (tmp_path / "run" / "synthesis" / "DATACARD.md").read_text()


# --- stopped ---


def wait_for_lines(file: Path, count: int, process: Process) -> None:
    deadline = time.monotonic() + 120
    while len(file.read_bytes().splitlines() if file.exists() else []) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


SLOW = {"batch_size": 1, "recipe": {"attempts": 2, "samples": 2}}  # many batches to be stopped between


def test_a_run_that_is_killed_in_a_synthesis_twice_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    own = settings(tmp_path, synthesis(**SLOW))
    whole, run, chance = fit("sft", tmp_path / "whole", **own), tmp_path / "run", random.Random(0)
    for kill in range(2):
        process = start(fit_arguments("sft", run, resume=True, **own))
        wait_for_lines(run / "synthesis" / "round-1.jsonl.tried", 3 + 4 * kill, process)
        time.sleep(chance.uniform(0, 0.01))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert len(lines(run, "round-1.jsonl.tried")[1:]) < 12
    resumed = fit("sft", run, resume=True, **own)
    assert written(run) == written(tmp_path / "whole")
    assert same(weights(resumed), weights(whole))
    late = fit("sft", run, ckpt_path=run / "checkpoints" / "step3.ckpt", **own)  # within the second epoch
    assert same(weights(late), weights(whole))


def test_a_run_that_is_asked_to_stop_in_a_synthesis_saves_and_goes_on(tmp_path: Path) -> None:
    own = settings(tmp_path, synthesis(**SLOW))
    whole, run = fit("sft", tmp_path / "whole", **own), tmp_path / "run"
    process = start(fit_arguments("sft", run, **own))
    wait_for_lines(run / "synthesis" / "round-1.jsonl.tried", 3, process)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert 0 < len(lines(run, "round-1.jsonl.tried")[1:]) < 12
    resumed = fit("sft", run, resume=True, **own)
    assert written(run) == written(tmp_path / "whole")
    assert same(weights(resumed), weights(whole))


def test_one_round_follows_when_training_is_done_wherever_that_is(tmp_path: Path) -> None:
    own = settings(tmp_path, synthesis(every=None), trainer__max_steps=3, trainer__reload_dataloaders_every_n_epochs=0)
    trained = fit("sft", tmp_path / "run", **own)
    assert trained.trainer.global_step == 3  # within the second epoch
    assert written(tmp_path / "run").keys() == {"round-1.jsonl", "round-1.jsonl.tried"}
    assert same(weights(trained), weights(fit("sft", tmp_path / "other", **own)))


@pytest.mark.parametrize("settled", [{"every": 1}, {"every": None}], ids=["after the epoch", "at the end"])
def test_a_round_after_the_last_epoch_is_made_up_for(tmp_path: Path, settled: dict[str, Any]) -> None:
    own = settings(tmp_path, synthesis(**SLOW, **settled), trainer__max_epochs=1)
    fit("sft", tmp_path / "whole", **own)
    run = tmp_path / "run"
    process = start(fit_arguments("sft", run, **own))
    wait_for_lines(run / "synthesis" / "round-1.jsonl.tried", 3, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    again = start(fit_arguments("sft", run, resume=True, **own))
    wait_for_lines(run / "synthesis" / "round-1.jsonl.tried", 6, again)
    again.send_signal(signal.SIGTERM)
    errors = again.communicate(timeout=60)[1]
    assert again.returncode == 128 + signal.SIGTERM, errors
    assert len(lines(run, "round-1.jsonl.tried")[1:]) < 12
    fit("sft", run, resume=True, **own)
    assert written(run) == written(tmp_path / "whole")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_write_the_lines_of_one(tmp_path: Path, strategy: str) -> None:
    """Without learning, both have the same policy when they write."""
    own = settings(tmp_path, synthesis(), trainer__max_epochs=1, model__optimization__lr=0)
    for name, devices, kind in (("one", 1, "auto"), ("two", 2, strategy)):
        arguments = fit_arguments(
            "grpo",
            tmp_path / name,
            trainer__devices=devices,
            trainer__strategy=kind,
            **{**own, "data__batch_size": 4 // devices},
        )
        for process in start_together(arguments, devices):
            done = ended(process)
            assert done.returncode == 0, done.stderr[-2000:]
    assert written(tmp_path / "one") == written(tmp_path / "two")
    assert len(lines(tmp_path / "one", "round-1.jsonl")) > 0
