"""Pictures of answers: nothing overlaps, nothing is cut, and both formats show the same."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageChops

from fea.drawn.drawing import DRAWN_AUS, draw_face
from fea.errors import FEAError
from fea.pictures import fonts
from fea.pictures.composing import Told, color_of, composed
from fea.pictures.layout import Layout, Photo, Rectangle, Text
from fea.pictures.rendering import SCALE, as_png, as_svg
from fea.pictures.saved import Pictures, check_folder
from fea.pictures.schematic import LOOK, claimed, probed, remarks

FACE = Image.new("RGB", (120, 90), (120, 90, 60))
SMILE = "The cheeks are up (AU6) and the lip corners, too (AU12C). No frown (AU4), maybe AU10."
UNITS = [f"AU{n}" for n in (*range(1, 3), *range(4, 8), *range(9, 29), 43, 99)]
OTHERS = "\r\n\r\n\u0431\u0440\u043e\u0432\u044c ↑ (AU2) ßéñ 😀 e\u0301 الحاجب"
HOSTILE = "]]> <script>AU12</script> \x1b[31m\u2028\t AU9 \udfff"
CASES = {
    "short": Told("a.jpg", FACE, ["AU6", "AU12"], "happiness", SMILE),
    "nothing": Told("", FACE, [], "", ""),
    "long": Told("x" * 300, FACE, UNITS, "happily surprised", SMILE * 40, dict.fromkeys(UNITS, 0.5)),
    "one word": Told("a\nb.jpg", FACE, ["AU12"], "y" * 90, "z" * 3000, {"AU12": 1.0, "AU4": 0.0}, {"w" * 80: 0.5, "": 0.5}),
    "scripts": Told(
        "日本語の写真.jpg", FACE, ["AU1"], "悲しみ", "眉の内側が上がり(AU1)、口角は上がらない。" * 9 + OTHERS,
        {"AU1": 0.25}, {"悲しみ": 0.75, "Überraschung": 0.25}, "the answer is not well-formed",
    ),
    "hostile": Told("<b>&\x00\ud800\ufffe", FACE, ["AU12"], "<i>", HOSTILE, note="&amp;"),
}  # fmt: skip


@pytest.fixture(scope="module")
def layouts() -> dict[str, Layout]:
    return {name: composed(told) for name, told in CASES.items()}


def areas(layout: Layout) -> Iterator[tuple[float, float, float, float]]:
    """Left, top, right and bottom of what must not lie above each other: texts and photographs."""
    for item in layout.items:
        if isinstance(item, Text) and item.content.strip():
            yield item.x, item.y - 0.76 * item.size, item.x + item.width, item.y + 0.24 * item.size
        if isinstance(item, Photo):
            yield item.x, item.y, item.x + item.side, item.y + item.side


@pytest.mark.parametrize("name", CASES)
def test_nothing_overlaps_and_nothing_is_cut(layouts: dict[str, Layout], name: str) -> None:
    layout = layouts[name]
    found = list(areas(layout))
    for number, (left, top, right, bottom) in enumerate(found):
        assert left >= 20
        assert top >= 20
        assert right <= layout.width - 20
        assert bottom <= layout.height - 20
        for other in found[number + 1 :]:
            apart = right <= other[0] + 0.1 or other[2] <= left + 0.1 or bottom <= other[1] or other[3] <= top
            assert apart, (layout.items[number], other)


@pytest.mark.parametrize("name", CASES)
def test_every_letter_of_what_was_said_is_there_in_order(layouts: dict[str, Layout], name: str) -> None:
    written = "".join("".join(item.content.split()) for item in layouts[name].items if isinstance(item, Text))
    told = CASES[name]
    for text in (told.title, told.note, told.reasoning, told.emotion, *told.emotion_votes):
        assert "".join(fonts.printable(text).split()) in written


@pytest.mark.parametrize("name", CASES)
def test_an_svg_is_xml_with_the_same_texts_each_as_wide_as_it_was_measured(
    layouts: dict[str, Layout], name: str
) -> None:
    root = ElementTree.fromstring(as_svg(layouts[name]))
    texts = [item for item in layouts[name].items if isinstance(item, Text)]
    found = list(root.iter("{http://www.w3.org/2000/svg}text"))
    assert [node.text or "" for node in found] == [text.content for text in texts]
    assert [node.get("textLength") for node in found] == [f"{t.width:.1f}" if t.width else None for t in texts]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}image"))) == 2


def test_a_png_has_ink_where_a_text_is_laid_out_and_nowhere_else(layouts: dict[str, Layout]) -> None:
    layout = layouts["short"]
    picture = Image.open(io.BytesIO(as_png(layout))).convert("RGB")
    assert picture.size == (round(layout.width * SCALE), round(layout.height * SCALE))
    left = picture.copy()
    for item in layout.items[1:]:
        if isinstance(item, Rectangle):
            box = (item.x, item.y, item.x + item.width, item.y + item.height)
        elif isinstance(item, Photo):
            box = (item.x, item.y, item.x + item.side, item.y + item.side)
        else:
            box = (item.x - 1, item.y - item.size, item.x + item.width + 1, item.y + 0.3 * item.size)
        pixels = tuple(round(side * SCALE) for side in box)
        darkest, lightest = picture.crop(pixels).convert("L").getextrema()  # type: ignore[arg-type]
        assert darkest < lightest or not isinstance(item, Text)
        left.paste("white", pixels)  # type: ignore[arg-type]
    assert ImageChops.invert(left).getbbox() is None


def test_units_have_the_color_of_their_region_and_denied_ones_none(layouts: dict[str, Layout]) -> None:
    texts = {item.content: item for item in layouts["short"].items if isinstance(item, Text) and item.size == 15}
    assert (texts["AU6"].color, texts["AU12C"].color) == (color_of(6)[0], color_of(12)[0])
    assert color_of(6) != color_of(12) != color_of(99)
    for denied in ("AU4", "AU10"):
        assert texts[denied].dotted
        assert texts[denied].color not in (color_of(4)[0], color_of(10)[0])


def test_bars_are_as_long_as_their_shares() -> None:
    votes = {"AU4": 0.25, "AU6": 0.5, "AU12": 1.0}
    bars = [
        item.width
        for item in composed(CASES["short"]._replace(votes=votes)).items
        if isinstance(item, Rectangle) and item.height == 10
    ]
    assert bars == [96, 24, 96, 48, 96, 96]  # the whole, then the share of it


def test_the_drawn_face_shows_what_is_claimed_as_strongly_as_it_is_claimed() -> None:
    assert claimed({12: "C", 6: "", 14: "A"}, 60) == draw_face({12: 3, 6: 3}, LOOK, 60)
    assert claimed({12: "E"}, 60) == draw_face({12: 5}, LOOK, 60)
    assert remarks([6, 14, 24, 25, 99]) == ["cannot be drawn: AU14, AU99", "no face shows AU24 with AU25"]
    strengths = [probed({12: tenth / 10}, 60).tobytes() for tenth in range(11)]
    assert all(one != next_one for one, next_one in pairwise(strengths))
    assert strengths[0] == draw_face({}, LOOK, 60).tobytes()
    assert strengths[10] == draw_face({12: 5}, LOOK, 60).tobytes()
    assert len({probed({n: 0.3}, 60).tobytes() for n in DRAWN_AUS}) == len(DRAWN_AUS)


def test_without_any_font_pillows_own_is_taken_and_what_it_lacks_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cached = (fonts._files, fonts._file_of, fonts.lacking)
    for function in cached:
        function.cache_clear()
    monkeypatch.setattr(fonts, "_folders", lambda: iter([tmp_path]))
    try:
        pictures = Pictures(tmp_path / "vis", ["a.jpg"])
        file = pictures.save("a.jpg", "", CASES["scripts"])
        assert {"眉", "の"} <= pictures.lacking
        assert not pictures.lacking & set("AU1")
        assert Image.open(file).width == 1116 * SCALE
    finally:
        for function in cached:
            function.cache_clear()


def test_pictures_are_named_after_their_images_and_never_take_the_place_of_each_other(tmp_path: Path) -> None:
    images = ["a/smile.jpg", "b/Smile.png", "c/x:y?.jpg", "d/" + "ü" * 200 + ".jpg", "e/m@n.jpg", "e/m_n.jpg", "f.jpg"]
    pictures = Pictures(tmp_path, [*images, "f.jpg"])
    made = [pictures.save(image, "", CASES["nothing"]) for image in images]
    made += [pictures.save("f.jpg", part, CASES["nothing"]) for part in ("face0", "face1")]
    names = [file.name for file in made]
    assert len({name.casefold() for name in names}) == len(names) == 9
    assert names[2] == "x_y_.png"
    assert names[6:] == ["f.png", "f@face0.png", "f@face1.png"]
    assert all(file.with_suffix(".svg").is_file() for file in made)
    assert [Pictures(tmp_path, reversed(images)).save(image, "", CASES["nothing"]) for image in images] == made[:7]
    check_folder(tmp_path)  # it holds nothing else


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.svg", "sub"])
def test_a_folder_with_anything_else_is_refused(tmp_path: Path, name: str) -> None:
    check_folder(tmp_path / "new")
    check_folder(tmp_path)
    other = tmp_path / name
    if name == "sub":
        other.mkdir()
    else:
        FACE.save(tmp_path / "a.png")
        (tmp_path / "a.png").rename(other)
    with pytest.raises(FEAError, match=f"holds '{name}', which is no picture of ours"):
        check_folder(tmp_path)
    with pytest.raises(FEAError, match="is no folder"):
        check_folder(tmp_path / "a.jpg" if name == "a.jpg" else Path(__file__))
