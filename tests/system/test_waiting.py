"""A limit on the time of a call."""

from __future__ import annotations

import threading
import time

import pytest

from fea.system.waiting import Late, Patience


def test_what_is_done_in_time_is_returned_or_raised() -> None:
    patience = Patience(5.0)
    assert patience(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        patience(divmod, 7, 0)


def test_a_service_that_has_stopped_to_answer_is_not_asked_any_more_until_it_answers() -> None:
    answers, calls = threading.Event(), list[int]()

    def service(number: int) -> int:
        calls.append(number)
        answers.wait(30)
        return number

    patience = Patience(0.01)
    for number in range(40):
        with pytest.raises(Late):
            patience(service, number)
    assert len(calls) == 16
    answers.set()
    deadline = time.monotonic() + 10
    while any(thread.is_alive() for thread in patience.late) and time.monotonic() < deadline:
        time.sleep(0.01)
    patience.seconds = 5.0
    assert patience(service, 99) == 99
