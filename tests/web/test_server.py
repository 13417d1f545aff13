"""Who is let in: whoever has the printed address, and nobody else of the same machine."""

from __future__ import annotations

import re
import socket
import threading
import time
import webbrowser
from collections.abc import Callable
from itertools import product
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image
from reviewing import HERE, Page, writer  # noqa: F401

from fea.cli import main
from fea.web import review, server
from fea.web.server import Address

REFUSAL = "open the address that was printed where this server was started: it ends in a token that lets you in"


def test_every_start_has_a_token_of_its_own_which_is_shown_in_the_address_alone() -> None:
    first, second = Address(7860), Address(7860)
    assert first.token != second.token
    assert re.fullmatch(r"[\w-]{43}", first.token)  # 256 bits
    assert first.url == f"http://127.0.0.1:7860/?token={first.token}"
    assert first.token not in repr(first)


def test_without_the_token_nothing_is_answered(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    address = page.address
    cookies = [
        *((address.cookie, value) for value in ("", "x", "\xe4", address.token[:-1], Address(7860).token)),
        ("fea-7861", address.token),
        ("token", address.token),
    ]
    paths = [
        "/",
        "/start",
        "/face/x",
        f"/face/{page.keys[0]}",
        "/line?key=&move=here",
        "/decide",
        "/static/review.js",
        "/no",
    ]
    for name, value in cookies:
        client = page.client.application.test_client()
        client.set_cookie(name, value, domain="127.0.0.1")
        for path, method in product(paths, ["GET", "POST", "PUT", "OPTIONS"]):
            answer = client.open(path, method=method, base_url=HERE, headers={"Origin": HERE})
            assert (answer.status_code, answer.json) == (403, {"error": REFUSAL}), (name, value, path, method)
            assert "Set-Cookie" not in answer.headers
    assert page.kept() == []


@pytest.mark.parametrize("token", ["", "x", "\xe4\u20ac\0", "a" * 10_000])
def test_another_token_opens_nothing(write: Callable[..., Path], token: str) -> None:
    page = Page(write({}))
    answer = page.client.application.test_client().get("/", query_string={"token": token}, base_url=HERE)
    assert (answer.status_code, answer.json) == (403, {"error": REFUSAL})


def test_the_token_moves_from_the_address_into_a_cookie_that_no_script_reads(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    client = page.client.application.test_client()
    answer = client.get(page.address.url)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert cookie == f"fea-7860={page.address.token}; HttpOnly; Path=/; SameSite=Strict"
    assert answer.headers["Cache-Control"] == "no-store"
    assert page.address.token not in answer.get_data(as_text=True)
    assert client.get("/", base_url=HERE).status_code == 200


def test_a_way_from_another_page_goes_on_from_a_page_of_our_own(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    answer = page.client.application.test_client().get(page.address.url, headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, answer.headers["Refresh"]) == (200, "0; url=/")


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", "/face/x", "/line"])
def test_the_way_leads_to_the_page_and_nowhere_else(write: Callable[..., Path], path: str) -> None:
    page = Page(write({}))
    answer = page.client.get(path, query_string={"token": page.address.token, "next": "//evil.example"}, base_url=HERE)
    assert answer.headers["Location"] == "/"


def test_a_token_in_the_address_is_no_leave_to_decide(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    client = page.client.application.test_client()
    form = {"key": page.keys[0], "verdict": "accept", "reason": "", "text": "t"}
    for origin in (HERE, "http://evil.example"):
        asked = {"query_string": {"token": page.address.token}, "data": form, "headers": {"Origin": origin}}
        assert client.post("/decide", base_url=HERE, **asked).status_code == 403  # type: ignore[arg-type]
    assert page.kept() == []


def test_a_large_request_is_refused(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    answer = page.post("/decide", {"key": page.keys[0], "text": "x" * (2 << 20)})
    assert answer.status_code == 413
    assert answer.is_json


def test_a_file_that_cannot_be_read_is_a_sentence(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    page.log.with_name("ben.jsonl").mkdir()
    answer = page.get("/line", query_string={"key": "", "move": "here"})
    assert answer.status_code == 400
    assert "ben.jsonl': Is a directory" in (answer.json or {})["error"]


def test_one_face_is_decoded_at_a_time(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(write({}))
    busy, most = [0], [0]

    def load(*_: object, **__: object) -> Image.Image:
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        time.sleep(0.02)
        busy[0] -= 1
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(review, "load_image", load)
    threads = [threading.Thread(target=page.get, args=(f"/face/{page.keys[0]}",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_the_browser_is_told_the_address_by_a_file_of_this_user(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a program is started with can be read by everybody of the machine."""
    opened: list[tuple[str, str, int]] = []

    def look(url: str) -> None:
        file = Path(unquote(urlsplit(url).path))
        opened.append((url, file.read_text(), file.parent.stat().st_mode & 0o777))

    class Ended:
        def serve_forever(self) -> None:
            pass

    monkeypatch.setattr(webbrowser, "open", look)
    monkeypatch.setattr(server, "make_server", lambda *_, **__: Ended())
    assert main(["review", str(write({})), "--reviewer", "anna", "--port", "17860", "--open_browser"]) == 0
    (address,) = re.findall(r"http://127\.0\.0\.1:17860/\?token=[\w-]{43}", capsys.readouterr().out)
    ((url, content, mode),) = opened
    assert url.startswith("file:///")
    assert (address in content, mode) == (True, 0o700)
    assert not Path(unquote(urlsplit(url).path)).exists()


def test_no_line_is_written_about_a_request(
    write: Callable[..., Path], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("ERROR", "werkzeug")  # as it is when pages are served
    page = Page(write({}))
    with server.listen(17861) as listening:
        running = server.make_server(
            "127.0.0.1", 17861, page.client.application, request_handler=server.Handler, fd=listening.fileno()
        )
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        for line in (
            b"GET /?token=secret HTTP/1.0\r\n\r\n",
            b"GET /?token=secret and more HTTP/1.0\r\n\r\n",
            b"\x16\x03\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", 17861)) as client:
                client.sendall(line)
                client.settimeout(10)
                assert client.recv(100)
        running.shutdown()
        thread.join()
        running.server_close()
    assert "secret" not in "".join(capfd.readouterr()) + caplog.text
