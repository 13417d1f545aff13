"""Fits that follow each other, each in a process of its own and in a folder of its own; what is finished is kept."""

from __future__ import annotations

import hashlib
import json
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from fea.errors import Failed, FEAError
from fea.system import children
from fea.system.files import write_atomically
from fea.system.signals import SIGNALS

_FINISHED, _SECONDS = "finished.json", "seconds"


class Fits:
    """Fits below one folder.

    Args:
        out: the folder.

    Attributes:
        commands: what has been run, as it could be typed.
        seconds: that the fit of each name took, its parts together if it was stopped.
    """

    def __init__(self, out: Path):
        self.out = out
        self.commands: list[str] = []
        self.seconds: dict[str, float] = {}

    def fit(self, name: str, arguments: Sequence[str], settings: Mapping[str, Any]) -> None:
        """Runs `fea fit`, or goes on with it, unless the run of that name is finished.

        Args:
            name: of the run.
            arguments: words of the command line.
            settings: further settings, by name.

        Raises:
            FEAError: it failed, or was finished with other arguments.
        """
        words = ["fit", *arguments, *options(settings), *self.place(name)]
        self.commands.append(shlex.join(["fea", *words]))
        done = self.out / name / _FINISHED
        state = {"arguments": words, "configs": _contents(words)}
        if done.exists():
            known = _remembered(done)
            if {key: known.get(key) for key in state} != state:
                raise FEAError(
                    f"'{self.out / name}' was trained with other settings; choose another 'out', or remove that folder"
                )
            self.seconds[name] = float(known.get("seconds") or 0)
            print(f"{name}: kept from an earlier run", flush=True)
            return
        print(f"\n{self.commands[-1]}\n", flush=True)
        self.seconds[name] = _timed([*words, "--resume"], self.out / name / _SECONDS)
        write_atomically(done, json.dumps({**state, "seconds": self.seconds[name]}).encode())
        print(f"{name}: {self.seconds[name]:.0f} s", flush=True)

    def place(self, name: str) -> list[str]:
        """Options that put a run into its folder."""
        return options({"trainer.logger.init_args.save_dir": self.out, "trainer.logger.init_args.name": name})


def _contents(words: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of each config file among the words of a command."""
    files = [Path(file) for word, file in pairwise(words) if word == "--config"]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def _remembered(file: Path) -> Any:
    """What a file of a finished or begun fit says.

    Raises:
        FEAError: it was changed by hand.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FEAError(f"'{file}' is damaged; remove it, then its fit is gone on with") from error


def _timed(words: Sequence[str], file: Path) -> float:
    """Runs a command; returns the seconds that it took, with those of earlier parts, which a file remembers."""
    before, start = float(_remembered(file)) if file.exists() else 0.0, time.perf_counter()
    try:
        call(words)
    finally:
        seconds = before + time.perf_counter() - start
        write_atomically(file, f"{seconds:.1f}\n".encode())
    return seconds


def options(settings: Mapping[str, Any]) -> list[str]:
    """Settings as options of the command line."""
    return [word for key, value in settings.items() for word in (f"--{key}", _yaml(value))]


def _yaml(value: Any) -> str:
    if isinstance(value, str | Path):
        return str(value)
    return str(yaml.safe_dump(value, default_flow_style=True, width=1 << 30)).removesuffix("...\n").strip()


def call(arguments: Sequence[str]) -> None:
    """Runs a command of fea in a process of its own, to which signals are passed on.

    Raises:
        Failed: it did, and has said why.
    """
    process = children.start(arguments)
    before = {number: signal.signal(number, lambda *received: process.send_signal(received[0])) for number in SIGNALS}
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # the terminal has told it, too
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code:
        raise Failed(f"'fea {arguments[0]}' ended with exit code {code}; the same command goes on from there", code)
