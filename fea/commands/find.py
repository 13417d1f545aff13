"""`fea find`: analyses and faces of a file that fit a query in anyone's words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fea.errors import FEAError
from fea.model.config import Device

if TYPE_CHECKING:
    from fea.commands._searched import Asked, Place
    from fea.retrieval.documents import Corpus
    from fea.retrieval.ranking import Found, Scorer


def find(
    query: str, *, in_: Path, model: str | None = None, base: str | None = None,
    what: Literal["analyses", "faces"] = "analyses", codes: Literal["kept", "stripped"] = "kept", instruction: str = "",
    sentences: str | None = None, rerank: int = 0, top: int = 10, out: Path | None = None, image_root: Path | None = None,
    emotions: str | list[str] | None = None, index: Path | None = None, max_tokens: int = 256, device: Device = "auto",
) -> int:  # fmt: skip
    """Finds the analyses or faces of a file that fit a query, such as "AU4 and AU7, not anger".

    Documents are scored by BM25, or by the hidden states of a model. Among the best, those come first that meet more of what
    the query names (each unit, an emotion), and those that show what it denies are left out. What is computed of a file is
    kept, and computed anew where the file has changed; a search that was stopped goes on where it was.

    Args:
        query: what is looked for; codes, names of units and emotions in it are demands.
        in_: JSONL in FEA-20K format.
        model: run (folder or checkpoint) whose hidden states are compared, or folder or hub name of a base or an export; by
            default BM25 compares words, which needs the extra `retrieval`.
        base: folder or hub name of the model that a run was trained on, if that is no longer where it was.
        what: "analyses", or "faces": by what the model says of them, which is slow the first time, or without a model by their
            labels.
        codes: "kept", or "stripped" from the texts, so that their words alone are compared; the query's codes are spelled out.
        instruction: which documents are meant, in a sentence, such as "Find analyses that keep the format."
        sentences: folder or hub name of a model of sentence-transformers, whose vectors are compared instead.
        rerank: how many of the best the model puts in order once more; 0 for none.
        top: how many are shown.
        out: JSONL for what is found; the table is printed in any case.
        image_root: folder of the images; by default the folder of the file.
        emotions: words that are emotions; by default those of the model, or "basic7".
        index: folder for what is computed of the file; by default in the cache of `datasets`.
        max_tokens: length limit of what the model says of a face.
        device: "cpu", "cuda" or "auto".

    Returns:
        0.

    Raises:
        FEAError: the file or the model cannot be read, a number is out of range, or a library is missing.
    """
    from fea.commands._searched import Place, check_file, corpus_of, loaded
    from fea.facs import emotion_set
    from fea.retrieval.ranking import search
    from fea.retrieval.wishes import Wish

    _check(query, model, sentences, rerank, top, max_tokens, out)
    _note_unknown(query)
    check_file(in_, index)
    place, asked = Place(in_, image_root, index, what, codes), loaded(model, base, device)
    words = emotion_set(emotions or "basic7") if emotions or asked is None else asked.trained.emotions
    corpus = corpus_of(place, words, asked, max_tokens)
    scorer = _scorer(place, corpus, asked, sentences, device)
    said = _spelled(query) if codes == "stripped" else query
    found = search(corpus, scorer, said, instruction, Wish.of(query, words), max(top, rerank))
    if rerank and asked is not None:
        found = _reranked(found, rerank, asked, corpus, " ".join(filter(None, [instruction, f"Query: {said}"])))
    order = f"{scorer.name}, the first {rerank} put in order by the model" if rerank else scorer.name
    _tell(found[:top], corpus, order, out)
    return 0


def _check(
    query: str, model: str | None, sentences: str | None, rerank: int, top: int, max_tokens: int, out: Path | None
) -> None:
    """Finds out before the work what stands against it."""
    from fea.system.files import try_place
    from fea.system.lines import check_own

    if not query.strip():
        raise FEAError('query: it is empty; say what is looked for, such as "AU4 and AU7, not anger"')
    if top < 1 or rerank < 0 or max_tokens < 1:
        raise FEAError(
            f"top: {top}, rerank: {rerank}, max_tokens: {max_tokens}; give at least 1, and for rerank no negative number"
        )
    if rerank and model is None:
        raise FEAError("rerank: a model puts documents in order; name one with --model")
    if model is None and sentences is None:
        from importlib.util import find_spec

        if find_spec("bm25s") is None:
            raise FEAError("BM25 is not there: pip install 'fea[retrieval]' brings it, or search with --model")
    if out:
        if out.suffix != ".jsonl":
            raise FEAError(f"out: '{out}' does not end in .jsonl")
        check_own(out, ("rank", "score", "met"), "what was found")
        try_place(out)


def _note_unknown(query: str) -> None:
    """Says which units of a query are none of FACS: nothing will show them."""
    from fea.facs import ACTION_UNITS
    from fea.prompts.mentions import find_mentions

    unknown = sorted({mention.number for mention in find_mentions(query)} - ACTION_UNITS.keys())
    if unknown:
        print(f"note: FACS has no {', '.join(f'AU{number}' for number in unknown)}; nothing shows it", file=sys.stderr)


def _scorer(place: Place, corpus: Corpus, asked: Asked | None, sentences: str | None, device: Device) -> Scorer:
    from fea.commands._searched import by_sentences, by_states, by_words

    if sentences is not None:
        return by_sentences(place, corpus, sentences, device)
    return by_words(place, corpus) if asked is None else by_states(place, corpus, asked)


def _spelled(query: str) -> str:
    from fea.retrieval.documents import spelled

    return spelled(query)


def _reranked(found: list[Found], depth: int, asked: Asked, corpus: Corpus, question: str) -> list[Found]:
    """The first documents in the order that the policy gives them; those that meet more demands stay first."""
    from fea.retrieval.listwise import Sorter, reordered

    sorter, of = Sorter(asked.policy, asked.trained, corpus.texts), {one.number: one for one in found}
    numbers = [one.number for one in found]
    numbers[:depth] = reordered(numbers[:depth], lambda some: sorter.sorted(question, some))
    return sorted((of[number] for number in numbers), key=lambda one: -one.met)


def _tell(found: Sequence[Found], corpus: Corpus, scored_by: str, out: Path | None) -> None:
    """Shows what was found, and writes it."""
    from fea.reports.tables import aligned
    from fea.retrieval.ranking import excerpt
    from fea.system.lines import write_jsonl

    rows = [
        [
            str(rank), f"{one.score:.3f}", f"{one.met}/{one.demands}", one.document.example.id,
            " ".join(f"AU{number}" for number in sorted(one.document.units)) or "-",
            " or ".join(sorted(one.document.emotions)) or "-",
        ]
        for rank, one in enumerate(found, start=1)
    ]  # fmt: skip
    print(f"{len(corpus)} {corpus.what} in '{corpus.table.path}', scored by {scored_by}")
    if rows:
        lines = aligned(("rank", "score", "met", "id", "AUs", "emotion"), rows).split("\n")
        texts = ["text", "", *(excerpt(one.document.text) for one in found)]
        print(*(f"{line}  {text}".rstrip() for line, text in zip(lines, texts, strict=True)), sep="\n")
    else:
        print("nothing fits; ask for less")
    if out:
        write_jsonl(out, (one.plain(rank) for rank, one in enumerate(found, start=1)))
        print(f"written: {out}")
