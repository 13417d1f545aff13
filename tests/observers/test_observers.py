"""Callbacks that look on: the check at the start, and warnings while there is still time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import fit

from fea.callbacks import Watch
from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.model.policy import Policy
from fea.model.sampling import Completions
from fea.prompts.answer import render
from fea.rollouts.rollout import Rollout, parse_all

CHECKED = '[{"class_path": "test_grpo.Vowels"}, {"class_path": "fea.callbacks.SelfCheck"}]'

MANY = " ".join(f"AU{number}" for number in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26))

# --- self-check ---


@pytest.mark.parametrize("settings", [{}, {"trainer__precision": "bf16-mixed"}], ids=["fp32", "bf16"])
def test_a_sound_run_passes_its_self_check(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, str]
) -> None:
    caplog.set_level("INFO")
    fit("grpo", tmp_path / "run", trainer__callbacks=CHECKED, trainer__max_steps=2, **settings)
    told = [line for line in caplog.messages if line.startswith("self-check")]
    assert len(told) == 1
    assert "of policy and reference 0.0e+00" in told[0]


def test_sampling_that_is_not_what_would_be_trained_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warmer(self: Policy, *args: Any, **options: Any) -> Any:
        completions = sample(self, *args, **options)
        return completions._replace(logps=completions.logps * 0.9)

    sample = Policy.rollout
    monkeypatch.setattr(Policy, "rollout", warmer)
    with pytest.raises(
        FEAError, match=r"self-check: log-probabilities of sampling and of training differ by 0\.\d+ nats"
    ):
        fit("grpo", tmp_path / "run", trainer__callbacks=CHECKED)


def test_a_single_token_that_is_far_off_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the mean of 48 tokens hides it."""

    def off(self: Policy, *args: Any, **options: Any) -> Any:
        completions = sample(self, *args, **options)
        completions.logps[0, 0] += 0.02
        return completions

    sample = Policy.rollout
    monkeypatch.setattr(Policy, "rollout", off)
    with pytest.raises(FEAError, match=r"nats on average and 0\.02 at most, and rounding explains 0\.001 and 0\.014"):
        fit("grpo", tmp_path / "run", trainer__callbacks=CHECKED)


def test_a_layout_that_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fea.model.layout.next_positions", lambda prompt, length: torch.arange(length))
    with pytest.raises(FEAError, match="self-check"):
        fit("grpo", tmp_path / "run", trainer__callbacks=CHECKED)


def test_a_reference_that_is_another_policy_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stirred(self: Policy) -> None:
        keep(self)
        self._reference = {name: weight + 0.1 for name, weight in self._reference.items()}

    keep = Policy.keep_reference
    monkeypatch.setattr(Policy, "keep_reference", stirred)
    with pytest.raises(FEAError, match="of policy and reference differ"):
        fit("grpo", tmp_path / "run", trainer__callbacks=CHECKED)


# --- warnings ---


def rollout_of(
    prompts: list[Prompt], texts: list[str], logp: float = -1.0, length: int = 20, truncated: bool = False
) -> Rollout:
    count = len(texts)
    mask = torch.ones(count, length, dtype=torch.long)
    completions = Completions(mask, mask, mask * logp, torch.full((count,), truncated), texts)
    return Rollout(prompts, count // len(prompts), completions, parse_all(texts, prompts))


@pytest.fixture
def watch() -> Callable[..., list[str]]:
    """What is warned of after ten rollouts."""
    watching = Watch()

    def run(*rollouts: Rollout) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for rollout in rollouts:
                watching.on_rollout(SimpleNamespace(global_step=7), None, rollout, {})  # type: ignore[arg-type]
        return [str(warning.message) for warning in caught]

    run.watching = watching  # type: ignore[attr-defined]
    return run


def true_texts(examples: list[Example]) -> list[str]:
    names = [" ".join(f"({au})" for au in sorted(example.aus or ())) for example in examples]
    return [render(f"I see {name}.", example.labels[0]) for name, example in zip(names, examples, strict=True)]


def test_a_sound_policy_is_left_in_peace(watch: Callable[..., list[str]], prompts: list[Prompt]) -> None:
    texts = true_texts([prompt.example for prompt in prompts])
    assert watch(*[rollout_of(prompts, texts)] * 30) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"logp": -0.001}, "the entropy fell to 0.001 nats"),
        ({"texts": [render("Hm (AU1).", "fear")] * 4}, "of the answers name the same emotion, and 25% of the labels"),
        ({"texts": [render(MANY, word) for word in ("fear", "anger", "surprise", "disgust")]}, "Action Units where"),
        ({"length": 50}, "tokens, 20 at the start"),
        ({"truncated": True}, "have no end"),
    ],
)
def test_what_goes_wrong_is_told_once_until_it_is_over(
    watch: Callable[..., list[str]], prompts: list[Prompt], change: dict[str, Any], told: str
) -> None:
    texts = true_texts([prompt.example for prompt in prompts])
    sound, sick = rollout_of(prompts, texts), rollout_of(prompts, **{"texts": texts, **change})

    def others(*rollouts: Rollout) -> list[str]:
        """What is told beside that one answer to all does not look at faces, earns what one can, and has lost all others."""
        blind = ("do not depend on the face", "no more than one answer to all", "has vanished")
        return [message for message in watch(*rollouts) if not any(words in message for words in blind)]

    told_of = others(*[sound] * 12, *[sick] * 30)
    assert len(told_of) == 1
    assert told in told_of[0]
    assert told_of[0].startswith("step 7: ")
    assert watch(*[sound] * 20) == []
    assert len(others(*[sick] * 20)) == 1


def test_the_watch_goes_on_after_a_resume(watch: Callable[..., list[str]], prompts: list[Prompt]) -> None:
    sound = rollout_of(prompts, true_texts([prompt.example for prompt in prompts]))
    watch(*[sound] * 12)
    state = watch.watching.state_dict()  # type: ignore[attr-defined]
    again = Watch()
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert again.first_length == 20


def test_the_watch_begins_anew_after_a_run_of_an_earlier_release() -> None:
    again = Watch()
    again.load_state_dict({"recent": [{"length": 20.0}], "first_length": 20.0, "warned": ["spam"]})
    assert again.state_dict() == Watch().state_dict()
