"""The command `fea`: a thin dispatcher. What a command needs is imported when it is chosen, so `fea --help` is immediate."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from fea.errors import FEAError

HELP = """\
usage: fea COMMAND [options]

train and evaluate (any number of --config files, later ones overlay earlier ones)
  fit          train: fea fit --config configs/sft.yaml, then fea fit --config configs/grpo.yaml
  validate     measure on the validation files
  test         measure on the test files
  predict      answer the files under data.predict
  iterate      both stages and synthesis in rounds: fea iterate --config configs/iterate.yaml
  plan         the memory that a fit will need: fea plan --config configs/grpo.yaml --gpu 24GB

use
  analyze      Action Units, emotion and reasoning of images: fea analyze *.jpg --model RUN --out answers.csv
  synthesize   analyses for faces that have labels and none: fea synthesize FILE --model RUN --out synthesis.jsonl
  review       accept, reject or mend written analyses on a local page: fea review FILE --reviewer NAME
  data check   what is in a data file, and what is wrong with it
  data faces   draw practice faces with labels
  data split   train and test sets from a reviewed file: fea data split FILE --out DIR
  demo         the whole method on a laptop, with a report

fea COMMAND --help shows the options of one command.
"""

_PATH_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST}
TRAINER_COMMANDS = ("fit", "validate", "test", "predict")
COMMANDS = {
    "plan": "fea.commands.plan:plan_memory",
    "iterate": "fea.iterate:iterate",
    "synthesize": "fea.commands.synthesize:synthesize",
    "analyze": "fea.commands.analyze:analyze",
    "review": "fea.commands.review:review",
    "data check": "fea.commands.data_check:check_file",
    "data faces": "fea.drawn.faces:write_faces",
    "data split": "fea.commands.data_split:split_file",
    "demo": "fea.commands.demo:demo",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: what follows `fea`; None takes the process's own.

    Returns:
        0; 2 after bad input, which is reported as one sentence and without a traceback; 128 and the number of the signal
        after a stop by SIGTERM, SIGUSR1 or Ctrl-C.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a user's own callbacks; last, so that they shadow nothing
    try:
        return _run(argv)
    except FEAError as error:
        if error.code:  # of several processes that were asked to stop, the first one speaks
            print(f"fea: {'error: ' if error.code == 2 else ''}{error}", file=sys.stderr)
        return error.code
    except OSError as error:
        if error.errno not in _PATH_ERRORS:
            raise
        print(f"fea: error: '{error.filename}': {error.strerror}; check the path", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP)
        return 0
    if argv[0] == "--version":
        from fea import __version__

        print(f"fea {__version__}")
        return 0
    if argv[0] in TRAINER_COMMANDS:
        from fea.commands.fit import run

        run(argv)
        return 0
    name = " ".join(argv[:2]) if argv[0] == "data" else argv[0]
    if name not in COMMANDS:
        raise FEAError(_no_command(name))
    return _command(name, argv[len(name.split()) :])


def _no_command(asked: str) -> str:
    import difflib

    near = difflib.get_close_matches(asked, [*TRAINER_COMMANDS, *COMMANDS], 1)
    return f"there is no command '{asked}'; " + (f"did you mean '{near[0]}'?" if near else "see fea --help")


def _command(name: str, argv: list[str]) -> int:
    """Runs a command and returns its exit code; what a function returns that has none is printed."""
    from importlib import import_module

    from fea.commands._options import options_of

    module, _, function = COMMANDS[name].partition(":")
    called = getattr(import_module(module), function)
    # `plan` reads the configs of `fit`.
    result = called(argv) if name == "plan" else called(**options_of(called, argv, f"fea {name}"))
    if isinstance(result, int):
        return result
    print(result)
    return 0
