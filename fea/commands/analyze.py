"""`fea analyze`: Action Units, emotion and reasoning of faces in pictures and films, from a run or any other model."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fea.errors import FEAError
from fea.faces.crops import Faces
from fea.images.opening import MOST_PIXELS
from fea.model.config import Device
from fea.prompts.answer import Form

if TYPE_CHECKING:
    from fea.analysis.analyzer import Part
    from fea.analysis.asking import Asking
    from fea.analysis.inputs import Input
    from fea.analysis.layout import Layout
    from fea.analysis.writing import AnswerFile

    Passing = Callable[[Iterator[Part]], Iterator[Part]]

Format = Literal["fea", "pyfeat", "openface", "libreface"]


def analyze(
    images: list[str], *, model: str, base: str | None = None, out: str | None = None, format: Format = "fea",
    resume: bool = False, save_vis: str | None = None, faces: Faces | None = None, face_model: str | None = None,
    samples: int = 0, every: int = 1, recursive: bool = False, question: str = "", emotions: str | list[str] | None = None,
    answer: Form | None = None, likelihood: bool = False, batch_size: int = 32, num_workers: int = 2, max_tokens: int = 256,
    max_image_pixels: int = MOST_PIXELS, device: Device = "auto",
) -> int:  # fmt: skip
    """Names the Action Units and the emotion of faces, with the reasoning; one row a face.

    Args:
        images: image files, folders (what is left out of them is told), patterns such as 'photos/*.jpg', lists (.txt: a path a
            line, from the folder of the list), and films, which need the extra `video`.
        model: run (folder or checkpoint) that `fea fit` wrote; or folder or hub name of a base, which is asked as it is, of an
            exported model or of an adapter of PEFT.
        base: folder or hub name of the model that a run or an adapter was trained on, if that is no longer where it was.
        out: file for the answers: .csv, .jsonl, which holds all that is told, or .parquet; it grows with them. By default they
            are printed as CSV.
        format: columns of the table: ours, or those of Py-Feat, OpenFace or LibreFace, where what the model does not say is
            empty.
        resume: go on with the answers that an interrupted run left in `out`; the file is in the end what it would have been.
        save_vis: folder, new or of an earlier run, for a PNG and an SVG of each face beside what the model says of it.
        faces: "none" shows images as they are, "largest" and "all" show the faces in them, cut out, and give an image without a
            face a row that says so; by default as the model was trained. Needs the extra `face`.
        face_model: file of the model that finds them, YuNet's or MediaPipe's; by default that of training, or Haar cascades,
            which need none.
        samples: answers to each face at temperature 1, of which shares are counted for each unit and emotion; the reasoning is
            that of an answer of the majority. 0: the likeliest answer alone.
        every: of a film, every n-th frame.
        recursive: take the pictures of folders within folders, too.
        question: asked instead of the default question.
        emotions: allowed emotions; by default those the model was trained with.
        answer: "after_thinking"; "first", before the thinking; or "only", which is quick and says nothing of units; by default
            that of the run. What a run was not trained for (`policy.answers`) is noted.
        likelihood: add how likely each allowed emotion is as the answer, behind the answer's own thinking or at once, as a
            share among the allowed words. In `pyfeat` these are the emotions' columns.
        batch_size: images at a time.
        num_workers: processes that read images ahead, if there are more than one batch of them.
        max_tokens: length limit of an answer.
        max_image_pixels: an image with more is not read; the default is 8192 x 8192.
        device: "cpu", "cuda" or "auto".

    Returns:
        0, or 2 if an image could not be read; it has a row too, which says why.

    Raises:
        FEAError: there is no image, or no such file or run, `out` has another ending or holds something else, a number is
            below 1, or a package or a file for faces or films is missing.
    """
    from fea.analysis.asking import Asking
    from fea.analysis.inputs import inputs_of
    from fea.facs import emotion_set

    inputs = inputs_of(images, recursive)  # like the rest, before a model of many gigabytes is read
    allowed = () if emotions is None else emotion_set(emotions)
    numbers = batch_size, num_workers, max_tokens, max_image_pixels
    asking = Asking(question, allowed, *numbers, faces, face_model, samples, every, answer, likelihood)
    _check(inputs, asking, out, format, resume)
    passing = _album(save_vis, inputs, asking)
    return _answer(model, base, device, inputs, asking, passing, None if out is None else Path(out), format, resume)


def _album(folder: str | None, inputs: Sequence[Input], asking: Asking) -> Passing:
    """What writes pictures of the answers that pass through it; without a folder it writes none."""
    if folder is None:
        return iter
    from fea.analysis.album import Album
    from fea.pictures.saved import check_folder

    check_folder(Path(folder))
    return Album(Path(folder), inputs, asking).passing


def _answer(
    model: str, base: str | None, device: Device, inputs: Sequence[Input], asking: Asking, passing: Passing,
    out: Path | None, format: Format, resume: bool,
) -> int:  # fmt: skip
    """Asks, and prints the answers or writes them."""
    from fea.analysis.analyzer import load
    from fea.analysis.writing import AnswerFile

    analyzer = load(model, device, base)
    for note in analyzer.notes(asking):
        print(f"note: {note}", file=sys.stderr)
    layout = analyzer.layout(inputs, asking)._replace(format=format)
    if out is None:
        return _printed(passing(analyzer.in_parts(inputs, asking)), layout, asking)
    file = AnswerFile(out, layout, _settings(model, base, inputs, asking, layout))
    if resume and file.resume():
        print(f"note: going on behind {file.count} answers in '{file.written}'", file=sys.stderr)
    return _written(passing(analyzer.in_parts(inputs, asking, file.place)), file, asking)


def _check(inputs: Sequence[Input], asking: Asking, out: str | None, format: Format, resume: bool) -> None:
    """Finds out before the work what stands against it."""
    from fea.analysis.films import check_films
    from fea.analysis.writing import check_out
    from fea.faces.detectors import detector

    if resume and not out:
        raise FEAError("resume: answers that are printed cannot be gone on with; name a file with --out")
    check_out(out, format, resume)
    if any(one.film for one in inputs):
        check_films()
    if asking.faces in ("largest", "all"):
        detector(asking.face_model)
    if asking.likelihood and format in ("openface", "libreface"):
        print(f"note: {format} has no columns for likelihoods; the formats fea and pyfeat have", file=sys.stderr)


def _settings(model: str, base: str | None, inputs: Sequence[Input], asking: Asking, layout: Layout) -> dict[str, Any]:
    """What the answers depend on, for a run that goes on with them."""
    from fea.analysis.writing import DIGEST
    from fea.model.elsewhere import names_one
    from fea.model.runs import find

    asked = asdict(asking)
    del asked["num_workers"]
    asked["likelihood"] = asked["likelihood"] or None  # which files of an earlier release do not name
    names = "\n".join(one.name for one in inputs).encode("utf-8", "surrogatepass")
    weights = None if names_one(model) else find(model).stat().st_mtime_ns
    return {
        "model": model, "checkpoint": weights, "base": base, "format": layout.format, **asked,
        DIGEST: hashlib.sha256(names).hexdigest(),
    }  # fmt: skip


def _printed(parts: Iterator[Part], layout: Layout, asking: Asking) -> int:
    """Prints answers as they come; returns 2 if an image could not be read, else 0."""
    from fea.analysis.layout import to_csv
    from fea.analysis.tables import Tally

    tally = Tally()
    for number, part in enumerate(parts):
        print(to_csv(part.results, not number, layout), end="", flush=True)
        tally = tally.plus(part.results)
    if told := tally.told(asking.max_tokens):
        print(f"note: {'; '.join(told)}", file=sys.stderr)
    return 2 if tally.unread else 0


def _written(parts: Iterator[Part], file: AnswerFile, asking: Asking) -> int:
    """Writes answers as they come; returns 2 if an image could not be read, else 0."""
    try:
        for part in parts:
            file.write(part.results, part.place)
        file.finish()
    except BaseException:
        if file.count:
            print(f"note: the {file.count} answers so far are in '{file.written}'; --resume goes on", file=sys.stderr)
        raise
    rows = f"{file.file}: {file.count} {'row' if file.count == 1 else 'rows'}"
    print("; ".join([rows, *file.tally.told(asking.max_tokens)]), file=sys.stderr)
    return 2 if file.tally.unread else 0
