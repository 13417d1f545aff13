"""Data sets of texts about faces: FABA-Instruct, FEA-20K, conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from converting import convert, passes, picture, text


def as_json(file: Path, value: Any, indent: int | None = None) -> Path:
    return text(file, json.dumps(value, indent=indent))


def asked(image: str, question: str, answer: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": f"{question}\n<image>"}, {"from": "gpt", "value": answer}]
    return {"source": "x", "image": image, "id": image[:1], "conversations": turns, "landmark": []}


CODED = [f"AU{n}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 20, 23, 24, 25, 26, 27, 43)]


def test_the_files_of_faba_join_by_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "FABAInstruct"
    units = [
        asked("a.jpg", "Which?", "The cheeks rise (AU6), the lip corners too (AU12)."),
        asked("b.jpg", "Which?", "AU1."),
    ]
    as_json(root / "train/train_au_anno.json", units)
    emotions = [asked("a.jpg", "What?", "The emotion is happiness."), asked("c.jpg", "What?", "Fear or surprise.")]
    as_json(root / "train/train_emotion_anno.json", emotions)
    as_json(root / "eval/eval_au_anno.json", [{"image": "a.jpg", "label": "1, 2, 4", "gpt4": "Brows.", "landmark": []}])
    judged = [{"image": "a.jpg", "label": 6, "gpt4": "Tense."}, {"image": "d.jpg", "label": "Anger", "gpt4": "Hot."}]
    as_json(root / "eval/eval_emotion_anno.json", judged)
    for name in ("train/images/a.jpg", "train/images/b.jpg", "train/images/c.jpg", "eval/images/a.jpg"):
        picture(root / name)
    out = tmp_path / "f.jsonl"
    done = convert(capsys, out, root)
    assert "for FABA-Instruct (faba-instruct)" in done.told
    shared = {"dataset": "FABA-Instruct", "AUs_coded": CODED}
    think = "The cheeks rise (AU6), the lip corners too (AU12). The emotion is happiness."
    assert [dict(sorted(line.items())) for line in done.lines] == [dict(sorted(line.items())) for line in (
        {
            "id": "faba-train-a.jpg", "image": "FABAInstruct/train/images/a.jpg", "AUs": ["AU6", "AU12"],
            "labels": ["happiness"], "description": f"<think>{think}</think><answer>happiness</answer>",
            "meta_info": {"split": "train"}, **shared,
        },
        {
            "id": "faba-train-b.jpg", "image": "FABAInstruct/train/images/b.jpg", "AUs": ["AU1"], "labels": [],
            "meta_info": {"split": "train"}, **shared,
        },
        {
            "id": "faba-test-a.jpg", "image": "FABAInstruct/eval/images/a.jpg", "AUs": ["AU1", "AU2", "AU4"],
            "labels": ["fear"], "description": "<think>Brows. Tense.</think><answer>fear</answer>",
            "meta_info": {"split": "test"}, **shared,
        },
    )]  # fmt: skip
    assert "  1 x the text states neither units nor one emotion (the first: 'c.jpg' of train)" in done.told
    assert "  1 x the image is not there (the first: 'd.jpg' of eval)" in done.told
    passes(capsys, done, out)


@pytest.mark.parametrize("shape", ["lines", "list"])
def test_published_lines_are_brought_to_one_spelling(
    shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "images/a.jpg")
    picture(tmp_path / "images/b.jpg")
    picture(tmp_path / "images/c.jpg")
    analysis = "<think>AU4.</think><answer>sadness</answer>"
    lines = [
        {
            "id": "1", "dataset": "DISFA-Test-clean", "image": ["images/a.jpg"], "question": "", "AUs": ["AU04", "AU1"],
            "labels": ["Sadness"], "description": analysis, "meta_info": {"a": 1},
        },
        {"id": "2", "dataset": "x", "image": "images/b.jpg", "AUs": [], "labels": ["confusion"]},
        {"id": "3", "image": "images/c.jpg", "labels": ["fear"], "is_valid": False},
        {"id": "4", "image": "images/none.jpg", "labels": ["fear"]},
        {"id": "5", "image": ["images/a.jpg", "images/b.jpg"], "labels": ["fear"]},
        {"id": "6", "image": "images/c.jpg", "AUs": ["AU120"]},
        {"id": "7", "image": "/other/place/images/c.jpg", "labels": "happy", "valence": 0.5},
    ]  # fmt: skip
    file = tmp_path / "train.jsonl"
    if shape == "lines":
        text(file, *map(json.dumps, lines), "{broken")
    else:
        as_json(file, lines, indent=1)
    out = tmp_path / "f.jsonl"
    done = convert(capsys, out, file)
    assert "for FEA-20K (fea20k)" in done.told
    assert done.lines == [
        {
            "id": "1", "dataset": "DISFA-Test-clean", "image": "images/a.jpg", "AUs": ["AU1", "AU4"], "labels": ["sadness"],
            "description": analysis, "meta_info": {"a": 1},
        },
        {"id": "2", "dataset": "x", "image": "images/b.jpg", "AUs": [], "labels": []},
        {"id": "7", "image": "images/c.jpg", "labels": ["happiness"], "valence": 0.5},
    ]  # fmt: skip
    assert "such as 'confusion' in line 2" in done.told
    for reason in ("the line marks itself as invalid", "the image is not there", "there is not exactly one image"):
        assert reason in done.told
    assert "key 'AUs': \"AU120\" is no Action Unit" in done.told
    passes(capsys, done, out)


def test_conversations_of_both_styles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abcd":
        picture(tmp_path / f"{name}.png")
    tagged = "<think>AU6 and AU12.</think><answer>happiness</answer>"
    file = as_json(
        tmp_path / "chat.json",
        [
            {key: value for key, value in asked("a.png", "What is felt?", tagged).items() if key != "landmark"},
            {
                "images": ["b.png"],
                "messages": [
                    {"role": "system", "content": "You read faces."},
                    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which emotion?"}]},
                    {"role": "assistant", "content": "The brows are drawn together. Emotion: anger."},
                ],
            },
            asked("c.png", "What?", "A person."),
            {"image": "d.png", "conversations": [{"from": "human", "value": "<image> Hm?"}]},
            {"id": "t", "conversations": []},
        ],
        indent=2,
    )
    out = tmp_path / "c.jsonl"
    done = convert(capsys, out, file)
    assert "for a file of conversations (LLaVA style) (conversations)" in done.told
    assert done.lines == [
        {"id": "a", "image": "a.png", "question": "What is felt?", "labels": ["happiness"], "description": tagged},
        {
            "id": "2", "image": "b.png", "question": "Which emotion?", "labels": ["anger"],
            "description": "The brows are drawn together. Emotion: anger.",
        },
    ]  # fmt: skip
    for reason in (
        "the answer states no emotion, or several",
        "nobody answers in it",
        "there is not exactly one image",
    ):
        assert f"  1 x {reason}" in done.told
    passes(capsys, done, out)
