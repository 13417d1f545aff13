"""A policy's own hidden states as vectors: what it makes of a text by the time it has read it.

The vector of a document is the mean of the last hidden states over the tokens of its text, scaled to length 1. The text stands
where an answer stands, behind a prompt that all documents share; that of a query likewise, with the instruction in the prompt.
Of a query that names units the text is a small analysis with their signs: codes alone are no answer that a policy would give.

    [trunk | document 0 | document 1 | ..]        trunk: knowledge and question, read once for all documents
    [trunk, with the instruction | query]

Our reading of "instructed" retrieval with a policy that nobody trained for it; no head and no projection is added. A face is
shown, and its text is the policy's own greedy answer about it.

Shapes in names: N documents, T tokens of a text, L of a row, D width of the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fea.data.example import NOBODY
from fea.data.prompt import Prompt, Seen
from fea.errors import FEAError
from fea.model import checkpoints
from fea.model.attention import CompletionAttention, Nodes
from fea.model.checkpoints import Stored
from fea.model.layout import Tree, behind
from fea.model.policy import Policy
from fea.model.precision import computing
from fea.model.reading import read_prompts
from fea.model.roads import Shared
from fea.prompts.prompt import PROMPT_VERSION, question_of
from fea.retrieval.index import Vectors
from fea.retrieval.wishes import Wish

_VERSION = 1  # of how a vector is made
_LONGEST = 1024  # tokens of a text that count: twice the longest analysis of FEA-20K
_TOGETHER = 8192  # tokens of documents in a pass; what is computed then is long enough for any device to be busy


def of_words(policy: Policy, asked: str, told: str = "") -> Prompt:
    """A prompt without an image, on the policy's device.

    Args:
        policy: of a family that shares its prompts.
        asked: by the user.
        told: as the system; by default what the policy knows of faces.

    Raises:
        FEAError: it is of another family, whose processor wants an image.
    """
    if not isinstance(policy.road, Shared):
        raise FEAError(
            f"'{policy.config.base}' is asked through its own processor, which wants an image with every text; search with a "
            "model of Qwen2-VL, Qwen2.5-VL or Qwen3-VL, or without --model"
        )
    network = policy.network
    ids = policy.encoder.words(asked, told).to(network.device)
    none = network.embed(ids[:0])  # (0, D), of the type of the embeddings
    positions = torch.arange(len(ids), device=ids.device).expand(3, -1)
    return Prompt(NOBODY, ids, positions, none, ids[:0], ids[:0], features=Seen(none), form=policy.encoder.form)


class States:
    """The vectors of a policy.

    Args:
        policy: in eval mode, on its device.
        trained: what its checkpoint says about it.
        name: of the run, for tables.

    Raises:
        FEAError: it cannot read a text without an image.
    """

    def __init__(self, policy: Policy, trained: Stored, name: str = "policy"):
        self.policy, self.name, self._precision, self._emotions = policy, name, trained.precision, trained.emotions
        of_words(policy, "")
        told = [_VERSION, PROMPT_VERSION, Path(policy.config.base).name, trained.frozen, policy.config.knowledge]
        weights = checkpoints.fingerprint(policy.trainable())
        asked = [policy.config.form, *policy.config.numbers]
        self.identity = hashlib.sha256(json.dumps([*told, *asked, weights]).encode()).hexdigest()

    def documents(self, texts: Sequence[str]) -> Vectors:
        """(N, D) vectors of documents."""
        return self._vectors("", texts)

    def query(self, text: str, instruction: str) -> Vectors:
        """(D,) vector of a query; one that names units is read as the analysis that it asks for, which it is to be near to."""
        asked = "" if "<think>" in text else Wish.of(text, self._emotions).analysis(codes="AU" in text)
        found: Vectors = self._vectors(instruction, [asked or text])[0]
        return found

    @torch.no_grad()
    def _vectors(self, asked: str, texts: Sequence[str]) -> Vectors:
        policy, network = self.policy, self.policy.network
        with computing(self._precision, network.device):
            prompt = of_words(policy, question_of(asked))
            kept = read_prompts(network, [prompt], trunk=0)[1].let_go()
            ids = [policy.encoder.target(text)[:_LONGEST].to(network.device) for text in texts]
            found = network.head.weight.new_zeros(len(texts), network.width, dtype=torch.float32)
            for some in _batches(list(map(len, ids))):
                found[some] = self._means(prompt, kept, [ids[number] for number in some])
        return _unit(found)

    def _means(self, prompt: Prompt, kept: list[Nodes], ids: Sequence[Tensor]) -> Tensor:
        """(N, D) means over the texts of some documents, which follow a prompt that was read before."""
        network = self.policy.network
        ids_NT = pad_sequence(list(ids), batch_first=True)
        mask_NT = pad_sequence([torch.ones_like(own) for own in ids], batch_first=True)
        layout = behind([prompt], ids_NT, mask_NT)
        assert isinstance(layout.tree, Tree)
        seen = CompletionAttention(layout.tree.completions, ids_NT.device)
        seen.kept = kept
        hidden_LD = network.attend(network.embed(layout.ids), layout.positions, seen)[0].float()
        return torch.stack([own.mean(dim=0) for own in hidden_LD.split(list(map(len, ids)))])


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of texts that are read together, those of like lengths: within a batch all take the room of the longest."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        if batch and (len(batch) + 1) * lengths[number] > _TOGETHER:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _unit(vectors: Tensor) -> Vectors:
    found: Vectors = torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy().astype(np.float32)
    return found
