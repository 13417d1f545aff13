"""Faces in, answers out: image files are read ahead and answered with others of about their size."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fea.analysis.asking import Asking
from fea.analysis.caveats import of_faces, of_form
from fea.analysis.films import Frame
from fea.analysis.inputs import Images, Input, inputs_of
from fea.analysis.layout import Layout, Results
from fea.analysis.loading import Pool, count_units, frame_pools, pools
from fea.analysis.looking import Look, Shown
from fea.analysis.tables import Result, result_of
from fea.analysis.writing import Place
from fea.data.prompt import Prompt
from fea.evaluation.votes import vote
from fea.faces.crops import Faces
from fea.faces.detectors import Detector, detector
from fea.facs import PROMPTED_AUS, Emotions, emotion_set
from fea.images.opening import MOST_PIXELS
from fea.model.cache import Trunk
from fea.model.checkpoints import Stored, load_policy
from fea.model.config import Device
from fea.model.policy import Policy
from fea.model.precision import computing
from fea.model.sampling import Generation, noise
from fea.prompts.answer import Form
from fea.rollouts.likelihood import likelihoods
from fea.rollouts.rollout import Rollout, ask, trunk_of
from fea.system.progress import progress

_START = Place()


class Part(NamedTuple):
    """What is there by now.

    Attributes:
        results: in the order of the images; a face each.
        place: where the work goes on behind them; None if it broke off, and would have to do them again.
    """

    results: list[Result]
    place: Place | None


class Analyzer:
    """A trained model that is asked about images; `fea.load` makes one. Threads may share it: they wait for each other.

    Args:
        policy: in eval mode, on its device.
        trained: what its checkpoint says about it.

    Attributes:
        policy: the model.
        emotions: those it was trained with, which are allowed unless others are named.
        datasets: those it has seen.
        forms: of answers that it was trained to give; empty if it does not say.
        known: FACS numbers of the units that it has learned; of a model that does not say, those that the prompt explains.
    """

    def __init__(self, policy: Policy, trained: Stored):
        self.policy = policy
        self.emotions, self.datasets, self._precision = trained.emotions, trained.datasets, trained.precision
        self.forms, self.known = trained.forms, trained.coded or frozenset(PROMPTED_AUS)
        self._lock = threading.Lock()

    def analyze(
        self,
        images: Images,
        question: str = "",
        emotions: Emotions | None = None,
        batch_size: int = 32,
        num_workers: int = 2,
        max_tokens: int = 256,
        max_image_pixels: int = MOST_PIXELS,
        faces: Faces | None = None,
        face_model: str | Path | None = None,
        samples: int = 0,
        every: int = 1,
        recursive: bool = False,
        answer: Form | None = None,
        likelihood: bool = False,
    ) -> Results:
        """Names the Action Units and the emotion of faces, with the reasoning.

        Args:
            images: image files, folders, patterns, lists (.txt) and films; arrays of (height, width, 3) bytes, red, green and
                blue; pictures of Pillow.
            question: asked instead of the default question.
            emotions: allowed emotions; by default those the model was trained with.
            batch_size: images at a time.
            num_workers: processes that read images ahead, if there are more than one batch of them.
            max_tokens: length limit of an answer.
            max_image_pixels: an image with more is not read; the default is 8192 x 8192.
            faces: "none" shows images as they are, "largest" and "all" show the faces in them, cut out; by default as the model
                was trained.
            face_model: file of the model that finds them; by default that of training, or Haar cascades, which need none.
            samples: answers to each face at temperature 1, of which shares are counted; 0 for the likeliest answer alone.
            every: of a film, every n-th frame.
            recursive: take the pictures of folders within folders, too.
            answer: "after_thinking", "first" or "only", which is quick and says nothing of units; by default that of the run.
            likelihood: add how likely each allowed emotion is as the answer, as a share among them (`fea.rollouts.likelihood`).

        Returns:
            A result for each face, in the order of the images; one for each image that shows no face, or could not be read, and
            says so.

        Raises:
            FEAError: there is no image, a number is below 1, or a package or file for faces or films is missing.
        """
        asking = Asking(
            question, self.emotions if emotions is None else emotion_set(emotions), batch_size, num_workers, max_tokens,
            max_image_pixels, faces, None if face_model is None else str(face_model), samples, every, answer,
            likelihood,
        )  # fmt: skip
        inputs = inputs_of(images, recursive)
        results = Results(result for part in self.in_parts(inputs, asking) for result in part.results)
        results.layout = self.layout(inputs, asking)
        return results

    def layout(self, inputs: Sequence[Input], asking: Asking) -> Layout:
        """The columns of a table of what will be answered."""
        return Layout(
            faces=self.shown(asking) != "none", film=any(one.film for one in inputs), samples=asking.samples > 0,
            emotions=asking.emotions or self.emotions, known=self.units(asking), likelihood=asking.likelihood,
            numbers=self.policy.encoder.numbers_of(self.form(asking)),
        )  # fmt: skip

    def form(self, asking: Asking) -> Form:
        """Form of the answers: the one that is asked for, or that of the run."""
        return asking.answer or self.policy.config.form

    def units(self, asking: Asking) -> frozenset[int]:
        """FACS numbers of the units of which an answer says whether they show.

        None where the answer stands alone: nobody asks for units then, and what is left out is not known, and not absent.
        """
        return frozenset() if self.form(asking) == "only" else self.known

    def shown(self, asking: Asking) -> Faces:
        """Which faces are shown: those that are asked for, or as in training."""
        return asking.faces or self.policy.config.faces

    def detector(self, asking: Asking) -> Detector | None:
        """What finds faces; None where images are shown as they are.

        Raises:
            FEAError: a library or a file is missing.
        """
        if self.shown(asking) == "none":
            return None
        return detector(asking.face_model or self.policy.config.face_model)

    def notes(self, asking: Asking) -> list[str]:
        """What one should know of the answers, a sentence each."""
        told = of_faces(self.policy.config, self.shown(asking), asking.face_model, self.datasets)
        return [*told, *of_form(self.form(asking), self.forms)]

    def in_parts(self, inputs: Sequence[Input], asking: Asking, start: Place = _START) -> Iterator[Part]:
        """The same, some batches at a time, so that what is there can be kept; see `analyze`.

        Args:
            inputs: what is asked about.
            asking: how.
            start: where an earlier run broke off.

        Yields:
            Results in the order of the inputs; if something fails, first those that were there by then.

        Raises:
            FEAError: a package or a file is missing.
        """
        look = Look(self.policy.encoder, self.shown(asking), self.detector(asking), asking.max_image_pixels, {})
        loading = pools(inputs, look, asking, asking.emotions or self.emotions, start)
        done, trunk = count_units(inputs[: start.item], asking.every) + start.frame, Trunk()
        with progress(count_units(inputs, asking.every), "images", done) as advance:
            while (pool := self._next(loading)) is not None:
                faces = Counter(Shown.of(prompt).unit for prompt in pool.prompts)
                advance(len(pool.units) - len(faces))
                found = defaultdict[int, list[Result]](list)
                try:
                    for shown, result in self._answered(pool, asking, trunk):
                        found[shown.unit].append(result)
                        advance(len(found[shown.unit]) == faces[shown.unit])
                except BaseException:
                    if whole := [unit for unit in sorted(found) if len(found[unit]) == faces[unit]]:
                        yield Part(pool.in_order(found, whole), None)
                    raise
                yield Part(pool.in_order(found, range(len(pool.units))), pool.until)

    def of_frames(
        self, name: str, batches: Iterable[Sequence[Frame]], asking: Asking
    ) -> Iterator[tuple[Sequence[Frame], list[Result]]]:
        """The same of frames as they come: a batch is answered before the next one is asked for.

        Args:
            name: of the film or the camera.
            batches: frames, at most `asking.batch_size` of them at a time.
            asking: how.

        Yields:
            A batch, and results in its order: one for each face, and one for each frame that shows none.

        Raises:
            FEAError: a package or a file is missing.
        """
        look = Look(self.policy.encoder, self.shown(asking), self.detector(asking), asking.max_image_pixels, {})
        trunk, emotions = Trunk(), asking.emotions or self.emotions
        for some in batches:
            pool = self._next(frame_pools(name, some, look, asking, emotions))
            if pool is None:
                continue
            if pool.prompts and not trunk.length:  # which frames with one face each would never read once for all
                with self._lock, computing(self._precision, self.policy.network.device):
                    trunk = trunk_of(self.policy, self.policy.look(pool.prompts[:1])[0])
            found = defaultdict[int, list[Result]](list)
            for shown, result in self._answered(pool, asking, trunk):
                found[shown.unit].append(result)
            yield some, pool.in_order(found, range(len(pool.units)))

    def _next(self, loading: Iterator[Pool]) -> Pool | None:
        """The next pictures. Without workers they are encoded here, by what other threads encode with."""
        with self._lock:
            return next(loading, None)

    def _answered(self, pool: Pool, asking: Asking, trunk: Trunk) -> Iterator[tuple[Shown, Result]]:
        """The faces of a pool with their results, in batches of images of about one size."""
        prompts = sorted(pool.prompts, key=lambda prompt: len(prompt.ids))
        size = max(1, asking.batch_size // max(1, asking.samples))
        for start in range(0, len(prompts), size):
            batch = prompts[start : start + size]
            for prompt, result in zip(batch, self._told(batch, asking, trunk), strict=True):
                shown = Shown.of(prompt)
                unit = pool.units[shown.unit]
                result = result._replace(image=unit.name, face_id=shown.face_id, box=shown.box, score=shown.score)
                yield shown, unit.tell(result)

    def _told(self, batch: list[Prompt], asking: Asking, trunk: Trunk) -> Iterator[Result]:
        """What is told of each face of a batch, wherever it is."""
        rollout = self._asked(batch, asking, trunk)
        votes = [vote(answers) for answers in rollout.by_prompt]
        likely: Sequence[Mapping[str, float] | None] = [None] * len(batch)
        if asking.likelihood:
            with self._lock, computing(self._precision, self.policy.network.device):
                answers = [voted.answer for voted in votes]
                likely = likelihoods(self.policy, rollout.prompts, answers, asking.batch_size)
        cut = [
            answer for answer, cut in zip(rollout.answers, rollout.completions.truncated.tolist(), strict=True) if cut
        ]
        for prompt, voted, shares in zip(batch, votes, likely, strict=True):
            result = result_of("", voted.answer, prompt.example.emotions)
            result = result._replace(likelihood=shares, cut=voted.answer in cut)
            yield result._replace(votes=voted.units, emotion_votes=voted.emotions) if asking.samples else result

    def _asked(self, prompts: list[Prompt], asking: Asking, trunk: Trunk) -> Rollout:
        generation, samples, chance = Generation(asking.max_tokens), max(1, asking.samples), None
        if asking.samples:
            # Numbers that belong to the face alone, whatever stands beside it in the batch.
            ids = [prompt.example.id for prompt in prompts]
            chance = noise(ids, samples, asking.max_tokens, seed=0, round=0, drawn=[0] * len(ids))
        with self._lock, computing(self._precision, self.policy.network.device):
            return ask(self.policy, self.policy.look(prompts), samples, generation, chance, trunk)


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
