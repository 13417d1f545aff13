"""`fea watch`: the faces of a film or a camera over time, each with its number, as rows that come while one watches."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from fea.analysis.layout import Format
from fea.errors import FEAError
from fea.faces.crops import Faces
from fea.model.config import Device
from fea.prompts.answer import Form

if TYPE_CHECKING:
    from fea.analysis.analyzer import Analyzer
    from fea.analysis.asking import Asking
    from fea.analysis.films import Frame
    from fea.analysis.layout import Layout
    from fea.analysis.tables import Result
    from fea.analysis.writing import AnswerFile
    from fea.watching.following import Follower
    from fea.watching.sources import Source

    Write = Callable[[Sequence[Result]], object]
    Followed = tuple[Sequence[Frame], list[Result]]


def watch(
    source: str, *, model: str, base: str | None = None, out: str | None = None, format: Format = "fea",
    rate: float = 5.0, seconds: float | None = None, smooth: float = 0.5, show: bool = False, faces: Faces = "all",
    face_model: str | None = None, samples: int = 0, question: str = "", emotions: str | list[str] | None = None,
    answer: Form | None = None, batch_size: int = 8, max_tokens: int = 256, device: Device = "auto",
) -> int:  # fmt: skip
    """Follows the faces of a film or a camera over time; one row a face and frame, as they come.

    A face keeps its `face_id` as long as it is away for less than a second. Of a camera, frames that come while the model is at
    work are left out, and how many were is told in the end; of a film none is. Ctrl-C ends it, and what was said is kept.

    Args:
        source: film, which needs the extra `video`; or number of a camera, from 0, which needs the extra `face`.
        model: run (folder or checkpoint) that `fea fit` wrote; or folder or hub name of a base, which is asked as it is, of an
            exported model or of an adapter of PEFT.
        base: folder or hub name of the model that a run or an adapter was trained on, if that is no longer where it was.
        out: file for the rows: .csv, .jsonl, which holds all that is told, or .parquet; it grows with them. By default they are
            printed as CSV.
        format: columns of the table: ours, or those of Py-Feat, OpenFace or LibreFace, where what the model does not say is
            empty.
        rate: frames a second that are asked about. An expression lasts half a second or longer: five catch it at least twice.
        seconds: after which it ends, in the time of the film; by default it ends with the film, or never.
        smooth: time constant in seconds of the exponential mean told as vote of each unit and emotion, by which those of
            a row are chosen, 0 for none: a single odd answer does not show. Its reasoning and text are the frame's own.
        show: open a window with the faces, their numbers, emotions and units; q or Escape ends it. Needs opencv-python.
        faces: "all" and "largest" show the model the faces, cut out, "none" shows it whole frames, as one face.
        face_model: file of the model that finds them, YuNet's or MediaPipe's; by default that of training, or Haar cascades,
            which need none.
        samples: answers to each face at temperature 1, of which shares are counted for each unit and emotion. 0: the likeliest
            answer alone.
        question: asked instead of the default question.
        emotions: allowed emotions; by default those the model was trained with.
        answer: "after_thinking"; "first", before the thinking; or "only", which is quick and says nothing of units; by default
            that of the run.
        batch_size: frames of a film that are answered at a time; of a camera, and with a window, it is one.
        max_tokens: length limit of an answer.
        device: "cpu", "cuda" or "auto".

    Returns:
        0, after Ctrl-C, too.

    Raises:
        FEAError: there is no such film, camera or run, it breaks off, `out` has another ending or holds something else, no
            window can be shown, a number is too small, or a package or a file for faces or films is missing.
    """
    from fea.analysis.asking import Asking
    from fea.facs import emotion_set
    from fea.watching.sources import source_of

    allowed = () if emotions is None else emotion_set(emotions)
    asking = Asking(
        question, allowed, batch_size, max_tokens=max_tokens, faces=faces, face_model=face_model, samples=samples,
        answer=answer,
    )  # fmt: skip
    _check_numbers(rate, seconds, smooth)
    _check(asking, out, format, show)
    watched = source_of(source, rate, seconds)  # a camera is taken before a model of many gigabytes is read
    from fea.analysis.analyzer import load

    return _watch(load(model, device, base), watched, asking, smooth, out, format, show)


def _check(asking: Asking, out: str | None, format: Format, show: bool) -> None:
    """Finds out before the work what stands against it."""
    from fea.analysis.writing import check_out
    from fea.faces.detectors import detector

    check_out(out, format)
    if asking.faces != "none":
        detector(asking.face_model)
    if show:
        from fea.watching.window import check_window

        check_window()


def _check_numbers(rate: float, seconds: float | None, smooth: float) -> None:
    if not (rate > 0 and math.isfinite(rate)):
        raise FEAError(f"rate: {rate}; give frames a second, more than 0")
    if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
        raise FEAError(f"seconds: {seconds}; give more than 0, or leave it out")
    if not (smooth >= 0 and math.isfinite(smooth)):
        raise FEAError(f"smooth: {smooth}; give seconds, or 0 for none")


def _watch(
    analyzer: Analyzer, source: Source, asking: Asking, smooth: float, out: str | None, format: Format, show: bool
) -> int:
    """Watches until the end, and says what came of it."""
    from fea.analysis.writing import AnswerFile
    from fea.watching.following import Follower

    for note in analyzer.notes(asking):
        print(f"note: {note}", file=sys.stderr)
    layout = analyzer.layout([], asking)._replace(format=format, film=True, samples=asking.samples > 0 or smooth > 0)
    follower = Follower(smooth, layout.known)
    file = AnswerFile(Path(out), layout) if out else None
    write: Write = _printing(layout) if file is None else file.write
    try:
        with ExitStack() as stack:
            batches = stack.enter_context(closing(source.batches(1 if show else asking.batch_size)))
            followed = _followed(analyzer.of_frames(source.name, batches, asking), follower, source.count)
            for _, results in _shown(followed, source.name, stack) if show else followed:
                write(results)
    except KeyboardInterrupt:
        print("note: ended by Ctrl-C", file=sys.stderr)
    finally:
        if file is not None and file.count:
            file.finish()
        _tell(follower, source, layout, file)
    return 0


def _followed(answered: Iterator[Followed], follower: Follower, count: int) -> Iterator[Followed]:
    """Frames with the results of the faces in them, followed; shows how far a film is."""
    from fea.system.progress import progress

    with progress(count, "frames", silent=not count) as advance:
        for frames, results in answered:
            yield frames, follower(results)
            advance(len(frames))


def _shown(followed: Iterator[Followed], title: str, stack: ExitStack) -> Iterator[Followed]:
    """The same, each frame in a window; until that is closed."""
    from fea.watching.window import opened

    window = stack.enter_context(opened(f"fea watch: {title}"))
    for frames, results in followed:
        yield frames, results
        if not window.show(frames[-1].picture, results):
            return


def _printing(layout: Layout) -> Write:
    """What prints rows as they come."""
    from fea.analysis.layout import to_csv

    first = [True]

    def write(results: Sequence[Result]) -> None:
        print(to_csv(results, bool(first and first.pop()), layout), end="", flush=True)

    return write


def _tell(follower: Follower, source: Source, layout: Layout, file: AnswerFile | None) -> None:
    """What came of it, on standard error."""
    told = [f"frames: {follower.frames}"]
    told += [f"faces: {follower.tracks.count}"] if layout.faces else []
    told += [f"answers that could not be read: {follower.unreadable}"] if follower.unreadable else []
    told += [source.remark] if source.remark else []
    place = f"; the rows are in '{file.written}'" if file is not None and file.count else ""
    print(f"note: {', '.join(told)}{place}", file=sys.stderr)
