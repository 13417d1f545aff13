"""Records of a rollout, their packs, and the loader that serves them."""

from __future__ import annotations

import doctest
import importlib
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fea.data.loader import EpochSampler
from fea.model.sampling import Completions, repeats
from fea.prompts.answer import parse
from fea.rollouts.buffer import Buffer
from fea.rollouts.loader import RolloutLoader, drawn_before
from fea.rollouts.packing import Packing, balanced
from fea.rollouts.rollout import Rollout

EMOTIONS = ("happiness", "sadness")


class Batches:
    """Stands for a loader of prompts: three batches of four."""

    sampler = SimpleNamespace(epoch=0)

    def __init__(self) -> None:
        self.start = 0

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Any:
        yield from [[f"{batch}.{prompt}" for prompt in range(4)] for batch in range(self.start, 3)]
        self.start = 0

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["position"]


def buffer_of(prompts: list[str], round: int) -> Buffer:
    """Four groups of two completions in two packs; every number tells its round and row."""
    rows = torch.arange(8.0)[:, None] + 100 * round
    mask = torch.ones(8, 3, dtype=torch.long)
    mask[2:, 2] = 0
    values = rows.expand(8, 3)
    return Buffer(
        values.long(),
        mask,
        values,
        torch.ones(8, 3),
        values,
        None,
        None,
        [[0, 3], [1, 2]],
        [True, False],
        {"round": round},
        {},
    )


def loader(rounds: list[int] | None = None) -> RolloutLoader:
    def roll(prompts: list[str], round: int) -> Buffer:
        if rounds is not None:
            rounds.append(round)
        return buffer_of(prompts, round)

    def replay(pack: int) -> list[Any]:
        return [pack]

    return RolloutLoader(Batches(), roll, 2, 2, lambda batch: batch, replay, lambda batch, filled: batch)  # type: ignore[arg-type]


def test_each_pack_is_joined_by_analyses_of_its_own_after_a_resume_too() -> None:
    whole = [pack.replay[0] for pack in loader([])]
    assert whole == list(range(len(whole)))
    resumed = loader([])
    begun = loader([])
    for _, _ in zip(range(5), begun, strict=False):
        pass
    resumed.load_state_dict(begun.state_dict())
    assert [pack.replay[0] for pack in resumed] == whole[5:]


def test_each_rollout_is_served_mu_times_in_packs_of_whole_groups() -> None:
    rounds: list[int] = []
    served = list(loader(rounds))
    assert rounds == [0, 1, 2]
    assert len(served) == len(loader()) == 12
    assert [pack.ids[:, 0].tolist() for pack in served[:4]] == [[0, 1, 6, 7], [2, 3, 4, 5]] * 2
    assert [pack.prompts for pack in served[4:6]] == [["1.0", "1.3"], ["1.1", "1.2"]]
    assert [pack.metrics for pack in served[:4]] == [{"round": 0}] * 4
    assert [pack.signal for pack in served[:2]] == [True, False]


def test_a_pack_is_cut_to_its_longest_completion() -> None:
    first, second = list(loader())[:2]
    assert first.ids.shape == (4, 3)  # completions 0 and 1 have three tokens
    assert second.ids.shape == (4, 2)


