"""Noise that belongs to the example, and how it becomes a token."""

from __future__ import annotations

import pytest
import torch

from fea.errors import FEAError
from fea.model.sampling import Generation, choose, noise, widest

LAST = 1 - 2**-53  # the largest number that a float64 generator returns


def test_noise_belongs_to_the_example() -> None:
    whole = noise(["a", "b", "c"], 4, 9, seed=3, round=7).view(3, 4, 9)
    assert torch.equal(noise(["c", "a"], 4, 9, 3, 7).view(2, 4, 9), whole[[2, 0]])  # whatever the batch and its order
    assert torch.equal(noise(["b"], 2, 9, 3, 7), whole[1, :2])  # whatever the size of the group
    assert torch.equal(noise(["b"], 4, 5, 3, 7), whole[1, :, :5])  # whatever the length limit


def test_an_example_that_is_drawn_again_gets_further_noise() -> None:
    once, twice = noise(["a"], 6, 5, 3, 7), noise(["b", "a", "a", "a"], 2, 5, 3, 7)
    assert torch.equal(twice[2:], once)  # the first as ever, the others as if the group were larger
    assert torch.equal(noise(["a", "b"], 2, 5, 3, 7, drawn=[2, 0]), torch.cat([once[4:], twice[:2]]))


def test_noise_differs_by_example_completion_seed_and_round() -> None:
    drawn = [noise(["a", "b"], 2, 6, seed, round) for seed in (0, 1) for round in (0, 1)]
    assert len({tuple(row.tolist()) for rows in drawn for row in rows}) == 16


def test_noise_neither_reads_nor_moves_the_global_generator() -> None:
    torch.manual_seed(0)
    state, first = torch.get_rng_state(), noise(["a"], 1, 3, 0, 0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(noise(["a"], 1, 3, 0, 0), first)


@pytest.mark.parametrize(("group", "length"), [(10**9, 8), (8, 10**9)])
def test_more_than_a_machine_can_write_is_refused_at_once(group: int, length: int) -> None:
    with pytest.raises(
        FEAError, match=rf"2 faces with {group} answers of up to {length} tokens each are too much at once"
    ):
        noise(["a", "b"], group, length, 0, 0)


def test_noise_is_uniform_and_any_id_will_do() -> None:
    drawn = noise([f"face {number}" for number in range(50)], 4, 50, 0, 0)
    counts = torch.histc(drawn.float(), 10, 0, 1)
    assert drawn.dtype == torch.float64
    assert ((counts - 1000).abs() < 150).all()  # five standard deviations
    assert noise(["\udc80", "ü/1"], 1, 2, 0, 0).shape == (2, 2)


def test_noise_is_pinned() -> None:
    """Another value here means that runs of earlier releases cannot be repeated."""
    expected = [0.976633781622, 0.545799889809, 0.832683973275, 0.809298144712]
    assert noise(["face-0"], 2, 2, 0, 1).flatten().tolist() == pytest.approx(expected, abs=1e-12)


def test_choose_equals_a_walk_along_the_distribution() -> None:
    log_p = torch.randn(200, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(-1)
    uniform = noise(["walk"], 200, 1, 0, 0)[:, 0]

    def walk(row: list[float], number: float) -> int:
        for token, p in enumerate(row):
            number -= p
            if number < 0:
                return token
        raise AssertionError("beyond the end")

    expected = [walk(row, u) for row, u in zip(log_p.exp().tolist(), uniform.tolist(), strict=True)]
    assert choose(log_p, uniform).tolist() == expected


def test_choose_samples_the_distribution() -> None:
    p = torch.tensor([0.5, 0.0, 0.3, 0.2])
    drawn = choose(p.log().expand(20_000, -1), noise(["x"], 1, 20_000, 0, 0)[0])
    shares = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(shares, p, rtol=0, atol=0.015)  # four standard deviations
    assert shares[1] == 0


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("uniform", [0.0, 0.5, LAST])
def test_an_impossible_token_is_never_chosen(seed: int, uniform: float) -> None:
    """Even by the smallest and the largest number there is, and though rounding keeps the sum of the distribution off 1."""
    log_p = torch.randn(50, 40, generator=torch.Generator().manual_seed(seed)) * 5
    log_p[:, [0, 1, 17, 38, 39]] = -1e9
    chosen = choose(log_p.log_softmax(-1), torch.full((50,), uniform, dtype=torch.float64))
    assert not torch.isin(chosen, torch.tensor([0, 1, 17, 38, 39, 40])).any()


def test_without_noise_the_most_probable_token_is_chosen() -> None:
    assert choose(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]]).log(), None).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"max_tokens": 0}, "generation.max_tokens: 0"),
        ({"max_tokens": 10**9}, "generation.max_tokens: 1000000000; an answer has at least 1 token, and 32768 at most"),
        ({"temperature": 0.0}, "generation.temperature: 0.0"),
        ({"temperature": -1.0}, "generation.temperature: -1.0"),
        ({"temperature": float("nan")}, "generation.temperature: nan"),
    ],
)
def test_settings_that_nothing_can_be_sampled_with_are_refused(settings: dict[str, float], setting: str) -> None:
    with pytest.raises(FEAError, match=setting):
        Generation(**settings)  # type: ignore[arg-type]


# --- more tokens than a block holds ---


@pytest.mark.parametrize("tokens", [256, 1000, 8192, 8193, 20_001])
def test_blocks_change_nothing(tokens: int) -> None:
    """Against the cumulative distribution as a whole, in the same 64 bits."""
    log_p = (torch.randn(500, tokens, generator=torch.Generator().manual_seed(tokens)) * 3).log_softmax(-1)
    uniform = noise(["blocks"], 500, 1, 0, 0)[:, 0]
    whole = log_p.exp().double().cumsum(-1)
    expected = torch.searchsorted(whole / whole[:, -1:], uniform[:, None], right=True)[:, 0]
    assert torch.equal(choose(log_p, uniform), expected)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("uniform", [0.0, 0.5, LAST])
def test_no_impossible_token_is_chosen_from_many_blocks(seed: int, uniform: float) -> None:
    """Whole blocks are impossible, and in the others the first and the last token."""
    possible = torch.zeros(80, 256, dtype=torch.bool)
    possible[torch.randperm(78, generator=torch.Generator().manual_seed(seed))[:9] + 1, 1:-1] = True
    log_p = torch.randn(200, 80 * 256, generator=torch.Generator().manual_seed(seed)) * 5
    log_p = log_p.masked_fill(~possible.flatten(), -1e9).log_softmax(-1)
    chosen = choose(log_p, torch.full((200,), uniform, dtype=torch.float64))
    assert possible.flatten()[chosen].all()


def test_numbers_have_64_bits_where_a_device_has_them() -> None:
    assert widest(torch.device("cpu")) == widest(torch.device("cuda")) == torch.float64
    assert widest(torch.device("mps")) == torch.float32


def test_rare_tokens_come_as_often_as_they_are_probable() -> None:
    """Numbers of 32 bits are multiples of 2^-24: of a token with a probability of 2^-30 they would see nothing."""
    p = torch.full((10_000,), 2.0**-30)
    p[700] = 1 - 9999 * 2.0**-30
    first = torch.tensor([0.25, 0.75, 1.25, 699.5]) * 2.0**-30
    chosen = choose(p.log().expand(4, -1), first.double())
    assert chosen.tolist() == [0, 0, 1, 699]
