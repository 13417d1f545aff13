"""The command line: immediate help, one clear sentence for bad input, and tracebacks for bugs alone."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
import torch
import yaml
from conftest import CONFIGS, fit, fit_arguments

from fea import cli
from fea.cli import main
from fea.commands._options import options_of
from fea.errors import Failed, FEAError, Stopped
from fea.iterate import Stage

DRAWN = ("--data.folder", "--data.train_faces", "--data.val_faces", "--data.text")


def fit_file(file: str, *more: str, config: str = "sft") -> list[str]:
    """`fea fit` on a user's own file; its images are all read."""
    kept = [
        word for word in fit_arguments(config, Path("runs/run"), trainer__max_steps=6) if not word.startswith(DRAWN)
    ]
    return [
        *kept,
        "--data=FEADataModule",
        f"--data.train=[{file}]",
        "--data.batch_size=4",
        "--data.num_workers=0",
        *more,
    ]


def grpo(*more: str) -> list[str]:
    return fit_file("faces/faces.jsonl", *more, config="grpo")


def sft(*more: str) -> list[str]:
    return fit_file("faces/faces.jsonl", *more)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The checkpoint of one SFT step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fea"])
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "cache")
        fit("sft", tmp_path_factory.mktemp("cli") / "run", trainer__max_steps=1)
    return tmp_path_factory.getbasetemp() / "cli0" / "run" / "checkpoints" / "last.ckpt"


