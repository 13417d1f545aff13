"""Vectors of a sentence encoder, if `sentence-transformers` is installed: of a model that was trained for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from fea.errors import FEAError
from fea.model.config import Device
from fea.retrieval.index import Vectors


class Sentences:
    """The vectors of a sentence encoder. The instruction stands before the query, as such encoders are trained.

    Args:
        model: folder or name on the hub.
        device: "cpu", "cuda" or "auto".

    Raises:
        FEAError: the library is not installed, or there is no such model.
    """

    def __init__(self, model: str, device: Device = "auto"):
        if find_spec("sentence_transformers") is None:
            raise FEAError("sentences: pip install sentence-transformers brings what that needs")
        from sentence_transformers import SentenceTransformer

        try:
            self._model: Any = SentenceTransformer(model, device=None if device == "auto" else device)
        except (OSError, ValueError) as error:
            raise FEAError(f"sentences: '{model}' cannot be read ({str(error).splitlines()[0]})") from error
        self.name, self.identity = model, f"sentence-transformers {model}"

    def documents(self, texts: Sequence[str]) -> Vectors:
        """(N, D) vectors of documents."""
        return self._vectors(list(texts))

    def query(self, text: str, instruction: str) -> Vectors:
        """(D,) vector of a query."""
        found: Vectors = self._vectors([" ".join(filter(None, [instruction, text]))])[0]
        return found

    def _vectors(self, texts: list[str]) -> Vectors:
        found = self._model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(found, dtype=np.float32)
