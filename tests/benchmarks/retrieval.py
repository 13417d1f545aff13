"""Instructed retrieval on analyses of drawn faces, and how long a search in 100,000 documents takes.

python tests/benchmarks/retrieval.py table RUN OUT [FACES] [QUERIES]
    RUN: a trained run of `fea demo`, such as runs/demo/seed-0/sft-1. Analyses of FACES faces (1,500), every tenth of which
    breaks the format, by four families of QUERIES (50) each: OUT/kept, OUT/stripped, and OUT/faces, where RUN itself says what
    is searched. Goes on where it was stopped.
python tests/benchmarks/retrieval.py speed [DOCUMENTS]
    Seconds of a search by BM25 and by vectors of 128, 1,024 and 2,560 numbers (the width of Qwen3-VL-4B).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from fea.commands.bench_retrieval import bench
from fea.drawn.drawing import DRAWN_AUS
from fea.drawn.faces import sample_expression, write_faces
from fea.drawn.wording import analysis
from fea.evaluation.retrieval import ranked
from fea.retrieval.index import Index, Vectors
from fea.retrieval.words import Words

SEED = 77  # one that no stage of the demo has seen
BROKEN = 10  # every tenth text


def broken(text: str, number: int) -> str:
    """A text that breaks the format and still says what it said: its last tag is missing, or words stand before its first."""
    return text.removesuffix("</answer>") if number % (2 * BROKEN) else f"Let us see. {text}"


def file_of(folder: Path, count: int) -> Path:
    """Drawn faces with true analyses, some of them broken."""
    file = folder / "analyses.jsonl"
    if not file.exists():
        records = [json.loads(line) for line in write_faces(folder, count, SEED).read_text().splitlines()]
        for number, record in enumerate(records):
            if number % BROKEN == 0:
                record["description"] = broken(record["description"], number)
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def table(run: str, out: str, count: int = 1500, queries: int = 50) -> None:
    file = file_of(Path(out) / f"faces-{count}", count)
    for codes in ("kept", "stripped"):
        bench(file, out=Path(out) / codes, model=run, codes=codes, queries=queries, device="cpu")  # type: ignore[arg-type]
    bench(file, out=Path(out) / "faces", model=run, what="faces", queries=queries, max_tokens=112, device="cpu")


class Drawn:
    """Vectors at random, which cost a search what any others would."""

    def __init__(self, width: int):
        self.name, self.identity, self.width = f"{width}", f"random {width}", width
        self._chance = np.random.default_rng(0)

    def documents(self, texts: Sequence[str]) -> Vectors:
        return self._chance.standard_normal((len(texts), self.width), dtype=np.float32)

    def query(self, text: str, instruction: str) -> Vectors:
        return np.ones(self.width, dtype=np.float32)


def speed(count: int = 100_000) -> None:
    chance = np.random.default_rng(SEED)
    expressions = [sample_expression(chance) for _ in range(count)]
    texts = [analysis(expression.grades, expression.emotion, chance) for expression in expressions]
    print(f"{count} documents of {sum(map(len, texts)) / count:.0f} characters, {len(DRAWN_AUS)} units")
    print("| scorer | first time, s | from the disk, s | a search, median and slowest of 20, s |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        makers: dict[str, Callable[[], Words | Index]] = {"BM25": lambda: Words(texts, Path(folder) / "words")}
        for width in (128, 1024, 2560):
            makers[f"vectors of {width}"] = lambda width=width: Index(texts, Drawn(width), Path(folder) / str(width))
        for name, make in makers.items():
            begun = time.perf_counter()
            make()
            first = time.perf_counter() - begun
            scorer = make()
            again = time.perf_counter() - begun - first
            times = []
            for _ in range(20):
                begun = time.perf_counter()
                ranked(scorer.scores("AU4 and AU7, the brows are drawn together, not anger"))
                times.append(time.perf_counter() - begun)
            print(f"| {name} | {first:.1f} | {again:.1f} | {median(times):.3f}, {max(times):.3f} |", flush=True)


if __name__ == "__main__":
    {"table": table, "speed": speed}[sys.argv[1]](
        *[int(word) if word.isdigit() else word for word in sys.argv[2:]]  # type: ignore[operator]
    )
