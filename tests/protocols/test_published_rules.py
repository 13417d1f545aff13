"""The published evaluation of Facial-R1, with its rules for odd answers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from scoring import run, write
from sklearn.metrics import f1_score

from fea.prompts.answer import parse
from fea.protocols.published import published_answer

EMOTIONS = ("anger", "happiness", "sadness")

# What the published rules make of a text, and what ours do: (text, units, emotion, our units, our emotion).
ODD = {
    "as asked": ("<think>AU4 and AU12</think><answer>sadness</answer>", {4, 12}, "sadness", {4, 12}, "sadness"),
    "no tags": ("sadness, because of AU15", {15}, "sadness", set(), None),
    "no tags, prose": ("The face shows AU15: sadness.", {15}, "The", set(), None),
    "empty answer": ("<think>AU4</think><answer></answer>", {4}, "", {4}, None),
    "full stop": ("<think>AU4</think><answer>sadness.</answer>", {4}, "sadness.", {4}, "sadness"),
    "capital": ("<think>AU4</think><answer>Sadness</answer>", {4}, "Sadness", {4}, "sadness"),
    "both": ("<think>AU4</think><answer>Sadness.</answer>", {4}, "Sadness.", {4}, "sadness"),
    "denied": ("<think>There is no AU4.</think><answer>anger</answer>", {4}, "anger", set(), "anger"),
    "blank in the code": ("<think>AU 12 is up.</think><answer>anger</answer>", set(), "anger", {12}, "anger"),
    "padded": ("<think>AU04 is on.</think><answer>anger</answer>", set(), "anger", {4}, "anger"),
    "lower case": ("<think>au4 is on.</think><answer>anger</answer>", set(), "anger", {4}, "anger"),
    "too high": ("<think>AU120 is on.</think><answer>anger</answer>", set(), "anger", set(), "anger"),
    "outside of thinking": ("<think>Brows.</think> AU4 <answer>anger</answer>", set(), "anger", set(), "anger"),
    "never closed": ("<think>AU4 is on", {4}, "<think>AU4", set(), None),
    "two answers": ("<think>AU4</think><answer>anger, sadness</answer>", {4}, "anger", {4}, None),
    "a sentence": ("<think>AU4</think><answer>It is anger</answer>", {4}, "It", {4}, "anger"),
    "a synonym": ("<think>AU4</think><answer>angry</answer>", {4}, "angry", {4}, "anger"),
    "nothing": ("", set(), "", set(), None),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_the_rules_for_odd_answers(name: str) -> None:
    text, units, emotion, own_units, own_emotion = ODD[name]
    found = published_answer(text, EMOTIONS)
    assert (set(found.aus), found.emotion) == (units, emotion)
    ours = parse(text, EMOTIONS)
    assert (set(ours.aus), ours.emotion) == (own_units, own_emotion)


def test_the_table_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Macro F1 over the units of the file, whole sets, first words, whole texts: computed here without `fea`."""
    texts = [text for text, *_ in ODD.values()]
    generator = np.random.default_rng(0)
    truth = generator.random((len(texts), 3)) < 0.5
    truth[0] = (True, True, False)
    labels = [["sadness", "anger"][n % 2] for n in range(len(texts))]
    references = [f"<think>The brows are low (AU4).</think><answer>{label}</answer>" for label in labels]
    rows = [
        {"id": str(n), "dataset": "FEA", "image": f"{n}.jpg", "labels": [labels[n]], "description": references[n],
         "AUs": [code for code, on in zip(("AU4", "AU12", "AU15"), truth[n], strict=True) if on]}
        for n in range(len(texts))
    ]  # fmt: skip
    files = (
        write(tmp_path / "a.jsonl", *({"id": str(n), "text": text} for n, text in enumerate(texts))),
        write(tmp_path / "l.jsonl", *rows),
    )
    scores = run(capsys, files[0], "--protocol", "facial-r1", "--labels", files[1], out=tmp_path / "out").metrics[
        "scores"
    ]
    claimed, right = [], []
    for text, label in zip(texts, labels, strict=True):
        block = re.search(r"<think>(.*?)</think>", text, re.DOTALL)
        found = set(re.findall(r"AU\d+", block[1] if block else text))
        claimed.append([code in found for code in ("AU4", "AU12", "AU15")])
        answer = re.search(r"<answer>(.*?)</answer>", text, re.DOTALL)
        words = re.split(r"[,;\s]+", (answer[1] if answer else text).strip())
        right.append(words[0] == label)
    said = np.array(claimed)
    assert scores["au_f1"] == pytest.approx(f1_score(truth, said, average=None, zero_division=0).mean(), abs=1e-9)
    assert scores["au_exact"] == pytest.approx((truth == said).all(axis=1).mean(), abs=1e-9)
    assert scores["accuracy"] == pytest.approx(np.mean(right), abs=1e-9)
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    each = [scorer.score(reference, text)["rougeL"].fmeasure for text, reference in zip(texts, references, strict=True)]
    assert scores["rouge_l"] == pytest.approx(np.mean(each), abs=1e-9)
    ours = run(capsys, files[0], "--protocol", "fea20k", "--labels", files[1], out=tmp_path / "ours").metrics["scores"]
    assert ours["accuracy"] > scores["accuracy"]
