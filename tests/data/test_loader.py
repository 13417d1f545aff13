"""The order of examples: repeatable, resumable, even over ranks and labels, and full batches in spite of bad images."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fea.data.example import Example
from fea.data.loader import EpochSampler, Loader
from fea.data.mixture import Examples
from fea.data.prompt import Prompt
from fea.data.source import OnBad
from fea.data.table import open_jsonl
from fea.errors import FEAError
from fea.facs import EMOTION_SETS
from fea.images.opening import load_image
from fea.prompts.answer import Form
from fea.records.record import Rules
from fea.system.lines import write_jsonl

RULES = Rules(EMOTION_SETS["basic7"])


def encode(example: Example) -> Prompt:
    """Reads the image; the sizes of the tensors depend on the example, its number stands in them."""
    load_image(example.image, example.place)
    n = int(example.id)
    return Prompt(
        example._replace(analysis=None),
        ids=torch.arange(n % 3 + 1) + n,
        positions=torch.full((3, n % 3 + 1), n),
        pixels=torch.full((n % 2 + 1, 4), float(n)),
        grid=torch.tensor([1, n, n]),
        target=torch.full((n % 4,), n),
    )


def tables(folder: Path, *files: list[dict[str, Any]], bad: Iterable[int] = ()) -> Examples:
    """Examples numbered over all files, each with an image unless it is a bad one."""
    numbers, opened = itertools.count(), []
    for number, rows in enumerate(files):
        lines = [{"id": i, "image": f"{i}.png", **row} for row, i in zip(rows, numbers, strict=False)]
        for line in lines:
            Image.new("RGB", (2, 2)).save(folder / line["image"])
        write_jsonl(folder / f"{number}.jsonl", lines)
        opened.append(open_jsonl(folder / f"{number}.jsonl", folder, RULES, "raise"))
        numbers = itertools.count(lines[-1]["id"] + 1)
    for i in bad:
        (folder / f"{i}.png").write_bytes(b"damaged")
    return Examples(opened)


def loader(
    examples: Examples,
    sampler: EpochSampler | None = None,
    batch_size: int = 4,
    workers: int = 0,
    on_bad: OnBad = "raise",
    training: bool = True,
) -> Loader:
    return Loader(examples, encode, sampler or EpochSampler(len(examples)), batch_size, workers, on_bad, training)


def ids(batches: Iterable[list[Prompt]]) -> list[list[str]]:
    return [[prompt.example.id for prompt in batch] for batch in batches]


# --- examples ---


def test_tables_stand_one_after_the_other(tmp_path: Path) -> None:
    examples = tables(tmp_path, [{}] * 3, [{}], [{}] * 2)
    assert [examples[i].id for i in range(len(examples))] == ["0", "1", "2", "3", "4", "5"]
    assert examples[3].place == f"{tmp_path / '1.jsonl'}:1"
    assert examples.column("id") == ["0", "1", "2", "3", "4", "5"]


def test_stage_one_sees_only_examples_with_an_analysis(tmp_path: Path) -> None:
    told = {"description": "<think>AU1</think><answer>fear</answer>"}
    examples = Examples(tables(tmp_path, [{}, told], [told, {}, told]).tables, analysed=True)
    assert [examples[i].id for i in range(len(examples))] == ["1", "2", "4"]
    weights = Examples(examples.tables, analysed=True).balance("emotion")
    assert weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("by", "rows", "weights"),
    [
        ("emotion", [["fear"], ["fear"], ["fear"], ["anger"], []], [1 / 3, 1 / 3, 1 / 3, 1, 0.5]),
        ("emotion", [["fear", "anger"], ["fear"], []], [3 / 4, 1 / 2, 5 / 8]),
        ("au", [["AU1", "AU2"], ["AU1"], [], None], [3 / 4, 1 / 2, 5 / 8, 5 / 8]),
        ("au", [None, None], [1, 1]),
    ],
)
def test_balance_weights_by_rarity_and_unknown_by_the_average(
    tmp_path: Path, by: Any, rows: list[Any], weights: list[float]
) -> None:
    key = "labels" if by == "emotion" else "AUs"
    examples = tables(tmp_path, [{key: row} for row in rows])
    assert examples.balance(by) == pytest.approx(weights, abs=1e-12)


def test_balance_by_a_power_of_rarity_and_by_both_kinds(tmp_path: Path) -> None:
    rows = [*[{"labels": ["fear"], "AUs": ["AU1"]}] * 4, {"labels": ["anger"], "AUs": ["AU1", "AU4"]}, {"AUs": ["AU4"]}]
    examples = tables(tmp_path, rows)
    assert examples.balance("emotion", 0.5) == pytest.approx([1 / 2] * 4 + [1, 3 / 5], abs=1e-12)
    assert examples.balance("emotion", 0.0) == pytest.approx([1.0] * 6, abs=1e-12)
    for power in (0.0, 0.5, 1.0):
        one, four = 5**-power, 2**-power  # AU1 in five examples, AU4 in two
        units = np.array([one] * 4 + [(one + four) / 2, four])
        assert examples.balance("au", power) == pytest.approx(units, abs=1e-12)
        emotions = np.array([4**-power] * 4 + [1, (4 * 4**-power + 1) / 5])
        both = emotions / emotions.sum() + units / units.sum()
        assert examples.balance("both", power) == pytest.approx(both, abs=1e-12)
    even = examples.balance("both") / 2
    assert even.sum() == pytest.approx(1.0)


def test_balanced_sampling_evens_the_classes_out(tmp_path: Path) -> None:
    rows = [{"labels": ["fear"]}] * 30 + [{"labels": ["anger"]}] * 3
    examples = tables(tmp_path, rows)
    sampler = EpochSampler(33, weights=examples.balance("emotion"))
    drawn: Counter[bool] = Counter()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        drawn.update(draw.number >= 30 for draw in sampler)
    assert drawn[True] / drawn.total() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(33 * 60))


# --- order ---


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("even", [True, False])
def test_ranks_partition_an_epoch(world: int, even: bool) -> None:
    samplers = [EpochSampler(10, seed=1, rank=rank, world=world, even=even) for rank in range(world)]
    draws = [[draw.number for draw in sampler] for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(drawn) for drawn in draws]
    single = [draw.number for draw in EpochSampler(10, seed=1)]
    together = [n for step in itertools.zip_longest(*draws) for n in step if n is not None]
    assert together == single[: 10 // world * world if even else 10]
    if even:
        assert len({len(drawn) for drawn in draws}) == 1


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[Any]:
        sampler = EpochSampler(50, seed, mirror=True)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 0) == order(0, 0)
    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for a, b in itertools.combinations(orders, 2))
    assert all(sorted(draw.number for draw in drawn) == list(range(50)) for drawn in orders)
    assert [draw.number for draw in EpochSampler(5, shuffle=False)] == list(range(5))


def test_half_of_the_faces_are_mirrored_on_request_only() -> None:
    assert sum(draw.flipped for draw in EpochSampler(2000, mirror=True)) == pytest.approx(1000, abs=90)
    assert not any(draw.flipped for draw in EpochSampler(2000))


def test_forms_are_drawn_by_share_and_leave_all_else_as_it_is() -> None:
    forms: dict[Form, float] = {"only": 3, "after_thinking": 1}
    plain, mixed, turned = (
        EpochSampler(2000, 1, mirror=True, forms=given) for given in (None, forms, dict(reversed(forms.items())))
    )
    drawn = list(mixed)
    assert [draw[:2] for draw in drawn] == [draw[:2] for draw in plain]
    assert {draw.form for draw in plain} == {None}
    assert drawn == list(turned) == list(mixed)
    assert sum(draw.form == "only" for draw in drawn) == pytest.approx(1500, abs=80)
    shares = [EpochSampler(2000, 1, mirror=True, rank=rank, world=2, forms=forms) for rank in range(2)]
    assert [draw for pair in zip(*shares, strict=True) for draw in pair] == drawn
    mixed.set_epoch(1)
    asked = {draw.number: draw.form for draw in drawn}
    assert 600 < sum(asked[draw.number] != draw.form for draw in mixed) < 900  # 2 * 3/4 * 1/4 of 2000 are 750


# --- batches ---


@pytest.mark.parametrize(("workers", "world"), [(0, 1), (1, 1), (0, 2)])
def test_a_position_resumes_to_the_same_batches(tmp_path: Path, workers: int, world: int) -> None:
    examples = tables(tmp_path, [{"AUs": ["AU1"]}, {"AUs": []}] * 7 * world)

    def make() -> Loader:
        weights = examples.balance("au")
        forms: dict[Form, float] = {"only": 1.0, "first": 1.0}
        sampler = EpochSampler(14 * world, 3, True, weights, True, world - 1, world, forms=forms)
        return loader(examples, sampler, workers=workers)

    whole, cut = make(), make()
    expected = list(whole)
    assert (len(whole), len(expected), whole.state_dict()) == (3, 3, {"position": 0})
    head = list(itertools.islice(cut, 1))
    state = cut.state_dict()
    assert state == {"position": 1}
    resumed = make()
    resumed.load_state_dict(state)
    tail = list(resumed)
    assert ids([*head, *tail]) == ids(expected)
    for a, b in zip(itertools.chain(*head, *tail), itertools.chain(*expected), strict=True):
        assert a.example == b.example
        assert all(torch.equal(x, y) for x, y in zip(a[1:6], b[1:6], strict=True))
    drawn = list(make().sampler)[:12]
    assert [(int(p.example.id), p.example.flipped, p.example.form) for p in itertools.chain(*expected)] == drawn
    assert ids(resumed) == ids(expected)  # the next epoch begins at its start again
    assert resumed.state_dict() == {"position": 0}


def test_batches_hand_over_what_was_encoded(tmp_path: Path) -> None:
    examples = tables(tmp_path, [{}] * 6)
    for prompt in itertools.chain(*loader(examples, batch_size=3)):
        for given, made in zip(prompt[1:6], encode(examples[int(prompt.example.id)])[1:6], strict=True):
            assert torch.equal(given, made)


def test_serving_batches_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    list(loader(tables(tmp_path, [{}] * 6)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("training", "sizes"), [(True, [4, 4]), (False, [4, 4, 2])])
def test_only_training_leaves_out_the_short_batch(tmp_path: Path, training: bool, sizes: list[int]) -> None:
    batches = loader(tables(tmp_path, [{}] * 10), EpochSampler(10, shuffle=False), training=training)
    assert (len(batches), list(map(len, ids(batches)))) == (len(sizes), sizes)


# --- bad images ---


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("training", [True, False])
def test_a_bad_image_stops_the_run_with_its_place(tmp_path: Path, workers: int, training: bool) -> None:
    examples = tables(tmp_path, [{}] * 4, bad=[2])
    with pytest.raises(FEAError, match=r"0\.jsonl:3: image '.*2\.png' cannot be read"):
        list(loader(examples, workers=workers, training=training))


@pytest.mark.parametrize("workers", [0, 1])
def test_skipped_images_give_way_to_others_and_are_counted(tmp_path: Path, workers: int) -> None:
    examples = tables(tmp_path, [{}] * 8, bad=[2, 3, 7])
    batches = loader(examples, EpochSampler(8, shuffle=False), workers=workers, on_bad="skip")
    assert ids(batches) == [["0", "1", "4", "4"], ["4", "5", "6", "0"]]
    assert [(reason.split(": ")[0][-4:], count) for reason, count in batches.skipped.items()] == [
        ("nl:3", 1),
        ("nl:4", 2),
        ("nl:8", 1),
    ]


def test_evaluation_leaves_skipped_images_out(tmp_path: Path) -> None:
    examples = tables(tmp_path, [{}] * 6, bad=[0, 4, 5])
    batches = loader(examples, EpochSampler(6, shuffle=False), 2, on_bad="skip", training=False)
    assert ids(batches) == [["1"], ["2", "3"], []]
    assert len(batches.skipped) == 3


def test_nothing_but_bad_images_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    examples = tables(tmp_path, [{}] * 30, bad=range(30))
    with pytest.raises(FEAError, match=r"20 images in a row cannot be read; the last reason: .*cannot be read"):
        list(loader(examples, on_bad="skip"))
