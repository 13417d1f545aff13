"""`FEADataModule`: several files with their own roots and emotions, and every mixture of labels."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import SMALL, small_config

from fea.data.example import Example
from fea.data.loader import EpochSampler, Loader
from fea.data.module import FEADataModule
from fea.data.prompt import Prompt
from fea.data.source import Source
from fea.drawn.faces import EMOTIONS, write_faces
from fea.drawn.module import RenderedFaces
from fea.errors import FEAError
from fea.facs import emotion_set
from fea.grpo import GRPOModule
from fea.model.policy import Policy
from fea.sft import SFTModule
from fea.training.module import FEAModule


class Stage:
    """What the data module asks of a training stage."""

    def __init__(self, needs_analyses: bool = False):
        self.needs_analyses, self.needs_pairs, self.forms = needs_analyses, False, None
        self.encode = Policy(small_config(), {}).encoder

    def encode_training(self, example: Example) -> Prompt:
        return self.encode(example, self.needs_analyses)

    def limit_images(self, pixels: int) -> None:
        self.encode.max_image_pixels = pixels

    def train_loader(self, prompts: object) -> object:
        return prompts


def attach(data: FEADataModule, command: str = "fit", needs_analyses: bool = False, **ranks: int) -> Any:
    """Sets the data module up for one command of a trainer."""
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn=SimpleNamespace(value=command)),
        lightning_module=Stage(needs_analyses),
        **{"global_rank": 0, "world_size": 1, **ranks},
    )
    data.trainer = trainer  # type: ignore[assignment]
    data.prepare_data()
    data.setup(command)
    return data


def relabeled(faces: Path, file: Path, *changes: dict[str, Any]) -> Path:
    """Writes the first drawn faces with changed fields; None takes a field away."""
    rows = [json.loads(line) for line in faces.read_text().splitlines()[: len(changes)]]
    changed = [{**row, **change} for row, change in zip(rows, changes, strict=True)]
    kept = [{key: value for key, value in row.items() if value is not None} for row in changed]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return file


NO_AUS = {"AUs": None, "AUs_coded": None, "AU_intensities": None}


def test_every_mixture_of_labels_is_served(tmp_path: Path, faces_file: Path) -> None:
    mixture = {
        "emotion": {**NO_AUS, "description": None},
        "au": {"labels": [], "description": None},
        "both": {},
        "partly": {"AUs": ["AU1"], "AUs_coded": ["AU1", "AU12"], "AU_intensities": None},
        "unlabeled": {**NO_AUS, "labels": None, "description": None},
        "text": {**NO_AUS, "description": "The corners rise (AU12).", "labels": ["joy"]},
    }
    file = relabeled(faces_file, tmp_path / "mixed.jsonl", *({**row, "id": name} for name, row in mixture.items()))
    source = Source(str(file), image_root=str(faces_file.parent), overlap=True)
    data = attach(FEADataModule(train=[source], val=[source], batch_size=3, num_workers=0))
    served = {prompt.example.id: prompt.example for batch in data.train_dataloader() for prompt in batch}
    assert served.keys() == mixture.keys()
    known = {name: (example.aus is not None, bool(example.labels)) for name, example in served.items()}
    assert known == {
        "emotion": (False, True),
        "au": (True, False),
        "both": (True, True),
        "partly": (True, True),
        "unlabeled": (False, False),
        "text": (False, True),
    }
    assert served["partly"].coded == {1, 12}
    assert served["text"].analysis == "<think>The corners rise (AU12).</think><answer>happiness</answer>"
    assert [[prompt.example.id for prompt in batch] for batch in data.val_dataloader()[0]] == [list(mixture)]

    taught = attach(FEADataModule(train=[source], val=[source], batch_size=3, num_workers=0), needs_analyses=True)
    (batch,) = taught.train_dataloader()
    assert {prompt.example.id for prompt in batch} == {"both", "partly", "text"}
    assert all(len(prompt.target) for prompt in batch)


def test_each_file_keeps_its_own_root_and_emotions(tmp_path: Path, faces_file: Path) -> None:
    root = str(faces_file.parent)
    beside = relabeled(faces_file, faces_file.parent / "beside.jsonl", {"id": "a", "labels": ["fear"]})
    apart = relabeled(faces_file, tmp_path / "x" / "apart.jsonl", {"id": "b", "labels": ["Self-Conscious"]})
    words = ["pain", "Self-conscious"]
    data = attach(FEADataModule(test=[str(beside), Source(str(apart), root, words)], num_workers=0), "test")
    first, second = (prompt for batch in data.test_dataloader()[0] for prompt in batch)
    assert Path(first.example.image) == Path(second.example.image)
    assert (first.example.labels, second.example.labels) == (("fear",), ("self conscious",))
    assert (first.example.emotions, second.example.emotions) == (EMOTIONS, ("pain", "self conscious"))
    assert not torch.equal(first.ids, second.ids)  # the allowed emotions stand in the prompt
    assert data.all_emotions == (*EMOTIONS, "pain", "self conscious")


def test_only_the_files_of_the_command_are_opened(faces_file: Path) -> None:
    files = {"train": ["no.jsonl"], "val": [str(faces_file)], "predict": [str(faces_file)]}
    for command in ("validate", "predict"):
        attach(FEADataModule(**files, num_workers=0), command)  # type: ignore[arg-type]
    with pytest.raises(FEAError, match=r"data file 'no\.jsonl' does not exist"):
        attach(FEADataModule(**files), "fit")  # type: ignore[arg-type]
    with pytest.raises(FEAError, match=r"data\.test: no file is given; list at least one JSONL file there"):
        attach(FEADataModule(**files), "test")  # type: ignore[arg-type]


UNLABELED = {"AUs": None, "AUs_coded": None, "AU_intensities": None, "labels": ["None"], "description": None}


@pytest.mark.parametrize(
    ("command", "sets", "message"),
    [
        (
            "fit",
            {"train": UNLABELED},
            r"data\.train: no label and no analysis is understood in '.*' \(labels that name none",
        ),
        (
            "fit",
            {"train": {}, "val": UNLABELED},
            r"data\.val: no label is understood in '.*'; give|data\.val: no label .*\(",
        ),
        ("fit", {"train": {}, "val": {**UNLABELED, "description": "<think>AU4</think>"}}, r"data\.val: no label is"),
        ("validate", {"val": UNLABELED}, r"data\.val: no label is understood"),
        ("test", {"test": UNLABELED}, r"data\.test: no label is understood"),
    ],
)
def test_files_that_say_nothing_are_refused_before_anything_is_learned_or_measured(
    tmp_path: Path, faces_file: Path, command: str, sets: dict[str, dict[str, Any]], message: str
) -> None:
    files = {
        name: [Source(str(relabeled(faces_file, tmp_path / f"{name}.jsonl", change)), str(faces_file.parent))]
        for name, change in sets.items()
    }
    with pytest.raises(FEAError, match=message):
        attach(FEADataModule(**files), command)  # type: ignore[arg-type]


def test_faces_without_labels_are_predicted_and_stand_beside_labeled_ones(tmp_path: Path, faces_file: Path) -> None:
    file = relabeled(faces_file, tmp_path / "faces.jsonl", UNLABELED)
    source = Source(str(file), str(faces_file.parent), overlap=True)
    attach(FEADataModule(predict=[source]), "predict")
    attach(FEADataModule(train=[str(faces_file)], val=[source, Source(str(faces_file), overlap=True)]))


def test_what_a_file_says_in_vain_is_told_at_the_start(tmp_path: Path, caplog: Any, faces_file: Path) -> None:
    file = relabeled(faces_file, tmp_path / "f.jsonl", {}, {"split": "train", "description": "<think>"})
    for _ in range(2):  # read anew, and from the converted copy
        caplog.clear()
        with caplog.at_level("INFO"):
            attach(FEADataModule(train=[Source(str(file), str(faces_file.parent))]))
        assert f"train: {file}: warning: keys that nothing reads: 'split' (1 lines)" in caplog.messages
        assert (
            f"train: {file}: warning: 1 of 2 analyses are not one think block and one answer block: line 2"
            in caplog.messages
        )


def test_training_runs_without_validation_files(faces_file: Path) -> None:
    data = attach(FEADataModule(train=[str(faces_file)], batch_size=4, num_workers=0))
    assert data.val_dataloader() == []


def test_ranks_share_out_the_faces(faces_file: Path) -> None:
    seen: list[str] = []
    judged: list[str] = []
    for rank in range(5):
        judged_too = Source(str(faces_file), overlap=True)
        data = FEADataModule(train=[str(faces_file)], val=[judged_too], batch_size=2, num_workers=0)
        attach(data, global_rank=rank, world_size=5)
        own = [prompt.example.id for batch in data.train_dataloader() for prompt in batch]  # type: ignore[attr-defined]
        assert len(own) == 4
        seen += own
        judged += [prompt.example.id for batch in data.val_dataloader()[0] for prompt in batch]
    assert len(set(seen)) == 20
    assert len(judged) == len(set(judged)) == 24  # evaluation leaves nobody out and counts nobody twice


def test_balance_and_mirror_reach_the_training_order_only(tmp_path: Path, faces_file: Path) -> None:
    rare = [{"labels": ["fear"], "description": None}] + [{"labels": ["anger"], "description": None}] * 15
    file = relabeled(faces_file, tmp_path / "f.jsonl", *rare)
    source = Source(str(file), str(faces_file.parent), overlap=True)

    def options(**settings: Any) -> tuple[int, int]:
        data = attach(FEADataModule(train=[source], val=[source], batch_size=16, num_workers=0, **settings))
        (train,), (val,) = data.train_dataloader(), data.val_dataloader()[0]
        assert [prompt.example.flipped for prompt in val] == [False] * 16
        return sum(p.example.labels == ("fear",) for p in train), sum(p.example.flipped for p in train)

    assert options() == (1, 0)
    assert options(balance="emotion", balance_power=0.0)[0] <= 3
    fear, flipped = options(balance="emotion", mirror=True)
    assert 4 <= fear <= 12
    assert 4 <= flipped <= 12


def test_a_power_without_a_balance_is_refused() -> None:
    with pytest.raises(FEAError, match=r"data.balance_power: 0.5, but nothing is balanced; set data.balance"):
        FEADataModule(balance_power=0.5)
    with pytest.raises(FEAError, match=r"data.balance_power: 2.0; give 0"):
        FEADataModule(balance="au", balance_power=2.0)


def test_descriptions_are_taken_as_they_stand_on_request(tmp_path: Path, faces_file: Path) -> None:
    file = relabeled(faces_file, tmp_path / "f.jsonl", {"description": "Only words."})
    source = Source(str(file), str(faces_file.parent), wrap=False)
    data = attach(FEADataModule(test=[source], num_workers=0), "test")
    assert data.tables["test"][0][0].analysis == "Only words."


@pytest.mark.parametrize(
    ("batch_size", "world", "needs", "message"),
    [
        (25, 1, False, "data.batch_size: 25 on 1 processes, but 'data.train' holds only 24 examples"),
        (13, 2, False, "data.batch_size: 13 on 2 processes"),
        (2, 1, True, r"holds only 1 examples with an analysis \(key 'description'\)"),
    ],
)
def test_too_few_examples_for_a_batch_are_refused(
    tmp_path: Path, faces_file: Path, batch_size: int, world: int, needs: bool, message: str
) -> None:
    file = relabeled(faces_file, tmp_path / "f.jsonl", {}, *[{"description": None}] * 4) if needs else faces_file
    source = Source(str(file), str(faces_file.parent), overlap=True)
    data = attach(FEADataModule(train=[source], batch_size=batch_size), needs_analyses=needs, world_size=world)
    with pytest.raises(FEAError, match=message):
        data.train_dataloader()


def test_skipped_lines_and_images_are_told(tmp_path: Path, capsys: Any, caplog: Any, faces_file: Path) -> None:
    changes = [{}, {"image": "gone.png"}, {"AUs": ["AU99"]}, {}, {}]
    file = relabeled(faces_file, tmp_path / "f.jsonl", *changes)
    source = Source(str(file), str(faces_file.parent), overlap=True)
    with caplog.at_level("INFO"):
        data = attach(FEADataModule(train=[source], batch_size=4, num_workers=0, on_bad="skip"))
        (batch,) = data.train_dataloader()
        data.teardown("fit")
    assert len(batch) == 4
    told = "\n".join(caplog.messages)
    assert f"train: {file}: 4 examples; 1 bad lines skipped, the first: {file}:3: key 'AUs'" in told
    assert f"skipped 1 unreadable images; the first: {file}:2: image" in told


@pytest.mark.parametrize(
    ("emotions", "words"),
    [
        ("basic8", 8),
        ([" Pain ", "pain", "Self-Conscious"], ("pain", "self conscious")),
        ("pain", "emotions: 'pain' is no preset; presets are basic7, basic8, compound11"),
        ([], "emotions: found \\[\\]; name at least one emotion"),
        (["joy", "?"], "none without letters"),
    ],
)
def test_emotions_are_a_preset_or_own_words(emotions: Any, words: Any) -> None:
    if isinstance(words, str):
        with pytest.raises(FEAError, match=words):
            emotion_set(emotions)
    else:
        assert emotion_set(emotions) == words or len(emotion_set(emotions)) == words


# --- rendered faces ---


def test_rendered_faces_are_drawn_once_and_never_shared_between_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr("fea.drawn.module.write_faces", lambda out, **k: (drawn.append(out), write_faces(out, **k))[1])

    def open_faces(command: str, **settings: Any) -> RenderedFaces:
        settings = {"train_faces": 6, "val_faces": 3, "test_faces": 4, "batch_size": 2, "num_workers": 0, **settings}
        return attach(RenderedFaces(str(tmp_path), **settings), command)  # type: ignore[no-any-return]

    data = open_faces("fit", text="analysis")
    assert [path.name for path in drawn] == ["analysis-0-6", "val-3"]
    open_faces("fit", text="analysis")
    assert len(drawn) == 2
    open_faces("fit", text="none", seed=1)
    open_faces("test")
    assert [path.name for path in drawn[2:]] == ["none-1-6", "test-4"]
    images = [path.read_bytes() for path in tmp_path.rglob("*.png")]
    assert len(images) == len(set(images)) == 6 + 3 + 6 + 4
    assert data.all_emotions == EMOTIONS
    assert [len(batch) for batch in data.train_dataloader()] == [2, 2, 2]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "needs", "told"),
    [
        (
            {},
            True,
            r"only 0 examples with an analysis .*; drawn faces have none with data.text: none; set it to annotator",
        ),
        (
            {"text": "annotator"},
            True,
            r"holds only 3 examples with an analysis .*; lower it, or set data.train_faces higher",
        ),
        ({}, False, r"holds only 3 examples; lower it, or set data.train_faces higher"),
    ],
)
def test_too_few_drawn_faces_are_refused_with_what_to_set(
    tmp_path: Path, settings: dict[str, Any], needs: bool, told: str
) -> None:
    data = attach(RenderedFaces(str(tmp_path), 3, val_faces=2, num_workers=0, **settings), needs_analyses=needs)
    with pytest.raises(FEAError, match=told):
        data.train_dataloader()


def test_files_are_drawn_by_their_weight_and_by_default_once_each(tmp_path: Path, faces_file: Path) -> None:
    few = relabeled(faces_file, tmp_path / "few.jsonl", *[{}] * 4)
    root = str(faces_file.parent)

    def drawn(weight: float) -> list[str]:
        sources: list[str | Source] = [Source(str(few), root, weight=weight), str(faces_file)]
        data = attach(FEADataModule(train=sources, batch_size=4, num_workers=0, emotions=list(EMOTIONS)))
        return [prompt.example.place for batch in data.train_dataloader() for prompt in batch]

    assert len(set(drawn(1.0))) == 28
    often = drawn(30.0)
    assert len(often) == 28
    assert sum(str(few) in place for place in often) > 14  # 120 of 144 are expected to be


def test_a_weight_of_nothing_is_refused() -> None:
    with pytest.raises(FEAError, match=r"weight of 'a\.jsonl': 0; give a number above 0"):
        Source("a.jsonl", weight=0)


def test_faces_that_are_favoured_are_drawn_more_often_and_others_as_before(faces_file: Path) -> None:
    data = attach(FEADataModule(train=[str(faces_file)], batch_size=4, num_workers=0, emotions=list(EMOTIONS)))
    data.reweigh({f"{faces_file}:3": 0.25})
    examples = data.train_dataloader().examples
    assert data.weights(examples).tolist() == [1.0, 1.0, 0.25, *[1.0] * 21]


# --- what a process that reads ahead is handed ---


@pytest.fixture
def _spawned() -> Iterator[None]:
    """Such processes begin anew, as they do by themselves on other systems, instead of as copies of this one."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize("kind", [SFTModule, GRPOModule])
