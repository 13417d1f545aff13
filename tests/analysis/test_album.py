"""`fea analyze --save_vis`: a picture for each answered face, with that face on it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from photographed import person
from PIL import Image

from fea.analysis.analyzer import Analyzer
from fea.cli import main
from fea.data.prompt import Prompt
from fea.faces.crops import cropped
from fea.faces.detectors import detector
from fea.images.opening import load_image
from fea.pictures.schematic import claimed
from fea.prompts.answer import render

pytest_plugins = ("photographing",)

Says = Callable[[Callable[[Prompt, int], str]], list[list[str]]]
SMILE = render("The lip corners go up (AU12D), no frown (AU4).", "happiness")


def run(images: Path, vis: Path, *more: str) -> int:
    return main(["analyze", str(images), "--model", "owner/model", "--save_vis", str(vis), *more])


def inside(svg: Path) -> list[Image.Image]:
    """The pictures within a picture: the face, and the one that is drawn."""
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", svg.read_text())
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def alike(a: Image.Image, b: Image.Image) -> bool:
    pixels = [np.asarray(image.convert("RGB").resize((64, 64)), np.float32) for image in (a, b)]
    return float(np.abs(pixels[0] - pixels[1]).mean()) < 4


def test_every_answered_face_has_a_picture_with_that_face(
    loaded: Analyzer, says: Says, album: Path, tmp_path: Path
) -> None:
    says(lambda *_: SMILE)
    before = {file.name: file.stat().st_mtime_ns for file in album.iterdir()}
    assert run(album, tmp_path / "vis", "--faces", "all", "--samples", "2", "--out", str(tmp_path / "a.csv")) == 2
    names = ["a-two@face0", "a-two@face1", "b-one@face0", "e-turned@face0"]
    assert sorted(file.name for file in (tmp_path / "vis").iterdir()) == sorted(
        f"{name}.{ending}" for name in names for ending in ("png", "svg")
    )
    two = load_image(str(album / "a-two.png"), "x")
    for number, face in enumerate(detector().find(two)):
        shown, drawn = inside(tmp_path / "vis" / f"a-two@face{number}.svg")
        assert alike(shown, cropped(two, face.box))
        assert alike(drawn, claimed({12: "D"}, 600))
    texts = (tmp_path / "vis" / "b-one@face0.svg").read_text()
    assert all(f">{text}<" in texts for text in ("AU12", "lip corner puller", "1.00", "happiness", "b-one.png · face0"))
    assert {file.name: file.stat().st_mtime_ns for file in album.iterdir()} == before
    assert (
        run(album / "b-one.png", tmp_path / "vis", "--faces", "largest") == 0
    )  # the folder holds pictures of ours alone
    assert (tmp_path / "vis" / "b-one.png").is_file()


def test_a_folder_of_photographs_is_refused_before_the_work(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(album, album) == 2
    assert "which is no picture of ours; name a new folder" in capsys.readouterr().err
    assert not list(album.glob("*.svg"))


def test_frames_of_a_film_have_their_own_pictures(loaded: Analyzer, says: Says, tmp_path: Path) -> None:
    faces = [person(9, 112), person(9, 112, AU12=5)]
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        track = container.add_stream("mpeg4", rate=Fraction(10))
        track.width = track.height = 112
        track.pix_fmt, track.bit_rate = "yuv420p", 2_000_000
        for number in range(6):
            container.mux(track.encode(av.VideoFrame.from_image(faces[number >= 4])))
        container.mux(track.encode())
    says(lambda *_: "no tags, AU12")
    assert run(tmp_path / "film.mp4", tmp_path / "vis", "--every", "2") == 0
    svgs = [tmp_path / "vis" / f"film@frame{number}.svg" for number in (0, 2, 4)]
    shown = [np.asarray(inside(svg)[0].resize((112, 112)), np.float32) for svg in svgs]
    assert [
        float(np.abs(one - np.asarray(faces[0])).mean()) < float(np.abs(one - np.asarray(faces[1])).mean())
        for one in shown
    ] == [True, True, False]
    assert ">no tags, <" in svgs[0].read_text()  # an answer that cannot be read is shown as it is
