"""What `test_trl.py` compares: the cases, and the model and prompts that both sides read."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from fea.data.example import Example
from fea.drawn.faces import EMOTIONS, write_faces
from fea.model.config import LayoutName, PolicyConfig, TinySize
from fea.model.policy import Policy
from fea.prompts.prompt import DEFAULT_QUESTION

WARM_UP, MEASURED = 1, 5  # steps
FACE = 224  # pixels along each side: 64 visual tokens
SHOWN: dict[str, Any] = {"min_pixels": FACE * FACE, "max_pixels": FACE * FACE, "knowledge": "brief"}
SIZES = {"9M": TinySize(hidden=256, layers=11, heads=4), "30M": TinySize(hidden=512, layers=10, heads=8)}
BETA, CLIP, MAX_NORM = 0.04, 0.2, 1.0
ADAMW: dict[str, Any] = {"lr": 1e-6, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0}


@dataclass(frozen=True)
class Case:
    """What is compared.

    Attributes:
        prompt: its tokens, about.
        completion: tokens of each completion.
        group: completions of the prompt, all of a step.
        size: of the model, a key of `SIZES`.
        layout: of fea's rows.
        at_once: completions that TRL puts through the model together, to save memory; 0 for all.
        microbatches: of fea, for the same reason.
    """

    prompt: int = 1000
    completion: int = 128
    group: int = 8
    size: str = "9M"
    layout: LayoutName = "tree"
    at_once: int = 0
    microbatches: int = 1

    def __str__(self) -> str:
        held = f"{self.at_once or self.group}-{self.group // self.microbatches}"
        return f"P{self.prompt}-C{self.completion}-G{self.group}-{self.size}-{self.layout}-{held}"


class Clock:
    """Seconds, and processor cores in use, by name; one entry a call."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.cores: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start, worked = time.perf_counter(), time.process_time()
        yield
        self.seconds[name].append(time.perf_counter() - start)
        self.cores[name].append((time.process_time() - worked) / self.seconds[name][-1])


def prepare(case: Case, folder: Path) -> None:
    """Writes a model with random weights, a face for each step, and the question, padded to the length of the case."""
    policy = Policy(PolicyConfig(tiny=SIZES[case.size], **SHOWN), {})
    policy.save(folder / "model")
    write_faces(folder, WARM_UP + MEASURED, size=FACE)
    (folder / "question").write_text(DEFAULT_QUESTION)
    missing = case.prompt - len(policy.encoder(examples(folder)[0]).ids)
    (folder / "question").write_text(DEFAULT_QUESTION + " face" * missing)  # one token a word


def examples(folder: Path) -> list[Example]:
    """One a step."""
    question = (folder / "question").read_text()
    unknown: dict[str, Any] = {"aus": None, "coded": frozenset(), "labels": (), "analysis": None, "intensities": {}}
    unknown |= {"valence": None, "arousal": None, "meta": ""}
    return [
        Example(image.stem, "faces", str(image), str(image), question, emotions=EMOTIONS, **unknown)
        for image in sorted((folder / "images").iterdir())
    ]


def memory(field: str) -> float:
    """MiB in use now (VmRSS) or at most so far (VmHWM).

    `getrusage` would give the second too, but a process begins there with the peak of the one that started it.
    """
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024


def result(
    model: Any, clock: Clock, built: float, prompts: list[list[int]], tokens: list[int], settings: dict[str, Any]
) -> dict[str, Any]:
    """What a side reports.

    Args:
        model: the network.
        clock: of all steps.
        built: MiB in use before the first step.
        prompts: token ids by step.
        tokens: completion tokens by step.
        settings: how the side was set up.
    """
    return {
        "seconds": {name: median(seconds[WARM_UP:]) for name, seconds in clock.seconds.items()},
        "cores": median(clock.cores["whole"][WARM_UP:]),
        "built_mib": built,
        "peak_mib": memory("VmHWM"),
        "prompts": prompts,
        "tokens": tokens,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "steps": clock.seconds,
        "settings": settings,
    }
