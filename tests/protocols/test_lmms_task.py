"""A task folder for lmms-eval, its functions called as lmms-eval calls them: our prompt, and the numbers of `fea score`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from PIL import Image
from scoring import folded, run, write

from fea.prompts.answer import render
from fea.prompts.prompt import system_prompt

ODD = (
    "", "I cannot help with that.", "Brows down, AU4.\n\nThe emotion is anger.", "<think>AU12</think><answer>joy</answer>",
    "<think>Lips part (AU25), AU4.</think><answer>Anger.", " <answer>happiness</answer><think>AU6, AU12</think>\n",
)  # fmt: skip


class Loaded(NamedTuple):
    """A task as lmms-eval holds it.

    Attributes:
        config: of the YAML file, functions in place of their names.
        lines: of the faces.
        told: to the functions, from the YAML file.
    """

    config: dict[str, Any]
    lines: list[dict[str, str]]
    told: dict[str, str]

    def scores(self, answers: Mapping[str, str]) -> dict[str, float]:
        """Every metric, of the answers to some of the faces."""
        asked = [line for line in self.lines if line["id"] in answers]
        results = [self.config["process_results"](line, [answers[line["id"]].strip()]) for line in asked]
        return {
            metric["metric"]: metric["aggregation"]([result[metric["metric"]] for result in results])
            for metric in self.config["metric_list"]
        }


def loaded(folder: Path) -> Loaded:
    """Reads a task; each function comes from a run of `utils.py` of its own, as there."""

    class Loader(yaml.SafeLoader):
        pass

    def function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Callable[..., Any]:
        module_name, name = str(loader.construct_scalar(node)).split(".")
        spec = importlib.util.spec_from_file_location(module_name, folder / f"{module_name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found: Callable[..., Any] = getattr(module, name)
        return found

    Loader.add_constructor("!function", function)
    (file,) = folder.glob("*.yaml")
    config = yaml.load(file.read_text(encoding="utf-8"), Loader)
    data = folder / config["dataset_kwargs"]["data_files"][config["test_split"]]
    lines = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    return Loaded(config, lines, config["lmms_eval_specific_kwargs"]["default"])


def pictured(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A data file with its images."""
    for number, row in enumerate(rows):
        (folder / row["image"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20 + number % 3, 20), number % 256).save(folder / row["image"])
    return write(folder / "labels.jsonl", *rows)


def described() -> list[dict[str, Any]]:
    """Faces of which units, an emotion and a description are known, or only some of it."""
    generator, rows = np.random.default_rng(5), []
    for number in range(36):
        units = [f"AU{unit}" for unit in (1, 4, 6, 12, 25) if generator.random() < 0.5]
        emotion = ("anger", "happiness", "sadness")[number % 3]
        known: dict[str, Any] = {"AUs": units, "AU_intensities": dict.fromkeys(units, 3)} if number % 4 else {}
        told = {"description": render(f"There is {', '.join(units)}.", emotion)} if number % 2 else {}
        rows.append({
            "id": f"f{number}", "dataset": "FEA", "image": f"in/{number % 2}/{number}.png", "labels": [emotion],
            "question": "How does the face look?" if number == 1 else "",
            "meta_info": {"subject": f"p{number % 7}", "gender": "fm"[number % 2]}, **known, **told,
        })  # fmt: skip
    return rows


