"""`fea find`: what it shows, what it keeps, and what it refuses."""

from __future__ import annotations

import json
import shutil
import sys
import types
from importlib import util
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from conftest import small_config

from fea.cli import main
from fea.drawn.faces import EMOTIONS
from fea.facs import au_number
from fea.model.policy import Policy
from fea.retrieval import index
from fea.retrieval.documents import read
from fea.retrieval.index import Index, Vectors
from fea.retrieval.ranking import search
from fea.retrieval.wishes import Wish
from fea.retrieval.words import Words


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights, in a folder."""
    folder = tmp_path_factory.mktemp("model") / "base"
    Policy(small_config(), {}).eval().save(folder)
    return folder


def found(file: Path, *options: str) -> list[dict[str, Any]]:
    out = file.parent / "found.jsonl"
    assert main(["find", *options, "--in", str(file), "--out", str(out)]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.fixture
def file(faces_file: Path, tmp_path: Path) -> Path:
    shutil.copytree(faces_file.parent, tmp_path / "faces")
    return tmp_path / "faces" / faces_file.name


def test_what_is_asked_for_comes_first_and_what_is_denied_not_at_all(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = found(file, "AU1 and AU2, not surprise", "--top", "24")
    records = {record["id"]: record for record in map(json.loads, file.read_text().splitlines())}
    met = [len({"AU1", "AU2"} & set(records[line["id"]]["AUs"])) for line in lines]
    assert met == sorted(met, reverse=True) == [line["met"] for line in lines]
    assert met[0] == 2
    left = {record["id"] for record in records.values() if record["labels"] != ["surprise"]}
    both = {name for name in left if {"AU1", "AU2"} <= set(records[name]["AUs"])}
    assert both == {line["id"] for line in lines if line["met"] == 2}
    shown = capsys.readouterr().out
    assert "24 analyses in" in shown
    assert "scored by BM25" in shown
    assert lines[0]["id"] in shown


def test_faces_are_found_by_their_labels(file: Path) -> None:
    lines = found(file, "fear", "--what", "faces", "--top", "24")
    assert lines
    assert all(line["emotions"] == ["fear"] for line in lines)


def test_a_model_says_what_faces_show_and_orders_them(
    file: Path, base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = ("AU4", "--model", str(base), "--index", str(tmp_path / "kept"), "--device", "cpu")
    by_states = found(file, *options, "--top", "24")
    assert len({line["score"] for line in by_states}) > 10
    assert by_states == found(file, *options, "--top", "24")
    again = found(file, *options, "--top", "24", "--rerank", "24")
    assert sorted(line["id"] for line in again) == sorted(line["id"] for line in by_states)
    assert again != by_states
    told = found(file, *options, "--what", "faces", "--max_tokens", "4")
    assert told
    monkeypatch.setattr(Policy, "rollout", None)  # what was said stays
    assert told == found(file, *options, "--what", "faces", "--max_tokens", "4")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["AU4", "--in", "nothing.jsonl"], "nothing.jsonl"),
        (["AU4"], "nothing is given for in;"),
        ([" "], "query: it is empty"),
        (["AU4", "--top", "0"], "top: 0"),
        (["AU4", "--rerank", "5"], "name one with --model"),
        (["AU4", "--out", "x.txt"], "does not end in .jsonl"),
        (["AU4", "--out", "IN"], "exists and holds something else than what was found; choose another name"),
        (["AU4", "--model", "no/run"], "no/run"),
        (["AU4", "--sentences", "some"], "pip install sentence-transformers"),
        (["AU4", "--what", "texts"], "what"),
    ],
)
def test_bad_input_is_one_sentence(
    file: Path, options: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "sentence_transformers" else True)
    options = [str(file) if word == "IN" else word for word in options]
    given = options if "--in" in options or "given for in" in told else [*options, "--in", str(file)]
    assert main(["find", *given]) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("\n") == 1


def test_a_file_without_analyses_says_what_can_be_searched(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [{**json.loads(line), "description": None} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(["find", "AU4", "--in", str(file)]) == 2
    assert "--what faces" in capsys.readouterr().err


def test_without_bm25_one_is_told_how_to_get_it(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    assert main(["find", "AU4", "--in", str(file)]) == 2
    assert "pip install 'fea[retrieval]'" in capsys.readouterr().err


# --- what is kept ---


class Letters:
    """Counts letters; remembers what it was asked about."""

    name, identity = "letters", "letters 1"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def documents(self, texts: Any) -> Vectors:
        if "kill" in texts:
            raise KeyboardInterrupt
        self.asked += texts
        return np.array([self.query(text, "") for text in texts])

    def query(self, text: str, instruction: str) -> Vectors:
        counts = np.array([text.count(letter) for letter in "abcdefghijklmnop"], dtype=np.float32)
        return counts / max(float(np.linalg.norm(counts)), 1)


def test_vectors_are_kept_part_by_part_and_belong_to_their_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "PART", 2)
    texts = ["a", "bb", "abc", "kill", "d"]
    first = Letters()
    with pytest.raises(KeyboardInterrupt):
        Index(texts, first, tmp_path)
    texts[3] = "p"
    second = Letters()
    whole = Index(texts, second, tmp_path)
    assert (first.asked, second.asked) == (["a", "bb"], ["abc", "p", "d"])
    assert whole.scores("a").tolist() == pytest.approx([1, 0, 3**-0.5, 0, 0])
    changed, third = [*texts[:4], "a"], Letters()
    assert Index(changed, third, tmp_path).scores("a")[4] == 1
    assert third.asked == ["a"]
    assert len(list(tmp_path.glob("*.npy"))) == 3  # none of texts that are gone
    next(tmp_path.glob("000001-*.npy")).write_bytes(b"not an array")
    fourth = Letters()
    assert Index(changed, fourth, tmp_path).scores("p").argmax() == 3
    assert fourth.asked == ["abc", "p"]
    other = Letters()
    other.identity = "letters 2"
    Index(changed, other, tmp_path)
    assert len(other.asked) == 5


def test_the_index_of_words_is_kept_and_belongs_to_its_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["the brows are low (AU4)", "the jaw drops (AU26)", "low brows, low lids"]
    fresh, stored = Words(texts), Words(texts, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("fea.retrieval.words._indexed", None)  # nothing is made again
        again = Words(texts, tmp_path)
    for query in ("low AU4", "jaw", "nothing of it"):
        assert fresh.scores(query).tolist() == stored.scores(query).tolist() == again.scores(query).tolist()
    assert fresh.scores("low").argmax() == 2
    assert fresh.scores("jaw", "low").nonzero()[0].tolist() == [0, 1, 2]
    assert Words(["the jaw drops", "x"], tmp_path).scores("jaw").nonzero()[0].tolist() == [0]
    assert len(list(tmp_path.iterdir())) == 1
    next(tmp_path.glob("words-*/data*")).unlink()
    assert Words(["the jaw drops", "x"], tmp_path).scores("jaw").nonzero()[0].tolist() == [0]


def test_bm25_is_the_formula_of_lucene() -> None:
    texts = ["au4 au7 au4", "au4", "au12 au6 au25 au26", "au7 au12"]
    bags = [text.split() for text in texts]
    mean = sum(map(len, bags)) / 4

    def score(bag: list[str]) -> float:
        total = 0.0
        for word in ("au4", "au7"):
            times, having = bag.count(word), sum(word in other for other in bags)
            rarity = np.log(1 + (4 - having + 0.5) / (having + 0.5))
            total += rarity * times / (times + 1.5 * (1 - 0.75 + 0.75 * len(bag) / mean))
        return total

    assert Words(texts).scores("AU4, AU7").tolist() == pytest.approx([score(bag) for bag in bags], rel=1e-6)


def test_a_changed_file_is_searched_as_it_is_now(file: Path) -> None:
    lines = file.read_text().splitlines()
    before = found(file, "AU99", "--top", "3")
    assert before == []
    record = json.loads(lines[3])
    record["description"] = record["description"].replace("<think>", "<think>A sign (AU99). ")
    file.write_text("\n".join([*lines[:3], json.dumps(record), *lines[4:]]) + "\n")
    assert [line["id"] for line in found(file, "AU99", "--top", "3")] == [record["id"]]


def test_only_the_best_by_score_are_read(faces_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fea.retrieval.ranking.CANDIDATES", 3)
    corpus = read(faces_file, None, EMOTIONS, "analyses", "kept")
    some = search(corpus, Words(corpus.texts), "AU25", "", Wish.of("AU25", EMOTIONS), 2)
    assert len(some) == 2
    assert corpus.document.cache_info().currsize == 3
    assert all(25 in set(map(au_number, one.document.example.aus or ())) for one in some)


def test_sentence_encoders_are_asked_with_the_instruction_before_the_query(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    class SentenceTransformer:
        def __init__(self, model: str, device: str | None) -> None:
            if model != "mine":
                raise OSError(f"{model} is not there\nmore")

        def encode(self, texts: list[str], normalize_embeddings: bool, show_progress_bar: bool) -> Any:
            asked.extend(texts)
            return np.eye(len(texts), 24)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr("fea.retrieval.sentences.find_spec", lambda name: True)
    lines = found(file, "a", "--sentences", "mine", "--instruction", "Find it.", "--index", str(tmp_path))
    assert asked[-1] == "Find it. a"
    assert len(asked) == 25
    assert lines[0]["score"] == 1
    assert main(["find", "a", "--in", str(file), "--sentences", "other"]) == 2


def test_without_a_folder_all_is_kept_in_the_cache(file: Path) -> None:
    found(file, "AU4")
    assert list((Path(datasets.config.HF_DATASETS_CACHE) / "fea").glob("retrieval-*/words-*"))
