"""`fea iterate`: the method's loop, each stage a `fea fit` that could be typed.

    round 1   SFT from the base              -> GRPO from it -> synthesis at its end
    round r   SFT from the last round's GRPO,
              on all that was accepted so far -> GRPO from it -> synthesis at its end
    between SFT and GRPO, if asked for: pairs of what SFT says about labeled faces -> preference optimization on them
    after each stage the same held-out faces; a round that no longer helps is the last

Source: Facial-R1, arXiv 2511.10254v1, "Data synthesis": the iterated stages.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fea.errors import FEAError
from fea.evaluation.counts import overall
from fea.system.files import try_place, write_atomically
from fea.training.fits import Fits, call, options

# What needs torch or draws a page is imported where it is used: the parser reads this file for its help alone, too.

PAGE = "report.html"
# What the files begin with that a loop or a demo writes: the name of a run, and the title of a page.
_OWN = {"RESULT": r"([\w-]+/)?(sft|empo|grpo)-\d+\n$", PAGE: r"<!doctype html>.*<title>fea (iterate|demo)</title>"}
_SHOWN = ("au_f1", "emotion_f1", "accuracy", "format", "invented", "score")


@dataclass
class Stage:
    """A stage of the loop.

    Args:
        configs: its config files, later ones overlay earlier ones.
        settings: further settings by name, such as trainer.max_steps.
        again: those that differ from the second round on.
    """

    configs: list[str]
    # Plain dicts: from the values of others the parser would build whatever their class_path names.
    settings: dict = field(default_factory=dict)  # type: ignore[type-arg]
    again: dict = field(default_factory=dict)  # type: ignore[type-arg]


@dataclass
class PairStage(Stage):
    """The stage of preference pairs.

    Args:
        configs: its config files, later ones overlay earlier ones.
        settings: further settings by name, such as trainer.max_steps.
        again: those that differ from the second round on.
        faces: JSONL of labeled faces that the SFT run of the round is asked about.
        pairs: options of `fea data pairs` by name, such as recipe.samples.
    """

    faces: str = ""
    pairs: dict = field(default_factory=dict)  # type: ignore[type-arg]


def iterate(
    sft: Stage,
    grpo: Stage,
    out: Path = Path("runs/iterate"),
    rounds: int = 3,
    least_gain: float = 0.0,
    empo: PairStage | None = None,
) -> int:
    """Trains in rounds: SFT, GRPO, synthesis, and again with what was accepted.

    Each stage starts from the last one's result and is tested on the same files. What is finished is not done again: a loop
    that was stopped goes on where it was. The folder receives a run for each stage, a table, `report.html`, and the name of the
    best run as RESULT.

    Args:
        sft: stage 1.
        grpo: stage 2; its callbacks hold `fea.callbacks.Synthesis`.
        out: folder of the runs.
        rounds: at most.
        least_gain: a round that raises the test score by no more than this is the last.
        empo: between both, on preference pairs that the SFT run writes; null leaves it out.

    Returns:
        0.

    Raises:
        FEAError: a stage failed, which has said why; its run was trained with other settings; rounds is less than 1; `out`
            holds files of something else under these names.
    """
    if rounds < 1:
        raise FEAError(f"rounds: {rounds}; give at least 1")
    if empo and not empo.faces:
        raise FEAError("empo.faces: name a JSONL file of labeled faces, about which pairs are made")
    from fea.model.runs import RESULT

    check_places(out / RESULT, out / PAGE)
    loop, scores = Loop(out, sft, grpo, empo), dict[str, dict[str, float]]()
    for number in range(1, rounds + 1):
        for run in loop.round(number):
            scores[run] = loop.test(run)
        _report(out, scores, loop.commands)
        best = max(scores, key=lambda run: scores[run]["score"])
        write_atomically(out / RESULT, f"{best}\n".encode())
        earlier = [scores[f"grpo-{n}"]["score"] for n in range(1, number)]
        if earlier and scores[f"grpo-{number}"]["score"] <= max(earlier) + least_gain:
            print(f"round {number} did not help; the best run is {out / best}")
            break
    return 0


def check_places(*files: Path) -> None:
    """Finds out before the work whether its results can be written.

    Args:
        files: called RESULT or `PAGE`.

    Raises:
        FEAError: one is there that was written by something else.
        OSError: there is no room, or no permission.
    """
    for file in files:
        try_place(file)
        if file.exists() and not re.match(_OWN[file.name], file.read_text(encoding="utf-8", errors="replace")):
            raise FEAError(f"out: '{file}' exists and was not written by fea; choose another folder")


class Loop(Fits):
    """Rounds of all stages.

    Args:
        out: folder of the runs, `sft-1`, `grpo-1`, `sft-2`, ...
        sft: stage 1.
        grpo: stage 2.
        empo: between them; None for no such stage.
    """

    def __init__(self, out: Path, sft: Stage, grpo: Stage, empo: PairStage | None = None):
        super().__init__(out)
        self.empo = empo
        self.stages: dict[str, Stage] = {"sft": sft, "grpo": grpo, **({"empo": empo} if empo else {})}

    def round(self, number: int) -> list[str]:
        """Runs what is not finished of a round; returns the names of its runs."""
        sft, grpo = f"sft-{number}", f"grpo-{number}"
        accepted = [source for earlier in range(1, number) for source in self.accepted(f"grpo-{earlier}")]
        if number > 1 and not accepted:
            print(
                "no analysis was accepted: is fea.callbacks.Synthesis among the callbacks of stage 2?", file=sys.stderr
            )
        self.fit(sft, self._arguments(sft), {"data.train+": accepted} if accepted else {})
        preferred = self._prefer(number, self.empo) if self.empo else []
        self.fit(grpo, self._arguments(grpo), {})
        return [sft, *preferred, grpo]

    def _prefer(self, number: int, stage: PairStage) -> list[str]:
        """Makes pairs of what the SFT run of a round says, and learns from them."""
        from fea.pairs.journal import root_of

        run, pairs = f"empo-{number}", self.out / f"pairs-{number}.jsonl"
        words = [
            "data",
            "pairs",
            str(self.out / f"sft-{number}"),
            stage.faces,
            "--out",
            str(pairs),
            *options(stage.pairs),
        ]
        self.commands.append(shlex.join(["fea", *words]))
        call(words)
        source = {"file": str(pairs), "image_root": str(root_of(pairs))}
        self.fit(run, self._arguments(run), {"data.train": [source]})
        return [run]

    def accepted(self, run: str) -> list[dict[str, str]]:
        """The files that a run's synthesis wrote, as entries of data.train."""
        from fea.synthesis.tried import images_of, written_into

        written = written_into(self.out / run / "synthesis")
        return [{"file": str(file), "image_root": str(images_of(file))} for file in written if file.stat().st_size]

    def test(self, run: str) -> dict[str, float]:
        """Scores of a run on the test files, measured once."""
        stored = self.out / run / "scores.json"
        if not stored.exists():
            from fea.model.runs import find
            from fea.reports.curves import curves_of

            weights = options({"ckpt_path": find(str(self.out / run))})
            call(["test", *self._arguments(run), *weights, *self.place(f"{run}/test")])
            curves = curves_of(self.out / run / "test")
            found = {
                tag.removeprefix("test/"): points[-1][1] for tag, points in curves.items() if tag.startswith("test/")
            }
            if "score" not in found:
                raise FEAError("data.test: the test files hold no labels, so the rounds cannot be compared")
            write_atomically(stored, json.dumps(found).encode())
        try:
            scores: dict[str, float] = json.loads(stored.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FEAError(f"'{stored}' is damaged; remove it, then the run is tested again") from error
        # An earlier release made another number of the same ones; all rounds are compared by one.
        return scores | {"score": overall(scores) or 0.0}

    def _arguments(self, run: str) -> list[str]:
        """Configs and settings of a run, and the run that it starts from."""
        stage, number = run.split("-")[0], int(run.split("-")[1])
        own = self.stages[stage]
        settings = own.settings if number == 1 else own.settings | own.again
        earlier = {"sft": f"grpo-{number - 1}", "empo": f"sft-{number}"}
        before = earlier.get(stage, f"{'empo' if self.empo else 'sft'}-{number}")
        start = {} if run == "sft-1" else {"model.init_from": self.out / before}
        return [*(word for file in own.configs for word in ("--config", file)), *options(settings | start)]


def _report(out: Path, scores: Mapping[str, Mapping[str, float]], commands: Sequence[str]) -> None:
    """Prints the table over all stages so far, and writes it with a plot."""
    from fea.reports import tables
    from fea.reports.page import Page, write_page

    shown = [name for name in _SHOWN if any(name in row for row in scores.values())]
    rows = [[run, *(f"{row[name]:.3f}" if name in row else "" for name in shown)] for run, row in scores.items()]
    header = ["run", *shown]
    print(tables.plain("  ".join(["{:>10}"] * len(header)), [header, *rows]), flush=True)
    curves = {
        f"{name} over the stages": [(step, row[name]) for step, row in enumerate(scores.values(), 1) if name in row]
        for name in shown
    }
    notes = ["Each stage starts from the last one's result, and all are tested on the same files."]
    write_page(out / PAGE, Page("fea iterate", notes, header, rows, curves, commands))
