"""Whose weights `fea validate | test | predict` use: what `--run`, `--model` and `--ckpt_path` stand for, and what is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]

from fea.errors import FEAError
from fea.model import elsewhere
from fea.model.archive import opened
from fea.model.checkpoints import base_of, stored
from fea.model.runs import CHECKPOINTS, belongs, find, folder_of
from fea.training.folder import CONFIG, RunFolder
from fea.training.module import FEAModule
from fea.training.renamed import flat, nested, translated

START = "start"  # in place of a checkpoint: the weights that a fit would start with
WORDS = ("best", "last")  # in place of a checkpoint: one of the run's own
_SECTIONS = ("seed_everything", "trainer", "model", "data")  # of a config; the rest is what its command was asked to do
_IN_FOLDERS = ("TensorBoardLogger", "CSVLogger")  # loggers whose folder is that of the run
_MEASURED = "runs/measured"  # folder of what is written about models that no run stands behind


def expanded(arguments: Sequence[str], folder: Path) -> list[str]:
    """The words of a command with what `--run RUN`, `--model NAME` and `--base NAME` stand for.

    A run stands for its settings and its best checkpoint; a model from elsewhere for the settings of the shipped first stage,
    and itself. Options that are given beside win over the settings, and `--ckpt_path` over the checkpoint.

    Args:
        arguments: the command and its options.
        folder: where a config with these settings may be written.

    Raises:
        FEAError: there is no such run or model, it holds no settings, its base is not where it was, or both are named.
    """
    command, *words = arguments
    model, run, base = _taken_model(words), _taken(words, "run"), _taken(words, "base")
    if model is not None:
        if run is not None:
            raise FEAError(f"model: '{model}' beside --run '{run}'; measure one of them at a time")
        return [command, *_of_elsewhere(model, base, words, folder)]
    if run is None:
        if base is not None:
            raise FEAError("base: it belongs to --run; for the settings of a --config there is --model.policy.base")
        return [command, *words]
    checkpoint = _taken(words, "ckpt_path")
    given = {word.partition("=")[0].removeprefix("--") for word in words}
    # What is given anew need not be there: a reward of one's own may have stayed on another machine.
    settings = {k: v for k, v in _settings(run, base, checkpoint).items() if k.replace(".init_args", "") not in given}
    (folder / CONFIG).write_text(yaml.safe_dump(nested(settings)), encoding="utf-8")
    return [command, "--config", str(folder / CONFIG), *words, "--ckpt_path", checkpoint or str(find(run))]


def _taken_model(words: list[str]) -> str | None:
    """The model that `--model` names, which is taken out; the option may stand for a class and its settings instead."""
    given = [*words]
    name = _taken(given, "model")
    if name is None or name.startswith("{") or name.endswith((".yaml", ".yml")):
        return None
    if not ("/" in name or name.endswith(".gguf") or Path(name).exists()):  # a class
        return None
    if not elsewhere.names_one(name):
        known = "is no base, exported model or adapter" if Path(name).exists() else "is not there"
        raise FEAError(
            f"model: '{name}' {known}; name a folder with config.json or adapter_config.json in it, or give --run RUN"
        )
    words[:] = given
    return name


def _of_elsewhere(name: str, base: str | None, words: Sequence[str], folder: Path) -> list[str]:
    """What a model from elsewhere stands for, with further words."""
    if checkpoint := _taken([*words], "ckpt_path"):
        raise FEAError(
            f"ckpt_path: '{checkpoint}' beside --model '{name}', which is measured as it is; give one of them"
        )
    on_cpu = _taken([*words], "trainer.accelerator") == "cpu" or not torch.cuda.is_available()
    told = elsewhere.described(name, torch.device("cpu" if on_cpu else "cuda"), base)
    settings = yaml.safe_load((files("fea") / "configs" / "sft.yaml").read_bytes())
    settings["model"]["init_args"]["policy"] = asdict(told.policy)
    settings["data"]["init_args"]["emotions"] = list(told.emotions)
    trainer = settings["trainer"]
    trainer["precision"] = told.precision
    form = _taken([*words], "model.policy.answer")  # with thinking and without are measured side by side
    called = Path(name).resolve().name + (f"-{form}" if form else "")
    trainer["logger"]["init_args"] |= {"save_dir": _MEASURED, "name": called}
    trainer["callbacks"] = [callback for callback in trainer["callbacks"] if "AnswerWriter" in callback["class_path"]]
    (folder / CONFIG).write_text(yaml.safe_dump(settings), encoding="utf-8")
    chosen: dict[str, Any] = {"policy": {"base": told.policy.base}}
    if elsewhere.is_adapter(name):
        chosen = {"policy": {"base": told.policy.base, "lora": asdict(told.policy)["lora"]}, "init_from": name}
    last = folder / "chosen.yaml"  # after the words, among which may be a config with another model
    last.write_text(yaml.safe_dump({"model": {"init_args": chosen}}), encoding="utf-8")
    return ["--config", str(folder / CONFIG), *words, "--config", str(last), "--ckpt_path", START]


def _taken(words: list[str], name: str) -> str | None:
    """The value of an option, which is taken out of the words."""
    option = f"--{name}"
    for number, word in enumerate(words):
        if word == option:
            if number + 1 == len(words):
                raise FEAError(f"{name}: a value is missing after {option}")
            del words[number]
            return words.pop(number)
        if word.startswith(f"{option}="):
            return words.pop(number).partition("=")[2]
    return None


def _settings(run: str, base: str | None, checkpoint: str | None) -> dict[str, Any]:
    """The settings of a run by dotted name, with all that they name where it lies now."""
    source = checkpoint if checkpoint and Path(checkpoint).is_file() else run
    file, told = find(source), stored(source)
    folder = Path(run) if (Path(run) / CONFIG).is_file() else folder_of(file)
    config = folder / CONFIG
    try:
        written: Any = yaml.safe_load(config.read_bytes())
    except FileNotFoundError:
        raise FEAError(
            f"run: there is no '{config}' with its settings; name the folder of a run, or give --config and --ckpt_path"
        ) from None
    except yaml.YAMLError as error:
        raise FEAError(f"config '{config}' is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(written, dict):
        raise FEAError(f"config '{config}' holds no settings; restore it, or give --config and --ckpt_path")
    settings = translated(dict(flat({name: written[name] for name in _SECTIONS if name in written})))
    settings["model.init_args.policy.base"] = base_of(source, told, base)
    settings["model.init_args.init_from"] = told.init_from if told.inherits or checkpoint == START else None
    place = {"save_dir": str(folder.parent), "name": folder.name, "version": ""}
    if str(settings.get("trainer.logger.class_path")).endswith(_IN_FOLDERS):
        settings |= {f"trainer.logger.init_args.{name}": value for name, value in place.items()}
    elif isinstance(several := settings.get("trainer.logger"), list) and several:
        several[0]["init_args"] = several[0].get("init_args", {}) | place  # a run lies in the folder of the first
    return settings


def named(word: str, folder: RunFolder) -> Path:
    """The checkpoint that `--ckpt_path` names.

    Args:
        word: a file, "best" or "last".
        folder: of the run that the words belong to.

    Raises:
        FEAError: the run has none.
    """
    if word not in WORDS:
        return Path(word)
    best = folder.path / CHECKPOINTS / "best.ckpt"
    if word == "best" and best.is_file() and belongs(best, folder.path):
        return best
    newest = folder.newest() if word == "last" else None
    if newest is None:
        raise FEAError(
            f"ckpt_path: '{folder.path}' holds no {word} checkpoint of its run; name a .ckpt file, or that run with "
            "--trainer.logger.init_args.name"
        )
    return newest


def refusal(command: str, init_from: str | None) -> FEAError:
    """What is said when a command names no weights."""
    start = f"those of model.init_from '{init_from}'" if init_from else "the untrained base"
    return FEAError(
        f"ckpt_path: which weights? 'fea {command} --run RUN' takes settings and best checkpoint of a run, --model NAME "
        f"a base as it is, --ckpt_path FILE takes a checkpoint, and --ckpt_path {START} the weights that a fit would start "
        f"with ({start})"
    )


def told(checkpoint: Path | None, module: FEAModule) -> str:
    """Which weights a command measures, in a line.

    Args:
        checkpoint: None for those that a fit would start with.
        module: that they go into.
    """
    if checkpoint:
        return f"weights: {_described(checkpoint)}"
    if module.init_from and elsewhere.is_adapter(module.init_from):
        return f"weights: the adapter '{module.init_from}' on '{module.config.base}'"
    if not module.init_from and elsewhere.is_export(module.config.base):
        return f"weights: the exported model '{module.config.base}'"
    if module.init_from:
        return f"start weights: model.init_from '{module.init_from}', which is {_described(find(module.init_from))}"
    return f"start weights: the untrained base '{module.config.base}' (model.init_from is null)"


def facts(checkpoint: Path | None, module: FEAModule) -> dict[str, Any]:
    """What is known of the weights that a command measures, for a file of scores."""
    content = opened(checkpoint) if checkpoint else {}
    seen = module.init_from if checkpoint is None else str(checkpoint)
    known = {
        "weights": told(checkpoint, module).partition(": ")[2],
        "base": module.config.base,
        "init_from": module.init_from,
        "run": content.get("run"),
        "step": content.get("global_step"),
        "fold": fold_of(seen),
        "datasets": sorted(stored(seen, module.config.base).datasets) if seen else [],
    }
    return {name: value for name, value in known.items() if value not in (None, [])}


def fold_of(run: str | None) -> int | None:
    """The fold that a run was not trained on; None if it knows none, or is no run.

    Args:
        run: folder or checkpoint.
    """
    if run is None or elsewhere.is_adapter(run):
        return None
    found: int | None = opened(find(run)).get("settings", {}).get("data.init_args.fold")
    return found


def check_fold(init_from: str | None, fold: int | None) -> None:
    """Refuses to go on from weights that have seen the people who are to be tested on.

    Raises:
        FEAError: they were trained with another fold.
    """
    before = fold_of(init_from)
    if fold is not None and before is not None and before != fold:
        raise FEAError(
            f"data.fold: {fold}, but model.init_from '{init_from}' was trained with fold {before} and has seen the people of "
            f"fold {fold}; name a run of fold {fold}"
        )


def _described(checkpoint: Path) -> str:
    content = opened(checkpoint)
    run = content.get("run") or f"'{folder_of(checkpoint)}', of an earlier release"
    return f"'{checkpoint}', step {content.get('global_step', 'unknown')} of run {run}"
