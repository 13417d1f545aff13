"""What `fea find` and `fea bench retrieval` share: documents, and what scores them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fea.errors import FEAError
from fea.model.config import Device

if TYPE_CHECKING:
    from fea.model.checkpoints import Stored
    from fea.model.policy import Policy
    from fea.retrieval.documents import Codes, Corpus, What
    from fea.retrieval.ranking import Scorer
    from fea.retrieval.states import States


class Asked(NamedTuple):
    """A policy that scores.

    Attributes:
        policy: in eval mode.
        trained: what its checkpoint says.
        name: of the run, as it was given.
        states: its vectors.
    """

    policy: Policy
    trained: Stored
    name: str
    states: States


class Place(NamedTuple):
    """What is searched, and where what is made of it is kept.

    Attributes:
        file: JSONL in FEA-20K format.
        image_root: folder of its images; None for that of the file.
        kept: folder for what is made; None for the cache.
        what: analyses or faces.
        codes: of analyses, kept or stripped.
    """

    file: Path
    image_root: Path | None
    kept: Path | None
    what: What
    codes: Codes

    def folder(self, *settings: str) -> Path:
        """Of what is made with these settings."""
        from fea.retrieval.index import folder_of

        made = folder_of(self.file, self.what, self.codes, *settings)
        return made if self.kept is None else self.kept / made.name


def check_file(file: Path, index: Path | None) -> None:
    """Finds out before the work what stands against it.

    Raises:
        FEAError: the file is of another format, or a folder is a file.
    """
    from fea.records.formats import expect_lines

    expect_lines(file)
    if index is not None and index.exists() and not index.is_dir():
        raise FEAError(f"index: '{index}' is a file; name a folder")


def loaded(model: str | None, base: str | None, device: Device) -> Asked | None:
    """The policy that is named, if one is.

    Raises:
        FEAError: it cannot be read, or cannot read a text without an image.
    """
    if model is None:
        return None
    from fea.model.checkpoints import load_policy
    from fea.retrieval.states import States

    policy, trained = load_policy(model, device, base)
    return Asked(policy, trained, model, States(policy, trained, "policy"))


def corpus_of(place: Place, emotions: tuple[str, ...], asked: Asked | None, max_tokens: int) -> Corpus:
    """The documents; faces are known by what a policy says of them, if there is one, else by their labels."""
    from fea.retrieval.documents import read

    corpus = read(place.file, place.image_root, emotions, place.what, place.codes)
    if place.what == "faces" and asked is not None:
        from fea.retrieval.answers import answers

        faces, folder = [corpus.example(number) for number in range(len(corpus))], place.folder("answers")
        corpus.answered(answers(asked.policy, asked.trained, asked.states.identity, faces, folder, max_tokens))
    return corpus


def by_words(place: Place, corpus: Corpus) -> Scorer:
    """BM25."""
    from fea.retrieval.words import Words

    return Words(corpus.texts, place.folder("BM25"))


def by_states(place: Place, corpus: Corpus, asked: Asked) -> Scorer:
    """The hidden states of a policy."""
    from fea.retrieval.index import Index

    return Index(corpus.texts, asked.states, place.folder(asked.states.identity))


def by_sentences(place: Place, corpus: Corpus, model: str, device: Device) -> Scorer:
    """A sentence encoder."""
    from fea.retrieval.index import Index
    from fea.retrieval.sentences import Sentences

    encoder = Sentences(model, device)
    return Index(corpus.texts, encoder, place.folder(encoder.identity))
