"""The command `fea`: a thin dispatcher. What a command needs is imported when it is chosen, so `fea --help` is immediate."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fea.errors import FEAError, told_by


class Verb(NamedTuple):
    """What can be typed.

    Attributes:
        place: module and function.
        told: the first line of the function's docstring, which stands here too since its module is not imported for help.
    """

    place: str
    told: str

    def load(self) -> Callable[..., Any]:
        """The function, with the module that it needs."""
        from importlib import import_module

        module, _, function = self.place.partition(":")
        found: Callable[..., Any] = getattr(import_module(module), function)
        return found


# By the title that they stand below in the help. Two words are a member of a group.
SECTIONS = {
    "train and evaluate, with any number of --config files": {
        "fit": Verb("fea.commands.fit:fit", "Trains: stage 1 by SFT, stage 2 by GRPO."),
        "validate": Verb("fea.commands.fit:validate", "Measures a checkpoint on the validation files."),
        "test": Verb("fea.commands.fit:test", "Measures a checkpoint on the test files."),
        "predict": Verb(
            "fea.commands.fit:predict", "Answers the files under data.predict, as JSONL in the folder of the run."
        ),
        "iterate": Verb(
            "fea.iterate:iterate", "Trains in rounds: SFT, GRPO, synthesis, and again with what was accepted."
        ),
        "plan": Verb("fea.commands.plan:plan_memory", "Plans the memory that a fit will need."),
    },
    "use": {
        "analyze": Verb(
            "fea.commands.analyze:analyze",
            "Names the Action Units and the emotion of faces, with the reasoning; one row a face.",
        ),
        "watch": Verb(
            "fea.commands.watch:watch",
            "Follows the faces of a film or a camera over time; one row a face and frame, as they come.",
        ),
        "serve": Verb(
            "fea.commands.serve:serve",
            "Answers about faces on a local page, and to programs, in OpenAI's shapes, too.",
        ),
        "synthesize": Verb(
            "fea.commands.synthesize:synthesize",
            "Writes analyses for faces that have labels and no analysis; those that pass the triple check are kept.",
        ),
        "score": Verb(
            "fea.commands.score:score",
            "Scores the answers of any model by a protocol: texts, labels, or tables of OpenFace, Py-Feat and LibreFace.",
        ),
        "export": Verb(
            "fea.commands.export:export",
            "Takes a trained policy away: a merged folder, a PEFT adapter or GGUF files, read back and compared with its run.",
        ),
        "prune": Verb(
            "fea.commands.prune:prune",
            "Takes layers out of a language model that hardly matter; an ordinary fit heals what is left.",
        ),
        "review": Verb(
            "fea.commands.review:review",
            "Shows written analyses with their faces and labels on a local page, to be accepted, rejected or mended.",
        ),
        "report": Verb(
            "fea.commands.report:report",
            "Writes the page of an evaluation: one HTML file with its scores, faces and groups.",
        ),
        "compare": Verb(
            "fea.commands.compare:compare",
            "Compares two evaluations face by face: every score, Action Unit and emotion, with paired bootstrap intervals.",
        ),
        "judge": Verb(
            "fea.commands.judge:judge",
            "Has a language model at a chat address rate written analyses: facts, consistency, clarity.",
        ),
        "find": Verb(
            "fea.commands.find:find",
            'Finds the analyses or faces of a file that fit a query, such as "AU4 and AU7, not anger".',
        ),
        "bench retrieval": Verb(
            "fea.commands.bench_retrieval:bench",
            "Measures how well analyses are found by BM25, a model and a re-ranking, with instructions and without.",
        ),
        "data check": Verb(
            "fea.commands.data_check:check_file", "Counts what is in a data file and lists what is wrong with it."
        ),
        "data convert": Verb(
            "fea.commands.data_convert:convert", "Turns the files of a data set into JSON lines; says what it left out."
        ),
        "data faces": Verb(
            "fea.drawn.faces:write_faces", "Draws faces into image files and writes their labels beside them."
        ),
        "data silver": Verb(
            "fea.commands.data_silver:silver",
            "Gives photographs silver Action Units, read from blendshapes; or learns to read them from coded faces.",
        ),
        "data split": Verb(
            "fea.commands.data_split:split_file",
            "Makes a train and a test set from a reviewed file, with no person in both.",
        ),
        "data folds": Verb(
            "fea.commands.data_folds:write_folds",
            "Deals the people of a data file to folds, or takes the published ones.",
        ),
        "data pairs": Verb(
            "fea.commands.data_pairs:write_pairs",
            "Makes preference pairs of labeled faces: what a run says rightly, over what it says wrongly.",
        ),
        "demo": Verb(
            "fea.commands.demo:demo",
            "Teaches a tiny model to read drawn faces: all stages, a table of their scores, and `report.html`.",
        ),
    },
}
COMMANDS = {name: verb for section in SECTIONS.values() for name, verb in section.items()}
GROUPS = {name.split()[0] for name in COMMANDS if " " in name}
OWN_PARSERS = (
    "fit",
    "validate",
    "test",
    "predict",
    "plan",
)  # they get the words as they are: they read configs of the trainer

_EXAMPLES = """\
start with
  fea demo
  fea fit --config configs/sft.yaml
  fea fit --config configs/grpo.yaml
  fea analyze *.jpg --model runs/grpo --out answers.csv