class Exported(NamedTuple):
    labels: Path
    task: Path
    answers: dict[str, str]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Makes the task of a protocol, once each."""
    from fea.cli import main

    made: dict[str, Exported] = {}

    def make(protocol: str) -> Exported:
        if protocol not in made:
            folder = tmp_path_factory.mktemp(protocol)
            if protocol == "disfa-8":
                faces = folded(protocol, faces=3)
                rows, texts = faces.labels, [line["text"] for line in faces.answers]
            else:
                rows = described()
                right = [render(f"I see {', '.join(row.get('AUs', ()))} and AU9.", row["labels"][0]) for row in rows]
                texts = [right[n] if n % 2 else right[n - 3] for n in range(len(rows))]
            texts = [ODD[n // 5 % len(ODD)] if n % 5 == 0 else text for n, text in enumerate(texts)]
            labels = pictured(folder / "data", rows)
            words = [str(folder / "task"), "--export", "lmms-eval", "--protocol", protocol, "--labels", str(labels)]
            assert main(["score", *words]) == 0
            answers = {row["id"]: text for row, text in zip(rows, texts, strict=True)}
            made[protocol] = Exported(labels, folder / "task", answers)
        return made[protocol]

    return make


def expected(
    made: Exported,
    protocol: str,
    answers: Mapping[str, str],
    labels: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> dict[str, float]:
    """The scores that `fea score` finds, read strictly and leniently."""
    file = write(tmp_path / "answers.jsonl", *({"id": name, "text": text} for name, text in answers.items()))
    words = [file, "--protocol", protocol, "--labels", labels]
    strict = run(capsys, *words, out=tmp_path / "strict").metrics["scores"]
    lenient = run(capsys, *words, "--lenient", out=tmp_path / "lenient").metrics["scores"]
    return strict | {f"lenient_{name}": value for name, value in lenient.items()}


@pytest.mark.parametrize("protocol", ["disfa-8", "fea20k", "facial-r1"])
def test_the_numbers_are_those_of_fea_score(
    protocol: str, exported: Callable[[str], Exported], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = exported(protocol)
    wanted = expected(made, protocol, made.answers, made.labels, tmp_path, capsys)
    found = loaded(made.task).scores(made.answers)
    assert found == {name: pytest.approx(wanted[name], abs=1e-12) for name in found}
    assert {name for name in wanted if not name.startswith("lenient_")} <= found.keys()
    assert found["lenient_au_f1"] > 0.2
    if protocol != "facial-r1":  # which reads free text as it is
        assert found["lenient_au_f1"] != found["au_f1"]


def test_a_part_of_the_faces_is_scored_by_itself(
    exported: Callable[[str], Exported], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = exported("disfa-8")
    rows = [json.loads(line) for line in made.labels.read_text(encoding="utf-8").splitlines()][:20]
    part = write(tmp_path / "part.jsonl", *rows)
    answers = {row["id"]: made.answers[row["id"]] for row in rows}
    wanted = expected(made, "disfa-8", answers, part, tmp_path, capsys)
    found = loaded(made.task).scores(answers)
    assert found == {name: pytest.approx(wanted[name], abs=1e-12) for name in found}
    assert found["au_f1"] != loaded(made.task).scores(made.answers)["au_f1"]


def test_of_several_answers_about_a_face_the_first_counts(exported: Callable[[str], Exported]) -> None:
    made = exported("disfa-8")
    task = loaded(made.task)
    ask, score = task.config["process_results"], task.config["metric_list"][0]
    first, later = (
        [ask(line, [text(line["id"])])[score["metric"]] for line in task.lines[:20]]
        for text in (made.answers.__getitem__, lambda name: "nothing")
    )
    assert score["aggregation"](first + later) == score["aggregation"](first)
    assert score["aggregation"](later + first) != score["aggregation"](first)


def test_a_model_is_asked_as_fea_asks(exported: Callable[[str], Exported]) -> None:
    task = loaded(exported("fea20k").task)
    line = next(line for line in task.lines if line["id"] == "f1")
    question = (
        "How does the face look? Choose from: anger, contempt, disgust, fear, happiness, neutral, sadness, surprise."
    )
    (image,) = task.config["doc_to_visual"](line, task.told)
    assert (image.mode, image.size) == ("RGB", (21, 20))
    assert task.config["doc_to_text"](line, task.told) == f"{system_prompt()}\n\n{question}"
    system, user = task.config["doc_to_messages"](line, task.told)
    assert system == {"role": "system", "content": [{"type": "text", "text": system_prompt()}]}
    assert [part["type"] for part in user["content"]] == ["image", "text"]
    assert user["content"][1]["text"] == question
    (bare,) = task.config["doc_to_messages"](line, task.told | {"pre_prompt": "", "post_prompt": " Be brief."})
    assert (bare["role"], bare["content"][1]["text"]) == ("user", f"{question} Be brief.")
    assert line[task.config["doc_to_target"]].endswith("; happiness")


def test_nothing_is_cut_from_an_answer(exported: Callable[[str], Exported]) -> None:
    config = loaded(exported("fea20k").task).config
    assert config["generation_kwargs"]["until"] == []  # an empty line ends an answer by default
    assert config["reasoning_tags"] == "none"  # <think> and what is in it is taken away by default
    better = {metric["metric"]: metric["higher_is_better"] for metric in config["metric_list"]}
    assert [name for name, higher in better.items() if not higher] == ["invented"]


def test_lines_hold_texts_alone_and_no_place_of_this_machine(exported: Callable[[str], Exported]) -> None:
    for protocol in ("disfa-8", "fea20k"):
        lines = loaded(exported(protocol).task).lines
        assert all(isinstance(value, str) for line in lines for value in line.values())
        assert not any(str(exported(protocol).labels.parent) in value for line in lines for value in line.values())


def test_a_moved_folder_of_images_is_one_line_of_the_file(exported: Callable[[str], Exported], tmp_path: Path) -> None:
    task = loaded(exported("fea20k").task)
    Image.new("RGB", (77, 33)).save(tmp_path / "1.png")
    line = task.lines[0] | {"image": "1.png"}
    assert task.config["doc_to_visual"](line, task.told | {"image_root": str(tmp_path)})[0].size == (77, 33)
    with pytest.raises(ValueError, match=r"faces.jsonl: f0: image '.*' does not exist"):
        task.config["doc_to_visual"](line, task.told)


def test_lines_that_lmms_eval_logs_are_scored(
    exported: Callable[[str], Exported], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = exported("disfa-8")
    task = loaded(made.task)
    samples = [
        {
            "doc_id": number,
            "target": line["target"],
            "filtered_resps": made.answers[line["id"]],
            "input": task.config["doc_to_text"](line, task.told),
            "input_media": [line["image"]],
        }
        for number, line in enumerate(task.lines)
    ]
    file = write(tmp_path / "samples.jsonl", *samples)
    found = run(capsys, file, "--protocol", "disfa-8", "--labels", made.labels, out=tmp_path / "out").metrics["scores"]
    assert found["au_f1"] == pytest.approx(task.scores(made.answers)["au_f1"], abs=1e-12)


def test_what_cannot_be_written_is_one_sentence(
    exported: Callable[[str], Exported], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, new = exported("fea20k"), tmp_path / "new"
    export = ["--export", "lmms-eval", "--protocol", "fea20k"]
    told = lambda *words: run(capsys, *words, *export).error  # noqa: E731
    assert "is not empty; name a folder that is not there yet" in told(made.task, "--labels", made.labels)
    assert "labels: name the file with the faces to ask about" in told(new)
    assert "export: --out says nothing beside it" in told(new, "--labels", made.labels, "--out", tmp_path / "o")
    assert "export: 'more' says nothing beside it" in told(new, "more", "--labels", made.labels)
    rows = [json.loads(line) for line in made.labels.read_text(encoding="utf-8").splitlines()]
    elsewhere = write(tmp_path / "labels.jsonl", *rows)
    assert "36 of 36 images are not there, such as" in told(new, "--labels", elsewhere)
    assert not new.exists()
    assert run(capsys, new, *export, "--labels", elsewhere, "--image-root", made.labels.parent).code == 0


def test_lmms_eval_loads_the_task(
    exported: Callable[[str], Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lmms_eval")
    monkeypatch.setenv("LMMS_EVAL_DATASETS_CACHE", str(tmp_path))
    from lmms_eval.tasks import TaskManager  # type: ignore[import-not-found, unused-ignore]

    made = exported("fea20k")
    manager = TaskManager(include_path=str(made.task), include_defaults=False)
    task = manager.load_task_or_group("fea_fea20k", task_type="chat")["fea_fea20k"]
    results = [task.process_results(doc, [made.answers[doc["id"]]]) for doc in task.test_docs()]
    wanted = loaded(made.task).scores(made.answers)
    for name, aggregated in task.aggregation().items():
        assert aggregated([result[name] for result in results]) == wanted[name]
