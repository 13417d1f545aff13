"""Draws a schematic face whose Action Units are true by construction.

Every unit moves or creases something that no other unit does in the same way, so that a person can tell them apart at 112
pixels. A grade from 1 (trace) to 5 (maximum) scales the movement. Coordinates are those of `Pen`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from PIL import Image

from fea.drawn.pen import HALF_TURN, Look, Pen, Point, arc, lit, mix, shade
from fea.facs import CONFLICTS

DRAWN_AUS: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 12, 15, 16, 17, 20, 23, 24, 25, 26)
_OVERSAMPLING = 3  # drawn larger and reduced: Pillow's lines have hard edges


def possible(aus: Collection[int]) -> bool:
    """Whether a face can show these units: no conflict of anatomy, and no jaw that drops behind closed lips."""
    return not any(a in aus and b in aus for a, b in CONFLICTS) and (26 not in aus or 25 in aus)


def draw_face(grades: Mapping[int, float], look: Look, size: int = 112) -> Image.Image:
    """Draws one face.

    Args:
        grades: Action Unit number to grade, 1 to 5; units outside `DRAWN_AUS` are refused.
        look: identity, pose and light.
        size: width and height in pixels.

    Returns:
        An RGB image.

    Raises:
        ValueError: a unit cannot be drawn.
    """
    if unknown := set(grades) - set(DRAWN_AUS):
        raise ValueError(f"cannot draw AU{min(unknown)}; drawn are {', '.join(f'AU{n}' for n in DRAWN_AUS)}")
    face = _Face(grades, look, size * _OVERSAMPLING)
    for part in (
        face.back_hair,
        face.head,
        face.nose,
        face.cheeks,
        face.eyes,
        face.brows,
        face.mouth,
        face.chin,
        face.front_hair,
    ):
        part()
    return lit(face.image.resize((size, size), Image.Resampling.BOX), look)


class _Face(Pen):
    """One method a part, each reading its Action Units."""

    def __init__(self, grades: Mapping[int, float], look: Look, pixels: int):
        super().__init__(look, pixels)
        # From 0.38 to 1: a trace is already visible, the maximum nearly three times as large.
        self.au = {n: (grades[n] + 1.5) / 6.5 if n in grades else 0.0 for n in DRAWN_AUS}
        self.jaw = 0.28 * self.au[26]  # face units by which the chin is lower

    def outline(self, grow: float = 1.0) -> list[Point]:
        """The face from the forehead round the chin; the jaw drops with AU26."""
        width, length = self.look.face_width * grow, self.look.face_length * grow
        points = []
        for step in range(64):
            angle = 2 * math.pi * step / 64
            x, y = math.sin(angle), -math.cos(angle)  # from the top: 16 is the right ear, 32 the chin, 48 the left ear
            narrowing = 1 - 0.16 * max(0.0, y) ** 2  # only below the ears
            points.append((x * width * narrowing, y * 1.28 * length + self.jaw * max(0.0, y) ** 2))
        return points

    def back_hair(self) -> None:
        """What of the hair is behind the head."""
        style, hair = self.look.hair_style, self.look.hair
        if style == "long":
            self.fill([(-1.15, -0.6), (-1.2, 1.5), (1.2, 1.5), (1.15, -0.6), (0.7, -1.45), (-0.7, -1.45)], hair)
        if style == "curly":
            for step in range(11):
                angle = math.pi * (step / 10 - 1)
                self.disc((1.02 * math.cos(angle), -0.35 + 1.0 * math.sin(angle)), 0.34, hair)
        if style == "bun":
            self.disc((0.0, -1.5), 0.34, hair)

    def head(self) -> None:
        """Neck, ears and face."""
        skin = self.look.skin
        self.fill([(-0.42, 0.8), (-0.46, 1.7), (-1.3, 2.2), (1.3, 2.2), (0.46, 1.7), (0.42, 0.8)], shade(skin, 0.82))
        for side in (-1, 1):
            self.disc((side * 1.0 * self.look.face_width, 0.0), 0.17, shade(skin, 0.9))
        self.fill(self.outline(), skin)
        self.line([*self.outline()[16:49]], shade(skin, 0.72), 0.025)  # the jaw, from ear to ear

    def front_hair(self) -> None:
        """What of the hair is in front of the head: a crown, and strands before the ears."""
        style, hair, w = self.look.hair_style, self.look.hair, self.look.face_width
        if style == "bald":
            return
        crown = sorted((x, y) for x, y in self.outline(1.07) if y < -0.55)
        fringe = [
            (0.9 * w, -0.7),
            (0.7 * w, -0.97),
            (0.3 * w, -1.08),
            (-0.1 * w, -1.03),
            (-0.6 * w, -1.02),
            (-0.9 * w, -0.7),
        ]
        self.fill([*crown, *fringe], hair)
        if style in ("short", "long"):
            for side in (-1, 1):
                self.fill(
                    [
                        (side * 0.84 * w, -0.8),
                        (side * 1.05 * w, -0.75),
                        (side * 1.04 * w, -0.2),
                        (side * 0.94 * w, -0.45),
                    ],
                    hair,
                )

    def brows(self) -> None:
        """AU1 lifts the inner ends and AU2 the outer ones; AU4 draws the inner ends down and together."""
        up = self.look.brow_height
        inner, outer, low = self.au[1], self.au[2], self.au[4]
        distance = self.look.eye_distance - 0.42
        points = [
            (0.19 + distance - 0.10 * low, -0.48 - up - 0.22 * inner + 0.13 * low),
            (0.32 + distance - 0.06 * low, -0.56 - up - 0.15 * inner - 0.04 * outer + 0.13 * low),
            (0.52 + distance, -0.60 - up - 0.04 * inner - 0.15 * outer + 0.09 * low),
            (0.73 + distance, -0.50 - up - 0.22 * outer + 0.03 * low),
        ]
        color = shade(self.look.hair, 0.7) if self.look.hair_style != "bald" else shade(self.look.skin, 0.35)
        self.pair(points, color, 0.085 * self.look.brow_weight)
        self.creases(
            [[(-0.2, -0.9), (0.0, -0.94), (0.2, -0.9)], [(-0.15, -0.81), (0.0, -0.85), (0.15, -0.81)]],
            inner,
            both=False,
        )
        self.creases([[(0.4, -0.9), (0.58, -0.93), (0.75, -0.84)]], outer)
        self.creases([[(0.055, -0.62), (0.045, -0.36)]], low)

    def eyes(self) -> None:
        """Both eyes, and the line of AU7 under them."""
        for side in (-1, 1):
            self.eye(side)
        distance = self.look.eye_distance
        # AU7: the lower lid is drawn tight and straight, a second line under it.
        self.creases([[(distance - 0.2, -0.085), (distance, -0.06), (distance + 0.2, -0.085)]], self.au[7])

    def eye(self, side: int) -> None:
        """AU5 lifts the upper lid; AU7 straightens the lower one, which AU6 pushes up a little."""
        look, tight, wide = self.look, self.au[7], self.au[5]
        x, y, half = side * look.eye_distance, -0.2, 0.215 * look.eye_size
        above = 0.115 * look.eye_opening + 0.14 * wide - 0.05 * tight
        below = 0.085 * look.eye_opening - 0.055 * tight - 0.03 * self.au[6]
        upper = [(x + half * math.cos(t), y - above * math.sin(t) ** 0.8) for t in HALF_TURN]
        lower = [(x + half * math.cos(t), y + below * math.sin(t)) for t in HALF_TURN]
        opening = upper + lower[::-1]
        self.inside(opening, (246, 246, 242), lambda: self.iris((x, y)))
        self.line(upper[::4], shade(look.skin, 0.22), 0.05 + 0.015 * wide)
        self.line(lower[::4], shade(look.skin, 0.45 - 0.2 * tight), 0.025 + 0.035 * tight)
        fold = [(px, py - 0.055 - 0.03 * wide) for px, py in upper[2:-2:4]]
        self.line(fold, shade(look.skin, 0.72), 0.02)

    def iris(self, center: Point) -> None:
        """Iris, pupil and a gleam."""
        self.disc(center, 0.108, self.look.iris)
        self.disc(center, 0.052, (15, 12, 12))
        self.disc((center[0] + 0.03, center[1] - 0.035), 0.022, (250, 250, 250))

    def nose(self) -> None:
        """AU9 pulls the tip up, widens the nostrils and wrinkles the bridge."""
        look, wrinkle = self.look, self.au[9]
        skin = look.skin
        tip = 0.30 * look.nose_length - 0.07 * wrinkle
        wide = 0.17 * look.nose_width + 0.035 * wrinkle
        self.line([(0.06, -0.2), (0.09, tip - 0.15)], shade(skin, 0.82), 0.03)
        self.line(
            [(-wide, tip - 0.03), (-0.09, tip + 0.05), (0.0, tip + 0.03), (0.09, tip + 0.05), (wide, tip - 0.03)],
            shade(skin, 0.55),
            0.035,
        )
        self.pair([(wide, tip - 0.03), (wide + 0.02, tip - 0.11 - 0.04 * wrinkle)], shade(skin, 0.6), 0.03)
        self.creases([[(-0.11, y), (0.0, y + 0.035), (0.11, y)] for y in (-0.26, -0.17, -0.08)], wrinkle, both=False)
        self.creases([[(0.13, -0.02), (0.2, 0.12)]], wrinkle)

    def cheeks(self) -> None:
        """AU6 makes them glow, with a fold under the eye and crow's feet; AU12 draws the fold from nose to mouth."""
        raised, smile = self.au[6], self.au[12]
        if raised:
            glow = mix(self.look.skin, (255, 150, 130), 0.16 + 0.16 * raised)
            for side in (-1, 1):
                self.disc((side * 0.57, 0.2), 0.19, glow)
        self.creases([[(0.22, 0.03), (0.45, 0.1 - 0.02 * raised), (0.72, -0.02)]], raised)
        self.creases([[(0.74, -0.2 + dy), (0.9, -0.2 + 2.1 * dy)] for dy in (-0.06, 0.0, 0.06)], raised)
        self.creases([[(0.22, 0.3), (0.44, 0.42), (0.56, 0.66)]], smile)

    def mouth(self) -> None:
        """Corners (AU12, AU15, AU20), thickness (AU23, AU24), opening (AU25, AU16, AU26) and the push from below (AU17)."""
        look, au = self.look, self.au
        y = 0.68 + look.mouth_height + 0.25 * self.jaw
        half = 0.33 * look.mouth_width + 0.11 * au[12] + 0.18 * au[20] - 0.10 * au[23] - 0.02 * au[26]
        corner = y - look.corner_height - 0.19 * au[12] + 0.17 * au[15]
        full = 0.085 * look.lip_fullness * (1 - 0.62 * au[23]) * (1 - 0.8 * au[24]) * (1 - 0.25 * au[20])
        parted = bool(au[25] or au[16])
        gap = 0.07 * au[25] + (0.75 * self.jaw if parted else 0.0)
        middle = y - 0.10 * au[17]
        upper = arc((-half, corner), (0.0, middle - 0.35 * gap), (half, corner))
        lower = arc((-half, corner), (0.0, middle + 0.65 * gap + 0.17 * au[16]), (half, corner), square=au[16])
        self.lips(upper, lower, full, push=au[17])
        if parted:
            self.inside([*upper, *lower[::-1]], (70, 22, 26), lambda: self.teeth(half, middle, gap))
        else:
            self.line(upper, shade(look.lips, 0.45), 0.03 + 0.03 * au[24])
        self.mouth_creases(half, corner, y, full)

    def lips(self, upper: list[Point], lower: list[Point], full: float, push: float) -> None:
        """The red of both lips, thin at the corners; the upper one is notched in the middle.

        Args:
            upper: the lower edge of the upper lip, from corner to corner.
            lower: the upper edge of the lower lip.
            full: thickness of the upper lip in the middle.
            push: how much AU17 swells the lower lip.
        """
        count = len(upper) - 1
        swell = [math.sin(math.pi * i / count) for i in range(count + 1)]
        bow = [1 - 0.35 * math.exp(-(((i / count - 0.5) / 0.07) ** 2)) for i in range(count + 1)]
        top = [(px, py - full * s**0.6 * b) for (px, py), s, b in zip(upper, swell, bow, strict=True)]
        bottom = [(px, py + full * (1.25 + 0.7 * push) * s**0.6) for (px, py), s in zip(lower, swell, strict=True)]
        self.fill([*top, *upper[::-1]], self.look.lips)
        self.fill([*lower, *bottom[::-1]], mix(self.look.lips, (255, 255, 255), 0.12))

    def teeth(self, half: float, middle: float, gap: float) -> None:
        """The upper row in any gap between the lips, the lower row where AU16 bares it; `inside` clips both."""
        white = (240, 236, 226)
        if gap:
            top = middle - 0.35 * gap
            self.fill([(-half, top - 0.2), (half, top - 0.2), (half, top + 0.06), (-half, top + 0.06)], white)
        if self.au[16]:
            low = middle + 0.65 * gap + 0.17 * self.au[16]
            self.fill([(-half, low + 0.2), (half, low + 0.2), (half, low - 0.09), (-half, low - 0.09)], white)

    def mouth_creases(self, half: float, corner: float, y: float, full: float) -> None:
        """Around the mouth: what tells AU15, AU16, AU20, AU23 and AU24 apart once the lips look alike."""
        au = self.au
        self.creases([[(half + 0.03, corner + 0.02), (half + 0.10, corner + 0.2)]], au[15])
        self.creases(
            [[(half + d, corner - 0.13), (half + d + 0.04, corner), (half + d, corner + 0.13)] for d in (0.09, 0.17)],
            au[20],
        )
        for x in (0.06, 0.17):  # AU23: small lines radiate from the tightened lips
            self.creases(
                [
                    [(x, y - full - 0.05), (x * 1.25, y - full - 0.16)],
                    [(x, y + full + 0.06), (x * 1.25, y + full + 0.17)],
                ],
                au[23],
            )
        if au[24]:  # the pressed lips bulge above and below
            for sign in (-1, 1):
                bulge = [(-0.26, y + sign * 0.09), (0.0, y + sign * 0.145), (0.26, y + sign * 0.09)]
                self.creases([bulge], au[24], both=False)
        low = y + 0.25 + 0.1 * au[16] + 0.6 * self.jaw
        self.creases([[(-0.3, low - 0.06), (-0.2, low), (0.2, low), (0.3, low - 0.06)]], au[16], both=False)

    def chin(self) -> None:
        """AU17 raises it to an arch over a dimpled ball."""
        raised, y = self.au[17], 1.06 * self.look.face_length + 0.85 * self.jaw
        if raised:
            arch = [(0.24 * math.cos(t), y - 0.1 * math.sin(t)) for t in HALF_TURN[::4]]
            self.creases([arch], raised, both=False)
            for x, dy in ((0.0, 0.02), (0.09, -0.01), (0.09, 0.07), (0.17, 0.05), (0.0, 0.1)):
                for side in (-1, 1):
                    self.disc((side * x, y + dy), 0.018 + 0.012 * raised, self.crease)
