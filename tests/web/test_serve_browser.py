"""`fea serve` as a person uses it: a photograph, words that appear, sliders, and errors that are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from answering import Scripted, desk_of, served
from browsing import chromium
from conftest import small_config
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.model.policy import Policy
from fea.pictures.schematic import probed
from fea.prompts.answer import parse, render
from fea.web.server import Address

PORT = 17874
SMILE = render(
    "眉 <b>The</b> lip corners go up (AU12D), and the cheeks (AU6), with a dimple (AU14); no frown (AU4).", "joy"
)
CALM = render("All is at rest.", "neutral")


class Reader(Scripted):
    """Says of a drawn face at rest that it is calm, and of all others that they smile; fails when it is told to."""

    fails = False

    def __init__(self, policy: Policy):
        super().__init__(policy, self.read, pause=0.004)
        nothing = Example("", "", "", "", "", None, frozenset(), (), (), None, {}, None, None, "0")
        self.rest = self.encoder.of(nothing, probed({}, 224)).pixels

    def read(self, prompt: Prompt) -> str:
        if self.fails:
            raise MemoryError("no room for an answer")
        return CALM if prompt.pixels.equal(self.rest) else SMILE


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(Policy(small_config(), {}).eval())


@pytest.fixture(scope="module")
def address(reader: Reader) -> Iterator[Address]:
    with desk_of(reader, 256) as desk, served(desk, PORT) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: Address) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1366, "height": 900}, accept_downloads=True)
    found, asked, wrong = context.new_page(), [], []
    found.on("request", lambda request: asked.append(request.url))
    found.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.goto(address.url)
    expect(found.locator("#model")).to_have_text("tiny")
    yield found
    assert all(url.startswith((f"http://127.0.0.1:{PORT}/", "blob:", "data:")) for url in asked), asked
    # That a request was refused is told by the browser too.
    assert [line for line in wrong if "Failed to load resource" not in line] == []
    context.close()


def watch_words(page: Page) -> None:
    """Keeps every text that the reasoning has had."""
    page.evaluate(
        """() => { window.texts = [];
            new MutationObserver(() => window.texts.push(document.getElementById("text").textContent))
              .observe(document.getElementById("text"), { childList: true, subtree: true }); }"""
    )


def test_a_photograph_is_answered_word_by_word(page: Page, faces_file: Path) -> None:
    watch_words(page)
    page.locator("#file").set_input_files(faces_file.parent / "images" / "5-000000.png")
    expect(page.locator("#emotion")).to_have_text("happiness")
    reasoning = parse(SMILE).think
    expect(page.locator("#text")).to_have_text(str(reasoning))
    told = [text for text in page.evaluate("window.texts") if text]
    growing = [text for text in told if str(reasoning).startswith(text)]
    assert len(set(growing)) > 12  # 18 words; some may have come in one go
    assert growing == sorted(growing, key=len)

    # Texts of the model are texts, and units have their colors and their names.
    assert page.locator("#text b").count() == 0
    assert page.locator("#text span").all_text_contents() == ["AU12D", "AU6", "AU14", "AU4"]
    assert page.locator("#text .supposed").all_text_contents() == ["AU4"]
    assert page.locator("#text span").first.get_attribute("title") == (
        "AU12 lip corner puller: the lip corners go up and back"
    )
    assert page.locator("#units li").all_text_contents() == ["AU6cheek raiser", "AU12lip corner puller", "AU14dimpler"]
    expect(page.locator("#undrawn")).to_have_text("; cannot be drawn: AU14")
    source = page.locator("#schematic").get_attribute("src")
    assert source == "/drawn?AU6=0.692&AU12=0.846"
    page.wait_for_function("document.getElementById('schematic').naturalWidth === 336")
    assert page.evaluate("[shown.width, shown.height]") == [112, 112]

    # What was said can be taken away.
    with page.expect_download() as download:
        page.locator("#download").click()
    kept = json.loads(Path(download.value.path()).read_text())
    assert download.value.suggested_filename == "5-000000.json"
    assert (kept["image"], kept["text"], kept["AUs"]) == ("5-000000.png", SMILE, ["AU6", "AU12", "AU14"])


def test_votes_come_behind_the_answer(page: Page, faces_file: Path) -> None:
    page.locator("select[name=samples]").select_option("8")
    page.locator("#file").set_input_files(faces_file.parent / "images" / "5-000001.png")
    expect(page.locator("#units .share")).to_have_text(["1.00"] * 3)
    expect(page.locator("#emotions .share")).to_have_text(["1.00"])
    assert page.evaluate("document.querySelector('#units .bar i').style.width") == "100%"


def test_sliders_change_the_drawn_face_and_the_answer(page: Page) -> None:
    page.locator("[data-way=drawn]").click()
    page.locator("#rest").click()
    expect(page.locator("#emotion")).to_have_text("neutral")
    expect(page.locator("#units")).to_have_text("none is claimed")
    assert page.locator("#sliders input").count() == 16
    before = page.locator("#probe").get_attribute("src")
    slider = page.locator("#sliders input[name=AU12]")
    slider.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#sliders input[name=AU12] + output")).to_have_text("0.30")
    assert before == "/drawn?size=224"
    assert page.locator("#probe").get_attribute("src") == "/drawn?AU12=0.3&size=224"
    expect(page.locator("#emotion")).to_have_text("happiness")
    page.locator("#rest").click()
    expect(page.locator("#emotion")).to_have_text("neutral")


def test_errors_are_told_and_the_next_question_is_answered(page: Page, reader: Reader, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    page.locator("#file").set_input_files(broken)
    expect(page.locator("#message")).to_contain_text("image: it cannot be read")
    expect(page.locator("#answer")).to_be_hidden()
    page.locator("select[name=faces]").select_option("largest")
    Image.new("RGB", (300, 300), "gray").save(tmp_path / "nobody.png")
    page.locator("#file").set_input_files(tmp_path / "nobody.png")
    expect(page.locator("#message")).to_contain_text("image: no face")
    page.locator("select[name=faces]").select_option("none")  # asks again
    expect(page.locator("#emotion")).to_have_text("happiness")
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(26 << 20))
    page.locator("#file").set_input_files(large)
    expect(page.locator("#message")).to_contain_text("large.jpg has 27262976 bytes; the server takes at most")
    reader.fails = True
    try:
        page.locator("[data-way=drawn]").click()
        page.locator("#rest").click()
        expect(page.locator("#message")).to_have_text("the model has failed: no room for an answer")
    finally:
        reader.fails = False
    page.locator("#rest").click()
    expect(page.locator("#emotion")).to_have_text("neutral")
    expect(page.locator("#message")).to_be_hidden()
    page.locator("[data-way=camera]").click()
    expect(page.locator("#message")).to_contain_text("The camera cannot be used")
