"""A command that serves a page, and a page that answers nobody else."""

from __future__ import annotations

import getpass
import io
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from reviewing import HERE, Page, writer  # noqa: F401

from fea.cli import main
from fea.web import server


@pytest.fixture(autouse=True)
def _ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command ends as soon as its page could be asked for."""

    class Ended:
        def serve_forever(self) -> None:
            pass

    monkeypatch.setattr(server, "make_server", lambda *_, **__: Ended())


def run(file: Path, *options: str) -> int:
    return main(["review", str(file), "--reviewer", "anna", "--port", str(free_port()), *options])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_the_command_says_what_there_is(write: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    file = write({}, {"description": None}, {}, {"is_valid": False})
    Page(file, "ben").decide(0, "accept")
    assert run(file) == 0
    out = capsys.readouterr().out
    assert "2 lines with an analysis; 1 without one are left out" in out
    assert out.count("ben: 1 accepted (0 of them edited), 0 rejected, 0 skipped\n") == 2
    assert "anna reviews at http://127.0.0.1:" in out


def test_the_reviewer_is_who_is_logged_in(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "zoe")
    assert main(["review", str(write({})), "--port", str(free_port())]) == 0
    assert "zoe reviews at" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--reviewer", "../x"], "reviewer: '../x' is no plain name"),
        (["--reviewer", "a.b"], "reviewer: 'a.b' is no plain name"),
        (["--reviewer", ""], "reviewer: '' is no plain name"),
        (["--reviewer", "anna\n"], "is no plain name"),
        (["--port", "80"], "port: 80; give one from 1024 to 65535"),
        (["--emotions", "basic9"], "'basic9' is no preset"),
    ],
)
def test_bad_options_are_one_sentence(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    file = write({})
    assert run(file, *options) == 2
    assert told in capsys.readouterr().err
    assert not file.with_name("s.jsonl.reviews").exists()


def test_a_taken_port_is_one_sentence(write: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(write({}), "--port", str(port)) == 2
    assert capsys.readouterr().err == (
        f"fea: error: port: {port} is taken by another program; give another one with --port\n"
    )


@pytest.mark.parametrize(
    "host", ["evil.example:7860", "127.0.0.1:7861", "127.0.0.1", "localhost", "127.0.0.1.nip.io:7860"]
)
@pytest.mark.parametrize("path", ["/", "/start", "/line?key=&move=here", "/static/review.js"])
def test_other_names_are_refused(write: Callable[..., Path], host: str, path: str) -> None:
    page = Page(write({}))
    page.client.get("/", query_string={"token": page.address.token}, base_url="http://localhost:7860")
    page.client.set_cookie(page.address.cookie, page.address.token, domain=host.partition(":")[0])
    assert page.client.get(path, base_url=f"http://{host}").status_code == 403
    assert page.client.get(path, base_url="http://localhost:7860").status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:8000", "https://127.0.0.1:7860", "null", None]
)
def test_decisions_of_other_pages_are_refused(write: Callable[..., Path], origin: str | None) -> None:
    page = Page(write({}))
    form = {"key": page.keys[0], "verdict": "accept", "reason": "", "text": "t"}
    headers = {} if origin is None else {"Origin": origin}
    for path in ("/decide", "/undo"):
        assert page.client.post(path, data=form, base_url=HERE, headers=headers).status_code == 403
    assert page.kept() == []


@pytest.mark.parametrize(
    "path",
    ["/face/x", "/face/../s.jsonl", "/face/..%2f..%2fetc%2fpasswd", "/face/%2e%2e/s.jsonl", "/static/../review.py",
     "/static/..%2freview.py", "/face/images/5-000000.png"],
)  # fmt: skip
def test_nothing_but_faces_and_the_page_is_served(write: Callable[..., Path], path: str) -> None:
    answer = Page(write({})).get(path)
    assert answer.status_code in (400, 404)
    assert answer.is_json


def test_faces_are_served_as_pictures_of_the_page(write: Callable[..., Path]) -> None:
    page = Page(write({}, {"image": "images/large.bmp"}, {"image": "images/no.png"}, {"image": "s.jsonl"}))
    face = Image.open(page.file.parent / "images" / "5-000000.png").convert("RGB")
    face.resize((3000, 1500)).save(page.file.parent / "images" / "large.bmp")
    shown = page.get(f"/face/{page.keys[0]}")
    assert (shown.mimetype, Image.open(io.BytesIO(shown.data)).tobytes()) == ("image/png", face.tobytes())
    assert Image.open(io.BytesIO(page.get(f"/face/{page.keys[1]}").data)).size == (1024, 512)
    for number, told in ((2, r"s\.jsonl:3: image '.*no\.png' does not exist"), (3, "cannot be read")):
        answer = page.get(f"/face/{page.keys[number]}")
        assert answer.status_code == 400
        assert re.search(told, (answer.json or {})["error"])


def test_the_page_may_load_nothing_from_elsewhere(write: Callable[..., Path]) -> None:
    page = Page(write({}))
    for path in ("/", "/static/review.js", "/start", "/nowhere"):
        answer = page.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"]) == ("nosniff", "no-store")
    for file in (Path(server.__file__).parent / "static").iterdir():
        links = set(re.findall(r"https?://[^\s\"']+", file.read_text()))
        assert links <= {"http://www.w3.org/2000/svg"}, file


def test_help_does_not_wait_for_the_page() -> None:
    code = "import fea.cli, sys; sys.exit('flask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
