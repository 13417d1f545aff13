"""What is known of data sets, found by the names that records give."""

from __future__ import annotations

import pytest

from fea.datasets.known import DATASETS, dataset_of
from fea.facs import ACTION_UNITS


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("DISFA-Test-clean", "disfa"),
        ("disfa", "disfa"),
        ("FABA-Instruct", "faba"),
        ("RAF-AU", "raf-"),
        ("faces", "faces"),
        ("Faces", "faces"),
        ("faces-of-mine", None),
        ("my DISFA", None),
        ("raf", None),
        ("", None),
    ],
)
def test_a_data_set_is_known_by_how_its_name_begins(name: str, found: str | None) -> None:
    dataset = dataset_of(name)
    assert (dataset and dataset.name) == found


def test_no_name_belongs_to_two_data_sets() -> None:
    for dataset in DATASETS:
        assert dataset.name == dataset.name.lower()
        assert [other for other in DATASETS if other.name.startswith(dataset.name) and not dataset.exact] in (
            [dataset],
            [],
        )
        assert dataset_of(f"{dataset.name}{'' if dataset.exact else '-x'}") == dataset


def test_what_was_looked_for_is_known_and_named_by_the_action_coding_system() -> None:
    coded = {dataset.name: dataset.coded for dataset in DATASETS if dataset.coded is not None}
    assert {name: len(units) for name, units in coded.items()} == {"disfa": 12, "emotionet": 12, "faba": 20}
    assert coded["disfa"] == {1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26}
    assert all(units <= set(ACTION_UNITS) for units in coded.values())


def test_a_data_set_says_under_which_terms_it_comes() -> None:
    assert [dataset.name for dataset in DATASETS if not dataset.license] == ["emotionet"]
