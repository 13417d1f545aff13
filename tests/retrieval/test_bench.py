"""`fea bench retrieval`: what it measures, that it goes on where it was stopped, and that it says the same every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fea.cli import main
from fea.drawn.faces import EMOTIONS, write_faces
from fea.errors import FEAError
from fea.evaluation.retrieval import Numbers, ndcg
from fea.retrieval import bench
from fea.retrieval.bench import Journal, improved
from fea.retrieval.documents import read
from fea.retrieval.queries import Query, queries


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 analyses of drawn faces, every fifth without its last tag."""
    drawn = write_faces(tmp_path_factory.mktemp("bench"), 60, seed=8)
    records = [json.loads(line) for line in drawn.read_text().splitlines()]
    for record in records[::5]:
        record["description"] = record["description"].removesuffix("</answer>")
    drawn.write_text("".join(json.dumps(record) + "\n" for record in records))
    return drawn


def told(out: Path) -> Any:
    return json.loads((out / "metrics.json").read_text())


def test_the_table_and_the_numbers_behind_it(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["bench", "retrieval", str(file), "--queries", "6", "--out"]
    assert main([*options, str(tmp_path / "1")]) == 0
    shown = capsys.readouterr().out
    found = told(tmp_path / "1")
    assert {row["family"] for row in found["rows"]} >= {"units", "emotion", "format"}
    assert (found["documents"], found["model"], found["file"]) == (60, None, "faces.jsonl")
    for row in found["rows"]:
        assert f"{row['family']} " in shown
        for score in ("ndcg@10", "recall@100", "map@10"):
            for way in ("without", "with"):
                mean, low, high = row[score][way]
                assert 0 <= low <= mean <= high <= 1
            assert row[score]["gain"][0] == pytest.approx(row[score]["with"][0] - row[score]["without"][0], abs=2e-6)
    (units,) = (row for row in found["rows"] if row["family"] == "units")
    assert units["ndcg@10"]["without"][0] > 0.5  # words are codes here
    assert f"BM25: the instruction helps in {found['rankers']['BM25']['families_improved']} of" in shown
    assert main([*options, str(tmp_path / "2")]) == 0
    assert [(tmp_path / n / "metrics.json").read_bytes() for n in "12"] == [
        (tmp_path / "1" / "metrics.json").read_bytes()
    ] * 2


class Best:
    """Knows what is wanted, if it is given the instruction; counts how often it is asked."""

    name = "best"

    def __init__(self, asked: dict[str, Query], asks: list[str], dies: int = 10**6):
        self.asked, self.asks, self.dies = asked, asks, dies

    def rank(self, query: str, instruction: str = "", left_out: Any = ()) -> Numbers:
        self.asks.append(query)
        if len(self.asks) > self.dies:
            raise KeyboardInterrupt
        grades = self.asked[query + instruction].grades if instruction else np.zeros(60)
        order = np.argsort(-grades, kind="stable")
        return order[~np.isin(order, left_out)]


@pytest.fixture(scope="module")
def families(file: Path) -> dict[str, list[Query]]:
    corpus = read(file, None, EMOTIONS, "analyses", "kept")
    return queries([corpus.document(number) for number in range(60)], "kept", 4)


def test_a_ranker_that_follows_the_instruction_gains_by_it(families: dict[str, list[Query]], tmp_path: Path) -> None:
    asked = {query.text + query.instruction: query for some in families.values() for query in some}
    rows = bench.run(families, {"best": lambda: Best(asked, [])}, Journal(tmp_path / "q.jsonl", {"seed": 0}))
    assert [row.family for row in rows] == [family for family, some in families.items() if some]
    for row in rows:
        assert row.given["ndcg@10"] == (1, 1, 1)
        # More units than were asked for are still worth something, so only the other families push down what they flip.
        assert row.family == "units" or row.p_mrr.mean > 0
        plain = [ndcg(order_without(query), query.grades) for query in families[row.family]]
        assert row.without["ndcg@10"].mean == pytest.approx(np.mean(plain))
    assert improved(rows, "best") == (len(rows), len(rows))


def order_without(query: Query) -> Numbers:
    return np.array([number for number in range(60) if number != query.source])


def test_a_run_that_was_killed_goes_on_behind_the_last_query(families: dict[str, list[Query]], tmp_path: Path) -> None:
    asked = {query.text + query.instruction: query for some in families.values() for query in some}
    whole = bench.run(families, {"best": lambda: Best(asked, [])}, Journal(tmp_path / "whole.jsonl", {"seed": 0}))
    first: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        bench.run(families, {"best": lambda: Best(asked, first, dies=7)}, Journal(tmp_path / "q.jsonl", {"seed": 0}))
    with (tmp_path / "q.jsonl").open("ab") as stream:
        stream.write(b'{"ranker": "best", "que')  # cut short by the kill
    second: list[str] = []
    made: Callable[[], Best] = lambda: Best(asked, second)  # noqa: E731
    assert bench.run(families, {"best": made}, Journal(tmp_path / "q.jsonl", {"seed": 0})) == whole
    assert len(second) == 2 * sum(map(len, families.values())) - 6  # three were whole
    assert (tmp_path / "q.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    third: list[str] = []
    assert (
        bench.run(families, {"best": lambda: Best(asked, third)}, Journal(tmp_path / "q.jsonl", {"seed": 0})) == whole
    )
    assert third == []
    with pytest.raises(FEAError, match=r"begun with other settings \(seed\)"):
        Journal(tmp_path / "q.jsonl", {"seed": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--queries", "0"], "queries: 0"),
        (["--rerank", "-1"], "rerank: -1"),
        (["--model", "no/run"], "no/run"),
        (["--index", "FILE"], "is a file; name a folder"),
    ],
)
def test_bad_options_are_one_sentence(
    file: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(file) if word == "FILE" else word for word in options]
    assert main(["bench", "retrieval", str(file), "--out", str(tmp_path / "out"), *given]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_other_documents_are_other_measurements(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["bench", "retrieval", str(file), "--queries", "2", "--out", str(tmp_path)]
    assert main(options) == 0
    assert main([*options, "--codes", "stripped"]) == 2
    assert "(codes, texts)" in capsys.readouterr().err
