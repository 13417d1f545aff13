"""`fea watch`: films and cameras, rows as they come, and what was said is kept whatever ends it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from photographed import person, photograph
from PIL import Image

from fea.analysis import foreign
from fea.analysis.analyzer import Analyzer
from fea.analysis.films import Frame, paced_frames
from fea.analysis.looking import Shown
from fea.analysis.tables import COLUMNS, Result
from fea.cli import main
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.prompts.answer import render
from fea.watching.window import marked

pytest_plugins = ("photographing",)

Says = Callable[[Callable[[Prompt, int], str]], list[list[str]]]
RATE, LENGTH, TURN, GONE = (
    10,
    20,
    9,
    18,
)  # of the film: frames a second, frames, the first that smiles, the first that is empty
CALM, SMILES = render("At rest.", "neutral"), render("A smile (AU12).", "happiness")


def written(file: Path, pictures: list[Image.Image]) -> Path:
    with av.open(str(file), "w") as container:
        track = container.add_stream("mpeg4", rate=Fraction(RATE))
        track.width, track.height = pictures[0].size
        track.pix_fmt, track.bit_rate = "yuv420p", 4_000_000
        for picture in pictures:
            container.mux(track.encode(av.VideoFrame.from_image(picture)))
        container.mux(track.encode())
    return file


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people; the one on the left comes nearer, the other goes away, until at last both are gone."""
    rooms, left, right = [], person(11, 256), person(12, 256)
    for number in range(LENGTH):
        near, far = 80 + 3 * number, 140 - 3 * number
        people = (left.resize((near, near)), (10, 30)), (right.resize((far, far)), (170, 30))
        rooms.append(photograph(*people if number < GONE else (), size=(320, 200)))
    return written(tmp_path_factory.mktemp("film") / "two.mp4", rooms)


def number_of(prompt: Prompt) -> int:
    """Of the frame."""
    return int(prompt.example.id.rpartition("@")[2].partition("#")[0])


@pytest.fixture
def sees(loaded: Analyzer, says: Says) -> list[list[str]]:
    """Who is on the left begins to smile, and once before in a single frame."""

    def say(prompt: Prompt, _: int) -> str:
        box = Shown.of(prompt).box
        smiles = box is None or (box[0] < 150 and (number_of(prompt) >= TURN or number_of(prompt) == 4))
        return SMILES if smiles else CALM

    return says(say)


def watch(source: object, *more: str) -> int:
    return main(["watch", str(source), "--model", "owner/model", "--max_tokens", "4", *more])


