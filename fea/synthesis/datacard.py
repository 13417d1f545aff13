"""`DATACARD.md`: what is in the synthesized files of a folder, where it comes from, and what was left out and why."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from fea.datasets.known import dataset_of
from fea.errors import FEAError
from fea.facs import ACTION_UNITS
from fea.model.families.known import FAMILIES
from fea.reports.tables import markdown
from fea.synthesis.admission import REFUSALS
from fea.synthesis.tried import Tried, read_tried, written_into
from fea.system.files import write_atomically

CARD = "DATACARD.md"
_OPENING = """\
# Synthesised analyses

Written by a model about faces, and accepted where they agree with the labels."""
_MARK = "\n<!-- Written by fea; SHA-256 of what stands above: "


def check_card(folder: Path) -> None:
    """Finds out before the work whether the card of a folder can be written.

    Raises:
        FEAError: there is one by somebody else, or a file of a synthesis that cannot be read.
    """
    if not _own(folder / CARD):
        raise FEAError(f"'{folder / CARD}' {_NOT_OURS}; give it another name, or choose another folder")
    for file in written_into(folder):
        read_tried(file)


_NOT_OURS = "was not written by a synthesis, or changed since"


def _own(card: Path) -> bool:
    """Whether there is no card, or one that stands as it was written."""
    if not card.exists():
        return True
    text = card.read_text(encoding="utf-8", errors="replace")
    content, mark, digest = text.rpartition(_MARK)
    # Earlier releases left no mark.
    return digest == _digest(content) if mark else text.startswith(_OPENING)


def _digest(content: str) -> str:
    return f"{hashlib.sha256(content.encode()).hexdigest()} -->\n"


def write_datacard(folder: Path) -> str:
    """Writes the card of a folder, unless there is one by somebody else, which is told.

    Args:
        folder: holds files that a synthesis wrote.

    Returns:
        Its text, Markdown.
    """
    read = {file.name: read_tried(file) for file in written_into(folder)}
    settings = {name: begun_with for name, (begun_with, _) in read.items()}
    entries = [entry for _, tried in read.values() for entry in tried]
    text = "\n".join(_card(settings, entries)) + "\n"
    if _own(folder / CARD):
        write_atomically(folder / CARD, f"{text}{_MARK}{_digest(text)}".encode())
    else:
        print(f"note: '{folder / CARD}' {_NOT_OURS}; it stays as it is", file=sys.stderr)
    return text


def _card(settings: Mapping[str, Mapping[str, Any]], entries: Sequence[Tried]) -> list[str]:
    accepted = [entry for entry in entries if entry.accepted]
    tried = [entry for entry in entries if entry.attempts]
    left_out = Counter(entry.refused for entry in entries)
    revealed = sum(entry.revealed for entry in accepted)
    return [
        f"{_OPENING} People have not looked at them unless `meta_info.review` of a line says so.\n",
        f"- {len(accepted)} of {len(entries)} faces have an analysis now ({_share(accepted, entries)}).",
        f"- {len(tried)} faces were tried.",
        f"- {revealed} of these were written with the labels in sight.",
        f"- {left_out['quota']} faces were left out by a quota, {left_out['alike']} for a text like another one, "
        f"{left_out['unreadable']} because their image cannot be read.\n",
        "## Yield\n",
        *_yields("round", tried, lambda entry: [entry.round]),
        *_yields("attempt", tried, lambda entry: range(1, entry.attempts + 1), last=lambda entry: [entry.attempts]),
        *_yields("source", tried, lambda entry: [entry.dataset or "unnamed"]),
        *_yields("emotion", tried, lambda entry: entry.labels, mean=True),
        *_yields("Action Unit", tried, lambda entry: entry.units, _unit, mean=True),
        "## Why attempts were rejected\n",
        *_reasons(entries),
        "## Origin\n",
        *_licenses("source", {entry.dataset for entry in entries}, _license_of_dataset),
        *_licenses("model", {entry.base for entry in entries}, _license_of_model),
        f"- prompt version {', '.join(sorted({entry.prompt for entry in entries}))}; weights (SHA-256, first half) "
        f"{', '.join(sorted({entry.model for entry in entries}))}",
        *(
            f"- {name}: {', '.join(f'{key} {value}' for key, value in begun_with.items())}"
            for name, begun_with in settings.items()
        ),
    ]


def _unit(number: int) -> str:
    return f"AU{number} {ACTION_UNITS[number].name}" if number in ACTION_UNITS else f"AU{number}"


def _share(part: Sequence[Tried], whole: Sequence[Tried]) -> str:
    return f"{len(part) / max(1, len(whole)):.0%}"


def _yields(
    name: str,
    entries: Sequence[Tried],
    keys: Callable[[Tried], Iterable[Any]],
    told: Callable[[Any], str] = str,
    last: Callable[[Tried], Iterable[Any]] | None = None,
    mean: bool = False,
) -> list[str]:
    """Faces that were tried, and analyses that passed the checks, before and after quotas; by key, or by their `last` one.

    The `mean` over keys falls where rare ones are lost; the yield of all faces may hide that.
    """
    tried = Counter(key for entry in entries for key in keys(entry))
    kept = Counter(key for entry in entries if entry.accepted for key in (last or keys)(entry))
    passed = kept + Counter(key for entry in entries if entry.refused in REFUSALS for key in (last or keys)(entry))
    rows = [[told(key), tried[key], passed[key], kept[key], f"{kept[key] / tried[key]:.0%}"] for key in sorted(tried)]
    if rows and mean:
        rows.append(["mean", "", "", "", f"{fmean(kept[key] / tried[key] for key in tried):.0%}"])
    return [markdown([name, "tried", "passed", "kept", "yield"], rows), ""] if rows else []


def _reasons(entries: Sequence[Tried]) -> list[str]:
    counts = Counter(
        (reason, label)
        for entry in entries
        for reasons in entry.reasons
        for reason in reasons
        for label in entry.labels or ["unknown"]
    )
    classes = sorted({label for _, label in counts})
    reasons = sorted({reason for reason, _ in counts})
    rows = [[reason, *(counts[reason, label] for label in classes)] for reason in reasons]
    return [markdown(["reason", *classes], rows), ""] if rows else ["None was.\n"]


def _licenses(what: str, names: Iterable[str], license_of: Callable[[str], str]) -> list[str]:
    return [f"- {what} {name or 'unnamed'}: {license_of(name) or 'not known; ask its owner'}" for name in sorted(names)]


def _license_of_dataset(name: str) -> str:
    dataset = dataset_of(name)
    return dataset.license if dataset else ""


def _license_of_model(name: str) -> str:
    """Of a base by the last part of its name on the hub, which may go on: "Qwen2.5-VL-7B-Instruct-AWQ"."""
    if name == "tiny":
        return "made here; free"
    known = {hub.rpartition("/")[2]: terms for family in FAMILIES for hub, terms in family.licenses.items()}
    return next((terms for start, terms in known.items() if name.lower().startswith(start.lower())), "")
