"""What Lightning says and no user can act on is not shown; what tells of a mistake is."""

from __future__ import annotations

import warnings

import pytest

from fea.commands._lightning import mistake, quiet
from fea.errors import FEAError

ELSEWHERE = "The dirpath has changed from 'a' to 'b', therefore `best_model_score` won't be reloaded."


@pytest.mark.parametrize(("measuring", "shown"), [(True, 0), (False, 1)])
def test_where_checkpoints_lay_matters_to_a_fit_alone(measuring: bool, shown: int) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        quiet(measuring)
        warnings.warn(ELSEWHERE, stacklevel=1)
        warnings.warn("The '_' is LeafSpec", stacklevel=1)
    assert [str(warning.message) for warning in told] == [ELSEWHERE] * shown


def test_a_sentence_of_ours_within_a_refusal_is_what_is_told_and_a_bug_is_none() -> None:
    def refused() -> None:
        try:
            raise FEAError("data.train: no file; name one")
        except FEAError as error:
            raise ValueError("Problem with given class_path") from error

    for fault, told in ((refused, "data.train: no file; name one"), (lambda: [][1], "")):
        with pytest.raises((ValueError, IndexError)) as caught:
            fault()
        assert mistake(caught.value, "nowhere") == told
