"""Names of earlier versions end in one sentence with the new one, before anything is imported that takes seconds."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fea.cli import main
from fea.commands._renamed import refuse_renamed
from fea.errors import FEAError
from fea.training import renamed
from fea.training.renamed import NEW_NAMES, translated

OLD = "fea.data.rendered.RenderedFaces"
CONFIGS = {
    "class_path": f"data:\n  class_path: {OLD}\n  init_args: {{batch_size: 4}}\n",
    "short form": f"data: {OLD}\n",
    "in a list": f"trainer:\n  callbacks:\n  - class_path: a.B\n  - class_path: {OLD}\n",
    "strategy": "trainer:\n  strategy: {class_path: fea.fsdp.FSDP2Strategy}\n",
}
OPTIONS = [
    ["--data=OLD"],
    ["--data", "OLD"],
    ["--data.class_path=OLD"],
    ["--data.class_path", "OLD"],
    ["--data.help", "OLD"],
    ["--trainer.callbacks+=OLD"],
    ["--data", "{class_path: OLD, init_args: {batch_size: 4}}"],
    ["--trainer.callbacks", "[{class_path: OLD}]"],
]


@pytest.mark.parametrize("old", NEW_NAMES)
def test_the_new_name_is_there_and_the_old_one_is_not(old: str) -> None:
    module, _, name = NEW_NAMES[old].rpartition(".")
    assert isinstance(getattr(import_module(module), name), type)
    with pytest.raises(ImportError):
        import_module(old.rpartition(".")[0])


@pytest.mark.parametrize("old", NEW_NAMES)
@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "plan"])
def test_an_option_with_an_old_name_is_one_sentence(command: str, old: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--seed_everything=1", f"--x.class_path={old}"]) == 2
    told = f"fea: error: option --x.class_path: '{old}' is called '{NEW_NAMES[old]}' now; write that\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
def test_an_old_name_is_found_in_every_way_to_write_it(words: list[str]) -> None:
    with pytest.raises(FEAError, match=rf"^option {words[0].split('=')[0].rstrip('+')}: '{OLD}' is called 'fea\.drawn"):
        refuse_renamed(["fit", *(word.replace("OLD", OLD) for word in words)])
    refuse_renamed(["fit", *(word.replace("OLD", NEW_NAMES[OLD]) for word in words)])


@pytest.mark.parametrize("words", [["--config", "c.yaml"], ["--config=c.yaml"], ["-c", "c.yaml"]], ids=" ".join)
@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_a_config_with_an_old_name_is_named(
    words: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(text)
    with pytest.raises(FEAError, match=r"^config 'c.yaml': '(.*)' is called '(.*)' now; write that$"):
        refuse_renamed(["fit", *words])
    for old, new in NEW_NAMES.items():
        text = text.replace(old, new)
    Path("c.yaml").write_text(text)
    refuse_renamed(["fit", *words])


@pytest.mark.parametrize(
    "words",
    [
        ["--model.older=1"],
        ["--model.init_args.older", "1"],
        ["--model", "{init_args: {older: 1}}"],
        ["--config", "c.yaml"],
    ],
    ids=" ".join,
)
def test_a_setting_with_an_old_name_is_one_sentence(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(renamed.NEW_SETTINGS, "model.older", "model.group.newer")
    Path("c.yaml").write_text("model:\n  class_path: fea.grpo.GRPOModule\n  init_args:\n    older: 1\n")
    with pytest.raises(FEAError, match=r": 'model\.older' is called 'model\.group\.newer' now; write that$"):
        refuse_renamed(["fit", *words])
    refuse_renamed(["fit", "--trainer.older=1"])


@pytest.mark.parametrize("words", [["--model.kind=olde"], ["--model.init_args.kind", "olde"], ["--config", "c.yaml"]])
def test_a_value_with_an_old_name_is_one_sentence(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(renamed.NEW_VALUES, "model.kind", {"olde": "old"})
    Path("c.yaml").write_text("model: {init_args: {kind: olde}}\n")
    with pytest.raises(FEAError, match=r": 'olde' is called 'old' now; write that$"):
        refuse_renamed(["fit", *words])
    refuse_renamed(["fit", "--model.name=olde"])


@pytest.mark.parametrize(
    "words",
    [
        ["--model.policy.attention=sdpa"],
        ["--model.init_args.policy.attention", "flash_attention_2"],
        ["--model", "{init_args: {policy: {attention: sdpa}}}"],
        ["--config", "c.yaml"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("command", ["fit", "plan"])
def test_a_setting_that_is_gone_is_one_sentence(
    words: list[str], command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("model: {init_args: {policy: {vision_attention: sdpa, attention: sdpa}}}\n")
    assert main([command, *words]) == 2
    assert capsys.readouterr().err.endswith(
        ": there is no setting 'model.policy.attention' anymore: the language model's attention comes with policy.layout; "
        "leave it out\n"
    )


def test_what_is_no_config_is_left_to_the_parser() -> None:
    refuse_renamed(["fit", "--config", "{seed_everything: 0}", "--config"])
    refuse_renamed(["fit", "--data", "[1, {", "--resume"])


def test_a_config_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match=r"there is no file '.*/nowhere\.yaml'; check the path"):
        refuse_renamed(["fit", "--config", str(tmp_path / "nowhere.yaml")])


def test_nothing_heavy_is_loaded_for_it() -> None:
    code = f"import sys; from fea.cli import main; main(['fit', '--data={OLD}']); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


def test_the_grouped_settings_and_the_spelling_of_now_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model.beta=0"]) == 2
    assert main(["fit", "--model.objective.advantage=normalise_then_sum"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "fea: error: option --model.beta: 'model.beta' is called 'model.objective.beta' now; write that"
    assert second.endswith("'normalise_then_sum' is called 'normalize_then_sum' now; write that")


def test_settings_of_an_earlier_checkpoint_are_read_under_the_names_of_now() -> None:
    stored = {
        "model.init_args.beta": 0.1, "model.init_args.advantage": "sum_then_normalise", "model.init_args.seed": 0,
        "data.class_path": OLD, "model.init_args.policy.base": "tiny", "model.init_args.policy.attention": "sdpa",
    }  # fmt: skip
    assert translated(stored) == {
        "model.init_args.objective.beta": 0.1, "model.init_args.objective.advantage": "sum_then_normalize",
        "model.init_args.seed": 0, "data.class_path": NEW_NAMES[OLD], "model.init_args.policy.base": "tiny",
    }  # fmt: skip
