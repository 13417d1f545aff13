"""Faces in, answers out: image files are read ahead and answered with others of about their size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fea.analysis.tables import Result, failure_of, result_of
from fea.data.example import Example
from fea.data.loader import EpochSampler, Loader
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.facs import Emotions, emotion_set
from fea.model.cache import Trunk
from fea.model.checkpoints import Stored, load_policy
from fea.model.config import Device
from fea.model.policy import Policy
from fea.model.sampling import Generation
from fea.prompts.answer import Answer
from fea.rollouts.rollout import ask
from fea.system.progress import progress

_POOL = 8  # batches that are read ahead and sorted, so that a batch holds images of about one size and little padding
_IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


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
        self.emotions, self.datasets = trained.emotions, trained.datasets

    def analyze(
        self,
        images: str | Path | Sequence[str | Path],
        question: str = "",
        emotions: Emotions | None = None,
        batch_size: int = 32,
        num_workers: int = 2,
        max_tokens: int = 256,
    ) -> list[Result]:
        """Names the Action Units and the emotion of faces, with the reasoning.

        Args:
            images: image files, or folders of them.
            question: asked instead of the default question.
            emotions: allowed emotions; by default those the model was trained with.
            batch_size: images at a time.
            num_workers: processes that read images ahead, if there are more than one batch of them.
            max_tokens: length limit of an answer.

        Returns:
            A result for each image, in their order; one that could not be read says why.

        Raises:
            FEAError: there is no image, or a number is below 1.
        """
        files = image_files(images)
        check_at_least_1(batch_size=batch_size, max_tokens=max_tokens)
        allowed = self.emotions if emotions is None else emotion_set(emotions)
        examples = [_example(file, question, allowed) for file in files]
        workers = num_workers if len(files) > batch_size else 0
        sampler = EpochSampler(len(examples), shuffle=False)
        loader = Loader(examples, self.policy.encoder, sampler, _POOL * batch_size, workers, "skip", training=False)
        read: dict[str, Answer] = {}
        with progress(len(examples), "images") as advance:
            for batch, answers in self._answered(loader, batch_size, Generation(max_tokens)):
                read |= {prompt.example.id: answer for prompt, answer in zip(batch, answers, strict=True)}
                advance(len(batch))
            advance(sum(loader.skipped.values()))
        names = [example.id for example in examples]
        return [result_of(name, read[name]) if name in read else failure_of(name, loader.skipped) for name in names]

    def _answered(
        self, loader: Loader, batch_size: int, generation: Generation
    ) -> Iterator[tuple[list[Prompt], list[Answer]]]:
        """Batches with their answers."""
        trunk = Trunk()
        for pool in loader:
            pool.sort(key=lambda prompt: len(prompt.ids))
            for start in range(0, len(pool), batch_size):
                batch = pool[start : start + batch_size]
                yield batch, ask(self.policy, self.policy.look(batch), 1, generation, trunk=trunk).answers


def load(model: str | Path, device: Device = "auto") -> Analyzer:
    """A trained model, ready to be asked.

    Args:
        model: run (folder or checkpoint) that `fea fit` wrote.
        device: "cpu", "cuda" or "auto".

    Raises:
        FEAError: the run cannot be read, or there is no such device.
    """
    return Analyzer(*load_policy(str(model), device))


def image_files(images: str | Path | Sequence[str | Path]) -> list[Path]:
    """Image files, with those of folders in the place of these.

    Raises:
        FEAError: there is none.
    """
    named = [images] if isinstance(images, str | Path) else list(images)
    files: list[Path] = []
    for path in map(Path, named):
        if path.is_dir():
            files += sorted(file for file in path.iterdir() if file.suffix.lower() in _IMAGES)
        else:
            files.append(path)
    if not files:
        raise FEAError(f"no image in {', '.join(map(str, named))}")
    return files


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
