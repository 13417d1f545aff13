"""A review without a browser: a file of drawn lines, and what its page does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from fea.drawn.faces import EMOTIONS
from fea.errors import FEAError
from fea.prompts.answer import render
from fea.review.desk import Desk
from fea.review.inspection import Inspection
from fea.web.review import make_app
from fea.web.server import Address

HERE = "http://127.0.0.1:7860"
UNIT = {"AUs": ["AU6", "AU12"], "AUs_coded": ["AU1", "AU6", "AU12"]}


def lines_of(*changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line for each change, of the first drawn face: a smile with a perfect analysis."""
    smile = {
        "dataset": "d",
        "labels": ["happiness"],
        "description": render("Smiling (AU6, AU12).", "happiness"),
        **UNIT,
    }
    return [
        {"id": f"f{number}", "image": "images/5-000000.png", **smile, **change} for number, change in enumerate(changes)
    ]


@pytest.fixture(name="write")
def writer(tmp_path: Path, faces_file: Path) -> Iterator[Callable[..., Path]]:
    """Writes a file of such lines next to their image; ends the reviews of a test."""

    def write(*changes: Mapping[str, Any]) -> Path:
        images = tmp_path / "images"
        images.mkdir(exist_ok=True)
        (images / "5-000000.png").write_bytes((faces_file.parent / "images" / "5-000000.png").read_bytes())
        file = tmp_path / "s.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines_of(*changes)))
        return file

    yield write
    while Page.opened:
        with suppress(FEAError):  # of a log that the test has damaged
            Page.opened.pop().desk.close()


class Page:
    """What the page does, without a browser."""

    opened: ClassVar[list[Page]] = []

    def __init__(self, file: Path, reviewer: str = "anna"):
        self.file = file
        self.inspection = Inspection(file, file.parent, EMOTIONS)
        self.desk = Desk(self.inspection, file, reviewer)
        self.opened.append(self)
        self.address = Address(7860)
        self.client: FlaskClient = make_app(self.desk, self.address).test_client()
        self.client.get(self.address.url)  # which leaves a cookie
        self.log = file.parent / "s.jsonl.reviews" / f"{reviewer}.jsonl"
        self.keys = [line.key for line in self.inspection.lines]

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, base_url=HERE, **options)

    def post(self, path: str, form: Mapping[str, str], **options: Any) -> TestResponse:
        return self.client.post(path, data=form, base_url=HERE, headers={"Origin": HERE}, **options)

    def look(self, number: int | None = None, move: str = "here", **settings: str) -> dict[str, Any]:
        key = "" if number is None else self.keys[number]
        answer: dict[str, Any] = self.get("/line", query_string={"key": key, "move": move, **settings}).json or {}
        return answer

    def decide(
        self,
        number: int,
        verdict: str,
        reason: str = "",
        text: str | None = None,
        among: Mapping[str, str] | None = None,
    ) -> Any:
        shown = self.look(number)["line"]["analysis"]["text"]
        form = {"key": self.keys[number], "verdict": verdict, "reason": reason, "text": shown if text is None else text}
        return self.post("/decide", form, query_string=among).json

    def undo(self) -> Any:
        return self.post("/undo", {}).json

    def kept(self) -> list[tuple[str, str, str, str]]:
        entries = [json.loads(line) for line in self.log.read_text().splitlines()]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entry["time"]) for entry in entries)
        return [(entry["key"], entry["verdict"], entry["reason"], entry["text"]) for entry in entries]


def number_of(answer: Mapping[str, Any]) -> int | None:
    """The line that an answer shows, counted from 0."""
    return answer["line"] and int(answer["line"]["id"].removeprefix("f"))
