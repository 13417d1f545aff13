"""Names that changed since they were first written into configs and checkpoints. Needs no torch.

The command line refuses the old ones in a sentence with the new; a resumed run reads them in its checkpoint as the new ones.
Settings that are gone are refused and left out alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fea.model.config import GONE

# Class paths.
NEW_NAMES = {
    "fea.data.rendered.RenderedFaces": "fea.drawn.module.RenderedFaces",
    "fea.fsdp.FSDP2Strategy": "fea.model.fsdp.FSDP2Strategy",
    "fea.pretrain.TowerModule": "fea.demo.tower.TowerModule",
}
_GROUPED = ("beta", "clip_low", "clip_high", "advantage", "normalizer", "mask_truncated")
# Settings, with dots and without `init_args`.
NEW_SETTINGS = {f"model.{name}": f"model.objective.{name}" for name in _GROUPED}
# Settings that are no more, with what became of them.
GONE_SETTINGS = {f"model.policy.{name}": outcome for name, outcome in GONE.items()}
# Values, by the setting that takes them.
NEW_VALUES = {
    "model.objective.advantage": {
        "sum_then_normalise": "sum_then_normalize",
        "normalise_then_sum": "normalize_then_sum",
    }
}


def translated(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a checkpoint under the names of now.

    Args:
        settings: values by dotted name, `init_args` among its parts.
    """
    found = {}
    for name, value in settings.items():
        old = name.replace(".init_args.", ".")
        if old in GONE_SETTINGS:
            continue
        new = NEW_SETTINGS.get(old, old)
        key = name.replace(old.rpartition(".")[2], new.partition(".")[2]) if new != old else name
        values = NEW_VALUES.get(new, {}) | NEW_NAMES
        found[key] = values.get(value, value) if isinstance(value, str) else value
    return found


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings, each with its dotted name."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse: settings by dotted name, as they stand in a config."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        *parents, last = name.split(".")
        inner = found
        for key in parents:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return found
