"""Stage 1: the loss covers the answer's tokens, all of them and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import fit, small_config
from torch.nn import functional as F

from fea.data.example import Example
from fea.data.prompt import targets
from fea.demo.tower import TowerModule
from fea.errors import FEAError
from fea.sft import SFTModule


@pytest.fixture
def module(examples: list[Example]) -> SFTModule:
    sft = SFTModule(small_config())
    sft.configure_model()
    return sft


def test_labels_are_exactly_the_analysis_and_its_end(module: SFTModule, examples: list[Example]) -> None:
    batch = [module.encode_training(example) for example in examples[:3]]
    ids, mask = targets(batch)
    for row, kept, example in zip(ids, mask.bool(), examples, strict=False):
        assert module.policy.network.tokenizer.decode(row[kept]) == f"{example.analysis}<|im_end|>"
    assert ids[~mask.bool()].eq(0).all()


def test_the_loss_is_that_of_the_family_on_these_labels(module: SFTModule, examples: list[Example]) -> None:
    """Parity with the Hugging Face forward pass and a cross-entropy written out, one example at a time, to 1e-5."""
    policy = module.policy.eval()
    batch = [module.encode_training(example) for example in examples[:3]]
    losses = []
    for prompt in batch:
        ids = torch.cat([prompt.ids, prompt.target])[None]
        kinds = (ids == policy.network.image_token).int()
        logits = policy.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=prompt.pixels,
            image_grid_thw=prompt.grid[None], mm_token_type_ids=kinds,
        ).logits[0, len(prompt.ids) - 1 : -1]  # fmt: skip
        logits[:, policy.network.forbidden] = -torch.inf
        losses.append(F.cross_entropy(logits, prompt.target))
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    torch.testing.assert_close(module.training_step(batch, 0), torch.stack(losses).mean(), rtol=1e-5, atol=1e-5)


def test_accumulation_and_batches_weigh_each_analysis_alike(module: SFTModule, examples: list[Example]) -> None:
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    batch = [module.encode_training(example) for example in examples[:4]]
    whole = module.training_step(batch, 0)
    halves = [module.training_step(batch[:2], 0), module.training_step(batch[2:], 1)]
    torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2, rtol=1e-5, atol=1e-6)


def test_what_two_processes_log_is_the_mean_over_the_analyses_of_both(
    module: SFTModule, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: dict[str, float] = {}
    module.log = lambda name, value, **_: logged.update({name: float(value)})  # type: ignore[method-assign]
    batch = [module.encode_training(example) for example in examples[:4]]
    module.training_step(batch, 0)
    whole, sums = logged.copy(), list[torch.Tensor]()
    monkeypatch.setattr("fea.sft.total", lambda own: sums.append(own.detach()) or torch.stack(sums).sum(dim=0))
    module.training_step(batch[:3], 0)
    module.training_step(batch[3:], 0)
    assert logged == pytest.approx(whole, rel=1e-5)


def test_analyses_are_learned_and_the_tower_stays_as_it_is(tmp_path: Path) -> None:
    common = {"model__optimization__lr": 1e-2, "data__num_workers": 0}
    start = fit("sft", tmp_path / "start", trainer__max_steps=0, **common).model
    run = fit("sft", tmp_path / "run", trainer__max_steps=12, **common)
    assert float(run.trainer.callback_metrics["train/loss"]) < 3.5  # ln 594 = 6.4 at the start
    before, after = dict(start.policy.named_parameters()), dict(run.model.policy.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "visual" not in name}


def test_examples_without_an_analysis_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match="0 examples with an analysis"):
        fit("sft", tmp_path / "run", data__text="none")


def test_the_tower_stage_trains_the_tower_alone(tmp_path: Path) -> None:
    common = {"model": "fea.demo.tower.TowerModule", "model__policy__train_vision": "true", "data__text": "caption"}
    common |= {"model__optimization__lr": 1e-3}
    start = fit("sft", tmp_path / "start", trainer__max_steps=0, **common).model
    run = fit("sft", tmp_path / "run", trainer__max_steps=2, **common)
    before, after = dict(start.policy.named_parameters()), dict(run.model.policy.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all("visual" in name for name in moved)


def test_the_tower_stage_says_what_it_needs() -> None:
    with pytest.raises(FEAError, match="train_vision: true"):
        TowerModule(small_config())


def test_captions_hold_no_code_and_no_emotion(make_policy: Callable[..., object], tmp_path: Path) -> None:
    from fea.drawn.faces import EMOTIONS, write_faces

    text = write_faces(tmp_path, 20, seed=3, text="caption").read_text()
    captions = [line.split('"description": "')[1] for line in text.splitlines()]
    assert not any("AU" in caption or emotion in caption for caption in captions for emotion in EMOTIONS)
