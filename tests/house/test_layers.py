"""The plan of the house: which room may know which, and that no file grows beyond what one reads in a sitting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "fea"

# A file imports only what stands before it: rooms from top to bottom, files from left to right.
PLAN = """
    errors advantages losses logprobs
    system       signals children files lines sets processes randomness machine allocator waiting progress workers
    facs
    prompts      spotting rules claims mentions emotion numbers answer numbered prompt
    datasets     dataset signs
    images       signatures opening alike
    records      missing person action_units keys image_path rejected record formats jsonl
    datasets     conversion reading images analyses writing class_folders disfa disfa_plus bp4d raf_db raf_au affectnet
    datasets     fer2013 ferplus ck_plus trackers openface py_feat libreface image_folder own_table csv_table parquet
    datasets     hugging_face json_files conversations fea20k faba photographs known
    records      unknown doubts
    faces        blendshapes rules landmarker detectors crops measurements logistic readout silver learning
    data         example source table identity mixture shares image_check overlap apart strata folds expecting
    data         prompt loader module leaks
    drawn        pen drawing wording world people coders affect faces again module
    pictures     fonts layout schematic composing rendering saved
    evaluation   scores marks counts marginal classes dimensional numbers looking vanished carried votes metrics
    evaluation   hallucination preferences intervals texts retrieval
    protocols    cases calibration known fitting published measuring blind scored scoring foreign matching reading answered
    protocols    compared lmms_task lmms_eval
    judging      chat judge verdicts rated timely
    reports      tables numbers scores curves rendering page faces evaluation comparison
    model        families.general families.family families.qwen families.qwen2_5_vl families.qwen2_vl
    model        families.qwen3_vl families.known
    model        config tiny encoding pairing layout
    model        attention norm adapter lora vision deepstack sampling network belonging pretrained trained
    model        chat processor outline processed stock causal any_family load
    model        reading cache recorded decoding fsdp roads policy frozen archive runs precision elsewhere checkpoints
    retrieval    documents wishes near words index ranking queries
    review       decisions logs inspection similar desk reviewed split
    memory       setting weights dry_run dry_stock plan advice
    rollouts     rollout likelihood consistency values buffer loader refill packing rarity replay statistics drift
    retrieval    states sentences listwise answers bench
    export       formats asked gap compared adapter naming merged folder reading ggml mmproj gguf llama quirks
    export       history scores card push exporting
    pruning      settings edits calibration views gradients dropping criteria rounds journal starting writing measuring pruning
    rewards
    training     renamed loop optimization objective preferring comparing terms microbatches nonfinite interruption
    training     progress validation module
    training     folder logs stopping resume fits tested
    analysis     tables foreign layout parquet writing asking films inputs looking loading caveats analyzer album
    watching     tracking smoothing following sources window
    synthesis    recipe checks attempts admission tried journal round datacard
    pairs        recipe edits choosing counterfactual made journal making deletion
    sft grpo preference
    serving      fields gate service asking chat openapi
    web          server review serve
    iterate
    demo         tower board stages
    commands     _refusals _configs _renamed _options _weights _lightning _trainer _faces _converted
    commands     fit plan analyze synthesize review data_check data_convert data_silver data_split data_folds data_pairs demo
    commands     export judge score report compare serve watch prune _searched find bench_retrieval
    __init__ cli __main__
