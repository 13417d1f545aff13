"""What fits that follow one another leave behind, and somebody changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fea.errors import FEAError
from fea.training import fits
from fea.training.fits import Fits


@pytest.mark.parametrize(("name", "text"), [("finished.json", ""), ("finished.json", "{"), ("seconds", "soon")])
def test_a_damaged_note_of_a_fit_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setattr(fits, "call", lambda *_: pytest.fail("begun"))
    note = tmp_path / "sft-1" / name
    note.parent.mkdir()
    note.write_text(text)
    with pytest.raises(FEAError, match=rf"{name}' is damaged; remove it, then its fit is gone on with"):
        Fits(tmp_path).fit("sft-1", [], {})
    assert note.read_text() == text


def test_a_note_without_what_it_was_made_of_is_another_fit(tmp_path: Path) -> None:
    note = tmp_path / "sft-1" / "finished.json"
    note.parent.mkdir()
    note.write_text("{}")
    with pytest.raises(FEAError, match="was trained with other settings"):
        Fits(tmp_path).fit("sft-1", [], {})
