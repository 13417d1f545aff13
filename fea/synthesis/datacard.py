"""`DATACARD.md`: what is in the synthesised files of a folder, where it comes from, and what was left out and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fea.facs import ACTION_UNITS
from fea.synthesis.journal import TRIED, whole_lines
from fea.system.files import write_atomically

CARD = "DATACARD.md"

# What the owners of the images and of the models say.
_LICENCES = {  # by how a name begins
    "affectnet": "non-commercial research and education; no passing on",
    "bp4d": "non-commercial internal research; no redistribution",
    "disfa": "research; no passing on",
    "faba": "annotations; the images are AffectNet's, with its licence",
    "faces$": "drawn by `fea data faces`; free",
    "fea-20k": "annotations; the images are those of their sources",
    "fer2013": "the rights in the images are not settled",
    "raf-": "research; no passing on to third parties, no profit",
}
_MODELS = {
    "qwen2\\.5-vl-3b": "Qwen research licence",
    "qwen2\\.5-vl-7b": "Apache-2.0",
    "tiny$": "made here; free",
}

Entry = dict[str, Any]


def write_datacard(folder: Path) -> str:
    """Writes the card of a folder.

    Args:
        folder: holds files that a synthesis wrote.

    Returns:
        Its text, Markdown.
    """
    files = sorted(folder.glob(f"*{TRIED}"))
    settings = [(file.name.removesuffix(TRIED), *whole_lines(file)[:1]) for file in files]
    entries = [entry for file in files for entry in whole_lines(file)[1:]]
    text = "\n".join(_card(settings, entries)) + "\n"
    write_atomically(folder / CARD, text.encode())
    return text


def _card(settings: Sequence[tuple[Any, ...]], entries: Sequence[Entry]) -> list[str]:
    accepted = [entry for entry in entries if entry["accepted"]]
    tried = [entry for entry in entries if entry["attempts"]]
    left_out = Counter(entry["reasons"][-1][0] for entry in entries if not entry["accepted"])
    revealed = sum(entry["revealed"] for entry in accepted)
    return [
        "# Synthesised analyses\n",
        "Written by a model about faces, and accepted where they agree with the labels. People have not looked at them unless "
        "`meta_info.review` of a line says so.\n",
        f"- {len(accepted)} of {len(entries)} faces have an analysis now ({_share(accepted, entries)}).",
        f"- {len(tried)} faces were tried.",
        f"- {revealed} of these were written with the labels in sight.",
        f"- {left_out['quota']} faces were left out by a quota, {left_out['alike']} for a text like another one, "
        f"{left_out['unreadable']} because their image cannot be read.\n",
        "## Yield\n",
        *_yields("round", tried, lambda entry: [entry["round"]]),
        *_yields(
            "attempt", tried, lambda entry: range(1, entry["attempts"] + 1), last=lambda entry: [entry["attempts"]]
        ),
        *_yields("source", tried, lambda entry: [entry["dataset"] or "unnamed"]),
        *_yields("emotion", tried, lambda entry: entry["labels"]),
        *_yields("Action Unit", tried, lambda entry: entry["units"], _unit),
        "## Why attempts were rejected\n",
        *_reasons(entries),
        "## Origin\n",
        *_licences("source", {entry["dataset"] for entry in entries}, _LICENCES),
        *_licences("model", {entry["base"] for entry in entries}, _MODELS),
        f"- prompt version {', '.join(sorted({entry['prompt'] for entry in entries}))}; weights (SHA-256, first half) "
        f"{', '.join(sorted({entry['model'] for entry in entries}))}",
        *(f"- {name}: {', '.join(f'{key} {value}' for key, value in header.items())}" for name, header in settings),
    ]


def _unit(number: int) -> str:
    return f"AU{number} {ACTION_UNITS[number].name}" if number in ACTION_UNITS else f"AU{number}"


def _share(part: Sequence[Entry], whole: Sequence[Entry]) -> str:
    return f"{len(part) / max(1, len(whole)):.0%}"


def _yields(
    name: str,
    entries: Sequence[Entry],
    keys: Callable[[Entry], Iterable[Any]],
    told: Callable[[Any], str] = str,
    last: Callable[[Entry], Iterable[Any]] | None = None,
) -> list[str]:
    """Faces that were tried, and analyses that passed the checks, before and after quotas; by key, or by their `last` one."""
    tried = Counter(key for entry in entries for key in keys(entry))
    kept = Counter(key for entry in entries if entry["accepted"] for key in (last or keys)(entry))
    passed = kept + Counter(key for entry in entries if _refused_late(entry) for key in (last or keys)(entry))
    rows = [
        f"| {told(key)} | {tried[key]} | {passed[key]} | {kept[key]} | {kept[key] / tried[key]:.0%} |"
        for key in sorted(tried)
    ]
    return [f"| {name} | tried | passed | kept | yield |", "|---|---|---|---|---|", *rows, ""] if rows else []


def _refused_late(entry: Entry) -> bool:
    """Whether an analysis passed its checks and yet did not join."""
    return not entry["accepted"] and entry["reasons"][-1][0] in ("quota", "alike")


def _reasons(entries: Sequence[Entry]) -> list[str]:
    counts = Counter(
        (reason, label)
        for entry in entries
        for reasons in entry["reasons"]
        for reason in reasons
        for label in entry["labels"] or ["unknown"]
    )
    classes = sorted({label for _, label in counts})
    rows = [
        f"| {reason} | {' | '.join(str(counts[reason, label]) for label in classes)} |"
        for reason in sorted({reason for reason, _ in counts})
    ]
    return (
        [f"| reason | {' | '.join(classes)} |", f"|---|{'---|' * len(classes)}", *rows, ""] if rows else ["None was.\n"]
    )


def _licences(what: str, names: Iterable[str], known: dict[str, str]) -> list[str]:
    return [
        f"- {what} {name or 'unnamed'}: "
        + next((terms for start, terms in known.items() if re.match(start, name.lower())), "not known; ask its owner")
        for name in sorted(names)
    ]
