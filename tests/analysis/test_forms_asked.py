"""Answers in another form than that of the run, and how likely each emotion is as the answer."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SMALL
from photographed import EMOTIONS, analyzer_of, person

from fea.analysis.analyzer import Analyzer
from fea.cli import main
from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.model.policy import Policy
from fea.prompts.answer import FORMS, Form, parse, render
from fea.prompts.prompt import system_prompt
from fea.rollouts.likelihood import before_answer, completion, likelihoods

pytest_plugins = ("photographing",)

Says = Callable[[Callable[[Prompt, int], str]], list[list[str]]]
THOUGHT = "<think>The lip corners go up (AU12).</think>\n<answer>happiness</answer>"


def run(image: Path, out: Path, *more: str) -> int:
    return main(["analyze", str(image), "--model", "owner/model", "--out", str(out), "--max_tokens", "4", *more])


# --- the form ---


@pytest.mark.parametrize("form", FORMS)
def test_a_face_is_asked_about_in_the_form_that_is_named(analyzer: Analyzer, says: Says, form: Form) -> None:
    seen: list[Prompt] = []
    says(lambda prompt, _: seen.append(prompt) or render("A smile (AU12).", "happiness", form))
    results = analyzer.analyze(person(1, 112), answer=form)
    assert (seen[0].form, results[0].valid, results[0].emotion) == (form, True, "happiness")
    assert system_prompt("brief", form) in analyzer.policy.network.tokenizer.decode(seen[0].ids)
    known = results.to_frame("pyfeat")[["AU12", "AU04"]].notna().iloc[0].tolist()
    assert known == [form != "only"] * 2
    assert results.layout.record(results[0])["AUs"] == (None if form == "only" else ["AU12"])


def test_a_run_of_answers_alone_can_be_asked_to_think(says: Says) -> None:
    quick = analyzer_of(answer="only")
    says(lambda prompt, _: render("A smile (AU12).", "happiness", prompt.form))
    (own,), (other,) = (quick.analyze(person(1, 112), answer=form) for form in (None, "after_thinking"))
    assert (own.aus, other.aus) == ((), ("AU12",))


def test_what_a_run_was_not_trained_for_is_noted(
    loaded: Analyzer, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "note: this model was not trained to answer 'only', but after_thinking and first (policy.answers)"
    for forms, expected in (({"after_thinking", "first"}, True), ({"only", "first"}, False), ((), False)):
        monkeypatch.setattr(loaded, "forms", frozenset(forms))
        assert run(album / "b-one.png", tmp_path / "a.csv", "--answer", "only") == 0
        assert (told in capsys.readouterr().err) == expected
    assert main(["analyze", str(album), "--model", "nowhere", "--answer", "fast"]) == 2


# --- likelihood ---


@pytest.mark.parametrize(
    ("form", "text", "before"),
    [
        ("after_thinking", THOUGHT, "<think>The lip corners go up (AU12).</think>\n"),
        ("after_thinking", "<think>A smile.</think>", "<think>A smile.</think>"),
        ("after_thinking", "<think>A smile.</think><answer>happ", "<think>A smile.</think>"),
        ("after_thinking", "<think>A smile, cut off", None),
        ("after_thinking", "", None),
        ("first", "<answer>fear</answer><think>AU1", ""),
        ("only", "nonsense", ""),
    ],
)
def test_the_answer_is_weighed_where_it_begins(form: Form, text: str, before: str | None) -> None:
    assert before_answer(parse(text, EMOTIONS, form=form)) == before


@pytest.fixture(scope="module")
def sharp() -> Policy:
    """A policy that prefers some words."""
    return analyzer_of(tiny=replace(SMALL, spread=0.3)).policy


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_likelihoods_are_the_softmax_of_log_probabilities(
    sharp: Policy, examples: list[Example], layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each word by itself, token by token from the whole distribution, all tokens of the completion summed."""
    monkeypatch.setattr(sharp, "config", replace(sharp.config, layout=layout))
    texts: dict[Form, str] = {
        "after_thinking": THOUGHT,
        "only": "?",
        "first": "<answer>fear</answer><think>AU4</think>",
    }
    prompts = sharp.look([sharp.encoder(examples[0]._replace(form=form)) for form in texts])
    answers = [parse(text, p.example.emotions, form=p.form) for text, p in zip(texts.values(), prompts, strict=True)]
    found = likelihoods(sharp, prompts, answers, batch_size=2 * len(examples[0].emotions))
    for prompt, answer, shares in zip(prompts, answers, found, strict=True):
        words, sums = prompt.example.emotions, []
        for word in words:
            ids = completion(sharp, before_answer(answer) or "", word, prompt.form)
            said = sharp.network.tokenizer.decode(ids)
            assert f"<answer>{word}</answer>" in said
            logps_TV = sharp.road.distributions(prompt, ids)
            logps_TV[:, sharp.network.forbidden] = -torch.inf  # which are never written
            logps_TV = logps_TV.log_softmax(dim=-1)
            sums.append(logps_TV.gather(1, ids[:, None]).double().sum())
        assert tuple(shares) == words
        assert sum(shares.values()) == pytest.approx(1, abs=1e-9)
        assert list(shares.values()) == pytest.approx(torch.stack(sums).softmax(dim=0).tolist(), abs=1e-5)
        assert max(shares.values()) > 2 / len(words)  # they differ


