"""The command `fea`: a thin dispatcher. What a command needs is imported when it is chosen, so `fea --help` is immediate."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fea.errors import FEAError

HELP = """\
usage: fea COMMAND [options]

train and evaluate (any number of --config files, later ones overlay earlier ones)
  fit          train: fea fit --config configs/sft.yaml, then fea fit --config configs/grpo.yaml
  validate     measure on the validation files
  test         measure on the test files
  predict      answer the files under data.predict

use
  analyze      Action Units, emotion and reasoning of images: fea analyze *.jpg --model RUN --out answers.csv
  data check   what is in a data file, and what is wrong with it
  data faces   draw practice faces with labels
  demo         the whole method on a laptop, with a report

fea COMMAND --help shows the options of one command.
"""

TRAINER_COMMANDS = ("fit", "validate", "test", "predict")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: what follows `fea`; None takes the process's own.

    Returns:
        0, or 2 after bad input, which is reported as one sentence and without a traceback.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a user's own callbacks; last, so that they shadow nothing
    try:
        return _run(argv)
    except FEAError as error:
        print(f"fea: error: {error}", file=sys.stderr)
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
        from fea.trainer_cli import run

        run(argv)
        return 0
    command = _commands().get(" ".join(argv[:2])) or _commands().get(argv[0])
    if command is None:
        raise FEAError(_no_command(argv))
    return command(argv[1 + (argv[0] == "data") :])


def _commands() -> dict[str, Callable[[list[str]], int]]:
    return {"analyze": _analyze, "data check": _check, "data faces": _faces, "demo": _demo}


def _no_command(argv: list[str]) -> str:
    import difflib

    known = [*TRAINER_COMMANDS, *_commands()]
    asked = " ".join(argv[:2]) if argv[0] == "data" else argv[0]
    near = difflib.get_close_matches(asked, known, 1)
    return f"there is no command '{asked}'; " + (f"did you mean '{near[0]}'?" if near else "see fea --help")


def _faces(argv: list[str]) -> int:
    from fea.data.faces import write_faces

    print(f"faces and labels: {_call(write_faces, argv, 'fea data faces')}")
    return 0


def _check(argv: list[str]) -> int:
    from fea.data.check import check_file

    return int(_call(check_file, argv, "fea data check"))


def _analyze(argv: list[str]) -> int:
    from fea.analyze import analyze

    return int(_call(analyze, argv, "fea analyze"))


def _demo(argv: list[str]) -> int:
    from fea.demo import demo

    return int(_call(demo, argv, "fea demo"))


def _call(function: Callable[..., Any], argv: list[str], program: str) -> Any:
    """Calls a function with the command line's arguments: its signature is the command's, its docstring the help."""
    import inspect

    import docstring_parser
    from jsonargparse import ArgumentParser

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
            raise FEAError(f"{message.strip()} ({program} --help shows the options)")

    told = docstring_parser.parse(inspect.getdoc(function) or "")
    help_of = {entry.arg_name: entry.description for entry in told.params}
    parser = Parser(prog=program, description=told.short_description)
    special: set[str | int] = set()
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.annotation == "list[str]":
            parser.add_argument(name, nargs="+", type=str, help=help_of[name])
        elif parameter.annotation == "bool":
            parser.add_argument(f"--{name}", action="store_true", help=help_of[name])
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            parser.add_argument(f"--{name}", required=True, type=str, help=help_of[name])
        else:
            continue
        special.add(name)
    parser.add_function_arguments(function, as_positional=True, skip=special, fail_untyped=True)
    return function(**vars(parser.parse_args(argv)))