def test_a_worker_is_handed_no_weights(kind: type[FEAModule], faces_file: Path) -> None:
    """What it gets is small, and as small for a larger model."""
    sizes = []
    for hidden in (64, 256):
        module: Any = kind(small_config(tiny=replace(SMALL, hidden=hidden)))
        module.configure_model()
        data: Any = FEADataModule(
            [str(faces_file)], [Source(str(faces_file), overlap=True)], batch_size=4, emotions=EMOTIONS
        )
        trainer = attach(data, needs_analyses=module.needs_analyses).trainer
        trainer.accumulate_grad_batches, trainer.lightning_module, module.trainer = 1, module, trainer
        train = data.train_dataloader()
        loaders = [getattr(train, "prompts", train), *data.val_dataloader()]
        sizes.append([len(pickle.dumps(loader._loader.dataset)) for loader in loaders])
        weights = sum(weight.nbytes for weight in module.parameters())
    assert weights > 5_000_000
    assert sizes[0] == sizes[1]
    assert max(sizes[0]) < 50_000


@pytest.mark.usefixtures("_spawned")
def test_a_worker_that_begins_anew_reads_the_same(faces_file: Path) -> None:
    module = SFTModule(small_config())
    module.configure_model()
    data = FEADataModule([str(faces_file)], emotions=EMOTIONS)
    examples = attach(data, needs_analyses=True).analyses()
    here, there = (
        list(Loader(examples, module.encode_training, EpochSampler(len(examples)), 12, workers, "raise", True))
        for workers in (0, 1)
    )
    assert len(here) == len(there) == 2
    for one, other in zip((p for batch in here for p in batch), (p for batch in there for p in batch), strict=True):
        assert one.example == other.example
        assert all(torch.equal(a, b) for a, b in zip(one[1:6], other[1:6], strict=True))
