"""Two evaluations on the same faces, against scikit-learn on every draw."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browsing import chromium
from evaluated import NASTY, answered, evaluation
from playwright.sync_api import Browser
from sklearn.metrics import accuracy_score, f1_score

from fea.cli import main
from fea.data.example import Example
from fea.protocols.cases import Case
from fea.protocols.compared import Comparison, compared
from fea.protocols.measuring import resampled
from fea.protocols.scored import read
from fea.reports.comparison import text_of

DRAWS = 60  # enough to tell one way of drawing from another


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def many(examples: list[Example]) -> list[Example]:
    return [e._replace(id=f"{e.id}-{n}") for n in range(4) for e in examples]


def pair(folder: Path, first: list[Case], second: list[Case], **more: object) -> Comparison:
    evaluation(folder / "a", first, draws=0, **more)  # type: ignore[arg-type]
    evaluation(folder / "b", second, draws=0, **more)  # type: ignore[arg-type]
    return compared(read(folder / "a"), read(folder / "b"), DRAWS)


def alone(cases: list[Case]) -> list[Case]:
    """Cases of nobody who is known, so that faces are drawn."""
    return [case._replace(subject=None) for case in cases]


def test_values_are_those_of_metrics_json(tmp_path: Path, many: list[Example]) -> None:
    found = pair(tmp_path, answered(many, 3), answered(many, 7))
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab"]
    for name, change in found.scores.items():
        assert (change.first, change.second) == pytest.approx((metrics[0]["scores"][name], metrics[1]["scores"][name]))
    assert found.scores.keys() == metrics[0]["scores"].keys()
    for kind, changes in (("units", found.units), ("emotions", found.emotions)):
        assert changes.keys() == metrics[0][kind].keys()
        for name, change in changes.items():
            assert (change.first, change.second) == pytest.approx(
                (metrics[0][kind][name]["f1"], metrics[1][kind][name]["f1"])
            )
            assert change.support == metrics[0][kind][name]["support"]
            assert change.difference is not None
            assert change.difference.mean == pytest.approx(change.second - change.first)
    assert (found.faces, found.people, found.resampled) == (96, 8, "subjects")


def taken(cases: list[Case], by_people: bool) -> Iterator[list[Case]]:
    """The cases of each draw, those that are drawn twice twice: in a loop, from the same draws."""
    rows = list(dict.fromkeys(case.subject if by_people else n for n, case in enumerate(cases)))
    for times in np.concatenate(list(resampled(np.zeros(len(rows), dtype=np.int64), DRAWS, 0))):
        often = dict(zip(rows, times.astype(int), strict=True))
        yield [case for n, case in enumerate(cases) for _ in range(often[case.subject if by_people else n])]


def accuracy(cases: list[Case]) -> float:
    return float(accuracy_score([c.example.labels[0] for c in cases], [c.answer.emotion for c in cases]))


def emotion_f1(cases: list[Case]) -> float:
    labels = [c.example.labels[0] for c in cases]
    return float(f1_score(labels, [c.answer.emotion for c in cases], labels=sorted(set(labels)), average="macro"))


def smile_f1(cases: list[Case]) -> float:
    return float(
        f1_score([12 in c.example.present for c in cases], [12 in c.answer.aus for c in cases], zero_division=0)
    )


@pytest.mark.parametrize("by_people", [True, False])
@pytest.mark.parametrize(
    ("measure", "place"),
    [(accuracy, "accuracy"), (emotion_f1, "emotion_f1"), (smile_f1, "AU12")],
)
def test_an_interval_is_that_of_paired_draws(
    measure: Callable[[list[Case]], float], place: str, by_people: bool, tmp_path: Path, many: list[Example]
) -> None:
    first, second = answered(many, 3), answered(many, 5)
    if not by_people:
        first, second = alone(first), alone(second)
    found = pair(tmp_path, first, second)
    draws = zip(taken(first, by_people), taken(second, by_people), strict=True)
    differences = [measure(b) - measure(a) for a, b in draws]
    change = {**found.scores, **found.units}[place]
    assert change.difference is not None
    assert change.difference.mean == pytest.approx(measure(second) - measure(first))
    assert list(change.difference[1:]) == pytest.approx(np.quantile(differences, (0.025, 0.975)).tolist(), abs=1e-12)
    assert found.resampled == ("subjects" if by_people else "faces")


def test_a_run_does_not_differ_from_itself_and_the_order_turns_the_sign(tmp_path: Path, many: list[Example]) -> None:
    cases = answered(many, 3)
    same = pair(tmp_path / "same", cases, cases)
    changes = [*same.scores.values(), *same.units.values(), *same.emotions.values()]
    assert all(change.difference == (0, 0, 0) for change in changes)
    there = pair(tmp_path / "there", cases, answered(many, 5))
    back = compared(read(tmp_path / "there" / "b"), read(tmp_path / "there" / "a"), DRAWS)
    for name, change in there.scores.items():
        one, other = change.difference, back.scores[name].difference
        assert one is not None
        assert other is not None
        assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))


def test_faces_of_one_run_alone_are_named_and_left_out(tmp_path: Path, many: list[Example]) -> None:
    first, second = answered(many, 3), answered(many, 5)
    moved = [c._replace(example=c.example._replace(image=f"/elsewhere/{Path(c.example.image).name}")) for c in second]
    found = pair(tmp_path, first[:90], list(reversed(moved))[:-1])
    whole = pair(tmp_path / "whole", first[1:90], second[1:90])
    assert found.faces == 89
    assert found.only == ([first[0].example.id], [case.example.id for case in reversed(second[90:])])
    for name, change in found.scores.items():
        assert change.first == pytest.approx(whole.scores[name].first)
        assert change.second == pytest.approx(whole.scores[name].second)
    told = text_of(found, ["a", "b"])
    assert f"only in the first, and left out: 1 ({first[0].example.id})" in told
    assert "only in the second, and left out: 6 (" in told
    assert told.count(", ...") == 1


def changed(cases: list[Case], **changes: object) -> list[Case]:
    return [cases[0]._replace(example=cases[0].example._replace(**changes)), *cases[1:]]  # type: ignore[arg-type]


def test_what_cannot_be_compared_is_refused_in_one_sentence(
    tmp_path: Path, many: list[Example], capsys: pytest.CaptureFixture[str]
) -> None:
    cases = answered(many, 3)
    coded = cases[0].example.coded
    runs: dict[str, tuple[list[Case], dict[str, object]]] = {
        "protocol": ([c._replace(example=c.example._replace(dataset="raf-db")) for c in cases], {"protocol": "rafdb-7"}),
        "lenient": (cases, {"lenient": True}),
        "label": (changed(cases, labels=("anger", "fear")), {}),
        "units": (changed(cases, aus=frozenset({"AU1", "AU27"}) - cases[0].example.aus), {}),  # type: ignore[operator]
        "coded": (changed(cases, coded=coded - {max(coded)}, aus=frozenset()), {}),
        "other faces": ([c._replace(example=c.example._replace(id=f"x{c.example.id}")) for c in cases], {}),
        "twice": ([cases[0], *cases], {}),
    }  # fmt: skip
    told = {
        "protocol": "one run was scored by fea20k, the other one by rafdb-7",
        "lenient": "read leniently",
        "label": "the labels of 1 of 96 faces differ between the runs, such as those of 'face-5-0-0'",
        "units": "the labels of ", "coded": "the labels of ",
        "other faces": "no face is in both runs: one has 'face-5-0-0', 'face-5-1-0', ..., the other one 'xface-5-0-0'",
        "twice": "2 faces of a run are called 'face-5-0-0'",
    }  # fmt: skip
    evaluation(tmp_path / "a", cases, draws=0)
    for name, (others, more) in runs.items():
        evaluation(tmp_path / name, others, draws=0, **more)  # type: ignore[arg-type]
        assert main(["compare", str(tmp_path / "a"), str(tmp_path / name)]) == 2, name
        said = capsys.readouterr().err
        assert said.startswith("fea: error: "), name
        assert told[name] in said, name
        assert len(said.splitlines()) == 1
    for words in (["--draws", "0"], ["--out", "page.txt"]):
        assert main(["compare", str(tmp_path / "a"), str(tmp_path / "a"), *words]) == 2
    (tmp_path / "report.html").write_text("<title>Evaluation</title>")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "a"), "-o", str(tmp_path / "report.html")]) == 2
    assert (tmp_path / "report.html").read_text() == "<title>Evaluation</title>"
    assert main(["compare", str(tmp_path / "a"), str(tmp_path)]) == 2
    assert "holds no metrics.json" in capsys.readouterr().err


def test_it_is_a_table_and_a_page(
    tmp_path: Path, many: list[Example], capsys: pytest.CaptureFixture[str], browser: Browser
) -> None:
    first, second = answered(many, 2), answered(many, 9)
    names = {"first": tmp_path / "a", "second": tmp_path / "<b>b"}
    evaluation(names["first"], first, model={"base": NASTY}, draws=0)
    evaluation(names["second"], second, draws=0)
    page = tmp_path / "compare.html"
    assert main(["compare", *map(str, names.values()), "-o", str(page), "--draws", str(DRAWS)]) == 0
    shown = capsys.readouterr().out
    assert (
        main(["compare", *map(str, names.values()), "-o", str(page), "--draws", "5"]) == 0
    )  # one of its own is replaced
    assert main(["compare", *map(str, names.values()), "-o", str(page), "--draws", str(DRAWS)]) == 0
    capsys.readouterr()
    found = compared(read(names["first"]), read(names["second"]), DRAWS)
    lines = shown.splitlines()
    for title, name in (("AU F1", "au_f1"), ("accuracy", "accuracy"), ("invented", "invented")):
        change = found.scores[name]
        assert change.difference is not None
        (line,) = (line for line in lines if line.startswith(f"{title}  "))
        cells = f"{change.first:.3f} {change.second:.3f} {change.difference.mean:+.3f}"
        ends = f"{change.difference.low:+.3f} to {change.difference.high:+.3f}"
        assert " ".join(line.split()) == f"{title} {cells} {ends} better"
    few = {name for name, change in {**found.units, **found.emotions}.items() if change.support < 20}
    assert few
    assert len(few) < len(found.units) + len(found.emotions)
    for name in few:
        (line,) = (line for line in lines if line.startswith(f"{name} "))
        assert line.split() == [name, "too", "few", str({**found.units, **found.emotions}[name].support)]
    assert re.search(r"\d+ of \d+ intervals leave out 0; if nothing had changed, about \d+ would by chance", shown)

    # The page says the same, asks for nothing, and fits on a phone.
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<b>b" not in text
    for width in (1280, 400):
        tab = browser.new_page(viewport={"width": width, "height": 900})
        said: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda message, said=said: said.append(message.text))
        tab.on("request", lambda request, asked=asked: asked.append(request.url))
        tab.goto(page.as_uri())
        assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
        assert said == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        for name, change in found.scores.items():
            assert change.difference is not None
            cell = tab.locator(f"[data-name='{name}']").inner_text().split()
            assert cell[0] == f"{change.difference.mean:+.3f}"
            assert [cell[1], cell[3]] == [f"{change.difference.low:+.3f}", f"{change.difference.high:+.3f}"]
        assert tab.locator("td.none").count() == len(few)
        tab.close()


def test_folds_are_averaged_as_in_the_protocol(tmp_path: Path, many: list[Example]) -> None:
    people = ["SN001", "SN003", "SN013", "SN002"]

    def on_disfa(cases: list[Case]) -> list[Case]:
        found = []
        for n, case in enumerate(cases):
            meta = json.dumps({"threshold": 2, "subject": people[n % 4]})
            coded = frozenset({1, 2, 4, 6, 9, 12, 25, 26})
            face = case.example._replace(dataset="disfa", coded=coded, intensities={}, meta=meta)
            found.append(case._replace(example=face, subject=people[n % 4], fold=(3, 1, 2, 3)[n % 4]))
        return found

    found = pair(tmp_path, on_disfa(answered(many, 3)), on_disfa(answered(many, 7)), protocol="disfa-8")
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab"]
    assert metrics[0]["folds"].keys() == {"1", "2", "3"}
    assert found.units.keys() == metrics[0]["units"].keys()
    for name, change in found.units.items():
        assert (change.first, change.second) == pytest.approx(
            (metrics[0]["units"][name]["f1"], metrics[1]["units"][name]["f1"])
        )
    assert found.emotions == {}
