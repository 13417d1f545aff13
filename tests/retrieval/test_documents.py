"""What is searched, what a query demands of it, and what is asked of it in a benchmark."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest

from fea.data.example import Example
from fea.drawn.faces import EMOTIONS
from fea.prompts import emotion
from fea.prompts.answer import render
from fea.retrieval import documents, wishes, words
from fea.retrieval.documents import Document, read, said, spelled, stripped
from fea.retrieval.queries import queries
from fea.retrieval.wishes import Wish


@pytest.mark.parametrize("module", [documents, wishes, words, emotion])
def test_examples_of_docstrings_hold(module: object) -> None:
    outcome = doctest.testmod(module)  # type: ignore[arg-type]
    assert (outcome.failed, outcome.attempted > 0) == (0, True)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Cheeks up (AU6). Corners up (au 12, AUL14C).", "Cheeks up. Corners up."),
        ("It shows AU6 and AU12 today.", "It shows today."),
        ("An AUDIO file, 12 of them (6).", "An AUDIO file, 12 of them (6)."),
        (render("Brows low (AU4).", "anger"), "<think>Brows low.</think><answer>anger</answer>"),
    ],
)
def test_codes_are_stripped_and_nothing_else(text: str, left: str) -> None:
    assert stripped(text) == left


def test_a_query_is_spelled_out_where_texts_have_no_codes() -> None:
    assert spelled("AU26 or fear") == "jaw drop: the jaw hangs open or fear"


@pytest.mark.parametrize(
    ("query", "units", "no_units", "emotions", "no_emotions"),
    [
        ("AU4 and AU7, not anger", {4, 7}, set(), set(), {"anger"}),
        ("sadness without AU15", set(), {15}, {"sadness"}, set()),
        ("happy faces, no AU6", set(), {6}, {"happiness"}, set()),
        ("no fear or disgust but surprise, AU1+2", {1, 2}, set(), {"surprise"}, {"fear", "disgust"}),
        ("a brow lowerer", {4}, set(), set(), set()),
        ("the eyes are wide open", set(), set(), set(), set()),
    ],
)
def test_a_query_is_read(
    query: str, units: set[int], no_units: set[int], emotions: set[str], no_emotions: set[str]
) -> None:
    assert Wish.of(query, EMOTIONS) == (units, no_units, emotions, no_emotions)


def test_what_nobody_knows_of_a_face_denies_nothing(examples: list[Example]) -> None:
    wish = Wish.of("AU4, not AU12, not fear", EMOTIONS)
    unknown = Document(examples[0], "", frozenset(), frozenset(), True)
    assert (wish.demands, wish.met(unknown), wish.denies(unknown)) == (1, 0, False)
    shown = unknown._replace(units=frozenset({4, 12}), emotions=frozenset({"fear"}))
    assert (wish.met(shown), wish.denies(shown)) == (1, True)


def test_documents_are_read_as_they_stand(faces_file: Path) -> None:
    corpus = read(faces_file, None, EMOTIONS, "analyses", "stripped")
    assert len(corpus) == 24
    for number in (0, 7):
        document = corpus.document(number)
        assert document.units == document.example.present  # read before the codes were stripped
        assert document.emotions == set(document.example.labels)
        assert "AU" not in document.text
    faces = read(faces_file, None, EMOTIONS, "faces", "kept")
    first = faces.document(0)
    assert sorted(first.text.split("; ")[0].split(", ")) == sorted(first.example.aus or ())
    faces.answered([render("Nothing.", "fear")] * 24)
    assert (faces.document(0).emotions, faces.document(0).units) == ({"fear"}, set())


def made(example: Example, units: str, word: str, broken: bool = False) -> Document:
    think = " ".join(f"A sign (AU{unit})." for unit in units.split())
    return said(example, render(think, word) + "!" * broken)


@pytest.fixture
def several(examples: list[Example]) -> list[Document]:
    told = [
        ("4 5 7", "anger"),
        ("4 5 7", "fear"),
        ("1 2 26", "fear"),
        ("4 5", "anger"),
        ("9 15", "anger"),
        ("4 7", "fear"),
    ]
    return [made(examples[0], *one) for one in told] + [made(examples[0], "9 15", "anger", broken=True)]


def test_relevance_is_counted(several: list[Document]) -> None:
    found = queries(several, "kept", 50)
    by_text = {query.text: query for query in found["units"]}
    assert len(by_text) == 5  # sets of units that differ
    query = by_text["AU4 and AU5 and AU7"]
    for document, grade, flipped in zip(several, query.grades, query.flipped, strict=True):
        f1 = 2 * len(document.units & {4, 5, 7}) / (len(document.units) + 3)
        assert grade == int(3 * f1 + 0.5)
        assert flipped == (document.units >= {4, 5, 7} and grade < 3)
    assert by_text["AU4 and AU7"].flipped.tolist() == [True, True] + [False] * 5  # F1 0.8 is 2 of 3
    assert by_text["AU4 and AU5"].least == 3
    (of_first,) = (query for query in found["emotion"] if query.source == 0)
    assert of_first.grades.tolist() == [0, 0, 0, 0, 1, 0, 1]  # of anger, and less than 0.3 in common
    assert of_first.flipped.tolist() == [False, False, False, True, False, False, False]
    assert {query.source for query in found["contrast"]} == {0, 1}
    (first,) = (query for query in found["contrast"] if query.source == 0)
    assert (first.grades.nonzero()[0].tolist(), first.text) == ([1], several[0].text)
    assert {query.text for query in found["format"]} == {"anger, AU9", "anger, AU15"}
    assert found["format"][0].grades.tolist() == [0, 0, 0, 0, 1, 0, 0]
    assert found["format"][0].flipped.tolist() == [False] * 6 + [True]


def test_queries_are_the_same_every_time_and_as_many_as_asked_for(several: list[Document]) -> None:
    again = [[query.text for query in queries(several, "kept", 2, seed)["units"]] for seed in (0, 0, 3)]
    assert again[0] == again[1]
    assert [len(texts) for texts in again] == [2, 2, 2]
    assert all(np.any(query.grades) for some in queries(several, "kept", 50).values() for query in some)
    assert "jaw drop" in " ".join(query.text for query in queries(several, "stripped", 50)["units"])