"""


def planned() -> Iterator[str]:
    """Files in their order, "room.file"; the face of a room comes before what is in it."""
    rooms = {folder.name for folder in ROOT.iterdir() if folder.is_dir()}
    for line in PLAN.split("\n"):
        first, *others = line.split() or [""]
        if first in rooms:
            yield f"{first}.__init__"
            yield from (f"{first}.families.__init__" for name in others if name.startswith("families."))
            yield from (f"{first}.{name}" for name in others)
        else:
            yield from filter(None, [first, *others])


ORDER = list(dict.fromkeys(planned()))
LIMIT = 300  # lines of a file
LONGEST = 60  # lines of a function
LONG: set[str] = set()


def files() -> dict[str, Path]:
    """Modules by their name within fea; the callbacks, which lie beside it, are not part of it."""
    found = (file for file in ROOT.rglob("*.py") if "callbacks" not in file.parts)
    return {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in found}


FILES = files()


def statements(node: ast.AST, inside: bool, typed: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements: with those in functions if `inside`, with those for type checkers if `typed`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING" and not typed:
            continue
        elif inside or not isinstance(child, ast.FunctionDef):
            yield from statements(child, inside, typed)


def imported(file: Path, inside: bool = True, typed: bool = True) -> set[str]:
    """Full names of the modules that a file imports, those for type checkers among them if `typed`."""
    names: set[str] = set()
    for statement in statements(ast.parse(file.read_text(encoding="utf-8")), inside, typed):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        else:
            assert not statement.level, f"{file}: relative import"
            module = statement.module or ""
            parts = {f"{module}.{alias.name}" for alias in statement.names}
            names |= {part if part.removeprefix("fea.") in FILES else module for part in parts}
    return names


def own(file: Path, inside: bool = True) -> set[str]:
    """The modules of fea among them, by their name within it."""
    names = {name.removeprefix("fea").lstrip(".") for name in imported(file, inside) if name.split(".")[0] == "fea"}
    return {name if name in FILES else f"{name}.__init__".lstrip(".") for name in names}


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == sorted(FILES)


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_what_stands_before_it(name: str) -> None:
    # The dispatcher imports what a command needs when it is chosen.
    assert own(FILES[name], inside=name != "cli") <= set(ORDER[: ORDER.index(name)])


def test_the_root_shows_the_method() -> None:
    assert len(list(ROOT.glob("*.py"))) <= 13


@pytest.mark.parametrize("name", [name for name in ORDER if name.endswith(".__init__")])
def test_the_face_of_a_room_says_what_lives_there_and_loads_nothing(name: str) -> None:
    (told,) = ast.parse(FILES[name].read_text(encoding="utf-8")).body
    assert isinstance(told, ast.Expr)


# Rooms and files that are read before anything is known of a model or a trainer, so that help and mistakes in settings are
# told at once, and people can look at files without the libraries of a GPU.
LIGHT = [
    "errors",
    "facs",
    "prompts",
    "datasets",
    "images",
    "records",
    "faces",
    "data.example",
    "data.image_check",
    "data.overlap",
    "data.shares",
    "data.source",
    "evaluation.scores",
    "evaluation.marks",
    "evaluation.counts",
    "evaluation.marginal",
    "evaluation.classes",
    "evaluation.looking",
    "evaluation.vanished",
    "evaluation.intervals",
    "protocols.cases",
    "protocols.known",
    "protocols.fitting",
    "protocols.published",
    "evaluation.dimensional",
    "evaluation.texts",
    "evaluation.retrieval",
    "retrieval.near",
    "protocols.measuring",
    "protocols.blind",
    "protocols.scored",
    "protocols.scoring",
    "protocols.foreign",
    "protocols.matching",
    "protocols.reading",
    "protocols.answered",
    "protocols.calibration",
    "protocols.compared",
    "protocols.lmms_task",
    "protocols.lmms_eval",
    "judging.chat",
    "judging.judge",
    "judging.verdicts",
    "judging.rated",
    "judging.timely",
    "evaluation.carried",
    "evaluation.votes",
    "reports",
    "system.files",
    "system.lines",
    "system.sets",
    "system.signals",
    "system.children",
    "system.workers",
    "model.families",
    "model.config",
    "review.decisions",
    "review.logs",
    "synthesis.recipe",
    "pairs.recipe",
    "export.formats",
    "pruning.settings",
    "pruning.edits",
    "training.renamed",
    "training.fits",
    "iterate",
    "commands.analyze",
    "commands.watch",
    "commands.synthesize",
    "commands.review",
    "commands.serve",
    "commands.demo",
    "commands.data_check",
    "commands.data_convert",
    "commands.data_silver",
    "commands.data_split",
    "commands.data_folds",
    "commands.data_pairs",
    "commands.plan",
    "commands.export",
    "commands.prune",
    "commands.score",
    "commands.judge",
    "commands._searched",
    "commands.find",
    "commands.bench_retrieval",
    "commands.compare",
    "commands.report",
    "commands.fit",
    "commands._options",
    "commands._refusals",
    "commands._renamed",
    "commands._configs",
    "watching.tracking",
    "watching.smoothing",
    "watching.following",
    "drawn.pen",
    "drawn.drawing",
    "drawn.wording",
    "drawn.world",
    "drawn.people",
    "drawn.coders",
    "drawn.faces",
    "pictures",
]
HEAVY = {"torch", "lightning", "transformers", "peft", "datasets", "torchmetrics", "tensorboard"}


def reached(name: str) -> set[str]:
    """All that importing a module imports, first names of other libraries among them."""
    found, left = set[str](), [name]
    while left:
        file = FILES[left.pop()]
        for full in imported(file, inside=False, typed=False):
            inner = full.removeprefix("fea.") if full.startswith("fea.") else ""
            inner = inner if inner in FILES or not inner else f"{inner}.__init__"
            if inner and inner not in found:
                left.append(inner)
            found.add(inner or full.partition(".")[0])
    return found


@pytest.mark.parametrize("room", LIGHT)
def test_what_has_to_be_there_at_once_needs_no_trainer(room: str) -> None:
    names = [name for name in FILES if name == room or name.startswith(f"{room}.")]
    assert names
    for name in names:
        assert not reached(name) & HEAVY, name


# Where names with an underscore of other libraries may be touched, and what for.
INNER = {
    "training.loop": "where Lightning's loops stand",
    "memory.dry_run": "storages, modules and dispatch of tensors without content",
    "commands._trainer": "the parser behind LightningCLI",
}


def private_names(file: Path) -> set[str]:
    """Attributes with an underscore that are taken from something else than an object or a class of the file's own."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    own_names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own_names |= {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    taken = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("_")}
    records = {"_replace", "_asdict", "_fields"}  # those of a NamedTuple are public
    return {name for name in taken if not name.startswith("__")} - own_names - records