def rows_of(out: Path) -> list[dict[str, str]]:
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def test_faces_of_a_film_keep_their_numbers_and_what_they_say_is_smoothed(
    sees: list[list[str]], film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch(film, "--out", str(tmp_path / "a.csv"), "--batch_size", "3") == 0
    rows = rows_of(tmp_path / "a.csv")
    assert [(int(row["frame"]), row["face_id"]) for row in rows[:-1]] == [
        (number, face) for number in range(0, GONE, 2) for face in "01"
    ]
    assert [float(row["time"]) for row in rows] == [int(row["frame"]) / RATE for row in rows]
    sides = {row["face_id"]: int(row["x"]) > 150 for row in rows[:-1]}
    assert sides == {"0": True, "1": False}  # by their size in the first frame; in the last it is the other way round
    widths = [int(row["width"]) for row in rows[:-1]]
    assert (widths[0] > widths[1], widths[-2] > widths[-1]) == (True, False)
    left = [row for row in rows if row["face_id"] == "1"]
    assert [row["emotion"] for row in left] == ["neutral"] * 6 + [
        "happiness"
    ] * 3  # the odd one is gone, the turn is not
    assert [row["AUs"] for row in left] == [""] * 6 + ["AU12"] * 3
    assert [float(row["vote_AU12"]) for row in left[1:4]] == [0, 0.3297, 0.221]
    assert [row["text"] for row in left[1:4]] == [CALM, SMILES, CALM]
    assert {row["emotion"] for row in rows if row["face_id"] == "0"} == {"neutral"}
    assert (rows[-1]["error"], rows[-1]["face_id"], rows[-1]["vote_AU12"]) == ("no face", "", "")
    assert max(len(batch) for batch in sees) == 3
    told = capsys.readouterr().err
    assert "frames 10/10, 100%" in told
    assert told.endswith(f"note: frames: 10, faces: 2; the rows are in '{tmp_path / 'a.csv'}'\n")


def test_rows_are_those_of_analyze(
    sees: list[list[str]], film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = "--faces", "all", "--format", "openface", "--max_tokens", "4"
    assert (
        main(["analyze", str(film), "--model", "owner/model", "--every", "2", "--out", str(tmp_path / "a.csv"), *given])
        == 0
    )
    assert watch(film, "--smooth", "0", "--out", str(tmp_path / "w.csv"), *given[:4]) == 0
    analyzed, watched = rows_of(tmp_path / "a.csv"), rows_of(tmp_path / "w.csv")
    assert tuple(watched[0]) == (*foreign.OPENFACE, "input")

    def by_place(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        plain = [row | {"face_id": ""} for row in rows]
        return sorted(plain, key=lambda row: (float(row["timestamp"]), row["AU12_c"]))

    assert by_place(watched) == by_place(analyzed)
    capsys.readouterr()
    assert watch(film, "--faces", "none", "--seconds", "1", "--rate", "2.5") == 0
    printed = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(row["frame"], row["time"]) for row in printed] == [("0", "0.0"), ("4", "0.4"), ("8", "0.8")]
    assert tuple(printed[0])[: len(COLUMNS)] == COLUMNS


def test_quick_answers_say_nothing_of_units(
    loaded: Analyzer, says: Says, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(prompt: Prompt, _: int) -> str:
        return render("", "happiness" if number_of(prompt) > 8 else "neutral", prompt.form)

    says(say)
    assert watch(film, "--answer", "only", "--faces", "none") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["emotion"] for row in rows] == ["neutral"] * 6 + ["happiness"] * 4
    assert float(rows[5]["vote_happiness"]) == 0.3297
    assert not any("AU" in name for name in rows[0] if name != "AUs")
    assert watch(film, "--answer", "only", "--faces", "none", "--format", "openface") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row[name] for row in rows for name in row if name.startswith("AU")} == {""}  # and not 0


def test_what_was_said_before_ctrl_c_is_kept(
    loaded: Analyzer, says: Says, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(prompt: Prompt, _: int) -> str:
        if number_of(prompt) == 6:
            raise KeyboardInterrupt
        return CALM if number_of(prompt) else "What?"

    says(say)
    out = tmp_path / "a.jsonl"
    out.write_text(json.dumps(dict.fromkeys(COLUMNS, "")) + "\n")  # of an earlier time
    assert watch(film, "--out", str(out), "--faces", "none", "--batch_size", "1") == 0
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["frame"] for record in records] == [0, 2, 4]
    assert [record["votes"] for record in records] == [None, {}, {}]  # nothing is known, and then that nothing shows
    assert [record["emotion_votes"] for record in records] == [None, {"neutral": 1.0}, {"neutral": 1.0}]
    told = capsys.readouterr().err
    assert "note: ended by Ctrl-C\n" in told
    assert "frames: 3, answers that could not be read: 1; the rows" in told
    assert list(tmp_path.iterdir()) == [out]


def test_what_came_before_a_film_breaks_off_is_answered(
    sees: list[list[str]],
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def damaged(file: str, rate: float) -> Iterator[Frame]:
        yield from islice(paced_frames(file, rate), 5)
        raise FEAError(f"film '{file}' cannot be read (Invalid data); replace it")

    monkeypatch.setattr("fea.watching.sources.paced_frames", damaged)
    assert watch(film, "--out", str(tmp_path / "a.csv"), "--faces", "none", "--batch_size", "3") == 2
    assert [row["frame"] for row in rows_of(tmp_path / "a.csv")] == ["0", "2", "4", "6", "8"]
    told = capsys.readouterr().err.splitlines()[-2:]
    assert told[0].startswith("note: frames: 5; the rows are in ")
    assert told[1] == f"fea: error: film '{film}' cannot be read (Invalid data); replace it"


class FakeCamera:
    """Gives a picture a read, the first when it is opened, and none after the last; before some it waits for a word."""

    def __init__(self, pictures: int, waits: dict[int, Event]):
        self.pictures, self.waits = pictures, waits
        self.reads, self.released = -1, False  # the first looks whether there is one
        self.reached = {number: Event() for number in waits}

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, Any]:
        number = self.reads
        self.reads += 1
        if number in self.waits:
            self.reached[number].set()
            assert self.waits[number].wait(20)
        if number >= self.pictures:
            return False, None
        blue = np.zeros((112, 112, 3), np.uint8)
        blue[:, :, 0] = 200
        return True, blue

    def release(self) -> None:
        self.released = True


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeCamera]:
    """Plugs a camera in, whose time goes on by a fifth of a second with each picture."""

    def plug(pictures: int, **waits: Event) -> FakeCamera:
        camera = FakeCamera(pictures, {int(name[1:]): event for name, event in waits.items()})
        now = iter(range(10**6))
        monkeypatch.setattr("fea.watching.sources.time", SimpleNamespace(monotonic=lambda: 100 + next(now) / 5))
        monkeypatch.setattr(cv2, "VideoCapture", lambda _: camera)
        return camera

    return plug


