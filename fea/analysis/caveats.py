"""What one should know of answers before one reads them: where a model is asked in another way than it was trained."""

from __future__ import annotations

from collections.abc import Collection

from fea.faces.crops import Faces
from fea.model.config import PolicyConfig
from fea.prompts.answer import Form


def of_faces(trained: PolicyConfig, shown: Faces, face_model: str | None, datasets: Collection[str]) -> list[str]:
    """What stands between the faces that a model is shown and those that it has learned from, a sentence each.

    Args:
        trained: as it was trained.
        shown: faces that it is shown.
        face_model: file of the model that finds them; None: as in training.
        datasets: names of those it has seen.
    """
    told = []
    if set(datasets) == {"faces"}:
        told.append("this model has seen drawn faces only; what it says of photographs means nothing")
    if trained.faces == "none" and shown != "none":
        told.append(
            "this model was trained on images as they are (policy.faces: none), and is shown faces that are cut out; right if "
            "those images were such cuts"
        )
    elif trained.faces != "none" and shown == "none":
        told.append("this model was trained on faces that were cut out (policy.faces), and is shown images as they are")
    elif shown != "none" and face_model and face_model != trained.face_model:
        usual = trained.face_model or "Haar cascades"
        told.append(f"in training faces were found by {usual}, whose boxes are a little different")
    return told


def of_form(asked: Form, trained: Collection[Form]) -> list[str]:
    """That a form of answers was not trained, in a sentence.

    Args:
        asked: the form.
        trained: forms that were; empty if that is not known.
    """
    if not trained or asked in trained:
        return []
    return [
        f"this model was not trained to answer '{asked}', but {' and '.join(sorted(trained))} (policy.answers): it may answer "
        "worse, or in another form"
    ]
