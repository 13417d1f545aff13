"""Imports go one way, and no module grows beyond what one reads in a sitting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "fea"

# A module imports only what stands before it.
LAYERS = """
    errors losses system.__init__ system.files system.processes system.randomness system.machine facs
    prompts.__init__ prompts.mentions prompts.answer prompts.prompt data.__init__ data.example data.record
    data.jsonl data.source data.table data.examples data.images data.prompt data.loader data.module data.leaks
    data.strata drawn.__init__ drawn.pen drawn.drawing drawn.wording drawn.faces drawn.module evaluation.__init__
    evaluation.scores evaluation.marks evaluation.metrics evaluation.intervals model.__init__
    model.families.__init__ model.families.qwen_vl model.config model.tiny model.encoding model.layout
    model.attention model.sampling model.network model.load model.decoding model.fsdp model.policy
    model.checkpoints review.__init__ review.decisions review.inspection review.desk review.reviewed
    reports.__init__ reports.page memory.__init__ memory.dry_run memory.plan memory.advice rollouts.__init__
    rollouts.rollout rollouts.buffer rollouts.loader rollouts.packing rollouts.replay rollouts.numbers rewards
    training.__init__ training.optimization training.guard training.interruption training.evaluated training.module
    training.runs training.fits analysis.__init__ analysis.tables analysis.analyzer synthesis.__init__
    synthesis.recipe synthesis.checks synthesis.attempts synthesis.admission synthesis.journal synthesis.round
    synthesis.datacard sft grpo web.__init__ web.server web.review iterate demo.__init__ demo.tower demo.board
    demo.stages commands.__init__ commands._refusals commands._options commands.fit commands.plan commands.analyze
    commands.synthesize commands.review commands.data_check commands.data_split commands.demo __init__ cli __main__
"""
ORDER = LAYERS.split()

# Longer than LIMIT lines, each with its reason.
LIMIT = 300
LONG = {
    "grpo": "the algorithm from top to bottom",
}


def files() -> dict[str, Path]:
    """Modules by their name within fea; the callbacks, which lie beside it, are not part of it."""
    found = (file for file in ROOT.rglob("*.py") if "callbacks" not in file.parts)
    return {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in found}


FILES = files()


def statements(node: ast.AST, inside: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements, those for type checkers among them; with those in functions if `inside`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif inside or not isinstance(child, ast.FunctionDef):
            yield from statements(child, inside)


def imported(file: Path, inside: bool = True) -> set[str]:
    """Full names of the modules that a file imports."""
    names: set[str] = set()
    for statement in statements(ast.parse(file.read_text(encoding="utf-8")), inside):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        else:
            assert not statement.level, f"{file}: relative import"
            module = statement.module or ""
            parts = (
                {f"{module}.{alias.name}" for alias in statement.names} if module in ("fea", "fea.data") else {module}
            )
            names |= {part if part.removeprefix("fea.") in FILES else module for part in parts}
    return names


def own(file: Path, inside: bool = True) -> set[str]:
    """The modules of fea among them, by their name within it."""
    names = {name for name in imported(file, inside) if name == "fea" or name.startswith("fea.")}
    return {name.removeprefix("fea").lstrip(".") or "__init__" for name in names}


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == sorted(FILES)


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_what_stands_before_it(name: str) -> None:
    # The dispatcher imports what a command needs when it is chosen.
    assert own(FILES[name], inside=name != "cli") <= set(ORDER[: ORDER.index(name)])


def test_losses_need_torch_alone() -> None:
    names = imported(FILES["losses"]) - {"__future__", "typing", "collections.abc", "dataclasses"}
    assert {name.partition(".")[0] for name in names} == {"torch"}


def test_the_dispatcher_starts_without_anything_heavy() -> None:
    assert own(FILES["cli"], inside=False) == {"errors"}


def test_fea_does_not_know_its_callbacks() -> None:
    assert [name for name, file in FILES.items() if any(n.startswith("callbacks") for n in own(file))] == []


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    vague = {"utils", "util", "base", "common", "helpers", "misc", "core", "types"}
    assert [name for name in FILES if name.rpartition(".")[2] in vague] == []


@pytest.mark.parametrize("name", [name for name in ORDER if name not in LONG])
def test_a_module_is_read_in_one_sitting(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= LIMIT


def test_callbacks_are_one_to_a_file() -> None:
    for file in (ROOT / "callbacks").glob("[!_]*.py"):
        classes = [node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)]
        assert [name.lower() for name in classes] == [file.stem.replace("_", "")]