def test_of_a_camera_the_newest_frame_counts_and_those_that_gave_way_are_told(
    loaded: Analyzer, says: Says, plugged: Callable[..., FakeCamera], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = Event(), Event()
    camera = plugged(5, _1=first, _5=second)
    colors = []

    def say(prompt: Prompt, _: int) -> str:
        picture = Image.new("RGB", (112, 112), (0, 0, 200))
        colors.append(bool(prompt.pixels.equal(loaded.policy.encoder.of(prompt.example, picture).pixels)))
        if number_of(prompt) == 0:  # while it is answered, four more come
            first.set()
            assert camera.reached[5].wait(20)
        else:
            second.set()  # there is no more
        return CALM

    says(say)
    assert watch("0", "--faces", "none", "--out", str(tmp_path / "a.csv")) == 2
    rows = rows_of(tmp_path / "a.csv")
    assert [(row["image"], row["frame"], row["time"]) for row in rows] == [
        ("camera 0", "0", "0.0"),
        ("camera 0", "4", "0.8"),
    ]
    assert colors == [True, True]  # red, green and blue, as a model reads them
    told = capsys.readouterr().err
    assert "frames: 2, 3 of 5 frames came while the model was at work, and were left out; the rows are in" in told
    assert told.endswith("fea: error: camera 0 gives no more pictures; look whether it is still plugged in\n")
    assert camera.released


def test_a_camera_ends_when_its_time_is_over(
    sees: list[list[str]], plugged: Callable[..., FakeCamera], capsys: pytest.CaptureFixture[str]
) -> None:
    camera = plugged(10**6)
    assert watch("2", "--faces", "none", "--seconds", "1") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert rows[-1]["time"] == "0.8"  # the newest that came in time
    assert camera.reads == 6
    assert camera.released


def refused(capsys: pytest.CaptureFixture[str], source: object, *more: str) -> str:
    assert watch(source, *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_cannot_be_watched_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any model is read: there is none of this name."""
    sound, text = tmp_path / "sound.mp4", tmp_path / "text.mp4"
    with av.open(str(sound), "w") as container:
        track = container.add_stream("aac", rate=8000, layout="mono")
        sounds = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sounds.sample_rate = 8000
        container.mux(track.encode(sounds))
        container.mux(track.encode())
    text.write_text("no film")
    assert refused(capsys, sound) == f"fea: error: film '{sound}' holds no pictures; give another"
    assert f"film '{text}' cannot be read (" in refused(capsys, text)
    assert "film 'https://a.b/c.mp4' does not exist; name a film" in refused(capsys, "https://a.b/c.mp4")
    assert "there is no camera 97; plug it in" in refused(capsys, "97")
    assert "show: this OpenCV shows no windows (pip uninstall opencv-python-headless" in refused(capsys, film, "--show")
    assert "rate: 0.0; give frames a second" in refused(capsys, film, "--rate", "0")
    assert "smooth: -1.0; give seconds" in refused(capsys, film, "--smooth=-1")
    assert "seconds: 0.0; give more than 0" in refused(capsys, film, "--seconds", "0")
    assert "'openface' is a table" in refused(capsys, film, "--out", str(tmp_path / "a.jsonl"), "--format", "openface")
    assert "ends neither in .csv" in refused(capsys, film, "--out", str(tmp_path / "a.txt"))
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: FakeCamera(-1, {}))
    assert "camera 0 gives no picture; close other programs" in refused(capsys, "0")


@pytest.mark.parametrize("ends", ["q", "closed"])
def test_a_window_shows_each_frame_until_it_is_closed(
    sees: list[list[str]], film: Path, ends: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[Any] = []
    fake = SimpleNamespace(
        WINDOW_AUTOSIZE=1, WINDOW_GUI_NORMAL=16, WND_PROP_VISIBLE=4,
        getBuildInformation=lambda: "  GUI:                           QT5\n",
        namedWindow=lambda title, _: shown.append(title), imshow=lambda _, pixels: shown.append(pixels),
        waitKey=lambda _: ord("q") if ends == "q" and len(shown) == 4 else -1,
        getWindowProperty=lambda *_: float(ends == "q" or len(shown) < 4), destroyAllWindows=lambda: shown.append("gone"),
    )  # fmt: skip
    monkeypatch.setattr("fea.watching.window.opencv", lambda _: fake)
    monkeypatch.setenv("DISPLAY", ":0")
    assert watch(film, "--show", "--rate", "10", "--faces", "largest") == 0
    assert shown[0] == f"fea watch: {film}"
    assert [pixels.shape for pixels in shown[1:-1]] == [(200, 320, 3)] * 3
    assert shown[-1] == "gone"
    assert len(list(csv.DictReader(capsys.readouterr().out.splitlines()))) == 3
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert "show: there is no screen" in refused(capsys, film, "--show")


def test_what_is_said_stands_at_the_face_and_within_the_picture() -> None:
    image = Image.new("RGB", (400, 300))
    votes = {"AU6": 0.4, "AU12": 0.9}
    smiles = Result("a", ("AU12",), "喜び", votes=votes, emotion_votes={"喜び": 0.8}, face_id=1, box=(40, 30, 120, 140))
    low = smiles._replace(box=(200, 150, 120, 149), face_id=0)
    found = np.asarray(marked(image, [smiles, low])).astype(int)
    assert found[30, 40].tolist() == [0xA8, 0x50, 0x1A]  # the frame of face 1
    assert found[150, 200].tolist() != found[30, 40].tolist()
    white = (found == 255).all(axis=2)
    assert white[172:204, 40:80].mean() > 0.5  # below the face
    assert white[152:184, 204:240].mean() > 0.5  # within, where there is no room below
    assert not np.asarray(image).any()  # the picture itself stays
    large = marked(Image.new("RGB", (2560, 1000)), [smiles._replace(box=(2000, 100, 400, 400))])
    assert large.size == (1280, 500)
    assert large.getpixel((1000, 60)) == (0xA8, 0x50, 0x1A)
    edge = np.asarray(marked(image, [smiles._replace(box=(380, 30, 20, 20))]))
    assert (edge[52:70, 300:] == 255).all(axis=2).any(axis=0).sum() > 60  # moved until it fits
    whole = marked(image, [Result("a", error="no face")])
    assert np.asarray(whole)[:20].any()