@pytest.mark.parametrize("stop", range(1, 12))
def test_a_loader_goes_on_exactly_where_it_stopped(stop: int) -> None:
    whole = [pack.ids[:, 0].tolist() for pack in loader()]
    first = loader()
    begun = iter(first)
    served = [next(begun).ids[:, 0].tolist() for _ in range(stop)]
    rounds: list[int] = []
    second = loader(rounds)
    second.load_state_dict(first.state_dict())
    served += [pack.ids[:, 0].tolist() for pack in second]
    assert served == whole
    assert rounds == list(range(-(-stop // 4), 3))  # a rollout that was begun is kept, not sampled again


class OnCard(torch.Tensor):
    """Stands for a tensor on a GPU: only a move to the host makes a plain one of it."""

    def to(self, *args: Any, **options: Any) -> torch.Tensor:
        """Moves it."""
        return self.as_subclass(torch.Tensor) if torch.device(*args) == torch.device("cpu") else self


def test_what_other_processes_and_checkpoints_are_given_lies_in_host_memory() -> None:
    loader, made = RolloutLoader.__new__(RolloutLoader), buffer_of([], 0)
    loader.prompts, loader.packs, loader.epochs, loader._position = Batches(), 2, 2, 1  # type: ignore[assignment]
    tensors = {
        name: value.as_subclass(OnCard) for name, value in made._asdict().items() if isinstance(value, torch.Tensor)
    }
    loader._buffer = made._replace(
        **tensors, old_logps=torch.ones(8, 3).as_subclass(OnCard), ref_logps=torch.ones(8, 3).as_subclass(OnCard)
    )
    told = loader.state_dict()["ranks"][0]["buffer"]
    assert {name: type(value) for name, value in told.items() if isinstance(value, torch.Tensor)} == dict.fromkeys(
        [*tensors, "old_logps", "ref_logps"], torch.Tensor
    )
    assert torch.equal(told["ids"], made.ids)
    assert isinstance(loader._buffer.ids, OnCard)  # the packs that are still to be served stay where they are


def test_draws_are_counted_over_all_processes_in_the_order_of_the_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    order = EpochSampler(3, seed=1, weights=np.ones(3))
    drawn = [str(draw.number) for draw in order][:3] * 4
    one = drawn_before(drawn)
    assert one == repeats(drawn)
    assert max(one) > 0
    parts = [drawn[number::3] for number in range(3)]
    for number in range(3):
        for name, value in {
            "gathered": lambda _: parts,
            "rank": lambda number=number: number,
            "count": lambda: 3,
        }.items():
            monkeypatch.setattr(f"fea.rollouts.loader.{name}", value)
        assert drawn_before(parts[number]) == one[number::3]


def test_an_empty_pack_runs_without_weight() -> None:
    buffer = buffer_of([], 0)._replace(packs=[[], [0, 1, 2, 3]])
    pack = buffer.pack(0, ["a", "b", "c", "d"])  # type: ignore[arg-type]
    assert pack.prompts == ["a"]
    assert not pack.weights.any()


def test_groups_are_spread_evenly_and_never_split() -> None:
    tokens = {0: 50, 1: 10, 2: 40, 3: 20, 4: 30, 7: 10}
    packs = balanced(tokens, 2)
    assert sorted(group for pack in packs for group in pack) == sorted(tokens)
    assert [sum(tokens[group] for group in pack) for pack in packs] == [80, 80]
    assert balanced({5: 1}, 3) == [[5], [], []]


def test_groups_stay_within_their_optimiser_step() -> None:
    packing = Packing(prompts=8, group=2, steps=2, packs=2)
    packs = packing.split({group: 10 + group for group in range(8) if group != 5})
    assert [set(packs[0] + packs[1]), set(packs[2] + packs[3])] == [{0, 1, 2, 3}, {4, 6, 7}]


@pytest.mark.parametrize(
    ("copies", "parts", "limit", "told"),
    [
        (1, 1, 1440, None),  # two groups of 100 + 4 * 155 tokens
        (1, 1, 1439, "a pack can reach 1440 tokens .* set trainer.accumulate_grad_batches to 4$"),
        (1, 1, 719, "set trainer.accumulate_grad_batches to 4 and model.microbatches to 2$"),
        (1, 1, 255, "set trainer.accumulate_grad_batches to 4 and model.microbatches to 4$"),
        (1, 1, 254, "lower model.group_size"),
        (4, 1, 2040, None),  # every completion with a prompt of its own
        (4, 1, 1440, "a pack can reach 2040 tokens .* set trainer.accumulate_grad_batches to 4$"),
        (1, 3, 820, None),  # two completions of each at a time
        (1, 3, 819, "a pack can reach 820 tokens .* a prompt of 100 and 2 completions of 155"),
        (4, 3, 1020, None),
        (4, 3, 1019, "a pack can reach 1020 tokens"),
    ],
)
def test_a_pack_that_may_not_fit_gets_advice(copies: int, parts: int, limit: int, told: str | None) -> None:
    advice = Packing(8, 4, steps=2, packs=2, copies=copies).advice(100, 155, limit, parts)
    assert advice is None if told is None else advice is not None and re.search(told, advice)


@pytest.mark.parametrize("normalizer", ["grpo", "dapo"])
def test_the_weights_of_each_optimiser_step_add_up_to_one(normalizer: Any) -> None:
    counted = (torch.arange(6) < torch.tensor([1, 6, 3, 2, 5, 4, 1, 2])[:, None]).long()
    weights = Packing(4, 2, steps=2, packs=1).weights(counted, normalizer, 6, lambda value: value, 1)
    torch.testing.assert_close(weights.view(2, -1).sum(dim=1), torch.ones(2))


def test_a_step_has_a_signal_if_any_process_has_one() -> None:
    packing = Packing(4, 1, steps=2, packs=2)
    lessons = torch.tensor([0.0, 0.0, 0.0, 0.5])
    assert packing.signal(lessons, lambda value: value) == [False, False, True, True]
    assert packing.signal(lessons, lambda value: value + 1) == [True] * 4


def test_regions_end_with_the_think_block() -> None:
    texts = ["<think>a</think><answer>happiness</answer>", "no tags at all"]
    mask = torch.zeros(2, 50, dtype=torch.long)
    mask[0, : len(texts[0])] = 1
    mask[1, : len(texts[1])] = 1
    completions = Completions(torch.zeros(2, 50, dtype=torch.long), mask, mask.float(), mask[:, 0] > 1, texts)
    rollout = Rollout([], 2, completions, [parse(text, EMOTIONS) for text in texts])
    spans = rollout.regions(lambda ids, characters: characters)  # a token a character
    assert spans["all"].tolist() == [[0, 42], [0, 14]]
    assert spans["think"].tolist() == [[0, 16], [0, 14]]
    assert spans["answer"].tolist() == [[16, 42], [14, 14]]


@pytest.mark.parametrize("record", ["rollout", "buffer"])
def test_the_examples_of_the_records_are_true(record: str) -> None:
    failed, attempted = doctest.testmod(importlib.import_module(f"fea.rollouts.{record}"))
    assert attempted > 3
    assert not failed
