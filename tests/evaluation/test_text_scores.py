"""Texts against their references, by the two libraries that papers use."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from rouge import Rouge
from rouge_score.rouge_scorer import RougeScorer
from scoring import run, write

from fea.evaluation import texts

WORDS = [
    *("the", "brows", "are", "drawn", "together", "and", "lips", "stretched", "corners", "rise"),
    *("AU4", "AU12", "AU6", "which", "suggests", "anger", "joy", ".", "lids"),
    *("brow", "lip", "stretching", "corner", "suggested", "rises"),  # of one stem with others
]
TINY = 1e-9


def sentences(seed: int, count: int = 30) -> str:
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(count))


@pytest.mark.parametrize("seed", range(6))
def test_each_measure_is_that_of_its_library(seed: int) -> None:
    text, reference = sentences(seed), sentences(seed + 100)
    expected = RougeScorer(["rougeL"], use_stemmer=True).score(reference, text)["rougeL"].fmeasure
    assert texts.rouge_l()(text, reference) == pytest.approx(expected, abs=TINY)
    other = Rouge().get_scores(text, reference)[0]["rouge-l"]["f"]
    assert texts.rege_text()(text, reference) == pytest.approx(other, abs=TINY)
    assert abs(expected - other) > 1e-3  # two measures, and not one


def test_an_empty_text_is_worth_nothing_and_a_long_one_is_read() -> None:
    measure = texts.rege_text()
    assert measure("", "a b c") == measure(".", "a b c") == 0
    long = " ".join(f"word{number}" for number in range(700))
    assert measure(long, long) == pytest.approx(1, abs=1e-6)


def test_tags_are_no_part_of_a_text() -> None:
    assert texts.plain("<think>Lips up (AU12).</think>\n<answer>joy</answer>") == "Lips up (AU12). joy"


def faba(number: int) -> dict[str, object]:
    units = [["AU12"], ["AU4", "AU1"], ["AU12", "AU6"], ["AU4"]][number % 4]
    label = ["happiness", "anger", "happiness", "sadness"][number % 4]
    return {
        "id": str(number), "dataset": "FABA-Instruct", "image": f"{number}.jpg", "labels": [label], "AUs": units,
        "description": f"<think>{sentences(number)}</think><answer>{label}</answer>",
    }  # fmt: skip


def test_rege_is_recognition_and_text_together_in_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = [faba(number) for number in range(12)]
    written = [f"<think>{sentences(n + 50)} AU12</think>\n<answer>happiness</answer>" for n in range(12)]
    files = (
        write(tmp_path / "a.jsonl", *({"id": str(n), "text": text} for n, text in enumerate(written))),
        write(tmp_path / "l.jsonl", *labels),
    )
    scores = run(capsys, files[0], "--protocol", "faba-12", "--labels", files[1], out=tmp_path / "out").metrics[
        "scores"
    ]
    pairs = [
        (texts.plain(text), texts.plain(str(line["description"]))) for text, line in zip(written, labels, strict=True)
    ]
    average = Rouge().get_scores(*map(list, zip(*pairs, strict=True)), avg=True)["rouge-l"]["f"]
    assert scores["rouge_l_rege"] == pytest.approx(average, abs=TINY)
    assert scores["accuracy"] == pytest.approx(0.5)
    assert scores["rege_emotion"] == pytest.approx(100 * (0.5 + average), abs=1e-7)
    assert scores["rege_au"] == pytest.approx(100 * (scores["au_f1"] + average), abs=1e-7)
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    each = [scorer.score(reference, text)["rougeL"].fmeasure for text, reference in pairs]
    assert scores["rouge_l"] == pytest.approx(sum(each) / 12, abs=TINY)


def test_without_the_libraries_texts_are_left_out_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "find_spec", lambda name: None)
    said = [{"id": "0", "text": "<think>AU12</think><answer>happiness</answer>"}]
    files = write(tmp_path / "a.jsonl", *said), write(tmp_path / "l.jsonl", faba(0), faba(1))
    ran = run(capsys, files[0], "--protocol", "faba-12", "--labels", files[1], out=tmp_path / "out")
    assert "note: texts are not compared: pip install 'fea[score]' brings what that needs" in ran.told
    assert not {"rouge_l", "rege_au"} & ran.metrics["scores"].keys()
