"""How a group becomes rows: every token, position and prediction in its place."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.model.layout import next_positions, rows
from fea.model.policy import Policy


def small_prompt(example: Example, ids: list[int], positions: list[int]) -> Prompt:
    """A prompt of bare numbers."""
    none = torch.empty(0)
    return Prompt(example, torch.tensor(ids), torch.tensor(positions).expand(3, -1), none, none, none)


def test_rows_of_two_groups_by_hand(examples: list[Example]) -> None:
    short = small_prompt(examples[0], [11, 12], [0, 1])
    long = small_prompt(examples[1], [21, 22, 23, 24], [0, 1, 1, 2])  # two visual tokens side by side
    ids = torch.tensor([[1, 2, 9], [3, 9, 9], [4, 5, 6], [7, 8, 9]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0]])
    layout = rows([short, long], ids, mask)
    assert layout.ids.tolist() == [
        [11, 12, 1, 2, 0, 0, 0],
        [11, 12, 3, 0, 0, 0, 0],
        [21, 22, 23, 24, 4, 5, 6],
        [21, 22, 23, 24, 7, 8, 0],
    ]
    expected = [[0, 1, 2, 3, 0, 0, 0], [0, 1, 2, 0, 0, 0, 0], [0, 1, 1, 2, 3, 4, 5], [0, 1, 1, 2, 3, 4, 0]]
    assert layout.positions.tolist() == [expected] * 3
    assert layout.images == [0, 0, 1, 1]
    assert layout.targets.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    # The last token of the prompt predicts the first of the completion, every other one its successor.
    assert layout.scored.tolist() == [1, 2, 7 + 1, 14 + 3, 14 + 4, 14 + 5, 21 + 3, 21 + 4]
    following = layout.ids.flatten()[layout.scored + 1]
    assert following.tolist() == layout.targets.tolist()


def test_positions_of_a_completion_go_on_as_get_rope_index_says(
    make_policy: Callable[..., Policy], prompts: list[Prompt]
) -> None:
    policy, prompt = make_policy(), prompts[0]
    ids = torch.cat([prompt.ids, torch.tensor([5, 6, 7])])
    expected, _ = policy.model.model.get_rope_index(
        ids[None], (ids == policy.network.image_token).int()[None], image_grid_thw=prompt.grid[None]
    )
    found = torch.cat([prompt.positions, next_positions(prompt, 3).expand(3, -1)], dim=1)
    assert torch.equal(found, expected[:, 0])
    assert prompt.positions.max() + 1 != len(prompt.ids)  # plain counting would differ