fea COMMAND --help shows the options of one command.
"""
_HELP = ("-h", "--help")
_NOBODY_READS = 128 + 13  # as a process that SIGPIPE ended, of which there is none on some systems


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: what follows `fea`; None takes the process's own.

    Returns:
        0; 2 after bad input, which is reported as one sentence and without a traceback; 128 and the number of the signal
        after a stop by SIGTERM, SIGUSR1 or Ctrl-C; 141 if nobody reads the output any more, as with `| head`.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            _print_anything()
            _look_here_last()
            _watch_parent()
            return _run(argv)
        finally:
            _flush()
    except FEAError as error:
        if error.code:  # of several processes that were asked to stop, the first one speaks
            print(f"fea: {'error: ' if error.code == FEAError.code else ''}{error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:
        if not _nobody_reads():  # but another pipe broke, such as that of a process that reads images
            raise
        _discard_output()
        return _NOBODY_READS
    except (OSError, MemoryError, RuntimeError) as error:
        told = told_by(error)
        if told is None:
            raise
        print(f"fea: error: {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _print_anything() -> None:
    """Has characters shown by their number that the encoding of the output does not have."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _look_here_last() -> None:
    """Has modules looked for in the working directory, for a user's own callbacks, but last: so they shadow nothing.

    `python -m` puts it first.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise FEAError("the working directory is not there any more; change to another one") from None
    sys.path[:] = [*(folder for folder in sys.path if folder not in ("", here)), here]


def _watch_parent() -> None:
    """Ends with the process that began this one, if that was `fea`."""
    from fea.system.children import watch_parent

    watch_parent()


def _flush() -> None:
    """Writes what was printed: here, and not as the interpreter ends, where an error could no longer be told quietly."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        error.filename = "standard output"
        raise


def _discard_output() -> None:
    """Has what is still to be written at the end written nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _nobody_reads() -> bool:
    """Whether the reader of standard output has gone."""
    import select

    if not hasattr(select, "poll"):  # on Windows one cannot ask; no pipe breaks there as often as this one
        return True
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # errors are told unasked
    return bool(output.poll(0))


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in _HELP or argv == ["help"]:
        print(_help())
        return 0
    if argv[0] == "--version":
        from fea import __version__

        print(f"fea {__version__}")
        return 0
    if argv[0] == "help":
        return _run([*argv[1:], "--help"])
    if argv[0] in GROUPS and (len(argv) == 1 or argv[1] in _HELP):
        members = {name: verb for name, verb in COMMANDS.items() if name.startswith(f"{argv[0]} ")}
        print(
            f"usage: fea {argv[0]} COMMAND [options]\n\n{_lines(members)}\n\nfea {argv[0]} COMMAND --help shows the options."
        )
        return 0
    name = " ".join(argv[:2]) if argv[0] in GROUPS else argv[0]
    if name not in COMMANDS:
        raise FEAError(_no_command(name))
    return _command(name, argv[len(name.split()) :])


def _help() -> str:
    sections = [f"{title}\n{_lines(verbs)}" for title, verbs in SECTIONS.items()]
    return "\n\n".join(["usage: fea COMMAND [options]", *sections, _EXAMPLES])


def _lines(verbs: dict[str, Verb]) -> str:
    return "\n".join(f"  {name:<12} {verb.told}" for name, verb in verbs.items())


def _no_command(asked: str) -> str:
    import difflib

    near = difflib.get_close_matches(asked, list(COMMANDS), 1)
    return f"there is no command '{asked}'; " + (f"did you mean '{near[0]}'?" if near else "see fea --help")


def _command(name: str, argv: list[str]) -> int:
    """Runs a command and returns its exit code; what a function returns that has none is printed."""
    called = COMMANDS[name].load()
    if name in OWN_PARSERS:
        result = called(argv)
    else:
        from fea.commands._options import options_of

        result = called(**options_of(called, argv, f"fea {name}"))
    if isinstance(result, int):
        return result
    print(result)
    return 0
