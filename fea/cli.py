"""The command `fea`: a thin dispatcher. What a command needs is imported when it is chosen, so `fea --help` is immediate."""

from __future__ import annotations

import errno
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
    "plan": "fea.plan_cli:plan_memory",
    "iterate": "fea.iterate:iterate",
    "synthesize": "fea.commands.synthesize:synthesize",
    "analyze": "fea.commands.analyze:analyze",
    "review": "fea.commands.review:review",
    "data check": "fea.data.check:check_file",
    "data faces": "fea.drawn.faces:write_faces",
    "data split": "fea.data.split:split_file",
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
        from fea.trainer_cli import run

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

    module, _, function = COMMANDS[name].partition(":")
    called = getattr(import_module(module), function)
    # `plan` reads the configs of `fit`.
    result = called(argv) if name == "plan" else called(**options_of(called, argv, f"fea {name}"))
    if isinstance(result, int):
        return result
    print(result)
    return 0


def options_of(function: Callable[..., Any], argv: list[str], program: str) -> dict[str, Any]:
    """A function's arguments from the command line: its signature is the command's, its docstring the help.

    Its first parameter stands by itself if it has no default, all others are options.
    """
    import inspect
    from typing import get_type_hints

    import docstring_parser
    from jsonargparse import ArgumentParser

    from fea.refusals import sentence

    parameters = inspect.signature(function).parameters

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
            raise FEAError(sentence(message, parameters, f"see {program} --help"))

    told = docstring_parser.parse(inspect.getdoc(function) or "")
    help_of = {entry.arg_name: entry.description for entry in told.params}
    kind_of = function.__annotations__ = get_type_hints(
        function
    )  # some modules hold objects that the parser trips over
    parser = Parser(prog=program, description=told.short_description, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="file with options; those that follow it win")
    special: set[str | int] = set()
    for position, (name, parameter) in enumerate(parameters.items()):
        needed = parameter.default is parameter.empty
        if kind_of[name] == list[str]:
            parser.add_argument(name, nargs="+", type=str, help=help_of[name])
        elif kind_of[name] is bool and not parameter.default:
            parser.add_argument(f"--{name}", action="store_true", help=help_of[name])
        elif needed:
            option = {"required": True} if position else {}
            parser.add_argument(f"--{name}" if position else name, type=kind_of[name], help=help_of[name], **option)
        else:
            continue
        special.add(name)
    parser.add_function_arguments(function, skip=special, fail_untyped=True)
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # its name until jsonargparse 4.48
    options = vars(build(parser.parse_args(argv)))
    return {name: options[name] for name in parameters}
