"""The page of an evaluation says what `metrics.json` says, asks nobody for anything, and can be read on a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browsing import chromium
from evaluated import NASTY, answered, evaluation
from playwright.sync_api import Browser

from fea.cli import main
from fea.data.example import Example
from fea.facs import EMOTION_SETS
from fea.prompts.answer import parse
from fea.protocols.cases import Case
from fea.protocols.scored import read
from fea.reports import faces
from fea.reports.evaluation import INTENDED, write_evaluation


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def many(examples: list[Example]) -> list[Case]:
    """96 answers: the drawn faces four times over, under other ids."""
    return answered([e._replace(id=f"{e.id}-{n}") for n in range(4) for e in examples], wrong=5)


def page_of(folder: Path, *more: str) -> str:
    assert main(["report", str(folder), *more]) == 0
    return (folder / "report.html").read_text(encoding="utf-8")


def table(page: str, name: str) -> list[list[str]]:
    """The cells of a table, a row each, as they are read."""
    found, *_ = re.findall(rf"<table[^>]*{name}[^>]*>(.*?)</table>", page, re.DOTALL)
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", found, re.DOTALL)
    return [[plain(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def plain(cell: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", cell).replace("&nbsp;", " ").split())


def with_ends(value: float, ends: list[float] | None) -> str:
    return f"{value:.3f}" + (f" {ends[0]:.3f} to {ends[1]:.3f}" if ends else "")


def test_every_number_is_that_of_metrics_json(tmp_path: Path, many: list[Case]) -> None:
    evaluation(tmp_path, many, unmatched={"no answer": ["a", "b"]}, model={"base": "tiny", "prompt": "1"})
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    page = page_of(tmp_path)
    scores, ends = metrics["scores"], metrics["intervals"]

    head, mine, *baselines = table(page, "id=headline")
    names = ["score", "au_f1", "emotion_f1", "accuracy"]
    assert head[1:] == ["overall", "AU F1", "emotion F1", "accuracy"]
    assert mine[1:] == [with_ends(scores[name], ends.get(name)) for name in names]
    for row in baselines:
        shares = metrics["baselines"][row[0].split()[0]]
        assert row[1:] == [f"{shares[name]:.3f}" if name in shares else "-" for name in names]
    assert len(baselines) == 2

    found = dict(re.findall(r'<td data-name="(\w+)">(.*?)</td>', page[page.index("id=scores") :]))
    assert {name: plain(cell) for name, cell in found.items()} == {
        name: with_ends(value, ends.get(name)) for name, value in scores.items()
    }
    for kind, rows in zip(
        ("units", "emotions"), re.findall(r"<table class=classes>(.*?)</table>", page, re.DOTALL), strict=True
    ):
        cells = table(f"<table class=classes>{rows}</table>", "classes")[1:]
        expected = [
            [
                *(f"{numbers[key]:.3f}" for key in ("f1", "precision", "recall")),
                f"{numbers['support']}" + (f" of {numbers['coded']}" if kind == "units" else ""),
            ]
            for numbers in metrics[kind].values()
        ]
        assert [row[-4:] for row in cells] == expected
        assert [row[0].split()[0] for row in cells] == list(metrics[kind])
    counts = [[cell.replace("·", "0") for cell in row[1:]] for row in table(page, "id=confusion")[1:]]
    assert counts == [list(map(str, row)) for row in metrics["confusion"]["counts"]]
    assert table(page, "id=unmatched")[1:] == [["no answer", "2", "a, b"]]
    assert f"{metrics['faces']}, of {metrics['subjects']} people" in page
    assert "bootstrap over subjects" in page
    assert INTENDED in page


def test_groups_of_few_faces_get_a_count_and_no_score(tmp_path: Path, many: list[Case]) -> None:
    scored = evaluation(tmp_path, many)
    page = page_of(tmp_path)
    assert {value: found["faces"] for value, found in scored.subgroups["pose"].items()} == {"frontal": 48, "profile": 8}
    _, frontal, profile = table(page, 'data-key="pose"')
    assert profile == ["profile", "8", "too few for a score"]
    numbers = scored.subgroups["pose"]["frontal"]
    assert frontal == [
        "frontal", "48",
        *(with_ends(numbers["scores"][n], numbers["intervals"].get(n)) for n in ("au_f1", "emotion_f1", "accuracy")),
    ]  # fmt: skip
    assert [row[1] for row in table(page, 'data-key="gender"')[1:]] == ["48", "48"]
    votes = table(page, "id=votes")[1:]
    assert [row[:2] for row in votes] == [
        ["0.0 to 0.2", "0"], ["0.2 to 0.4", "0"], ["0.4 to 0.6", "20"], ["0.6 to 0.8", "38"], ["0.8 to 1.0", "38"]
    ]  # fmt: skip
    assert votes[0][2] == votes[1][2] == "too few"
    evaluation(tmp_path / "few", many[:19])
    few = page_of(tmp_path / "few")
    assert "expected calibration error" not in few
    assert all(row[2:] == ["too few"] for row in table(few, "id=votes")[1:])


def hostile(many: list[Case]) -> list[Case]:
    case = many[0]
    example = case.example._replace(id=NASTY, image=f"/nowhere/{NASTY}.png", meta=json.dumps({"subject": NASTY}))
    words = case.example.emotions
    return [
        case._replace(example=example, answer=parse(f"<think>{NASTY} AU12</think><answer>{NASTY}</answer>", words)),
        *(one._replace(groups={"pose": NASTY, "dataset": f"faces{NASTY}"}) for one in many[1:30]),
        *(one._replace(groups={"pose": "frontal", "dataset": "faces"}) for one in many[30:]),
    ]


def test_hostile_texts_are_shown_as_text(tmp_path: Path, many: list[Case], browser: Browser) -> None:
    evaluation(tmp_path, hostile(many), unmatched={NASTY: [NASTY]}, model={"base": NASTY, NASTY: "x"})
    page = page_of(tmp_path)
    assert "<script" not in page
    assert "<img src=x" not in page
    shown = browser.new_page()
    said: list[str] = []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("dialog", lambda dialog: said.append("dialog") or dialog.dismiss())  # type: ignore[func-returns-value]
    shown.goto((tmp_path / "report.html").as_uri())
    assert shown.title() == "Evaluation by fea20k"
    assert said == []
    assert shown.locator(".face", has_text=NASTY).count() >= 1
    assert shown.locator("dd", has_text=NASTY).count() == 1
    shown.close()


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_needs_nothing_else_and_fits(width: int, tmp_path: Path, many: list[Case], browser: Browser) -> None:
    long = many[0].example._replace(id="x" * 300)
    cases = [many[0]._replace(example=long, answer=parse("y" * 900 + " AU12", long.emotions)), *many[1:]]
    evaluation(tmp_path, cases, unmatched={"z" * 200: ["w" * 300]}, model={"base": "/a" * 200})
    page_of(tmp_path)
    shown = browser.new_page(viewport={"width": width, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    address = (tmp_path / "report.html").as_uri()
    shown.goto(address)
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert said == []
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    pictures = shown.evaluate("[...document.images].map(i => [i.naturalWidth, i.alt])")
    assert len(pictures) == 24
    assert all(pixels == 112 and alt.startswith("Face ") for pixels, alt in pictures)
    plots = shown.evaluate("[...document.querySelectorAll('svg')].map(s => s.getAttribute('aria-label') || '')")
    assert plots
    assert all(plots)
    shown.close()


def test_faces_are_left_out_where_the_files_are_gone_or_must_not_be_shown(tmp_path: Path, many: list[Case]) -> None:
    moved = [case._replace(example=case.example._replace(image="gone.png")) for case in many]
    evaluation(tmp_path, moved)
    page = page_of(tmp_path)
    assert page.count("the picture cannot be read") == 24
    evaluation(tmp_path / "here", many)
    assert page_of(tmp_path / "here").count("data:image/jpeg") == 24
    page = page_of(tmp_path / "here", "--pictures", "false")
    assert "data:image/jpeg" not in page
    assert "the picture cannot be read" not in page
    assert page.count('class="face bare"') == 24


def test_the_worst_come_first_and_examples_by_chance(many: list[Case]) -> None:
    chosen = faces.worst(many, 12)
    values = [faces.worth(case) for case in chosen]
    assert values == sorted(values)  # type: ignore[type-var]
    assert max(values) <= min(value for case in many if case not in chosen for value in [faces.worth(case)])  # type: ignore[type-var]
    wrong = {case.example.id for number, case in enumerate(many) if number % 5 == 0}
    assert {case.example.id for case in chosen} <= wrong
    drawn = faces.drawn(many, 12)
    assert drawn == faces.drawn(list(reversed(many)), 12)
    assert not {case.example.id for case in drawn} <= wrong


def test_claims_are_marked_by_the_labels(tmp_path: Path, many: list[Case]) -> None:
    example = many[0].example._replace(
        aus=frozenset({"AU6", "AU12"}), coded=frozenset({1, 6, 12}), labels=("happiness",)
    )
    said = "<think>AU1 and AU12, AU20, no AU4</think><answer>sadness</answer>"
    shown = faces.shown(many[0]._replace(example=example, answer=parse(said, example.emotions)), tmp_path, False)
    assert [(piece.text, piece.kind) for piece in shown.pieces if piece.kind not in ("plain", "tag")] == [
        ("AU1", "wrong"), ("AU12", "right"), ("AU20", "unknown"), ("AU4", "supposed"), ("sadness", "wrong"),
    ]  # fmt: skip
    assert shown.missed == ["AU6"]
    assert shown.truth == "happiness; AU6 AU12"
    assert shown.worth == pytest.approx((2 * 1 / 4 + 0) / 2)


@pytest.mark.parametrize("kind", ["no units", "no emotions", "no intervals", "lenient", "rows of a table", "folds"])
def test_whatever_is_not_known_is_left_out(kind: str, tmp_path: Path, many: list[Case]) -> None:
    cases, protocol, draws = list(many), "fea20k", 20
    if kind == "no units":
        cases = [case._replace(example=case.example._replace(aus=None, coded=frozenset())) for case in many]
    elif kind == "no emotions":
        cases = [case._replace(example=case.example._replace(labels=())) for case in many]
    elif kind == "no intervals":
        draws = 0
    elif kind == "rows of a table":
        empty = {
            id(case): case.answer._replace(text="", mentions=(), think_span=None, answer_span=None) for case in many
        }
        cases = [case._replace(answer=empty[id(case)]) for case in many]
    elif kind == "folds":
        people = ["SN001", "SN003", "SN013", "SN002"]
        coded = frozenset({1, 2, 4, 6, 9, 12, 25, 26})
        for n, case in enumerate(many):
            meta = json.dumps({"threshold": 2, "subject": people[n % 4]})
            face = case.example._replace(dataset="disfa", coded=coded, intensities={}, meta=meta)
            cases[n] = case._replace(example=face, subject=people[n % 4], fold=(3, 1, 2, 3)[n % 4])
        protocol = "disfa-8"
    evaluation(tmp_path, cases, protocol, draws, lenient=kind == "lenient")
    page = page_of(tmp_path)
    assert ("<h2>Action Units" in page) is (kind != "no units")
    assert ("<h2>Emotions" in page) is (kind not in ("no emotions", "folds"))
    assert ("none were made" in page) is (kind == "no intervals")
    assert ("leniently: free text" in page) is (kind == "lenient")
    assert ("id=folds" in page) is (kind == "folds")
    assert ("Claims:" in page) is (kind != "rows of a table")
    assert "nan" not in re.sub(r"<style>.*?</style>|base64,[^\"]*", "", page, flags=re.DOTALL)


def test_intensities_stand_beside_f1_where_they_were_told(tmp_path: Path, many: list[Case]) -> None:
    scored = evaluation(tmp_path, many)
    first, second, *_ = scored.units
    units = {**scored.units, second: {**scored.units[second], "icc": 0.625, "mae": 1.25}}
    write_evaluation(tmp_path / "graded.html", replace(scored, units=units), many)
    head, plain_row, graded = table((tmp_path / "graded.html").read_text(encoding="utf-8"), "class=classes")[:3]
    assert head[2:] == ["F1", "precision", "recall", "ICC", "MAE", "faces"]
    assert (plain_row[0].split()[0], plain_row[5:7]) == (first, ["-", "-"])
    assert (graded[0].split()[0], graded[5:7]) == (second, ["0.625", "1.250"])


def test_an_opinion_of_a_judge_is_told_as_one(
    tmp_path: Path, many: list[Case], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation(tmp_path, many)
    told = {
        "judge": {"model": "judge-1", "rubric": "1"}, "faces": 96, "judged": 90, "failed": {"timeout": 6},
        "criteria": {
            "facts": {
                "faces": 90, "mean": 6.25, "interval": [6.0, 6.5], "emotions": {}, "mean_over_emotions": 5.75,
                "interval_over_emotions": [5.25, 6.0],
            },
            "clarity": {"faces": 19, "mean": 9.0, "interval": [8.0, 10.0]},
        },
    }  # fmt: skip
    file = tmp_path / "judged.summary.json"
    file.write_text(json.dumps(told))
    page = page_of(tmp_path, "--judged", str(file))
    assert table(page, "id=judge")[1:] == [
        ["facts", "90", "6.25 6.00 to 6.50", "5.75 5.25 to 6.00"], ["clarity", "19", "too few"]
    ]  # fmt: skip
    assert "90 of 96 texts have a verdict; failed and in no mean: timeout 6." in page
    file.write_text("[1]")
    assert main(["report", str(tmp_path), "--judged", str(file)]) == 2
    assert "is no summary of fea judge" in capsys.readouterr().err


def test_a_folder_without_an_evaluation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no metrics.json" in capsys.readouterr().err


def test_the_page_is_written_from_what_was_read_back(tmp_path: Path, many: list[Case]) -> None:
    evaluation(tmp_path, many)
    page = page_of(tmp_path)
    scored, cases = read(tmp_path)
    write_evaluation(tmp_path / "again.html", scored, cases)
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page
    assert len(EMOTION_SETS["basic8"]) == len(scored.confusion["labels"])
