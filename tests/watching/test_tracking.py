"""Faces keep their numbers, whatever order a detector tells them in and wherever they go."""

from __future__ import annotations

import pytest

from fea.faces.detectors import Box
from fea.watching.tracking import AWAY, Tracks

STEP = 0.2  # seconds: five frames a second


def face(x: float, y: float = 100, side: int = 100) -> Box:
    return round(x), round(y), side, side


def followed(frames: list[list[Box]], step: float = STEP) -> list[list[int]]:
    tracks = Tracks()
    return [tracks.ids(boxes, number * step) for number, boxes in enumerate(frames)]


def test_numbers_follow_the_faces_and_not_their_order() -> None:
    assert followed([[face(0), face(300)], [face(305), face(8)], [face(12), face(310)]]) == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize("hidden", [False, True])
def test_faces_that_pass_each_other_keep_their_numbers(hidden: bool) -> None:
    """They swap their places; halfway the boxes are the same, or one hides the other."""
    frames = [[face(30 * n), face(240 - 30 * n)] for n in range(9)]
    if hidden:
        frames[4] = frames[4][:1]
    found = followed(frames)
    assert found == [[0, 1]] * 4 + [[0] if hidden else [0, 1]] + [[0, 1]] * 4


def test_faces_that_pass_each_other_slowly_at_another_height_keep_their_numbers() -> None:
    frames = [[face(10 * n, 100), face(200 - 10 * n, 130)] for n in range(21)]
    assert followed(frames) == [[0, 1]] * 21


def test_a_face_that_turns_back_is_the_same() -> None:
    frames = [[face(x)] for x in (0, 40, 80, 40, 0, 60)]
    assert followed(frames) == [[0]] * 6


@pytest.mark.parametrize(("away", "number"), [(AWAY - 0.01, 0), (AWAY, 2)])
def test_a_face_that_was_away_for_less_than_a_second_comes_back(away: float, number: int) -> None:
    tracks = Tracks()
    assert tracks.ids([face(0), face(300)], 0.0) == [0, 1]
    assert tracks.ids([face(300)], away / 2) == [1]
    assert tracks.ids([face(302), face(5)], away) == [1, number]
    assert tracks.count == (3 if number else 2)


def test_what_moves_on_behind_something_is_found_where_it_comes_out() -> None:
    tracks = Tracks()
    for number in range(3):
        tracks.ids([face(60 * number)], STEP * number)
    assert tracks.ids([], STEP * 3) == []
    assert tracks.ids([face(60 * 5)], STEP * 5) == [0]


def test_where_frames_are_far_apart_a_face_of_the_last_one_was_not_away() -> None:
    assert followed([[face(0)], [face(10)], [], [face(20)]], step=2.0) == [[0], [0], [], [1]]


def test_a_face_somewhere_else_is_another_one_and_no_number_comes_twice() -> None:
    assert followed([[face(0)], [face(200)], [face(400), face(200), face(0)]]) == [[0], [1], [2, 1, 0]]


def test_a_face_is_only_one_of_two_that_lie_over_it() -> None:
    first, second = followed([[face(100)], [face(90), face(104)]])
    assert first == [0]
    assert second == [1, 0]  # the nearer one


def test_faces_that_are_gone_are_forgotten() -> None:
    tracks = Tracks()
    tracks.ids([face(0)], 0.0)
    tracks.ids([face(500)], 0.5)
    assert tracks.known == {0, 1}
    tracks.ids([face(500)], 1.2)
    assert tracks.known == {1}
