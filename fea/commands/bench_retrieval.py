"""`fea bench retrieval`: how well analyses are found, and whether an instruction helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fea.errors import FEAError
from fea.model.config import Device

if TYPE_CHECKING:
    from fea.commands._searched import Asked, Place
    from fea.retrieval.documents import Corpus
    from fea.retrieval.ranking import Ranker


def bench(
    file: Path, *, out: Path, model: str | None = None, base: str | None = None,
    what: Literal["analyses", "faces"] = "analyses", codes: Literal["kept", "stripped"] = "kept", sentences: str | None = None,
    rerank: int = 30, queries: int = 50, seed: int = 0, image_root: Path | None = None,
    emotions: str | list[str] | None = None, index: Path | None = None, max_tokens: int = 256, device: Device = "auto",
) -> int:  # fmt: skip
    """Measures how well analyses are found by BM25, a model and a re-ranking, with instructions and without.

    Queries of four families are made from the analyses: exactly these units, the same emotion by other units, the same units
    but another emotion, the format kept. nDCG@10, Recall@100, MAP@10, what the instruction adds and p-MRR come with 95 %
    bootstrap intervals over queries. The same command goes on where it was stopped.

    Args:
        file: JSONL in FEA-20K format.
        out: folder for metrics.json, and for queries.jsonl, what was measured of each query.
        model: run (folder or checkpoint) whose hidden states are compared and that re-ranks, or a base or an export; without
            one BM25 stands alone.
        base: folder or hub name of the model that a run was trained on, if that is no longer where it was.
        what: "analyses" of the file, or "faces", by what the model says of them, or without a model by their labels.
        codes: "kept", or "stripped" from the texts; queries are spelled out then.
        sentences: folder or hub name of a model of sentence-transformers, to be measured, too.
        rerank: how many of the best by BM25 the model puts in order once more; 0 for no re-ranking.
        queries: of each family, at most.
        seed: of their choice.
        image_root: folder of the images; by default the folder of the file.
        emotions: words that are emotions; by default those of the model, or "basic7".
        index: folder for what is computed of the file; by default in the cache of `datasets`.
        max_tokens: length limit of what the model says of a face.
        device: "cpu", "cuda" or "auto".

    Returns:
        0.

    Raises:
        FEAError: the file or the model cannot be read, no query can be made, or `out` holds other measurements.
    """
    from fea.commands._searched import Place, check_file, corpus_of, loaded
    from fea.facs import emotion_set
    from fea.retrieval import bench as measuring
    from fea.retrieval.queries import queries as made_of

    _check(queries, rerank, seed, max_tokens, out)
    check_file(file, index)
    place, asked = Place(file, image_root, index, what, codes), loaded(model, base, device)
    words = emotion_set(emotions or "basic7") if emotions or asked is None else asked.trained.emotions
    corpus = corpus_of(place, words, asked, max_tokens)
    families = made_of([corpus.document(number) for number in range(len(corpus))], codes, queries, seed)
    if not any(families.values()):
        raise FEAError(f"'{file}': nothing in it can be asked for; it needs analyses that name units and emotions")
    settings = {
        **_whose(file, asked, corpus), "queries": queries, "seed": seed, "rerank": rerank, "sentences": sentences,
    }  # fmt: skip
    journal = measuring.Journal(out / measuring.MEASURED, settings)
    rows = measuring.run(families, _rankers(place, corpus, asked, sentences, rerank, device), journal)
    print(f"{len(corpus)} {what} in '{file}', codes {codes}" + (f"; the model is '{model}'" if model else ""))
    for family in (family for family, some in families.items() if not some):
        print(f"note: no query of the family '{family}' can be made of this file")
    print(measuring.table(rows), f"written: {measuring.write(out, rows, settings)}", sep="\n")
    return 0


def _check(queries: int, rerank: int, seed: int, max_tokens: int, out: Path) -> None:
    """Finds out before the work what stands against it."""
    from fea.retrieval.bench import METRICS
    from fea.system.files import try_place

    if queries < 1 or rerank < 0 or seed < 0 or max_tokens < 1:
        raise FEAError(
            f"queries: {queries}, rerank: {rerank}, seed: {seed}, max_tokens: {max_tokens}; give at least 1, and for rerank "
            "and seed no negative number"
        )
    try_place(out / METRICS)


def _whose(file: Path, asked: Asked | None, corpus: Corpus) -> dict[str, Any]:
    """What the numbers are measured on, and of which weights."""
    from fea.retrieval.bench import digest_of

    texts, emotions = digest_of(corpus.texts), list(corpus.table.emotions)
    documents = {
        "file": file.name,
        "documents": len(corpus),
        "texts": texts,
        "what": corpus.what,
        "codes": corpus.codes,
    }
    weights = asked and asked.states.identity[:32]
    return {**documents, "emotions": emotions, "model": asked and asked.name, "weights": weights}


def _rankers(
    place: Place, corpus: Corpus, asked: Asked | None, sentences: str | None, rerank: int, device: Device
) -> dict[str, Callable[[], Ranker]]:
    """What is compared, by name, made when it is needed."""
    from functools import cache

    from fea.commands._searched import by_sentences, by_states, by_words
    from fea.retrieval.ranking import ByScore

    @cache
    def words() -> Ranker:
        return ByScore(by_words(place, corpus))

    found: dict[str, Callable[[], Ranker]] = {"BM25": words}
    if sentences is not None:
        found[sentences] = lambda: ByScore(by_sentences(place, corpus, sentences, device))
    if asked is not None:
        found["policy"] = lambda: ByScore(by_states(place, corpus, asked))
        if rerank:
            from fea.retrieval.listwise import Listwise, Sorter

            found["BM25, re-ranked"] = lambda: Listwise(
                words(), Sorter(asked.policy, asked.trained, corpus.texts), rerank
            )
    return found
