"""The pen that draws faces: strokes, fills and creases in face coordinates, on a picture that is turned, scaled and lit.

Coordinates: x to the right, y down, the face about 2 wide:

             x = -1        0         1
    y = -1.3            forehead
        -0.55       brows      brows
        -0.2        eyes       eyes
         0.3              nose
         0.68            mouth
         1.25             chin
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]


class Look(NamedTuple):
    """All that varies between two pictures of the same expression.

    Sizes are relative to 1, offsets in face units; `hair_style` is one of "short", "long", "bald", "bun" and "curly"; `roll`
    is in degrees, `yaw` positive to the right of the picture, `shift` in pictures.
    """

    skin: Color
    hair: Color
    iris: Color
    lips: Color
    background: Color
    hair_style: str = "short"
    face_width: float = 1.0
    face_length: float = 1.0
    eye_size: float = 1.0
    eye_distance: float = 0.42
    eye_opening: float = 1.0
    brow_height: float = 0.0
    brow_weight: float = 1.0
    nose_length: float = 1.0
    nose_width: float = 1.0
    mouth_width: float = 1.0
    mouth_height: float = 0.0
    lip_fullness: float = 1.0
    corner_height: float = 0.0
    roll: float = 0.0
    yaw: float = 0.0
    scale: float = 1.0
    shift: Point = (0.0, 0.0)
    light: float = 0.2
    light_angle: float = 0.0
    brightness: float = 1.0


class Pen:
    """A picture to draw on.

    Args:
        look: identity, pose and light.
        pixels: width and height of the picture.
    """

    def __init__(self, look: Look, pixels: int):
        self.look, self.pixels = look, pixels
        self.image = Image.new("RGB", (pixels, pixels), look.background)
        self.pen = ImageDraw.Draw(self.image)
        self.unit = pixels * 0.335 * look.scale  # pixels of a face unit: the face is two thirds of the picture wide
        self.crease = shade(look.skin, 0.50)

    def place(self, points: Sequence[Point]) -> list[Point]:
        """Face coordinates to pixels: turn, roll, scale, shift."""
        roll = math.radians(self.look.roll)
        cos, sin = math.cos(roll) * self.unit, math.sin(roll) * self.unit
        middle_x = self.pixels * (0.5 + self.look.shift[0])
        middle_y = self.pixels * (0.5 + self.look.shift[1]) - 0.05 * self.unit  # a little up: below, a jaw may drop
        # A head that turns moves what is in front of it, and not its outline.
        turned = [(x + self.look.yaw * max(0.0, 1 - x * x), y) for x, y in points]
        return [(middle_x + cos * x - sin * y, middle_y + sin * x + cos * y) for x, y in turned]

    def fill(self, points: Sequence[Point], color: Color) -> None:
        """A polygon."""
        self.pen.polygon(self.place(points), fill=color)

    def line(self, points: Sequence[Point], color: Color, width: float) -> None:
        """A stroke; width in face units."""
        pixels = max(1, round(width * self.unit))
        placed = self.place(smooth(points) if len(points) > 2 else points)
        self.pen.line(placed, fill=color, width=pixels)
        if pixels > 3:  # thinner ones show no ends
            for x, y in (placed[0], placed[-1]):  # round ends
                self.pen.ellipse([x - pixels / 2, y - pixels / 2, x + pixels / 2, y + pixels / 2], fill=color)

    def pair(self, points: Sequence[Point], color: Color, width: float) -> None:
        """The same stroke on both sides."""
        self.line(points, color, width)
        self.line([(-x, y) for x, y in points], color, width)

    def creases(self, strokes: Sequence[Sequence[Point]], amount: float, both: bool = True) -> None:
        """Wrinkles; they darken and thicken with the grade, from half of their color and width at none to all at the most.

        Args:
            strokes: points of each.
            amount: from 0, for which there are none, to 1.
            both: on both sides of the face.
        """
        if amount:
            color = mix(self.look.skin, self.crease, 0.55 + 0.45 * amount)
            for stroke in strokes:
                (self.pair if both else self.line)(stroke, color, 0.022 + 0.022 * amount)

    def disc(self, center: Point, radius: float, color: Color) -> None:
        """A filled circle; radius in face units."""
        self.fill([(center[0] + radius * math.cos(t), center[1] + radius * math.sin(t)) for t in TURN], color)

    def inside(self, region: Sequence[Point], color: Color, paint: Callable[[], None]) -> None:
        """Fills a region and clips what is painted next to it: an iris by the lids, teeth by the lips.

        Pillow cannot clip. So what surrounds the region is kept, painted over, and put back wherever the mask is not 0.
        """
        placed = self.place(region)
        xs = [x for x, _ in placed]
        ys = [y for _, y in placed]
        reach = round(0.3 * self.unit)  # farther than anything painted through an opening
        box = (round(min(xs)) - reach, round(min(ys)) - reach, round(max(xs)) + reach, round(max(ys)) + reach)
        before = self.image.crop(box)
        mask = Image.new("L", before.size, 255)
        ImageDraw.Draw(mask).polygon([(x - box[0], y - box[1]) for x, y in placed], fill=0)
        self.fill(region, color)
        paint()
        self.image.paste(before, box, mask)


# 32 corners for a circle: off by less than a tenth of a pixel at the largest radius, in a picture of 112.
TURN = [2 * math.pi * step / 32 for step in range(32)]  # the first point closes the circle
HALF_TURN = [math.pi * step / 32 for step in range(33)]  # with both ends


def arc(left: Point, middle: Point, right: Point, square: float = 0.0) -> list[Point]:
    """A smooth curve through three points; `square` flattens its middle (AU16 pulls the whole lower lip)."""
    points = []
    for step in range(25):
        t = 2 * step / 24 - 1  # from -1 to 1
        bow = 1 - abs(t) ** (2 + 3 * square)
        base = left[1] + (right[1] - left[1]) * step / 24
        points.append((left[0] + (right[0] - left[0]) * step / 24, base + (middle[1] - (left[1] + right[1]) / 2) * bow))
    return points


# Catmull-Rom weights of the four points around a stretch of curve, at five places along it.
_CURVE = [
    ((2 * t**2 - t - t**3) / 2, (3 * t**3 - 5 * t**2 + 2) / 2, (t + 4 * t**2 - 3 * t**3) / 2, (t**3 - t**2) / 2)
    for t in (0.0, 0.2, 0.4, 0.6, 0.8)
]


def smooth(points: Sequence[Point]) -> list[Point]:
    """A smooth curve through the points."""
    p = [points[0], *points, points[-1]]  # the ends twice: every stretch needs a point before and one behind it
    return [
        (w * a[0] + x * b[0] + y * c[0] + z * d[0], w * a[1] + x * b[1] + y * c[1] + z * d[1])
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
        for w, x, y, z in _CURVE
    ] + [points[-1]]


def shade(color: Color, factor: float) -> Color:
    """The color, darker or brighter."""
    return _rgb([channel * factor for channel in color])


def mix(a: Color, b: Color, share: float) -> Color:
    """A color between two others: `share` of the way from the first."""
    return _rgb([x + (y - x) * share for x, y in zip(a, b, strict=True)])


def _rgb(channels: Sequence[float]) -> Color:
    red, green, blue = (max(0, min(255, round(channel))) for channel in channels)
    return red, green, blue


def lit(image: Image.Image, look: Look) -> Image.Image:
    """Shades the picture from one side."""
    size = image.width
    ramp: NDArray[np.float32] = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    slope = ramp[None, :] * math.cos(look.light_angle) + ramp[:, None] * math.sin(look.light_angle)
    factor = look.brightness * (1 + look.light * slope)
    pixels = np.asarray(image, dtype=np.float32) * factor[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
