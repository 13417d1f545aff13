"""What is told of a face over time: an exponential mean of what can be read, and nothing where nothing is known."""

from __future__ import annotations

from math import exp

import pytest

from fea.analysis.layout import Layout
from fea.analysis.tables import NO_FACE, Result
from fea.watching.following import Follower
from fea.watching.smoothing import Smoothed
from fea.watching.tracking import AWAY

KNOWN = frozenset({4, 6, 12})
LEFT, RIGHT = (0, 0, 90, 90), (300, 0, 100, 100)


def said(time: float, aus: str = "", emotion: str = "happiness", **more: object) -> Result:
    one = Result("film", tuple(aus.split()), emotion, "so", valid=True, text="said", frame=round(time * 10), time=time)
    return one._replace(**more)  # type: ignore[arg-type]


def unreadable(time: float) -> Result:
    return said(time, emotion="", valid=False)


def test_shares_are_exponential_means_by_time() -> None:
    smoothed = Smoothed(0.5, KNOWN)
    assert smoothed(said(0.0, "AU12")).votes == {"AU12": 1.0}
    found = smoothed(said(0.2, "AU6", "fear"))
    weight = 1 - exp(-0.2 / 0.5)
    assert found.votes == pytest.approx({"AU12": 1 - weight, "AU6": weight}, abs=1e-4)
    assert found.emotion_votes == pytest.approx({"happiness": 1 - weight, "fear": weight}, abs=1e-4)
    assert (found.aus, found.emotion, found.reasoning) == (("AU12",), "happiness", "so")
    later = smoothed(said(1.4, "AU6", "fear"))
    assert later.votes is not None
    assert later.votes["AU6"] == pytest.approx(1 - (1 - weight) * exp(-1.2 / 0.5), abs=1e-4)
    assert (later.aus, later.emotion) == (("AU6",), "fear")


def test_with_the_defaults_one_odd_answer_does_not_show_and_a_second_one_does() -> None:
    smoothed = Smoothed(0.5, KNOWN)
    told = [
        smoothed(said(n / 5, "AU4" if n in (3, 7, 8) else "", "fear" if n in (3, 7, 8) else "sadness"))
        for n in range(9)
    ]
    assert [(one.aus, one.emotion) for one in told] == [((), "sadness")] * 8 + [(("AU4",), "fear")]


def test_shares_of_several_answers_enter_as_they_are() -> None:
    smoothed = Smoothed(0.5, KNOWN)
    found = smoothed(said(0.0, "AU6", votes={"AU6": 0.75, "AU12": 0.25}, emotion_votes={"happiness": 0.5, "fear": 0.5}))
    assert (found.votes, found.aus, found.emotion) == ({"AU6": 0.75, "AU12": 0.25}, ("AU6",), "happiness")
    found = smoothed(said(0.5, votes={"AU6": 0.25}, emotion_votes={"happiness": 1.0}))
    assert found.votes == pytest.approx({"AU6": 0.25 + 0.5 / exp(1), "AU12": 0.25 / exp(1)}, abs=1e-4)


def test_what_cannot_be_read_does_not_enter_and_holds_nothing_for_longer_than_a_second() -> None:
    smoothed, plain = Smoothed(0.5, KNOWN), Smoothed(0.5, KNOWN)
    assert smoothed(unreadable(0.0)).votes is None
    assert smoothed(said(0.1, "AU12")) == plain(said(0.1, "AU12"))
    held = smoothed(unreadable(0.3))
    assert (held.votes, held.emotion, held.valid) == ({"AU12": 1.0}, "happiness", False)
    assert smoothed(unreadable(0.1 + AWAY))[1:3] == ((), "")
    assert smoothed(unreadable(0.1 + AWAY)).votes is None
    assert smoothed(said(1.5, "AU4")).votes == plain(said(1.5, "AU4")).votes


@pytest.mark.parametrize("format", ["openface", "pyfeat"])
def test_in_tables_of_other_programs_unknown_stays_empty(format: str) -> None:
    layout = Layout(format, film=True, samples=True, emotions=("happiness",), known=KNOWN)  # type: ignore[arg-type]
    codes = ["AU06_c", "AU12_c"] if format == "openface" else ["AU06", "AU12"]
    smoothed = Smoothed(0.5, KNOWN)

    def cells(result: Result) -> list[object]:
        row = dict(zip(layout.header, layout.cells(smoothed(result)), strict=True))
        unit = codes[1].replace("12", "15")  # which the model has not learned
        return [row[name] for name in (*codes, unit)]

    assert cells(unreadable(0.0)) == [None] * 3
    assert cells(said(0.1, "AU12")) == [0, 1, None]
    assert cells(said(0.2, "AU12 AU15")) == [0, 1, 1]
    assert cells(said(0.3, "AU12")) == [0, 1, None]  # and not 0 or a half


def test_faces_have_means_of_their_own_that_go_with_them() -> None:
    follower = Follower(0.5, KNOWN)
    first = follower([said(0.0, "AU12", box=RIGHT), said(0.0, "AU4", "fear", box=LEFT, face_id=1)])
    assert [(one.face_id, one.aus) for one in first] == [(0, ("AU12",)), (1, ("AU4",))]
    larger = (0, 0, 110, 110)  # the detector tells it first now
    second = follower([said(0.2, "AU4", "fear", box=larger), said(0.2, "AU6 AU12", box=RIGHT, face_id=1)])
    assert [(one.face_id, one.box, one.emotion) for one in second] == [(0, RIGHT, "happiness"), (1, larger, "fear")]
    assert [one.votes for one in second] == [{"AU12": 1.0, "AU6": 0.3297}, {"AU4": 1.0}]


def test_a_face_that_comes_back_goes_on_and_one_that_was_gone_begins_anew() -> None:
    follower = Follower(10.0, KNOWN)
    nobody = Result("film", error=NO_FACE, frame=5, time=0.5)
    assert follower([said(0.0, "AU12", box=LEFT)])[0].votes == {"AU12": 1.0}
    assert follower([nobody]) == [nobody]
    back = follower([said(0.9, "AU4", box=LEFT)])[0]
    assert (back.face_id, back.votes) == (0, {"AU12": 0.9139, "AU4": 0.0861})
    new = follower([said(2.5, "AU4", box=RIGHT), nobody._replace(frame=26, time=2.6), said(3.7, "AU6", box=LEFT)])[2]
    assert (new.face_id, new.votes) == (2, {"AU6": 1.0})
    assert (follower.frames, follower.tracks.count) == (6, 3)


def test_without_smoothing_answers_stay_as_they_are_and_unreadable_ones_are_counted() -> None:
    follower = Follower(0.0, KNOWN)
    results = [
        said(0.0, "AU12", box=LEFT),
        unreadable(0.2)._replace(box=LEFT),
        said(0.4, emotion="")._replace(box=LEFT),
    ]
    assert follower(results) == results
    assert follower.unreadable == 2


def test_a_whole_picture_is_one_face() -> None:
    follower = Follower(0.5, KNOWN)
    told = follower([said(0.0, "AU12"), said(0.2, "AU4")])
    assert [one.votes for one in told] == [{"AU12": 1.0}, {"AU12": 0.6703, "AU4": 0.3297}]
