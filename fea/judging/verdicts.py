"""Many analyses before a judge: a few questions at a time, each verdict on the disk before the next question, and the means.

    OUT.jsonl           a line an analysis, in the order of the predictions: its scores, or why there are none
    OUT.summary.json    who judged, by which words; the means with their intervals; failures by kind
    OUT.jsonl.cache     every verdict that was paid for, by what was sent; it only grows

What was sent before is not sent again, by whatever run: a judgment that was killed goes on where it was, and ends with the same
files. A failure is no score: it is counted by its kind, stands in no mean, and is tried again by the next run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from fea.errors import FEAError
from fea.judging.chat import Chat, Failure
from fea.judging.judge import CRITERIA, HIGH, LOW, Analysis, Verdict, verdict_of
from fea.system.files import lock
from fea.system.lines import append, check_own, keep_lines, whole_lines

Outcome = Verdict | Failure
Item = TypeVar("Item")

# Failures before the first verdict after which a judgment ends: more would be paid for, and say the same.
_HOPELESS = 20


class Cache:
    """The verdicts of a file that only grows. It belongs to one process at a time.

    Args:
        file: made if it is not there.

    Attributes:
        verdicts: by `Analysis.key`.

    Raises:
        FEAError: it holds something else, or another process is writing it.
    """

    def __init__(self, file: Path):
        self.file = file
        self._lock = lock(file.with_name(f".{file.name}.lock"))
        if self._lock is None:
            raise FEAError(
                f"'{file}': another process is judging with this cache; wait for its end, or name another one"
            )
        try:
            lines = whole_lines(file)
            self.verdicts = {line["key"]: _verdict(line) for line in lines}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.close()
            raise FEAError(f"'{file}' holds something else than verdicts; name another file as cache") from None
        keep_lines(file, len(lines))

    def add(self, key: str, verdict: Verdict) -> None:
        """Keeps a verdict; it is on the disk when this returns."""
        append(self.file, [{"key": key, **verdict._asdict()}])
        self.verdicts[key] = verdict

    def close(self) -> None:
        """Lets another process write."""
        if self._lock:
            self._lock.close()


def _verdict(line: dict[str, Any]) -> Verdict:
    scores = {str(name): int(score) for name, score in line["scores"].items()}
    if not all(LOW <= score <= HIGH for score in scores.values()) or not isinstance(line["key"], str):
        raise ValueError
    return Verdict(scores, str(line["reason"]))


def judged(
    analyses: Sequence[Analysis], chat: Chat, cache: Cache, concurrency: int, told: Callable[[int], object]
) -> list[Outcome]:
    """What the judge says of each analysis.

    Args:
        analyses: in any number; those that are the same word for word are asked about once.
        chat: the judge.
        cache: keeps each verdict before the next question is asked.
        concurrency: questions that are under way at once.
        told: is called with 1 after every answer.

    Returns:
        As many, in their order.

    Raises:
        FEAError: the judge cannot be asked, or the first questions bring not one verdict.
    """
    keys = [analysis.key(chat.address) for analysis in analyses]
    new = {key: one for key, one in zip(keys, analyses, strict=True) if key not in cache.verdicts}
    failed: dict[str, Failure] = {}
    some = False
    for key, outcome in in_parallel(lambda key: verdict_on(new[key], chat), new, concurrency):
        if isinstance(outcome, Verdict):
            cache.add(key, outcome)
            some = True
        else:
            failed[key] = outcome
        told(1)
        if len(failed) >= _HOPELESS and not some:
            raise FEAError(
                f"the first {len(failed)} questions brought no verdict ({shown_failures(failed.values())}); {_ADVICE}"
            )
    return [cache.verdicts.get(key) or failed[key] for key in keys]


_ADVICE = "look at one with --dry-run, and at what this server and this model want"


def verdict_on(analysis: Analysis, chat: Chat) -> Outcome:
    """What a judge says of one analysis."""
    reply = chat.ask(analysis.messages())
    if isinstance(reply, Failure):
        return reply
    return verdict_of(reply, analysis.criteria) or Failure("unparsable", 200, " ".join(reply.split())[:80])


def in_parallel(
    function: Callable[[Item], Outcome], items: Iterable[Item], concurrency: int
) -> Iterator[tuple[Item, Outcome]]:
    """Results as they come, of a few calls at a time; the next call begins once the consumer is back for more.

    The threads do not keep the process at its end, so that Ctrl-C does not wait for a server.

    Raises:
        BaseException: whatever a call raises.
    """
    waiting: SimpleQueue[tuple[Item] | None] = SimpleQueue()
    done: SimpleQueue[tuple[Item, Outcome | BaseException]] = SimpleQueue()

    def work() -> None:
        while found := waiting.get():
            try:
                done.put((found[0], function(found[0])))
            except BaseException as error:  # it belongs to the one who asked
                done.put((found[0], error))

    left, running = iter(items), 0
    threads = [Thread(target=work, daemon=True) for _ in range(concurrency)]
    try:
        for thread in threads:
            thread.start()
        for item in islice(left, concurrency):
            waiting.put((item,))
            running += 1
        while running:
            item, outcome = done.get()
            running -= 1
            if isinstance(outcome, BaseException):
                raise outcome
            yield item, outcome
            for following in islice(left, 1):
                waiting.put((following,))
                running += 1
    finally:
        for _ in threads:
            waiting.put(None)


def shown_failures(failures: Iterable[Failure]) -> str:
    """Failures by kind, with the status and the words of the first of each: "limited (429) 3, timeout 1"."""
    first: dict[str, Failure] = {}
    counts: Counter[str] = Counter()
    for failure in failures:
        first.setdefault(failure.kind, failure)
        counts[failure.kind] += 1
    return ", ".join(f"{kind}{_words(first[kind])} {counts[kind]}" for kind in sorted(counts))


def _words(failure: Failure) -> str:
    words = [str(failure.status) if failure.status not in (0, 200) else "", f"'{failure.told}'" if failure.told else ""]
    return f" ({': '.join(filter(None, words))})" if any(words) else ""


def lines_of(
    analyses: Sequence[Analysis], outcomes: Sequence[Outcome], model: str, rubric: str
) -> list[dict[str, Any]]:
    """The lines of the output, one an analysis; `failed` has the kind of a failure, and `scores` is empty then."""
    lines = []
    for analysis, outcome in zip(analyses, outcomes, strict=True):
        verdict = outcome if isinstance(outcome, Verdict) else Verdict({}, "")
        failed = None if isinstance(outcome, Verdict) else outcome.kind
        scores = {name: verdict.scores[name] for name in CRITERIA if name in verdict.scores}
        lines.append(
            {
                "id": analysis.id,
                "labels": list(analysis.labels),
                "scores": scores,
                "reason": verdict.reason,
                "failed": failed,
                "judge": {"model": model, "rubric": rubric},
            }
        )
    return lines


def check_place(file: Path) -> None:
    """Refuses to write over what no judge has written.

    Raises:
        FEAError: the file holds something else.
    """
    check_own(file, ("id", "scores", "judge"), "verdicts")
