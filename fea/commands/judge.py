"""`fea judge`: a language model at an address of the user's rates written analyses, by their words alone.

Nothing is sent unless this command is given an address; then the texts of the analyses and the coded Action Units are, and
neither an image, nor a name of a file, nor who is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fea.errors import FEAError

if TYPE_CHECKING:
    from fea.judging.chat import Address
    from fea.judging.judge import Analysis
    from fea.judging.verdicts import Outcome


def judge(
    predictions: Path,
    *,
    out: Path,
    url: str,
    model: str,
    key_variable: str | None = None,
    cache: Path | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    concurrency: int = 4,
    timeout: float = 60.0,
    retries: int = 4,
    pause: float = 1.0,
    temperature: float | None = 0.0,
    max_tokens: int | None = 1024,
) -> int:
    """Has a language model at a chat address rate written analyses: facts, consistency, clarity.

    Only words are sent, never an image. Verdicts are kept one by one; the same command goes on with what is missing.

    Args:
        predictions: JSONL with the "text" of an analysis a line, as an evaluation, `fea predict` or `fea analyze` writes it;
            "true_AUs" and "AUs_coded" let the facts be rated, a "description" the agreement with it.
        out: JSONL for the scores; OUT.summary.json, beside it, has the means and whose opinion they are.
        url: address that speaks as OpenAI's does, such as http://localhost:8000/v1.
        model: name of the judge there.
        key_variable: environment variable that holds the key, such as OPENAI_API_KEY; by default no key is sent.
        cache: file of all verdicts so far, by what was sent; by default OUT.jsonl.cache.
        limit: only so many analyses, from the first one on.
        dry_run: print what would be sent about the first analysis, and send nothing.
        concurrency: questions at a time.
        timeout: seconds that a reply may take.
        retries: how often a question is asked again after a timeout, a limit (429) or an error of the server (5xx).
        pause: seconds before the first of these, then twice as many each time, unless the server says how many.
        temperature: of the judge; null for models that allow none to be set.
        max_tokens: of a reply; null to leave it to the server.

    Returns:
        0; 2 if an analysis has no score.

    Raises:
        FEAError: the predictions cannot be read, `out` holds something else, or the judge cannot be asked.
    """
    from fea.judging.chat import Address, key_of

    if concurrency < 1 or (limit is not None and limit < 1):
        raise FEAError(f"limit: {limit}, concurrency: {concurrency}; give 1 or more")
    address = Address(url, model, temperature, max_tokens, timeout, retries, pause)
    address.check()
    analyses, unanswered = _read(predictions, limit)
    if dry_run:
        _show(analyses[0], address)
        return 0
    outcomes = _asked(out, cache, address, key_of(key_variable), analyses, concurrency)
    return _written(out, predictions, address, analyses, unanswered, outcomes)


def _asked(
    out: Path, cache: Path | None, address: Address, key: str, analyses: Sequence[Analysis], concurrency: int
) -> list[Outcome]:
    from fea.judging.chat import Chat
    from fea.judging.verdicts import Cache, check_place, judged
    from fea.system.files import try_place
    from fea.system.progress import progress

    chat = Chat(address, key)
    check_place(out)
    try_place(out)
    kept = Cache(cache or out.with_name(f"{out.name}.cache"))
    try:
        left = len({one.key(address) for one in analyses} - kept.verdicts.keys())
        print(
            f"{len(analyses)} analyses, {left} to be asked about; texts go to {address.place}, no image does",
            flush=True,
        )
        with progress(left, "verdicts", silent=not left) as told:
            return judged(analyses, chat, kept, concurrency, told)
    finally:
        kept.close()


def _read(file: Path, limit: int | None) -> tuple[list[Analysis], int]:
    from fea.judging.judge import read_analyses

    analyses, unanswered = read_analyses(file)
    if not analyses:
        raise FEAError(f"'{file}' has no analysis; lines with an error are left out")
    return analyses[:limit], unanswered


def _show(analysis: Analysis, address: Address) -> None:
    print(f"to {address.place}, model {address.model}; nothing was sent")
    for message in analysis.messages():
        print(f"\n--- {message['role']} ---\n{message['content']}")


def _written(
    out: Path,
    predictions: Path,
    address: Address,
    analyses: Sequence[Analysis],
    unanswered: int,
    outcomes: Sequence[Outcome],
) -> int:
    import json
    from hashlib import sha256

    from fea.judging.chat import Failure
    from fea.judging.judge import RUBRIC, instruction
    from fea.judging.rated import summary
    from fea.judging.verdicts import lines_of, shown_failures
    from fea.system.files import write_atomically
    from fea.system.lines import write_jsonl

    told = {
        "judge": {
            "url": address.url,
            "model": address.model,
            "temperature": address.temperature,
            "max_tokens": address.max_tokens,
            "rubric": RUBRIC,
            "instruction": instruction(),
        },
        "predictions": {"file": predictions.name, "sha256": sha256(predictions.read_bytes()).hexdigest()},
        "unanswered": unanswered,
        **summary(analyses, outcomes),
    }
    write_jsonl(out, lines_of(analyses, outcomes, address.model, RUBRIC))
    beside = out.with_name(f"{out.stem}.summary.json")
    write_atomically(beside, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())
    print(_table(told))
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    print(f"{out}: {told['judged']} of {told['faces']} judged; the means and their judge are in {beside.name}")
    if failures:
        print(
            f"no score, and in no mean: {shown_failures(failures)}; the same command tries them again", file=sys.stderr
        )
    return 2 if failures else 0


def _table(told: dict[str, Any]) -> str:
    from fea.reports.tables import aligned

    def cells(mean: str, interval: str, found: dict[str, Any]) -> list[str]:
        if mean not in found:
            return ["", ""]
        low, high = found[interval]
        return [f"{found[mean]:.2f}", f"{low:.2f} to {high:.2f}"]

    rows = [
        [
            name,
            str(found["faces"]),
            *cells("mean", "interval", found),
            *cells("mean_over_emotions", "interval_over_emotions", found),
        ]
        for name, found in told["criteria"].items()
    ]
    return aligned(["1 to 10", "faces", "mean over faces", "95 %", "mean over emotions", "95 %"], rows)
