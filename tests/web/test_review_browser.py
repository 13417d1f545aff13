"""`fea review` as a person uses it: the real command, a real browser, keys."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browsing import chromium
from playwright.sync_api import Browser, Page, expect
from processes import Process, start

from fea.drawn.faces import write_faces
from fea.prompts.answer import render
from fea.records.record import key_of


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files about drawn faces: one of perfect analyses, and one that is hostile."""
    folder = tmp_path_factory.mktemp("review")
    file = write_faces(folder, 6, seed=5)
    first, second, *_ = [json.loads(line) for line in file.read_text().splitlines()]
    script = (
        '</think><img src=x onerror="document.title=\'broken\'"><script>document.title="broken"</script> & <b>AU1</b>'
    )
    hostile = [
        {**first, "id": "<b>1</b>", "description": f"<think>AU99, no AU1. {script}", "question": "<i>Why?</i>"},
        {**second, "image": "images/no.png", "description": render("Nothing to see, maybe AU4.", "<b>fear</b>")},
    ]
    (folder / "hostile.jsonl").write_text("".join(json.dumps(line) + "\n" for line in hostile))
    return folder


@pytest.fixture(scope="module")
def addresses(folder: Path) -> Iterator[Callable[[str, str], str]]:
    """Starts `fea review` about a file for a reviewer; gives its address when the page can be asked for."""
    running: dict[tuple[str, str], tuple[int, Process]] = {}
    for file, reviewer in (("faces", "anna"), ("faces", "ben"), ("hostile", "anna")):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        words = ["review", f"{folder}/{file}.jsonl", "--reviewer", reviewer, "--port", str(port)]
        running[file, reviewer] = (port, start(words, HF_DATASETS_CACHE=str(folder / "cache")))

    yield lambda file, reviewer: address(*running[file, reviewer])
    for _, process in running.values():
        process.kill()
        process.wait()


def address(port: int, process: Process) -> str:
    """What a server has printed, once it has: where its page is, and the token that lets one in."""
    assert process.until("(Ctrl-C ends it"), process.said()
    (found,) = re.findall(rf"http://127\.0\.0\.1:{port}/\?token=[\w-]+", process.said()[0])
    return str(found)


def open_page(browser: Browser, address: str) -> tuple[Page, list[str]]:
    """The page of a server, and everything that it will ask for."""
    page, asked = browser.new_page(viewport={"width": 1366, "height": 768}), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    return page, asked


def face(page: Page, identity: str) -> None:
    """Waits for a face to be shown: its text, its labels and its picture."""
    expect(page.locator("#facts")).to_contain_text(identity)
    assert page.evaluate("document.querySelector('#picture img').naturalWidth") == 112


def kept(folder: Path, reviewer: str) -> list[tuple[str, str, str, str]]:
    lines = (folder / "faces.jsonl.reviews" / f"{reviewer}.jsonl").read_text().splitlines()
    return [tuple(json.loads(line)[name] for name in ("key", "verdict", "reason", "text")) for line in lines]  # type: ignore[misc]


