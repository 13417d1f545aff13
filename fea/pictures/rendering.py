"""A layout as PNG and as SVG. Both read the same record, and neither measures anything."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from PIL import Image, ImageDraw, ImageOps
from PIL.PngImagePlugin import PngInfo

from fea.pictures.fonts import FAMILIES, font, runs
from fea.pictures.layout import Layout, Photo, Rectangle, Text

SCALE = 2  # pixels of a unit: sharp on screens of today, and in print at 19 cm
MADE_BY = "fea analyze, save_vis"  # stands in both files, so that no other picture is ever written over
_TALLEST = 1 << 15  # units; the sides of a PNG of twice as many pixels are still read everywhere


def as_png(layout: Layout) -> bytes:
    """The picture in pixels."""
    scale = min(SCALE, _TALLEST * SCALE / layout.height)
    image = Image.new("RGB", (round(layout.width * scale), round(layout.height * scale)), "white")
    pen = ImageDraw.Draw(image)
    for item in layout.items:
        if isinstance(item, Rectangle):
            _rectangle(pen, item, scale)
        elif isinstance(item, Photo):
            side = round(item.side * scale)
            photo = _fitted(item.image, side)
            left, top = (side - photo.width) // 2, (side - photo.height) // 2
            image.paste(photo, (round(item.x * scale) + left, round(item.y * scale) + top))
        else:
            _text(pen, item, scale)
    told = PngInfo()
    told.add_text("Software", MADE_BY)
    stream = io.BytesIO()
    image.save(stream, "PNG", pnginfo=told)
    return stream.getvalue()


def _fitted(image: Image.Image, side: int) -> Image.Image:
    return ImageOps.contain(image, (side, side), Image.Resampling.LANCZOS)


def _rectangle(pen: ImageDraw.ImageDraw, item: Rectangle, scale: float) -> None:
    left, top = item.x * scale, item.y * scale
    # Pillow counts the last pixel in.
    box = (left, top, left + item.width * scale - 1, top + item.height * scale - 1)
    pen.rounded_rectangle(box, item.radius * scale, item.color)


def _text(pen: ImageDraw.ImageDraw, item: Text, scale: float) -> None:
    x, y = item.x * scale, item.y * scale
    for run in runs(item.content, item.bold):
        set_in = font(run.file, round(item.size * scale))
        pen.text((x, y), run.text, item.color, font=set_in, anchor="ls")
        x += set_in.getlength(run.text)
    if item.dotted:
        below, step = round(y + 2.5 * scale), round(4 * scale)
        for left in range(round(item.x * scale), round((item.x + item.width) * scale), step):
            pen.line((left, below, left + scale, below), item.color, round(scale))


def as_svg(layout: Layout) -> bytes:
    """The picture as text; each of its lines keeps the width that was laid out, whatever font its reader has."""
    size = (
        f'width="{layout.width:.0f}" height="{layout.height:.0f}" viewBox="0 0 {layout.width:.0f} {layout.height:.0f}"'
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family={quoteattr(FAMILIES)}>'
    lines = [head, f"<!-- {MADE_BY} -->", *map(_element, layout.items), "</svg>", ""]
    return "\n".join(lines).encode()


def _element(item: Rectangle | Text | Photo) -> str:
    if isinstance(item, Rectangle):
        place = f'x="{item.x:.1f}" y="{item.y:.1f}" width="{item.width:.1f}" height="{item.height:.1f}"'
        return f'<rect {place} rx="{item.radius:.1f}" fill="{item.color}"/>'
    if isinstance(item, Photo):
        place = f'x="{item.x:.1f}" y="{item.y:.1f}" width="{item.side:.1f}" height="{item.side:.1f}"'
        return f'<image {place} href="{_embedded(item)}"><title>{escape(item.told)}</title></image>'
    return f"<text {' '.join(_attributes(item))}>{escape(item.content)}</text>"


def _attributes(item: Text) -> Iterator[str]:
    yield f'x="{item.x:.1f}" y="{item.y:.1f}" font-size="{item.size:g}" fill="{item.color}" xml:space="preserve"'
    if item.width:
        yield f'textLength="{item.width:.1f}" lengthAdjust="spacingAndGlyphs"'
    if item.bold:
        yield 'font-weight="bold"'
    if item.dotted:
        yield 'text-decoration="underline dotted"'


def _embedded(item: Photo) -> str:
    stream = io.BytesIO()
    _fitted(item.image, round(item.side * SCALE)).save(stream, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
