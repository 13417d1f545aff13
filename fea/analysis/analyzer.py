"""Faces in, answers out: image files are read ahead and answered with others of about their size."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from fea.analysis.tables import Result, failure_of, result_of
from fea.data.example import Example
from fea.data.loader import EpochSampler, Loader
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.facs import Emotions, emotion_set
from fea.images.opening import MOST_PIXELS, check_most_pixels
from fea.model.cache import Trunk
from fea.model.checkpoints import Stored, load_policy
from fea.model.config import Device
from fea.model.policy import Policy
from fea.model.precision import computing
from fea.model.sampling import Generation
from fea.prompts.answer import Answer
from fea.rollouts.rollout import ask
from fea.system.progress import progress

_POOL = 8  # batches that are read ahead and sorted, so that a batch holds images of about one size and little padding
# Endings of pictures, in small letters: of those that are read, and of those of which a row has to say that they are not.
_READ = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".avif"}
_OTHERS = (
    "heic heif hif jp2 j2k jpf jxl psd svg tga ico ppm pgm pbm pnm eps exr hdr qoi dng raw cr2 cr3 nef arw raf orf rw2"
)
_UNREAD = {f".{ending}" for ending in _OTHERS.split()}


class Analyzer:
    """A trained model that is asked about images; `fea.load` makes one.

    Args:
        policy: in eval mode, on its device.
        trained: what its checkpoint says about it.

    Attributes:
        policy: the model.
        emotions: those it was trained with, which are allowed unless others are named.
        datasets: those it has seen.
    """

    def __init__(self, policy: Policy, trained: Stored):
        self.policy = policy
        self.emotions, self.datasets, self._precision = trained.emotions, trained.datasets, trained.precision

    def analyze(
        self,
        images: str | Path | Sequence[str | Path],
        question: str = "",
        emotions: Emotions | None = None,
        batch_size: int = 32,
        num_workers: int = 2,
        max_tokens: int = 256,
        max_image_pixels: int = MOST_PIXELS,
    ) -> list[Result]:
        """Names the Action Units and the emotion of faces, with the reasoning.

        Args:
            images: image files, or folders of them.
            question: asked instead of the default question.
            emotions: allowed emotions; by default those the model was trained with.
            batch_size: images at a time.
            num_workers: processes that read images ahead, if there are more than one batch of them.
            max_tokens: length limit of an answer.
            max_image_pixels: an image with more is not read; the default is 8192 x 8192.

        Returns:
            A result for each image, in their order; one that could not be read says why.

        Raises:
            FEAError: there is no image, or a number is below 1.
        """
        files = image_files(images)
        parts = self.in_parts(files, question, emotions, batch_size, num_workers, max_tokens, max_image_pixels)
        return [result for part in parts for result in part]

    def in_parts(
        self,
        files: Sequence[Path],
        question: str,
        emotions: Emotions | None,
        batch_size: int,
        num_workers: int,
        max_tokens: int,
        max_image_pixels: int,
    ) -> Iterator[list[Result]]:
        """The same, some batches at a time, so that what is there can be kept; see `analyze`.

        Args:
            files: image files.
            question: asked instead of the default question.
            emotions: allowed emotions.
            batch_size: images at a time.
            num_workers: processes that read images ahead.
            max_tokens: length limit of an answer.
            max_image_pixels: an image with more is not read.

        Yields:
            Results in the order of the files; if something fails, first those that were there by then.

        Raises:
            FEAError: a number is below 1.
        """
        check_at_least_1(batch_size=batch_size, max_tokens=max_tokens)
        check_most_pixels("max_image_pixels", max_image_pixels)
        self.policy.encoder.max_image_pixels = max_image_pixels
        allowed = self.emotions if emotions is None else emotion_set(emotions)
        examples = [_example(file, question, allowed) for file in files]
        workers = num_workers if len(files) > batch_size else 0
        sampler = EpochSampler(len(examples), shuffle=False)
        size, trunk = _POOL * batch_size, Trunk()
        loader = Loader(examples, self.policy.encoder, sampler, size, workers, "skip", training=False)
        with progress(len(examples), "images") as advance:
            for start, pool in zip(range(0, len(examples), size), loader, strict=True):
                names, answers = [example.id for example in examples[start : start + size]], dict[str, Answer]()
                try:
                    for batch, said in self._answered(pool, batch_size, Generation(max_tokens), trunk):
                        answers |= {prompt.example.id: answer for prompt, answer in zip(batch, said, strict=True)}
                        advance(len(batch))
                except BaseException:
                    if answers:
                        yield [result_of(name, answers[name]) for name in names if name in answers]
                    raise
                advance(len(names) - len(pool))
                yield [
                    result_of(name, answers[name]) if name in answers else failure_of(name, loader.skipped)
                    for name in names
                ]

    def _answered(
        self, pool: list[Prompt], batch_size: int, generation: Generation, trunk: Trunk
    ) -> Iterator[tuple[list[Prompt], list[Answer]]]:
        """Batches of images of about one size, with their answers."""
        pool.sort(key=lambda prompt: len(prompt.ids))
        for start in range(0, len(pool), batch_size):
            batch = pool[start : start + batch_size]
            with computing(self._precision, self.policy.network.device):
                answers = ask(self.policy, self.policy.look(batch), 1, generation, trunk=trunk).answers
            yield batch, answers


def load(model: str | Path, device: Device = "auto", base: str | Path | None = None) -> Analyzer:
    """A model, ready to be asked.

    Args:
        model: run (folder or checkpoint) that `fea fit` wrote; or folder or hub name of a base, which is asked as it is, of an
            exported model or of an adapter of PEFT.
        device: "cpu", "cuda" or "auto".
        base: folder or hub name of the model that a run or an adapter was trained on, if that is no longer where it was.

    Raises:
        FEAError: the run or its base cannot be read, or there is no such device.
    """
    return Analyzer(*load_policy(str(model), device, None if base is None else str(base)))


def image_files(images: str | Path | Sequence[str | Path]) -> list[Path]:
    """Image files, with those of folders in the place of these. What is left out of a folder is told.

    Raises:
        FEAError: there is none.
    """
    named = [images] if isinstance(images, str | Path) else list(images)
    files: list[Path] = []
    left_out: Counter[str] = Counter()
    for path in map(Path, named):
        if path.is_dir():
            inside = sorted(path.iterdir())
            files += [file for file in inside if not _other(file)]
            left_out.update(filter(None, map(_other, inside)))
        else:
            files.append(path)
    told = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common())
    if not files:
        raise FEAError(f"no image in {', '.join(map(str, named))}" + (f"; left out: {told}" if told else ""))
    if told:
        print(f"note: left out of the folders: {told}", file=sys.stderr)
    return files


def _other(file: Path) -> str:
    """What a file of a folder is, if it is no picture."""
    if file.is_dir():
        return "folder"
    if file.name.startswith("."):
        return "hidden"
    ending = file.suffix.lower()
    return "" if ending in _READ | _UNREAD else ending or "without an ending"


def check_at_least_1(**numbers: int) -> None:
    """Refuses numbers below 1, which are given by name.

    Raises:
        FEAError: naming the first one.
    """
    for name, number in numbers.items():
        if number < 1:
            raise FEAError(f"{name}: {number}; give at least 1")


def _example(file: Path, question: str, emotions: tuple[str, ...]) -> Example:
    """A face of which nothing is known."""
    name = str(file)
    return Example(name, "", name, name, question, None, frozenset(), (), emotions, None, {}, None, None, "{}")
