"""Help: at once, of every command, and true."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest
from conftest import CONFIGS

from fea import cli
from fea.cli import main


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], [], ["help"]])
def test_help_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name:<12} {verb.told}\n" in shown for name, verb in cli.COMMANDS.items())


@pytest.mark.parametrize("arguments", [["data"], ["data", "--help"], ["help", "data"]])
def test_a_group_lists_its_members(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"^  (data \w+) ", shown, re.MULTILINE) == [
        "data check",
        "data convert",
        "data faces",
        "data silver",
        "data split",
        "data folds",
        "data pairs",
    ]
    assert cli.COMMANDS["data check"].told in shown


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_line_of_the_help_is_the_first_of_the_docstring(name: str) -> None:
    verb = cli.COMMANDS[name]
    assert (inspect.getdoc(verb.load()) or "").splitlines()[0] == verb.told
    assert verb.told.endswith(".")


HEAVY = {"torch", "lightning", "transformers", "datasets", "pyarrow", "tensorboard", "flask"}


def loaded(*words: str) -> set[str]:
    """The packages that a command has loaded when it ends."""
    code = (
        "import sys, atexit; from fea.cli import main\n"
        "atexit.register(lambda: print(*sorted({m.partition('.')[0] for m in sys.modules})))\n"
        f"main({list(words)})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(shown.splitlines()[-1].split())


@pytest.mark.parametrize("words", [["--help"], ["data"], ["help"], ["--version"]])
def test_the_dispatcher_loads_nothing_heavy(words: list[str]) -> None:
    seen = loaded(*words)
    assert "fea" in seen
    assert not seen & (HEAVY | {"numpy", "PIL", "jsonargparse", "yaml"})


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_a_command_loads_nothing_heavy(name: str) -> None:
    assert not loaded(*name.split(), "--help") & HEAVY


def helped(words: list[str]) -> object:
    """The exit code of a help, of ours or of the parser's."""
    try:
        return main(words)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("analyze", ["one row a face", "images ", "--model ", "--out ", "are printed as CSV"]),
        ("demo", ["Teaches a tiny model to read drawn faces", "--quick ", "--controls ", "--seed ", "folder of runs"]),
        ("serve", ["on a local page", " model ", "--port ", "--faces ", "--max_requests ", "--open_browser "]),
        ("review", ["on a local page", " file ", "--reviewer ", "--port ", "login name", "--open_browser "]),
        ("data faces", ["Draws faces into image files", " out ", "--n ", "--seed ", "number of faces"]),
        ("data check", ["Counts what is in a data file", " file ", "--image_root ", "allowed emotions"]),
        (
            "fit",
            ["usage: fea fit ", "--config ", "--ckpt_path ", "--print_config", "--resume ", "fea fit --trainer.help"],
        ),
        ("test", ["usage: fea test ", "the checkpoint to be measured", "fea test --data.help CLASS"]),
        ("plan", ["usage: fea plan [--gpu SIZE]", "Plans the memory", "--config ", "fea fit --model.help CLASS"]),
        ("fit --trainer.help", ["--trainer.max_steps ", "--trainer.devices ", "--seed_everything ", "--resume"]),
        ("fit --model.help fea.grpo.GRPOModule", ["group_size GROUP_SIZE", "completions of each prompt"]),
        ("fit --data.help fea.data.module.FEADataModule", ["batch_size BATCH_SIZE", "prompts in a training batch"]),
    ],
)
def test_help_of_a_command_is_its_docstring(command: str, told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = command.split()
    assert helped(words if "--" in command else [*words, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    if "--" not in command:
        assert helped(["help", *words]) == 0
        assert " ".join(capsys.readouterr().out.split()) == shown
    assert [words for words in told if " ".join(words.split()) not in shown] == []


def test_the_settings_of_the_short_help_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*words: str) -> set[str]:
        assert helped(["fit", "--config", str(CONFIGS / "grpo.yaml"), *words]) == 0
        return set(re.findall(r"--([\w.]+)", capsys.readouterr().out.replace("init_args.", "")))

    named = {name for name in shown("--help") - {"SETTING"} if not name.endswith(".help")}
    assert len(named) > 15
    kinds = ("--model.help", "fea.grpo.GRPOModule"), ("--data.help", "fea.data.module.FEADataModule")
    logger = ("--trainer.logger.help", "lightning.pytorch.loggers.TensorBoardLogger")
    assert named <= shown("--trainer.help") | shown(*kinds[0]) | shown(*kinds[1]) | shown(*logger)
