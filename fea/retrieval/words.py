"""BM25: documents by the words that they share with a query. Needs the extra `retrieval`."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fea.errors import FEAError
from fea.evaluation.counts import Floats
from fea.system.files import naming

MISSING = "BM25 is not there: pip install 'fea[retrieval]' brings it, or search with --model"
_WORD = re.compile(r"\w+")
_VERSION = 1  # of the words that a text is taken apart into


def words_of(text: str) -> list[str]:
    """The words of a text, a code among them; case does not matter.

    >>> words_of("<think>Cheeks up (AU6).</think>")
    ['think', 'cheeks', 'up', 'au6', 'think']
    """
    return _WORD.findall(text.lower())


class Words:
    """BM25 as Lucene computes it, k1 1.5 and b 0.75, the settings of `bm25s`.

    Args:
        texts: of the documents.
        folder: where the index is kept; None to make it anew.

    Raises:
        FEAError: `bm25s` is not installed.
    """

    name = "BM25"

    def __init__(self, texts: Sequence[str], folder: Path | None = None):
        if find_spec("bm25s") is None:
            raise FEAError(MISSING)
        self.count = len(texts)
        digest = hashlib.sha256("\0".join([str(_VERSION), *texts]).encode(errors="surrogatepass")).hexdigest()[:32]
        self._index = _kept(texts, folder, digest) if folder else _indexed(texts)

    def scores(self, query: str, instruction: str = "") -> Floats:
        """(D,) scores of the documents; the words of an instruction count like those of the query."""
        known = self._index.get_tokens_ids(words_of(f"{query} {instruction}"))
        if not known:
            return np.zeros(self.count)
        return np.asarray(self._index.get_scores_from_ids(known), dtype=np.float64)


def _indexed(texts: Sequence[str]) -> Any:
    import bm25s

    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
    index.index([words_of(text) for text in texts], show_progress=False)
    return index


def _kept(texts: Sequence[str], folder: Path, digest: str) -> Any:
    """The index of exactly these texts, made if it is not there; those of other texts are removed."""
    import bm25s

    home = folder / f"words-{digest}"
    if not home.exists():
        part = folder / f".words-{digest}.{os.getpid()}.part"
        with naming(home):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                _indexed(texts).save(part, show_progress=False)
                if not home.exists():
                    os.replace(part, home)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    for other in folder.glob("words-*"):
        if other != home:
            shutil.rmtree(other, ignore_errors=True)
    try:
        return bm25s.BM25.load(home, mmap=True, show_progress=False)
    except (OSError, ValueError, KeyError):  # something has happened to it
        shutil.rmtree(home, ignore_errors=True)
        return _indexed(texts)
