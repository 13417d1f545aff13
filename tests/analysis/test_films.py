"""`fea analyze` on films: frames with their times, whatever the film is like."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from photographed import person

from fea.analysis import loading
from fea.analysis.analyzer import Analyzer
from fea.analysis.films import count_frames, frames
from fea.cli import main
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.prompts.answer import render

pytest_plugins = ("photographing",)

Says = Callable[[Callable[[Prompt, int], str]], list[list[str]]]
RATE, LENGTH, TURN = 10, 20, 12  # frames a second, frames, and the first that smiles
CALM, SMILING = person(9, 112), person(9, 112, AU6=5, AU12=5, AU25=3)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn person who begins to smile after 1.2 of 2 seconds."""
    file = tmp_path_factory.mktemp("film") / "smile.mp4"
    with av.open(str(file), "w") as container:
        track = container.add_stream("mpeg4", rate=Fraction(RATE))
        track.width = track.height = 112
        track.pix_fmt, track.bit_rate = "yuv420p", 2_000_000
        for number in range(LENGTH):
            frame = av.VideoFrame.from_image(SMILING if number >= TURN else CALM)
            container.mux(track.encode(frame))
        container.mux(track.encode())
    return file


def analyze(film: Path, out: Path, *more: str) -> list[dict[str, str]]:
    code = main(["analyze", str(film), "--model", "owner/model", "--out", str(out), "--max_tokens", "4", *more])
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert code == (2 if any(row["error"] for row in rows) else 0)
    return rows


@pytest.fixture
def sees(loaded: Analyzer, says: Says) -> list[list[str]]:
    """A policy that tells a smile by the pixels that it is shown."""

    def likeness(prompt: Prompt, picture: object) -> float:
        return float((loaded.policy.encoder.of(prompt.example, picture).pixels - prompt.pixels).abs().mean())

    def say(prompt: Prompt, _: int) -> str:
        assert prompt.example.image == prompt.example.id  # prompts of one image would be looked at once
        smiles = likeness(prompt, SMILING) < likeness(prompt, CALM)
        return render("A smile (AU12)." if smiles else "At rest.", "happiness" if smiles else "neutral")

    return says(say)


def test_the_turn_is_found_where_it_is(
    sees: list[list[str]], film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = analyze(film, tmp_path / "a.csv", "--every", "2")
    assert [(int(row["frame"]), float(row["time"])) for row in rows] == [(n, n / RATE) for n in range(0, LENGTH, 2)]
    assert [row["emotion"] for row in rows] == ["neutral"] * 6 + ["happiness"] * 4
    assert "images 10/10" in capsys.readouterr().err


def test_a_film_stands_between_pictures_and_an_interrupted_one_goes_on(
    sees: list[list[str]], film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_POOL", 2)
    for name, picture in (("a.png", CALM), ("b.png", SMILING)):
        picture.save(tmp_path / name)
    listed = tmp_path / "list.txt"
    listed.write_text(f"a.png\n{film}\nb.png\n{film}\n")
    rows = analyze(listed, tmp_path / "whole.csv", "--batch-size", "3", "--every", "3")
    expected = [*range(0, LENGTH, 3)]
    assert [row["frame"] for row in rows] == ["", *map(str, expected), "", *map(str, expected)]
    assert [row["emotion"] for row in (rows[0], rows[8])] == ["neutral", "happiness"]
    asked, true = iter(range(3)), Analyzer._asked

    def dies(self: Analyzer, *rest: object) -> object:
        if next(asked, None) is None:
            raise RuntimeError
        return true(self, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Analyzer, "_asked", dies)
        with pytest.raises(RuntimeError):
            analyze(listed, tmp_path / "a.csv", "--batch-size", "3", "--every", "3")
    sees.clear()
    assert analyze(listed, tmp_path / "a.csv", "--batch-size", "3", "--every", "3", "--resume") == rows
    assert sees[0][0] == f"{film}@18"
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_frames_are_upright_and_begin_where_they_are_wanted(film: Path, tmp_path: Path) -> None:
    wanted = list(frames(str(film), 4, start=2))
    assert [(frame.number, frame.time) for frame in wanted] == [(8, 0.8), (12, 1.2), (16, 1.6)]
    error = np.abs(np.asarray(wanted[0].picture, float) - np.asarray(CALM, float)).mean()
    assert error < 8  # of 255: what the codec loses
    assert count_frames(str(film), 3) == 7


def test_a_film_that_breaks_off_and_one_that_is_none_have_a_row_that_says_so(
    sees: list[list[str]], film: Path, tmp_path: Path
) -> None:
    none, gone = tmp_path / "none.mp4", tmp_path / "gone.mp4"
    none.write_bytes(b"no film")
    listed = tmp_path / "list.txt"
    shutil.copy(film, tmp_path / "film.mp4")
    listed.write_text(f"{none}\n{gone}\n{tmp_path}/film.mp4\n")
    rows = analyze(listed, tmp_path / "a.csv", "--every", "10")
    assert [row["error"] for row in rows[:2]] == [
        f"film '{none}' cannot be read (Invalid data found when processing input)", f"film '{gone}' does not exist"
    ]  # fmt: skip
    assert [row["frame"] for row in rows[2:]] == ["0", "10"]


def test_a_film_without_pyav_is_refused_before_the_work(
    film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["analyze", str(film), "--model", "nowhere"]) == 2
    assert "films are read by PyAV, which is not there: pip install 'fea[video]'" in capsys.readouterr().err
    with pytest.raises(FEAError, match="PyAV"):
        list(frames(str(film), 1))
