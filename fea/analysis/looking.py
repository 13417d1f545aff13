"""What is shown of a picture: all of it, or the faces in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from fea.analysis.tables import NO_FACE
from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.faces.crops import Faces, cropped
from fea.faces.detectors import Box, Detector
from fea.images.opening import load_image
from fea.model.encoding import Encoder


class Shown(NamedTuple):
    """Which face of which picture a prompt shows.

    Attributes:
        unit: number of the picture among those that are loaded together.
        face_id: of its faces, the largest first.
        box: of the face in the upright picture; None where faces are not looked for.
        score: how sure the detector is; None if it does not say.
    """

    unit: int
    face_id: int = 0
    box: Box | None = None
    score: float | None = None

    @classmethod
    def of(cls, prompt: Prompt) -> Shown:
        """What `Look` says of a prompt."""
        unit, face_id, box, score = json.loads(prompt.example.meta)
        return cls(unit, face_id, box and tuple(box), score)


@dataclass(frozen=True)
class Look:
    """Makes the prompts of a picture. It holds no weights, so that loader workers can carry it.

    Attributes:
        encoder: of the model.
        faces: that are shown: "none" shows the picture as it is.
        detector: finds them; None with "none".
        most_pixels: that a picture may have to be read at all.
        pictures: those in memory, by the id of their example.
    """

    encoder: Encoder
    faces: Faces
    detector: Detector | None
    most_pixels: int
    pictures: Mapping[str, Image.Image]

    def __call__(self, example: Example) -> list[Prompt]:
        """A prompt for each face, the largest first.

        Raises:
            FEAError: the picture cannot be read, or shows no face.
        """
        enough = self.encoder.enough if self.detector is None else None
        image = self.pictures.get(example.id) or load_image(
            example.image, example.place, False, self.most_pixels, enough
        )
        if self.detector is None:
            return [self.encoder.of(example._replace(meta=json.dumps(Shown(int(example.meta)))), image)]
        found = self.detector.find(image)
        if not found:
            raise FEAError(f"{example.place}: {NO_FACE}; look at all of it with faces none")
        found = found if self.faces == "all" else found[:1]
        prompts = []
        for number, face in enumerate(found):
            shown = Shown(int(example.meta), number, face.box, face.score)
            name = f"{example.id}#{number}"  # as image too: prompts of one image are looked at once
            named = example._replace(id=name, image=name, meta=json.dumps(shown))
            prompts.append(self.encoder.of(named, cropped(image, face.box)))
        return prompts
