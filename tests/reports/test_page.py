"""The page is one file, and its colors say what is right and wrong."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fea.data.example import Example
from fea.prompts.answer import parse, render
from fea.reports.page import Face, Page, write_page

NASTY = "<script>alert('&')</script>"


@pytest.fixture
def page(tmp_path: Path, examples: list[Example]) -> str:
    face = examples[0]._replace(aus=frozenset({"AU6", "AU12"}), coded=frozenset({1, 4, 6, 12}), labels=("happiness",))
    before = parse(render("AU1 and AU12, also AU20", "sadness"), face.emotions)
    after = parse(render("AU6 and AU12", "happiness"), face.emotions)
    file = tmp_path / "report.html"
    page = Page(
        title=NASTY,
        notes=[NASTY],
        header=["stage", "AU F1"],
        rows=[["SFT", "0.5"], [NASTY, "0.9"]],
        curves={"reward": [(0, 0.25), (10, 0.5), (20, 0.75)], "one point": [(0, 1.0)]},
        commands=["fea fit --config sft.yaml", NASTY],
        strong=[1],
        faces=[Face(face, {"before": before, "after": after, NASTY: parse(NASTY)})],
    )
    write_page(file, page)
    return file.read_text(encoding="utf-8")


def chips(page: str) -> list[tuple[str, str]]:
    return re.findall(r'<span class="au (\w+)"[^>]*>([^<]*)</span>', page)


def test_right_units_are_green_wrong_ones_red_and_missed_ones_dashed(page: str) -> None:
    assert chips(page)[:7] == [
        ("wrong", "sadness"), ("wrong", "AU1"), ("missed", "AU6"), ("right", "AU12"),  # AU20 was not coded: not judged
        ("right", "happiness"), ("right", "AU6"), ("right", "AU12"),
    ]  # fmt: skip


def test_an_answer_that_cannot_be_read_is_shown_as_such(page: str) -> None:
    assert chips(page)[7:] == [("wrong", "no answer"), ("missed", "AU6"), ("missed", "AU12")]


def test_colours_are_what_the_legend_says(page: str) -> None:
    assert re.search(r"\.right \{ background: #cdeccf", page)
    assert re.search(r"\.wrong \{ background: #f8cfcb", page)
    assert re.search(r"\.missed \{ border: 1px dashed", page)


def test_the_page_needs_no_other_file(page: str, examples: list[Example]) -> None:
    assert not re.findall(r"(?:src|href)=.?(?!data:)[\w/.]*\.", page)
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', page)
    assert picture is not None
    assert base64.b64decode(picture[1]) == Path(examples[0].image).read_bytes()


def test_nothing_that_a_policy_writes_becomes_markup(page: str) -> None:
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 7  # two titles, a note, a cell, an answer with its title, a command


def test_a_curve_spans_its_axes(page: str) -> None:
    drawn = re.findall(r'<polyline points="([^"]+)"', page)
    assert drawn == ["44.0,148.0 178.0,78.0 312.0,8.0"]  # a single point makes no curve
    assert ">0.75<" in page
    assert ">0.25<" in page
    assert ">step 20<" in page


def test_stressed_rows_are_marked(page: str) -> None:
    assert re.findall(r"<tr( class=strong)?><td>(\w*)", page) == [("", "SFT"), (" class=strong", "")]


class Balance(HTMLParser):
    """Collects tags that are not closed in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_tag_is_closed(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []


class Told(HTMLParser):
    """Collects what a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words += filter(None, [data.strip()])


def test_the_page_tells_everything_in_its_order(page: str) -> None:
    parser = Told()
    parser.feed(page[page.index("</style>") :])
    assert parser.words == [
        *(NASTY, NASTY),
        *("stage", "AU F1", "SFT", "0.5", NASTY, "0.9"),
        *("Learning curves", "0.75", "0.25", "step 20", "reward"),
        "Faces",
        "Green: there and named. Red: named but not there. Dashed: there but not named.",
        "happiness: AU6 AU12",
        *("before", "sadness", "AU1", "AU6", "AU12", "AU1 and AU12, also AU20"),
        *("after", "happiness", "AU6", "AU12", "AU6 and AU12"),
        *(NASTY, "no answer", "AU6", "AU12", NASTY),
        *("Commands", f"fea fit --config sft.yaml\n{NASTY}"),
    ]


def test_a_page_without_faces_has_no_legend(tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", Page("fea", [], ["run"], [["sft"]], {}, []))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Green" not in page
    assert "class=strong" not in page