@pytest.mark.parametrize("name", [name for name in ORDER if name not in INNER])
def test_the_inner_life_of_other_libraries_is_known_in_few_places(name: str) -> None:
    assert private_names(FILES[name]) == set()


@pytest.mark.parametrize("formulas", ["advantages", "losses"])
def test_formulas_need_torch_alone(formulas: str) -> None:
    names = imported(FILES[formulas]) - {"__future__", "typing", "collections.abc", "dataclasses"}
    assert {name.partition(".")[0] for name in names} == {"torch"}


def test_the_dispatcher_starts_without_anything_heavy() -> None:
    assert own(FILES["cli"], inside=False) == {"errors"}


def test_fea_does_not_know_its_callbacks() -> None:
    assert [name for name, file in FILES.items() if any(n.startswith("callbacks") for n in own(file))] == []


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    vague = {"utils", "util", "base", "common", "helpers", "misc", "core", "types"}
    assert [name for name in FILES if name.rpartition(".")[2] in vague] == []


@pytest.mark.parametrize("name", ORDER)
def test_a_module_is_read_in_one_sitting(name: str) -> None:
    text = FILES[name].read_text(encoding="utf-8")
    assert name in LONG or len(text.splitlines()) <= LIMIT
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= LONGEST and name not in LONG] == []


def test_callbacks_are_one_to_a_file() -> None:
    for file in (ROOT / "callbacks").glob("[!_]*.py"):
        classes = [node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)]
        assert [name.lower() for name in classes] == [file.stem.replace("_", "")]
