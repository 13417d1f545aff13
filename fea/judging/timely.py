"""A judge who is asked many questions at once and has so many seconds for all of them, as a reward has for a rollout.

seconds     0 ............. limit        next call
question 1  |-----|                      a verdict, kept
question 2  |-----------------------|    no verdict now; a verdict then, without being asked again
question 3          (never sent)         no verdict; asked if it comes again
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

from fea.errors import FEAError
from fea.judging.chat import Chat, Failure
from fea.judging.judge import Analysis, Verdict
from fea.judging.verdicts import Cache, Outcome, verdict_on


class TimelyJudge:
    """Asks a judge in threads, which do not keep the process at its end.

    Args:
        chat: the judge.
        cache: keeps each verdict; what is in it is not asked again.
        concurrency: questions that are under way at once.
    """

    def __init__(self, chat: Chat, cache: Cache, concurrency: int):
        self.chat, self.cache, self.concurrency = chat, cache, concurrency
        self.heard = False  # whether the judge has replied to this process
        self._waiting: SimpleQueue[tuple[str, Analysis] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[str, Outcome | BaseException]] = SimpleQueue()
        self._running: set[str] = set()
        self._threads: list[Thread] = []

    def verdicts(self, analyses: Sequence[Analysis], seconds: float) -> list[Outcome]:
        """What the judge says of each analysis by then; a failure for those that it says nothing of.

        Raises:
            FEAError: it cannot be asked at all, and has never been.
        """
        deadline = time.monotonic() + seconds
        keys = [analysis.key(self.chat.address) for analysis in analyses]
        for key, analysis in dict(zip(keys, analyses, strict=True)).items():
            if key not in self.cache.verdicts and key not in self._running:
                self._running.add(key)
                self._waiting.put((key, analysis))
        self._start()
        failed: dict[str, Failure] = {}
        try:
            with suppress(Empty):
                # Replies to earlier questions come first, and are taken although nobody asks for them any more.
                while not self._done.empty() or any(key in self._running for key in keys):
                    self._take(*self._done.get(timeout=max(0.0, deadline - time.monotonic())), failed)
        finally:
            self._forget()
        return [self.cache.verdicts.get(key) or failed.get(key) or Failure("timeout") for key in keys]

    def _take(self, key: str, outcome: Outcome | BaseException, failed: dict[str, Failure]) -> None:
        self._running.discard(key)
        if isinstance(outcome, Verdict):
            self.cache.add(key, outcome)
        elif isinstance(outcome, Failure):
            failed[key] = outcome
        elif isinstance(outcome, FEAError) and self.heard:
            failed[key] = Failure("server", told=str(outcome))  # it was there, and may be there again
        else:
            raise outcome
        self.heard = True

    def _forget(self) -> None:
        """Takes back the questions that were not begun."""
        with suppress(Empty):
            while waiting := self._waiting.get_nowait():
                self._running.discard(waiting[0])

    def _start(self) -> None:
        while len(self._threads) < self.concurrency:
            self._threads.append(Thread(target=self._work, daemon=True))
            self._threads[-1].start()

    def _work(self) -> None:
        while found := self._waiting.get():
            try:
                outcome: Outcome | BaseException = verdict_on(found[1], self.chat)
            except BaseException as error:  # it belongs to the one who asked
                outcome = error
            self._done.put((found[0], outcome))

    def close(self) -> None:
        """Ends the threads, once they have what they ask for, and lets others have the cache."""
        for _ in self._threads:
            self._waiting.put(None)
        self._threads = []
        self.cache.close()
