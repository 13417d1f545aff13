"""Groups that all score the same are filled up from the next prompts, reproducibly, and only where it is asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from conftest import SAVE_EACH_STEP, fit
from test_grpo import Recorder, scalars

from fea.data.example import Example
from fea.data.loader import Draw, EpochSampler
from fea.errors import FEAError
from fea.model.sampling import Completions
from fea.prompts.answer import Answer
from fea.rewards import RewardCallback
from fea.rollouts import refill
from fea.rollouts.loader import RolloutCallback
from fea.rollouts.refill import Refill
from fea.rollouts.rollout import Rollout

TRIES, BATCH = 2, 4


def same(id: str) -> bool:
    """Whether all answers about a face earn the same: two of three."""
    return int(id.rpartition("-")[2]) % 3 > 0


class Choosy(RewardCallback):
    """The share of vowels, of answers about one face in three."""

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        return 0.5 if same(example.id) else sum(letter in "aeiou" for letter in text.lower()) / max(1, len(text))


class Counter(RewardCallback):
    """Counts the answers of complete rollouts; worth nothing."""

    answers: ClassVar[list[list[str]]] = []

    def on_answers(self, rollout: Rollout) -> None:
        Counter.answers.append([prompt.example.id for prompt in rollout.prompts])

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        return 0.0


class Served(RolloutCallback):
    """Keeps which faces each pack is about, and what is written about them in it."""

    packs: ClassVar[list[list[tuple[str, list[int]]]]] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        ids = [prompt.example.id for prompt in batch.prompts for _ in range(module.group_size)]
        written = [row[kept].tolist() for row, kept in zip(batch.ids, batch.mask.bool(), strict=True)]
        Served.packs.append(list(zip(ids, written, strict=True)))


def expected(order: list[Draw], ids: list[str], batches: int, tries: int) -> list[list[str]]:
    """The faces of each rollout, in plain Python."""
    names = [ids[draw.number] for draw in order]
    found = []
    for batch in range(batches):
        faces, place = names[batch * BATCH : (batch + 1) * BATCH], (batch + 1) * BATCH
        for _ in range(tries):
            for group in [group for group in range(BATCH) if same(faces[group])]:
                faces[group], place = names[place % len(names)], place + 1
        found.append(faces)
    return found


# --- in fits ---

SETTINGS: dict[str, Any] = {
    "trainer__callbacks": f'[{{"class_path": "test_refill.Choosy"}}, {{"class_path": "test_refill.Counter"}}, '
    f'{{"class_path": "test_grpo.Recorder"}}, {{"class_path": "test_refill.Served"}}, {SAVE_EACH_STEP}]',
    "trainer__max_steps": 16, "trainer__accumulate_grad_batches": 2, "model__mu": 2, "model__optimization__lr": 5e-3,
    "data__mirror": "true", "data__train_faces": 13, "model__refill": TRIES, "model__objective__beta": 0.0,
    "data__balance": "null", "data__balance_power": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[Any]]:
    """Rollouts of more than one epoch, whose last batches reach beyond its end; two optimizer steps each."""
    Recorder.rollouts, Counter.answers, Served.packs = [], [], []
    folder = tmp_path_factory.mktemp("refill") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fea"])
        return folder, fit("grpo", folder, **SETTINGS), [*Recorder.rollouts, Served.packs]


def test_groups_are_filled_up_with_the_next_faces(whole: tuple[Path, Any, list[Any]]) -> None:
    folder, run, (*rollouts, packs) = whole
    table = run.trainer.datamodule.tables["train"][0]
    ids, wanted, first = [table[number].id for number in range(len(table))], list[list[str]](), list[Draw]()
    for epoch in range(3):
        sampler = EpochSampler(len(ids), mirror=True)
        sampler.set_epoch(epoch)
        order = list(sampler)
        first = order if epoch == 0 else first
        wanted += expected(order, ids, 3, TRIES)
        flips = {ids[draw.number]: draw.flipped for draw in order}
        for rollout, _ in rollouts[3 * epoch : 3 * epoch + 3]:
            assert all(prompt.example.flipped == flips[prompt.example.id] for prompt in rollout.prompts)
        assert 0 < sum(flips.values()) < len(flips)
    served = [[prompt.example.id for prompt in rollout.prompts] for rollout, _ in rollouts]
    assert len(served) == 8
    assert served == wanted[:8] == Counter.answers[:8]
    for number, pack in enumerate(packs):  # four of each rollout
        completions = rollouts[number // 4][0].completions
        texts = [row[kept].tolist() for row, kept in zip(completions.ids, completions.mask.bool(), strict=True)]
        about = [id for id in served[number // 4] for _ in range(8)]
        assert all(one in zip(about, texts, strict=True) for one in pack)
    shares = scalars(folder)["groups/filled"]
    assert len(set(shares)) > 1
    for number, share in enumerate(shares[:6:2]):  # two steps a rollout
        plain = [ids[draw.number] for draw in first[number * BATCH : (number + 1) * BATCH]]
        assert share == sum(map(same, plain)) / BATCH


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_run_goes_on_inside_and_behind_a_rollout_that_was_filled_up(
    whole: tuple[Path, Any, list[Any]], tmp_path: Path, step: int
) -> None:
    folder, run, (*_, packs) = whole
    Served.packs = []
    again = fit("grpo", tmp_path / "again", ckpt_path=folder / "checkpoints" / f"step{step}.ckpt", **SETTINGS)
    for (name, weight), other in zip(run.model.policy.named_parameters(), again.model.policy.parameters(), strict=True):
        assert torch.equal(weight, other), name
    assert Served.packs == packs[2 * step :]


def test_without_refill_nothing_is_asked_for(tmp_path: Path) -> None:
    Recorder.rollouts, Counter.answers = [], []
    fit("grpo", tmp_path / "run", **SETTINGS | {"model__refill": 0, "trainer__max_steps": 2})
    assert "groups/filled" not in scalars(tmp_path / "run")
    with pytest.raises(FEAError, match=r"^model\.refill: -1; give"):
        fit("grpo", tmp_path / "no", **SETTINGS | {"model__refill": -1})


# --- by hand ---


def rollout_of(ids: str) -> Rollout:
    """Two completions about each face, whose tokens, and how many there are, tell which face it is."""
    codes = torch.tensor([ord(id) for id in ids for _ in range(2)])
    mask = (torch.arange(int(codes.max()) - 95) < (codes - 96)[:, None]).long()  # a: 1 token, b: 2, ...
    texts = [f"{id}{number}" for id in ids for number in range(2)]
    completions = Completions(codes[:, None] * mask, mask, -mask.float(), codes % 2 == 0, texts)
    prompts: Any = [SimpleNamespace(example=SimpleNamespace(id=id)) for id in ids]
    return Rollout(prompts, 2, completions, list(texts))  # type: ignore[arg-type]


class Prompts:
    """Stands for a loader of batches of four faces."""

    def __init__(self, order: str):
        self.order = order
        self.sampler = SimpleNamespace(at=lambda places: [Draw(place % len(order), False) for place in places])

    def __len__(self) -> int:
        return len(self.order) // 4

    def encoded(self, draw: Draw) -> Any:
        return rollout_of(self.order[draw.number]).prompts[0]


def filled_up(order: str, round: int, alike: str, tries: int) -> tuple[str, list[tuple[str, list[int]]], Any]:
    """The faces of a rollout in the end, and what was sampled on the way: faces, and how often they were drawn before."""
    asked = []

    def sample(prompts: Any, found_round: int, drawn: Any) -> Rollout:
        assert found_round == round
        asked.append(("".join(prompt.example.id for prompt in prompts), list(drawn)))
        return rollout_of(asked[-1][0])

    fill: Any = Refill(Prompts(order), lambda prompts: prompts, tries)  # type: ignore[arg-type]
    batch = round % (len(order) // 4)
    start = rollout_of(order[4 * batch : 4 * batch + 4])
    rollout, filled = fill(start, round, sample, lambda r: [p.example.id in alike for p in r.prompts])
    faces = "".join(prompt.example.id for prompt in rollout.prompts)
    again: Any = Refill(Prompts(order), lambda prompts: prompts, tries)  # type: ignore[arg-type]
    for resumed in (fill, again):
        shown = resumed.shown(list(start.prompts), filled.draws)
        assert "".join(prompt.example.id for prompt in shown) == faces
    expected = rollout_of(faces)
    assert rollout.answers == expected.answers
    assert rollout.completions.texts == expected.completions.texts
    width = expected.completions.ids.shape[1]
    for found, wanted in zip(rollout.completions[:4], expected.completions[:4], strict=True):
        assert not found[:, width:].any() if found.dim() == 2 else True
        assert torch.equal(found[:, :width] if found.dim() == 2 else found, wanted)
    return faces, asked, filled


def test_each_try_takes_the_next_faces_and_numbers_their_completions_on() -> None:
    filled = {1: Draw(6, False), 2: Draw(5, False)}, {"groups/filled": 0.5}
    assert filled_up("abcdefgh", 0, "bce", 2) == ("agfd", [("ef", [0, 0]), ("g", [0])], filled)
    faces, asked, _ = filled_up("abcdabab", 0, "b", 3)  # each face of the second batch was drawn before
    assert (faces, asked) == ("aacd", [("a", [1])])
    faces, asked, _ = filled_up("abcdbbba", 0, "b", 9)
    assert (faces, asked) == ("aacd", [("b", [1]), ("b", [2]), ("b", [3]), ("a", [1])])
    faces, asked, _ = filled_up("abcdefgh", 3, "h", 1)  # the last batch of the second epoch: the order begins anew
    assert (faces, asked) == ("efga", [("a", [0])])
    assert filled_up("abcdefgh", 0, "abcdefgh", 1)[0] == "efgh"
    assert filled_up("abcdefgh", 0, "", 3) == ("abcd", [], ({}, {"groups/filled": 0.0}))


def test_processes_count_slots_and_draws_as_one_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups 0 and 2 of the first of two processes, and 1 of the second: slots 0, 3 and 4."""
    monkeypatch.setattr(refill, "count", lambda: 2)
    monkeypatch.setattr(refill, "gathered", lambda own: [[0, 2], [1]])
    assert refill._in_turn([0, 2]) == [0, 3, 4]
    for rank, drawn in ((0, [1, 3]), (1, [2])):
        ids = ["x", "y"]
        monkeypatch.setattr(refill, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(refill, "gathered", lambda own: [["x", "x"], ["x"]])
        assert refill._drawn(ids, [], [0, 3, 4]) == drawn
        assert ids == ["x", "y", "x", "x", "x"]
