"""`fea fit | validate | test | predict`: training, measuring and answering by the trainer's own command line.

Its parser needs the trainer, which takes seconds to import; so the help that is asked for most stands here, in words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from fea.commands._renamed import refuse_renamed
from fea.system.allocator import expand_segments

# The settings that are set most, of several hundred. A test holds that each of them exists.
SETTINGS = """\
settings of configs, as options
  --model CLASS                          fea.sft.SFTModule (stage 1), fea.grpo.GRPOModule (stage 2) or
                                         fea.preference.EMPOModule
  --model.init_from RUN                  start with the weights of a run
  --model.policy.base NAME               model on the hub, or a folder
  --model.optimization.lr RATE           learning rate
  --model.generation.max_tokens N        length limit of an answer
  --model.group_size N                   completions of each prompt (stage 2)
  --data CLASS                           fea.data.module.FEADataModule or fea.drawn.module.RenderedFaces
  --data.train '[FILE, ...]'             JSONL files; also --data.val, --data.test, --data.predict
  --data.fold K                          train on all folds but K, test on K
  --data.batch_size N                    examples in a batch; in stage 2 the prompts of a rollout
  --trainer.max_steps N                  optimizer steps; or --trainer.max_epochs
  --trainer.devices N                    GPUs; with --trainer.strategy, or configs/ddp.yaml, configs/fsdp.yaml
  --trainer.accumulate_grad_batches N    batches, or parts of a rollout, in an optimizer step
  --trainer.callbacks+=CLASS             one callback more
  --trainer.logger.init_args.name NAME   folder of the run, within --trainer.logger.init_args.save_dir

all settings
  fea {command} --trainer.help              those of the trainer, its callbacks and strategies
  fea {command} --model.help CLASS          those of a stage
  fea {command} --data.help CLASS           those of the data"""

_OPTIONS = """\
options
  --config FILE         settings in YAML; any number of files, later ones overlay earlier ones
  --ckpt_path FILE      {checkpoint}
  --print_config        show all settings as they would be used, and stop"""
_WORDS = "; best, last, or start: the weights that a fit would start with"
_FITTING = """
  --resume              go on from the newest checkpoint in the folder of the run; start if there is none
  --overwrite           if there is a run in the folder, give that another name, and start"""
_MEASURING = """
  --run RUN             settings and best checkpoint of a run; --config and further options win over its settings
  --base NAME           with --run: folder or hub name of the model that it was trained on, if that is elsewhere now
  --model NAME          in place of a run: folder or hub name of a base, which is measured as it is (zero-shot), of an exported
                        model or of an adapter of PEFT, with the data of --data.{files}"""


_SCORING = """
  --protocol NAME       score by a protocol, such as disfa-8, into metrics.json and predictions.jsonl of the run
  --samples N           with a protocol: sample N answers about each face, too; the share that agrees with the greedy one is
                        its vote, and the report shows whether votes tell how often an answer is right"""


def fit(arguments: Sequence[str]) -> int:
    """Trains: stage 1 by SFT, stage 2 by GRPO.

        fea fit --config configs/sft.yaml
        fea fit --config configs/grpo.yaml --resume
        fea fit --config configs/grpo.yaml --config configs/7b.yaml --trainer.max_steps 500

    A run writes checkpoints, curves and its settings into a folder of its own, and can be stopped and resumed at any time.
    Where another run has been, a fit is refused.

    Args:
        arguments: options, as on the command line.

    Returns:
        0.

    Raises:
        FEAError: bad input, or memory ran out.
    """
    return _command(fit, "go on from this checkpoint, with the settings given here", arguments)


def validate(arguments: Sequence[str]) -> int:
    """Measures a checkpoint on the validation files.

        fea validate --run runs/grpo
        fea validate --config configs/grpo.yaml --ckpt_path runs/grpo/checkpoints/step50.ckpt

    Args:
        arguments: options, as on the command line.

    Returns:
        0.

    Raises:
        FEAError: bad input.
    """
    return _command(
        validate, "the checkpoint to be measured; best, last; start: the weights that a fit would start with", arguments
    )


def test(arguments: Sequence[str]) -> int:
    """Measures a checkpoint on the test files.

        fea test --run runs/grpo
        fea test --run runs/disfa-1 --protocol disfa-8
        fea test --model Qwen/Qwen2.5-VL-3B-Instruct --data.test '[mine.jsonl]'
        fea test --config configs/grpo.yaml --ckpt_path runs/grpo/checkpoints/step50.ckpt

    Args:
        arguments: options, as on the command line.

    Returns:
        0.

    Raises:
        FEAError: bad input.
    """
    return _command(
        test, "the checkpoint to be measured; best, last; start: the weights that a fit would start with", arguments
    )


def predict(arguments: Sequence[str]) -> int:
    """Answers the files under data.predict, as JSONL in the folder of the run.

        fea predict --run runs/grpo --data.predict '[mine.jsonl]'
        fea predict --model Qwen/Qwen2.5-VL-3B-Instruct --data.predict '[mine.jsonl]'

    For image files without a list of them there is `fea analyze`.

    Args:
        arguments: options, as on the command line.

    Returns:
        0.

    Raises:
        FEAError: bad input.
    """
    return _command(
        predict, "the checkpoint that answers; best, last; start: the weights that a fit would start with", arguments
    )


def run(arguments: Sequence[str]) -> Any:
    """Runs one of the four commands, without its short help.

    Args:
        arguments: the command and its options.

    Returns:
        The LightningCLI, with its `model`, `datamodule` and `trainer`.

    Raises:
        FEAError: bad input.
    """
    refuse_renamed(arguments)
    expand_segments()
    from fea.commands import _trainer

    return _trainer.run(arguments)


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether the options of a command ask for its short help."""
    return any(word in ("-h", "--help") for word in arguments)


def opening(command: Callable[..., Any]) -> str:
    """What a command's docstring says before it comes to arguments."""
    return (inspect.getdoc(command) or "").partition("\n\nArgs:")[0]


def _command(command: Callable[..., Any], checkpoint: str, arguments: Sequence[str]) -> int:
    name = command.__name__
    if asks_for_help(arguments):
        measuring = _MEASURING.format(files="val" if command is validate else name)
        measuring += _SCORING if command is test else ""
        options = _OPTIONS.format(checkpoint=checkpoint) + (_FITTING if command is fit else measuring)
        print(f"usage: fea {name} --config FILE [--config FILE ...] [--SETTING VALUE ...]\n")
        print(opening(command), options, SETTINGS.format(command=name), sep="\n\n")
    else:
        run([name, *("--help" if word == "--trainer.help" else word for word in arguments)])
    return 0