@pytest.fixture
def folder(tmp_path: Path, faces_file: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with nothing but good faces, and files that are bad in one way each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    shutil.copytree(faces_file.parent, "faces")
    good = faces_file.read_text().splitlines()

    def variant(name: str, line: int, text: str) -> None:
        (tmp_path / "faces" / name).write_text("\n".join([*good[: line - 1], text, *good[line:]]) + "\n")

    variant("broken.jsonl", 17, '{"image": ')
    changes = {
        "emotion": {"labels": ["grumpy"]}, "unit": {"AUs": ["AU99"]}, "missing": {"image": "images/no.png"},
        "truncated": {"image": "images/cut.png"}, "escaping": {"image": "../../secret.png"},
    }  # fmt: skip
    for name, change in changes.items():
        variant(f"{name}.jsonl", 3, json.dumps(json.loads(good[2]) | change))
    Path("faces/images/cut.png").write_bytes(Path("faces/images/5-000000.png").read_bytes()[:400])
    configs = {
        "broken": "model: [1,\n", "list": "- 1\n", "empty": "", "top": "modle:\n  x: 1\n",
        "key": "model:\n  init_args:\n    group_sise: 4\n", "deep": "model:\n  init_args:\n    policy: {lora: {rnak: 3}}\n",
        "trainer": "trainer:\n  max_step: 4\n",
    }  # fmt: skip
    for name, text in configs.items():
        Path(f"{name}.yaml").write_text(text)
    shutil.copy(checkpoint, "good.ckpt")
    Path("unfinished.py").write_text("class Smile(")
    Path("damaged.ckpt").write_bytes(checkpoint.read_bytes()[:-1000])
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6"}, "foreign.ckpt")
    return tmp_path


def with_config(name: str) -> list[str]:
    return [*fit_arguments("grpo", Path("runs/run")), "--config", f"{name}.yaml"]


BAD: dict[str, tuple[list[str], str]] = {
    "no such command": (["fti"], "there is no command 'fti'; did you mean 'fit'?"),
    "no such data command": (["data", "chek"], "there is no command 'data chek'; did you mean 'data check'?"),
    "no such command to be helped with": (["help", "nonsense"], "there is no command 'nonsense'; see fea --help"),
    "missing config": (with_config("nowhere"), "there is no file '{cwd}/nowhere.yaml'; check the path"),
    "broken YAML": (with_config("broken"), """config 'broken.yaml' is no YAML: .* in "broken.yaml", line 2"""),
    "list in YAML": (with_config("list"), "config 'list.yaml' holds no settings"),
    "empty YAML": (with_config("empty"), "config 'empty.yaml' holds no settings"),
    "misspelt section": (with_config("top"), "there is no setting 'modle.x'; did you mean 'model'?"),
    "misspelt key": (with_config("key"), "there is no setting 'model.group_sise'; did you mean 'group_size'?"),
    "misspelt nested key": (
        with_config("deep"), "there is no setting 'model.policy.lora.rnak'; did you mean 'rank'?",
    ),
    "misspelt trainer key": (
        with_config("trainer"), "there is no setting 'trainer.max_step'; did you mean 'max_steps'?",
    ),
    "misspelt option": (
        sft("--model.optimization.lrr=3"), "there is no setting 'model.optimization.lrr'; did you mean 'lr'?",
    ),
    "misspelt option of the objective": (
        grpo("--model.objective.clip_dul=3"), "there is no setting 'model.objective.clip_dul'; did you mean 'clip_dual'?",
    ),
    "bound that cannot be": (
        grpo("--model.objective.cap=0"), "model.objective.cap: 0.0; it bounds a ratio that is 1 where sampling and training",
    ),
    "abbreviated option": (
        sft("--trainer.max_step=3"), "there is no setting 'trainer.max_step'; did you mean 'max_steps'?",
    ),
    "misspelt key of a source": (
        sft("--data.train=[{fil: faces/faces.jsonl}]"), "there is no setting 'data.train.fil'; did you mean 'file'?",
    ),
    "file of one's own beside drawn faces": (
        ["fit", "--config", str(CONFIGS / "sft.yaml"), "--config", str(CONFIGS / "demo.yaml"), "--data.test=[a.jsonl]"],
        "there is no setting 'data.test' of drawn faces; name your own by --data FEADataModule --data.test",
    ),
    "setting of a file": (
        sft("--data.image_folder=faces"), "there is no setting 'data.image_folder'; give it with its file: --data.train '",
    ),
    "name of another tool": (
        sft("--data.train=[{image_dir: faces}]"), "there is no setting 'data.train.image_dir'; did you mean 'image_root'?",
    ),
    "word that YAML takes for no": (
        sft("--data.emotions=[no, happy]"), "emotions: expected str, found 'False'; YAML takes no, yes, on, off and null",
    ),
    "number expected": (sft("--data.batch_size=many"), "data.batch_size: expected int, found 'many'"),
    "choice expected": (
        grpo("--model.objective.normalizer=ppo"),
        "model.objective.normalizer: expected one of 'grpo', 'dapo', 'dr_grpo', found 'ppo'",
    ),
    "nothing at all": (["fit"], "nothing is given for data and model; see fea fit --help"),
    "missing data file": (fit_file("nowhere.jsonl"), "data file 'nowhere.jsonl' does not exist; check the path"),
    "no data file": (
        [word for word in sft() if not word.startswith("--data.train=")], "data.train: no file is given; list at least",
    ),
    "broken JSON": (fit_file("faces/broken.jsonl"), "faces/broken.jsonl:17: broken JSON.*; mend the line"),
    "unknown emotion": (
        fit_file("faces/emotion.jsonl"), """faces/emotion.jsonl:3: .*unknown emotion "grumpy"; allowed are anger""",
    ),
    "AU 99": (fit_file("faces/unit.jsonl"), """faces/unit.jsonl:3: .*"AU99" is no Action Unit; write "AU12\""""),
    "image missing": (
        fit_file("faces/missing.jsonl"), "faces/missing.jsonl:3: image '.*images/no.png' does not exist; check",
    ),
    "image truncated": (
        fit_file("faces/truncated.jsonl"), "faces/truncated.jsonl:3: image '.*cut.png' cannot be read .*; replace it",
    ),
    "image path escaping": (
        fit_file("faces/escaping.jsonl"), "faces/escaping.jsonl:3: .*secret.png.* leaves the image root; give a path",
    ),
    "batch larger than the data": (sft("--data.batch_size=64"), "data.batch_size: 64 .* holds only 24 examples"),
    "no reward": (
        grpo("--trainer.callbacks=[]"), "trainer.callbacks: GRPO needs a reward; add one, such as fea.callbacks.",
    ),
    "group of one": (grpo("--model.group_size=1"), "model.group_size: 1; .* needs at least 2"),
    "batch no multiple of the packs": (
        grpo("--trainer.accumulate_grad_batches=3"), "data.batch_size: 4 prompts a rollout .* use a multiple of 3",
    ),
    "start from nothing": (sft("--model.init_from=runs/no"), "'runs/no' holds no checkpoint: it is not there; name the folder"),
    "start from another model": (
        sft("--model.init_from=good.ckpt", "--model.policy.tiny.layers=1"), "the weights belong to another model: .* use",
    ),
    "start from a damaged file": (sft("--model.init_from=damaged.ckpt"), "'damaged.ckpt' cannot be read: it is damaged"),
    "missing checkpoint": (sft("--ckpt_path=no.ckpt"), "checkpoint 'no.ckpt' does not exist; name a .ckpt file"),
    "folder as a checkpoint": (sft("--ckpt_path=faces"), "checkpoint 'faces' does not exist; name a .ckpt file"),
    "damaged checkpoint": (sft("--ckpt_path=damaged.ckpt"), "'damaged.ckpt' cannot be read: it is damaged, .* take"),
    "foreign checkpoint": (sft("--ckpt_path=foreign.ckpt"), "'foreign.ckpt' was not written by fea; name one"),
    "checkpoint of another model": (
        sft("--ckpt_path=good.ckpt", "--model.policy.tiny.layers=1"), "the checkpoint belongs to another model: .*; use",
    ),
    "misspelt class of a callback": (
        grpo("--trainer.callbacks+=fea.callbacks.AURewrad"),
        "trainer.callbacks: cannot load 'fea.callbacks.AURewrad' .*; a file of your own has to lie in",
    ),
    "module of a callback missing": (
        grpo("--trainer.callbacks+=nowhere.Smile"), "trainer.callbacks: cannot load 'nowhere.Smile'",
    ),
    "broken module of a callback": (
        grpo("--trainer.callbacks+=unfinished.Smile"),
        "trainer.callbacks: cannot load 'unfinished.Smile' ('(' was never closed .*; mend it",
    ),
    "no callback": (grpo("--trainer.callbacks+=fea.prompts.answer.Answer"), "'fea.prompts.answer.Answer' is no Callback"),
    "misspelt setting of a callback": (
        grpo("--trainer.callbacks+=fea.callbacks.AUReward", "--trainer.callbacks.wieght=2"),
        "there is no setting 'trainer.callbacks.wieght'; did you mean 'weight'?",
    ),
    "misspelt stage": (sft("--model=fea.sft.SFTModul"), "model: cannot load 'fea.sft.SFTModul'"),
    "no such device": (sft("--trainer.accelerator=abacus"), "trainer: .*abacus"),
    "no such strategy": (sft("--trainer.strategy=magic"), "trainer: .*strategy='magic'"),
    "no such base": (sft("--model.policy.base=runs/no"), "policy.base: cannot load 'runs/no' from a folder or the hub"),
    "run without a checkpoint": (["analyze", "faces/images", "--model", "faces"], "'faces' holds no checkpoint; name"),
    "analyze nothing": (["analyze"], "nothing is given for images and model; see fea analyze --help"),
    "analyze garbage": (["analyze", "good.ckpt", "--model", "good.yaml"], "'good.yaml' holds no checkpoint"),
    "no face to draw": (["data", "faces", "out", "--n", "0"], "cannot draw 0 faces"),
    "words for a number": (["data", "faces", "out", "--n", "x"], "n: expected int, found 'x'"),
    "number of faces missing": (["data", "faces", "out"], "nothing is given for n; see fea data faces --help"),
    "folder that is a file": (["data", "faces", "good.ckpt", "--n", "1"], "'good.ckpt.*': .*; check the path"),
    "check a missing file": (["data", "check", "nowhere.jsonl"], "data file 'nowhere.jsonl' does not exist"),
    "misspelt switch": (["demo", "--quik"], "there is no setting 'quik'; did you mean 'quick'?"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "told"), list(BAD.values()), ids=list(BAD))
def test_bad_input_is_one_sentence(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    *before, last = err.splitlines()
    assert not [line for line in before if line.startswith("fea: error:")]
    assert last.startswith("fea: error: ")
    assert re.search(told.replace("{cwd}", str(folder)).replace("?", r"\?").replace("(", r"\("), last), last


BUG = """
from fea.rewards import RewardCallback


class Late(RewardCallback):
    def reward(self, answer, example, text):
        raise ValueError("a bug in a reward")


class Early(RewardCallback):
    def __init__(self):
        int("a bug in a constructor")
"""


def test_a_bug_keeps_its_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "buggy.py").write_text(BUG)
    monkeypatch.delitem(sys.modules, "buggy", raising=False)
    with pytest.raises(ValueError, match="a bug in a constructor"):
        main(grpo("--trainer.callbacks+=buggy.Early"))
    assert "fea: error:" not in capsys.readouterr().err


def test_a_bug_in_a_reward_is_told_with_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "buggy.py").write_text(BUG)
    monkeypatch.delitem(sys.modules, "buggy", raising=False)
    assert main(grpo("--trainer.callbacks+=buggy.Late")) == 2
    told = "reward 'Late': reward\\(\\) raised ValueError \\(a bug in a reward\\) at .*buggy.py:7 for the face"
    assert re.search(told, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (FEAError("x: 3; give 4"), 2, "fea: error: x: 3; give 4\n"),
        (Stopped("stopped and saved", 15), 143, "fea: stopped and saved\n"),
        (Stopped("stopped and saved", 10, first=False), 0, ""),
        (Failed("'fea fit' ended", 138), 138, "fea: 'fea fit' ended\n"),
        (Failed("'fea fit' ended", 2), 2, "fea: error: 'fea fit' ended\n"),
    ],
)
def test_the_exit_code_is_that_of_the_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: FEAError, code: int, told: str
) -> None:
    def failed(argv: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", failed)
    assert (main(["demo"]), capsys.readouterr().err) == (code, told)
    assert FEAError.code == 2


@pytest.mark.parametrize(
    ("words", "code"),
    # The parser drops what it cannot print by itself.
    [("--help", 141), ("data check faces/faces.jsonl", 141), ("fit --help", 141), ("demo --help", 0)],
)
def test_nobody_has_to_read_to_the_end(folder: Path, words: str, code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "fea", *words.split()], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    told = [line for line in ended.stderr.splitlines() if " gone" not in line]  # how far it is
    assert (ended.returncode, told) == (code, [])


def test_another_pipe_that_breaks_is_a_bug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(argv: list[str]) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(cli, "_run", broken)
    with (tmp_path / "out").open("w") as output, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        with pytest.raises(BrokenPipeError):
            main(["demo"])


def test_where_one_cannot_ask_it_is_the_output_whose_pipe_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "poll")
    assert cli._nobody_reads()


