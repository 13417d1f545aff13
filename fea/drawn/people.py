"""Who is drawn, and in which pose and light."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from fea.drawn.pen import Look

_SKINS = (
    (255, 224, 196),
    (241, 194, 155),
    (224, 172, 138),
    (198, 134, 96),
    (160, 102, 68),
    (122, 76, 50),
    (92, 58, 40),
)
_HAIRS = ((30, 24, 22), (70, 45, 30), (120, 80, 45), (190, 150, 85), (150, 70, 35), (120, 120, 122), (215, 210, 205))
_IRISES = ((70, 110, 140), (80, 55, 35), (90, 120, 80), (60, 40, 30), (110, 120, 125))
_BACKGROUNDS = ((200, 205, 208), (172, 190, 200), (205, 196, 180), (150, 165, 150), (128, 138, 152), (186, 170, 178))
_STYLES = ("short", "long", "bald", "bun", "curly")
# What differs between two pictures of one person.
_PICTURE = ("background", "roll", "yaw", "scale", "shift", "light", "light_angle", "brightness")


def sample_look(rng: np.random.Generator) -> Look:
    """Draws a person, a pose and a light. No neutral feature moves as far as the trace of a unit does."""

    def color(palette: Collection[tuple[float, float, float]], jitter: float = 4) -> tuple[int, int, int]:
        """A tone of the palette, a little lighter or darker, and each channel off by itself."""
        shade = rng.choice(list(palette)) * rng.uniform(0.92, 1.06) + rng.normal(0, jitter, 3)
        r, g, b = (int(c) for c in np.clip(shade, 0, 255))
        return r, g, b

    def about(mean: float, spread: float) -> float:
        return float(rng.uniform(mean - spread, mean + spread))

    skin = color(_SKINS)
    return Look(
        skin=skin,
        hair=color(_HAIRS),
        iris=color(_IRISES),
        lips=color([(0.88 * skin[0], 0.54 * skin[1], 0.57 * skin[2])]),
        background=color(_BACKGROUNDS, 10),
        hair_style=str(rng.choice(_STYLES, p=(0.35, 0.25, 0.1, 0.15, 0.15))),
        face_width=about(0.98, 0.06),
        face_length=about(1.0, 0.05),
        eye_size=about(1.0, 0.1),
        eye_distance=about(0.42, 0.025),
        eye_opening=about(1.0, 0.1),
        brow_height=about(0.0, 0.025),
        brow_weight=about(1.0, 0.3),
        nose_length=about(1.0, 0.1),
        nose_width=about(1.0, 0.15),
        mouth_width=about(1.0, 0.07),
        mouth_height=about(0.0, 0.025),
        lip_fullness=about(1.0, 0.2),
        corner_height=about(0.0, 0.02),
        roll=float(rng.normal(0, 3)),
        yaw=float(rng.normal(0, 0.05)),
        scale=about(1.0, 0.05),
        shift=(about(0.0, 0.022), about(0.0, 0.022)),
        light=about(0.22, 0.22),
        light_angle=about(0.0, np.pi),
        brightness=about(0.93, 0.1),
    )


def sample_picture(seed: int, person: int, rng: np.random.Generator) -> Look:
    """Draws a pose, a light and a background for a person.

    Args:
        seed: of the set; other sets show other people.
        person: a number; with the seed it determines all that belongs to the person.
        rng: source of chance for the rest.
    """
    known = sample_look(np.random.default_rng([seed, person, 1]))  # faces have [seed, number], which never equals it
    picture = sample_look(rng)
    return known._replace(**{name: getattr(picture, name) for name in _PICTURE})
