"""Vectors of documents on the disk, part by part: what was there when a process was killed need not be computed again.

A part is a file whose name tells what it was computed of: the encoder and the texts. So a changed file costs its changed parts,
and no vector is ever taken for that of another text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import datasets
import numpy as np
from numpy.typing import NDArray

from fea.evaluation.counts import Floats
from fea.system.files import whole
from fea.system.progress import progress

PART = 512  # documents; half a minute of a large model's work, which is what a kill may cost

Vectors = NDArray[np.float32]


class Encoder(Protocol):
    """Makes vectors of texts, of length 1, so that a product is a cosine.

    Attributes:
        name: of it, for tables.
        identity: changes with whatever changes its vectors.
    """

    name: str
    identity: str

    def documents(self, texts: Sequence[str]) -> Vectors:
        """(N, D) vectors of documents."""

    def query(self, text: str, instruction: str) -> Vectors:
        """(D,) vector of a query."""


class Index:
    """Documents by the vectors of an encoder.

    Args:
        texts: of the documents.
        encoder: that makes their vectors.
        folder: where they are kept.
    """

    def __init__(self, texts: Sequence[str], encoder: Encoder, folder: Path):
        self.encoder, self.name = encoder, encoder.name
        self.parts = _parts(texts, encoder, folder)

    def scores(self, query: str, instruction: str = "") -> Floats:
        """(D,) cosines of the documents with a query."""
        vector = self.encoder.query(query, instruction)
        return np.concatenate([part @ vector for part in self.parts]).astype(np.float64)


def folder_of(file: Path, *settings: str) -> Path:
    """Where what is made of a file is kept: in the cache of `datasets`, as its table is.

    Args:
        file: that is searched.
        settings: what else tells one index from another.
    """
    key = hashlib.sha256(json.dumps([str(file.resolve()), *settings]).encode()).hexdigest()[:32]
    return Path(datasets.config.HF_DATASETS_CACHE) / "fea" / f"retrieval-{key}"


def _parts(texts: Sequence[str], encoder: Encoder, folder: Path) -> list[Vectors]:
    """Vectors of all texts, memory-mapped; missing ones are computed, those of texts that are gone removed."""
    files = list(_files(texts, encoder.identity, folder))
    missing = [number for number, file in enumerate(files) if _opened(file) is None]
    if missing:
        done = len(texts) - sum(len(texts[number * PART : (number + 1) * PART]) for number in missing)
        with progress(len(texts), "documents", done) as advance:
            for number in missing:
                some = texts[number * PART : (number + 1) * PART]
                with whole(files[number]) as stream:
                    np.save(stream, encoder.documents(some))
                advance(len(some))
    for other in set(folder.glob("*.npy")) - set(files):
        other.unlink(missing_ok=True)
    return [np.load(file, mmap_mode="r") for file in files]


def _files(texts: Sequence[str], identity: str, folder: Path) -> Iterator[Path]:
    for start in range(0, len(texts), PART):
        told = json.dumps([identity, *texts[start : start + PART]])
        yield folder / f"{start // PART:06}-{hashlib.sha256(told.encode()).hexdigest()[:32]}.npy"


def _opened(file: Path) -> Vectors | None:
    """A part; None if it is not there, or something has happened to it."""
    try:
        found: Vectors = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return found