def test_an_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    assert main(["demo"]) == 130


def test_a_file_of_the_commands_holds_verbs_or_says_that_it_does_not() -> None:
    folder = Path(cli.__file__).parent / "commands"
    files = {f"fea.commands.{file.stem}" for file in folder.glob("[!_]*.py")}
    assert files == {verb.place.partition(":")[0] for verb in cli.COMMANDS.values()} - {
        "fea.iterate",
        "fea.drawn.faces",
    }


def test_the_module_is_the_same_program() -> None:
    from fea import __version__

    shown = subprocess.run([sys.executable, "-m", "fea", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"fea {__version__}\n"
    refused = subprocess.run([sys.executable, "-m", "fea", "fti"], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "fea: error: there is no command 'fti'; did you mean 'fit'?\n"


def test_faces_are_drawn_and_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "faces", "drawn", "--n", "3", "--seed", "4", "--text", "caption"]) == 0
    assert capsys.readouterr().out == "drawn/faces.jsonl\n"
    records = [json.loads(line) for line in Path("drawn/faces.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == ["face-4-0", "face-4-1", "face-4-2"]
    assert main(["data", "check", "drawn/faces.jsonl"]) == 0
    assert main(["data", "check", "faces/missing.jsonl"]) == 2
    assert "no.png' does not exist" in capsys.readouterr().out


@pytest.mark.parametrize(("more", "wrapped"), [([], 1), (["--as_is"], 0)])
def test_a_switch_is_off_until_it_is_given(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], wrapped: int
) -> None:
    record = {"image": "images/5-000000.png", "labels": ["fear"], "description": "Wide eyes."}
    Path("faces/plain.jsonl").write_text(json.dumps(record))
    assert main(["data", "check", "faces/plain.jsonl", *more]) == 0
    assert f"of which {wrapped} get think and answer tags" in capsys.readouterr().out


def test_a_good_checkpoint_goes_on(folder: Path) -> None:
    assert main(sft("--trainer.max_steps=1")) == 0
    assert main(sft("--ckpt_path=runs/run/checkpoints/last.ckpt", "--trainer.max_steps=2")) == 0
    assert torch.load("runs/run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 2


def test_a_run_keeps_the_settings_that_made_it(folder: Path) -> None:
    assert main(sft("--trainer.max_steps=1", "--model.optimization.lr=0.003")) == 0
    kept = yaml.safe_load(Path("runs/run/config.yaml").read_text())
    assert kept["model"]["init_args"]["optimization"]["lr"] == 0.003
    assert kept["data"]["init_args"]["train"] == ["faces/faces.jsonl"]
    again = ["fit", "--config", "runs/run/config.yaml", "--trainer.max_steps=1"]
    assert main([*again, "--trainer.logger.init_args.name=another"]) == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("review a.jsonl --image_root b --port 7861", {"file": Path("a.jsonl"), "image_root": Path("b"), "port": 7861}),
        ("data split a.jsonl --out b --distance 3", {"file": Path("a.jsonl"), "out": Path("b"), "distance": 3}),
        ("data check a.jsonl --image_root b", {"file": ["a.jsonl"], "image_root": Path("b"), "as_is": False}),
        ("synthesize a b --model m --out c --minutes 2", {"data": ["a", "b"], "out": "c", "minutes": 2.0}),
        ("demo --rounds 2 --quick", {"rounds": 2, "quick": True, "out": Path("runs/demo")}),
        (
            "iterate --sft.configs [a] --sft.again '{x.y: 1, z: [{class_path: fea.callbacks.Watch}]}' --grpo.configs [b]",
            {
                "sft": Stage(["a"], {}, {"x.y": 1, "z": [{"class_path": "fea.callbacks.Watch"}]}),
                "grpo": Stage(["b"]),
            },
        ),
    ],
)
def test_options_arrive_as_what_the_function_asks_for(words: str, expected: dict[str, object]) -> None:
    name = next(name for name in cli.COMMANDS if words.startswith(name))
    seen = options_of(cli.COMMANDS[name].load(), shlex.split(words.removeprefix(name)), name)
    assert {key: seen[key] for key in expected} == expected
    assert {key: type(seen[key]) for key in expected} == {key: type(value) for key, value in expected.items()}
