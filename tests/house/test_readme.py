"""The README as a test: every command that it shows is accepted, and what needs no GPU and no large model runs in little."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import CONFIGS, by_itself, fit

import fea
from fea.cli import COMMANDS, OWN_PARSERS, main
from fea.commands._options import options_of
from fea.model.checkpoints import load_policy

ROOT = CONFIGS.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [
    *re.findall(r"^```(?:bash|sh|console)?\n(.*?)^```", README, re.MULTILINE | re.DOTALL),
    *re.findall(r"(?:^ {4}.*\n)+", README, re.MULTILINE),
]
LINES = [found.strip() for block in BLOCKS for found in re.findall(r"^ *(?:\$ )?(fea .+)$", block, re.MULTILINE)]
# What stands for something of the reader's.
PLACEHOLDERS = {
    "RUN": "run", "FILE": "faces/faces.jsonl", "DIR": "new", "OUT": "new", "NAME": "anna", "...": "run/checkpoints/last.ckpt",
    "CLASS": "fea.grpo.GRPOModule", "COMMAND": "demo",
}  # fmt: skip


def words_of(line: str) -> tuple[str, list[str]]:
    """The command of a line, and its options, with something that is there in place of what stands for it."""
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line, comments=True)[1:]]
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    return name, words[len(name.split()) :]


# Those in running text; without options they only name a command.
INLINE = [words for words in re.findall(r"`(fea [^`]+)`", README.replace("\n", " ")) if words_of(words)[1]]


def of(*names: str) -> list[str]:
    """The lines of some commands, without those that ask for help."""
    return [line for line in dict.fromkeys(LINES + INLINE) if words_of(line)[0] in names and "--help" not in line]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run of two optimizer steps, and its model as a stock folder."""
    folder = tmp_path_factory.mktemp("readme")
    with by_itself(tmp_path_factory):
        fit("sft", folder / "run", trainer__max_steps=2)
    load_policy(str(folder / "run"), "cpu")[0].save(folder / "model")
    return folder


@pytest.fixture
def place(small: Path, tmp_path: Path, faces_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of a reader: the shipped configs, the README's own reward, a run, and faces."""
    source = re.search(r"^# my_rewards.py\n(.+?)^```", README, re.MULTILINE | re.DOTALL)
    assert source is not None
    (tmp_path / "my_rewards.py").write_text(source[1])
    shutil.copytree(CONFIGS, tmp_path / "configs")
    shutil.copytree(small / "run", tmp_path / "run")
    shutil.copytree(small / "run", tmp_path / "runs" / "grpo")
    shutil.copytree(small / "model", tmp_path / "runs" / "pruned")
    shutil.copytree(faces_file.parent, tmp_path / "faces")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_shows_the_commands() -> None:
    assert len(of("fit", "validate", "test", "predict")) >= 5
    assert len({words_of(line)[0] for line in LINES + INLINE} & set(COMMANDS)) >= 10


@pytest.mark.parametrize("line", LINES + INLINE)
def test_a_command_of_the_readme_is_one_of_ours(line: str) -> None:
    assert words_of(line)[0] in COMMANDS


@pytest.mark.parametrize("line", of("fit", "validate", "test", "predict"))
def test_every_trainer_command_of_the_readme_is_accepted(
    line: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, options = words_of(line)
    with pytest.raises(SystemExit, match="0"):
        main([name, *options, *([] if ".help" in line else ["--print_config"])])
    shown = capsys.readouterr().out
    assert "class_path" in shown or ".help" in line


@pytest.mark.parametrize("line", of(*(name for name in COMMANDS if name not in OWN_PARSERS)))
def test_every_other_command_of_the_readme_is_parsed(line: str, place: Path) -> None:
    name, options = words_of(line)
    seen = options_of(COMMANDS[name].load(), options, f"fea {name}")
    given = [word.lstrip("-").partition("=")[0].split(".")[0] for word in options if word.startswith("--")]
    assert set(given) - {"config"} <= {option.rstrip("_") for option in seen}  # `in_`, since `in` is a word of Python


@pytest.mark.parametrize("line", of("plan"))
def test_a_plan_of_the_readme_is_made(
    line: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fea.commands.plan._SHIPPED", [["grpo"]])  # each takes seconds
    name, options = words_of(line)
    assert main([name, *(options or ["--config", "configs/grpo.yaml"])]) == 0
    shown = capsys.readouterr().out
    planned = "memory plan of Qwen/Qwen3-VL-4B-Instruct" in shown
    assert planned or re.search(r"does not +\S+ GiB   fea fit --config \S*grpo.yaml", shown)  # on a card of 16 GB
    assert planned is ("--config" in options or not options)
    assert ("are left to the system" in shown) is ("--gpu" in options)


@pytest.mark.parametrize("line", of("analyze"))
def test_images_are_analyzed_as_the_readme_shows(line: str, place: Path) -> None:
    _, options = words_of(line)
    given = dict(zip(options[1::2], options[2::2], strict=True))
    images = sorted(str(file) for file in Path("faces/images").iterdir())[:2]
    assert main(["analyze", *images, "--max_tokens", "3", *on(given, model="run", out="answers.csv")]) == 0
    with Path("answers.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == images


def on(given: dict[str, str], **instead: str) -> list[str]:
    """Options as they are given, those of a reader's own files with others."""
    named = {**{name.lstrip("-"): value for name, value in given.items()}, **instead}
    return [word for name, value in named.items() for word in (f"--{name}", value)]


@pytest.mark.parametrize("line", of("data faces"))
def test_faces_are_drawn_and_checked_as_the_readme_shows(
    line: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, options = words_of(line)
    number = options.index("--n") + 1
    assert main(["data", "faces", *options[:number], "3", *options[number + 1 :]]) == 0
    drawn = capsys.readouterr().out.strip()
    (check,) = {tuple(words_of(line)[1]) for line in of("data check")}
    assert main(["data", "check", *(drawn if word.endswith(".jsonl") else word for word in check)]) == 0
    assert f"{drawn}: 3 lines, 3 usable, 0 bad" in capsys.readouterr().out


def test_the_line_of_data_is_one(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    Path("faces/1.jpg").write_bytes(next(Path("faces/images").iterdir()).read_bytes())
    records = [json.loads(line) for line in block.splitlines()]
    Path("mine.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(["data", "check", "mine.jsonl"]) == 0
    assert "1 lines, 1 usable, 0 bad" in capsys.readouterr().out


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
def test_python_of_the_readme_compiles_and_names_what_is_there(block: str) -> None:
    compile(block, "README.md", "exec")
    exec("\n".join(line for line in block.splitlines() if re.match(r"(from|import) ", line)), {})
    assert set(re.findall(r"\bfea\.(\w+)\(", block)) <= set(fea.__all__)