def test_where_no_answer_is_reached_no_emotion_is_likely(sharp: Policy, examples: list[Example]) -> None:
    prompts = sharp.look([sharp.encoder(example) for example in examples[:3]])
    texts = ["<think>A smile, cut off", THOUGHT, ""]
    answers = [parse(text, prompt.example.emotions) for text, prompt in zip(texts, prompts, strict=True)]
    found = likelihoods(sharp, prompts, answers, 4)
    assert [len(shares) for shares in found] == [0, len(examples[0].emotions), 0]
    alone = likelihoods(sharp, prompts[1:2], answers[1:2], 32)[0]
    assert list(found[1].values()) == pytest.approx(list(alone.values()), abs=1e-5)
    open_ = [prompt._replace(example=prompt.example._replace(emotions=())) for prompt in prompts]
    assert likelihoods(sharp, open_, answers, 4) == [{}, {}, {}]


def test_likelihoods_stand_in_every_table(loaded: Analyzer, album: Path, tmp_path: Path, says: Says) -> None:
    says(lambda prompt, _: THOUGHT if prompt.example.id.endswith("b-one.png") else "<think>cut")
    two = [str(album / "b-one.png"), str(album / "c-nobody.png")]
    names = [f"likelihood_{word}" for word in EMOTIONS]
    asked = ["--likelihood", "--emotions", json.dumps(EMOTIONS)]
    for out in ("a.csv", "a.jsonl"):
        assert main(["analyze", *two, "--model", "owner/model", "--out", str(tmp_path / out), *asked]) == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        one, other = csv.DictReader(file)
    assert list(one)[-len(names) :] == names
    assert sum(float(one[name]) for name in names) == pytest.approx(1)
    assert {other[name] for name in names} == {""}
    first, second = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    assert {f"likelihood_{word}": str(share) for word, share in first["likelihood"].items()} == {
        n: one[n] for n in names
    }
    assert second["likelihood"] is None
    results = loaded.analyze(two, likelihood=True, samples=2)
    cells = results.to_frame("pyfeat")[list(EMOTIONS)]
    assert cells.iloc[0].tolist() == list((results[0].likelihood or {}).values())
    assert cells.iloc[1].isna().all()
    assert results[0].votes == {"AU12": 1.0}
    assert loaded.analyze(two)[0].likelihood is None


def test_words_are_weighed_at_once_where_the_answer_stands_alone(analyzer: Analyzer) -> None:
    """A random model writes nothing that can be read, and has its likelihoods all the same."""
    picture = person(1, 112)
    quick, thinking = (analyzer.analyze(picture, answer=form, likelihood=True, max_tokens=4) for form in ("only", None))
    assert sum((quick[0].likelihood or {}).values()) == pytest.approx(1)
    assert thinking[0].likelihood == {}
