"""When two models count as the same."""

from __future__ import annotations

import pytest
import torch

from fea.errors import FEAError
from fea.export.asked import Heard
from fea.export.gap import Limits, along_own, check, gap_of, parting
from fea.export.llama import aligned

RUN = Heard(torch.tensor([-0.1, -0.2, -0.3]), [5, 6, 2], [{5: -0.1, 7: -2.0}, {6: -0.2, 8: -0.2001}, {2: -0.3}])


@pytest.mark.parametrize(
    ("written", "apart"),
    [
        ([5, 6, 2], None),
        ([7, 1, 1], 1.9),
        ([5, 8, 9, 9], 1e-4),
        ([5, 9, 2], float("inf")),  # no rival
        ([5, 6], float("inf")),  # cut off
    ],
)
def test_answers_part_by_what_the_run_prefers_its_own_token(written: list[int], apart: float | None) -> None:
    found = parting(RUN, Heard(RUN.logps, written))
    assert found is None if apart is None else found == pytest.approx(apart)


def test_a_gap_counts_tokens_answers_and_ties() -> None:
    other = Heard(torch.tensor([-0.1, -0.2, -0.6]), [5, 8, 2])
    gap = gap_of([RUN, RUN, RUN], [RUN, other, Heard(RUN.logps, [7])], tie=1e-3)
    assert (gap.tokens, gap.faces, gap.same, gap.ties, gap.parted) == (9, 3, 1, 1, 1)
    assert gap.largest == pytest.approx(0.3)
    assert gap.mean == pytest.approx(0.3 / 9)


@pytest.mark.parametrize(
    ("logps", "written", "limits", "told"),
    [
        ([-0.1, -0.2, -0.31], [5, 6, 2], Limits(1e-3, None, "in fp32"), r"by up to 1.00e-02, and 1.00e-03 is allowed"),
        ([-0.1, -0.2, -0.31], [5, 6, 2], Limits(1.0, 1e-3, "a share"), r"by 3.33e-03 on the mean, and 1.00e-03 is"),
        ([-0.1, -0.2, -0.3], [7, 6, 2], Limits(1e-3, None, "in fp32"), "1 of 1 greedy answers are others"),
    ],
)
def test_what_is_too_far_is_refused_with_the_gap(
    logps: list[float], written: list[int], limits: Limits, told: str
) -> None:
    gap = gap_of([RUN], [Heard(torch.tensor(logps), written)], tie=1e-3)
    with pytest.raises(FEAError, match=told):
        check(gap, limits, "out", "merged")
    check(gap_of([RUN], [RUN], 0.0), limits, "out", "merged")


def test_a_reader_that_says_what_it_likes_is_compared_as_far_as_it_says_the_same() -> None:
    told = torch.tensor([-0.15, float("nan"), -9.0])
    run, export = along_own([RUN, RUN], [Heard(told, [5, 6, 3]), Heard(told, [5, 6, 2])])
    assert [heard.logps.tolist() for heard in run] == [pytest.approx([-0.1]), pytest.approx([-0.1, -0.3])]
    assert [heard.logps.tolist() for heard in export] == [pytest.approx([-0.15]), pytest.approx([-0.15, -9.0])]


@pytest.mark.parametrize(
    ("written", "known", "places"),
    [
        ([1, 2, 3], [1, 2, 3], [0, 1, 2]),
        ([1, 9, 3], [1, 3], [0, None, 1]),
        ([1, 4, 4, 3], [1, 4, 3], [0, None, None, 2]),  # which of the two it was cannot be told
        ([9, 9], [], [None, None]),
    ],
)
def test_what_a_server_leaves_out_is_known_to_be_missing(
    written: list[int], known: list[int], places: list[int | None]
) -> None:
    found = aligned(written, [(token, -float(place)) for place, token in enumerate(known)])
    assert [None if value != value else round(-value) for value in found] == places