def test_two_reviewers_by_keys(browser: Browser, folder: Path, addresses: Callable[[str, str], str]) -> None:
    records = [json.loads(line) for line in (folder / "faces.jsonl").read_text().splitlines()]
    keys = [key_of(record) for record in records]
    page, asked = open_page(browser, addresses("faces", "anna"))
    face(page, "face-5-0")
    page.keyboard.down("a")
    face(page, "face-5-1")
    page.keyboard.down("a")  # a key that is held decides once
    page.keyboard.up("a")
    page.keyboard.press("r")
    page.keyboard.press("3")
    face(page, "face-5-2")
    page.keyboard.press("r")
    page.keyboard.press("6")
    page.keyboard.type("a blurred a, r, s")  # which are no keys here
    page.keyboard.press("Enter")
    face(page, "face-5-3")
    page.keyboard.press("s")
    face(page, "face-5-4")
    hers = [
        (keys[0], "accept", "", ""), (keys[1], "reject", "wrong emotion", ""), (keys[2], "reject", "a blurred a, r, s", ""),
        (keys[3], "skip", "", ""),
    ]  # fmt: skip
    assert kept(folder, "anna") == hers
    expect(page.locator("#counts")).to_have_text("4 of 6 decided: 1 accepted, 2 rejected, 1 skipped")

    # Undo goes back to the face, and a reload stays there.
    page.keyboard.press("u")
    face(page, "face-5-3")
    expect(page.locator("#verdict")).to_be_empty()
    page.keyboard.press("ArrowLeft")
    face(page, "face-5-2")
    expect(page.locator("#verdict")).to_have_text("rejected: a blurred a, r, s")
    page.reload()
    face(page, "face-5-2")
    page.keyboard.press("u")
    expect(page.locator("#verdict")).to_be_empty()
    hers += [(keys[3], "undo", "", ""), (keys[2], "undo", "", "")]
    assert kept(folder, "anna") == hers

    # An edit is colored while it is written, left with Escape, found again and kept.
    text = render("A sign that nobody looked for (AU51).", records[2]["labels"][0])
    page.keyboard.press("e")
    page.locator("#editor").fill(text)
    expect(page.locator("#analysis .unknown")).to_have_text("AU51")
    page.keyboard.press("Escape")
    expect(page.locator("#analysis")).to_have_text(records[2]["description"])
    assert kept(folder, "anna") == hers
    page.keyboard.press("e")
    expect(page.locator("#editor")).to_have_value(text)
    page.keyboard.press("Control+Enter")
    face(page, "face-5-3")
    hers.append((keys[2], "accept", "", text))
    assert kept(folder, "anna") == hers
    page.keyboard.press("ArrowLeft")
    face(page, "face-5-2")
    expect(page.locator("#verdict")).to_have_text("accepted, edited")
    expect(page.locator("#analysis")).to_have_text(text)

    # What is worded alike leads to its line.
    page.keyboard.press("f")
    expect(page.locator("#similar button").first).to_contain_text("line ")
    assert page.locator("#similar img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 112
    place = re.findall(r"line (\d+):", page.locator("#similar button").first.text_content() or "")[0]
    assert place != "3"
    page.locator("#similar button").first.click()
    face(page, f"face-5-{int(place) - 1}")
    expect(page.locator("#similar")).to_be_hidden()
    page.evaluate(f"location.hash = '{keys[2]}'")
    page.reload()
    face(page, "face-5-2")

    # Ben decides apart, and both see how far they agree. On 3 lines: agreed 2/3, by chance 2/3 1/3 + 1/3 2/3 = 4/9.
    other, asked_too = open_page(browser, addresses("faces", "ben"))
    for number, key in enumerate("ars"):
        face(other, f"face-5-{number}")
        expect(other.locator("#verdict")).to_be_empty()
        other.keyboard.press(key)
        if key == "r":
            other.keyboard.press("1")
    face(other, "face-5-3")
    other.keyboard.press("u")
    face(other, "face-5-2")
    other.keyboard.press("r")
    other.keyboard.press("2")
    face(other, "face-5-3")
    told = "anna and ben: Cohen's kappa 0.40 (lines that both accepted or rejected: 3)"
    expect(other.locator("#summary")).to_contain_text(told)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#summary")).to_contain_text(told)
    assert kept(folder, "anna") == hers
    assert len(kept(folder, "ben")) == 5
    assert {urlsplit(url).hostname for url in asked + asked_too} == {"127.0.0.1"}
    page.close()
    other.close()


def test_hostile_texts_are_shown_as_text(browser: Browser, addresses: Callable[[str, str], str]) -> None:
    page, asked = open_page(browser, addresses("hostile", "anna"))
    face(page, "<b>1</b>")
    expect(page.locator("#analysis")).to_contain_text('<script>document.title="broken"</script> & <b>AU1</b>')
    expect(page.locator("#question")).to_have_text("<i>Why?</i>")
    assert page.locator("main b, main i, main script, #analysis img").count() == 0
    assert page.title() == "anna reviews hostile.jsonl"

    # What a unit looks like is told where one points at it.
    page.locator("#analysis .supposed").hover()
    expect(page.locator("#tip")).to_have_text("AU1 inner brow raiser: the inner ends of the brows go up")
    page.locator("#analysis .unknown").hover()
    expect(page.locator("#tip")).to_have_text("AU99 no unit of the table")

    # A picture that is not there is said, and its line can be judged all the same.
    page.keyboard.press("ArrowRight")
    expect(page.locator("#picture")).to_contain_text("images/no.png' does not exist")
    page.keyboard.press("s")
    face(page, "<b>1</b>")

    # A filter stays over a reload; its keys are no decisions.
    page.locator("select[name=verdict]").select_option("skip")
    expect(page.locator("#found")).to_have_text("1 of 1; 1 of 2 decided")
    page.reload()
    expect(page.locator("#found")).to_have_text("1 of 1; 1 of 2 decided")
    page.locator("button[type=reset]").click()
    page.locator("input[name=least]").fill("2")
    page.keyboard.press("Tab")
    expect(page.locator("#end")).to_be_visible()
    expect(page.locator("#found")).to_have_text("0; 0 of 0 decided")
    assert {urlsplit(url).hostname for url in asked} == {"127.0.0.1"}
    page.close()


def test_the_token_opens_the_page_and_leaves_the_address(
    browser: Browser, addresses: Callable[[str, str], str]
) -> None:
    opening = addresses("hostile", "anna")
    port = urlsplit(opening).port
    fresh = browser.new_context()
    page = fresh.new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    expect(page.locator("body")).to_contain_text("it ends in a token that lets you in")
    # From another page, as a terminal in the browser is one.
    page.goto(f"data:text/html,<a href='{opening}'>here</a>")
    page.click("a")
    face(page, "<b>1</b>")
    assert "token" not in page.url
    assert page.evaluate("document.cookie") == ""
    page.reload()
    face(page, "<b>1</b>")
    (cookie,) = fresh.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (f"fea-{port}", True, "Strict")
    fresh.close()


def test_ctrl_c_ends_it_with_what_was_decided(folder: Path, browser: Browser) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    words = ["review", f"{folder}/hostile.jsonl", "--reviewer", "eve", "--port", str(port)]
    process = start(words, HF_DATASETS_CACHE=str(folder / "cache"))
    page, _ = open_page(browser, address(port, process))
    face(page, "<b>1</b>")
    page.keyboard.press("a")
    expect(page.locator("#picture")).to_contain_text("does not exist")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "eve: 1 accepted (0 of them edited), 0 rejected, 0 skipped" in out.splitlines()
    assert "Traceback" not in out + err
    page.keyboard.press("a")
    expect(page.locator("#message")).to_contain_text("The server does not answer")
    page.close()
