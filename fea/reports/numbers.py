"""What scores are called where people read them, and how their numbers are written."""

from __future__ import annotations

from collections.abc import Iterable

# By name: what it is called, and what it says. Those that are not here are shown by their name.
_TOLD = {
    "score": ("overall", "mean of the two macro F1; policies are ranked by it"),
    "au_f1": ("AU F1", "macro: each unit counts alike"),
    "emotion_f1": ("emotion F1", "macro: each emotion counts alike"),
    "accuracy": ("accuracy", "share of faces with the right emotion"),
    "au_uar": ("AU recall, macro", "each unit counts alike"),
    "emotion_uar": ("emotion recall, macro", "each emotion counts alike"),
    "au_micro_f1": ("AU micro F1", "over all decisions together"),
    "au_precision": ("AU precision", "share of claims that are there"),
    "au_recall": ("AU recall", "share of what is there that is claimed"),
    "au_exact": ("exact AU sets", "share of faces with all units right"),
    "invented": ("invented", "claimed units that are not there, per face; less is better"),
    "uncoded": ("uncoded", "claims that nobody can judge, per face"),
    "format": ("well-formed", "share of answers in the form that was asked"),
    "alignment": ("alignment", "share whose emotion fits the claimed units, by prototypes"),
    "both_parts": ("both parts right", "of compound emotions"),
    "one_part": ("one part right", "of compound emotions, at least"),
    "icc": ("intensity ICC(3,1)", "mean over units; consistency of grades"),
    "pcc": ("intensity correlation", "mean over units"),
    "mse": ("intensity squared error", "mean, in squared grades; less is better"),
    "mae": ("intensity error", "mean, in grades; less is better"),
    "ccc_valence": ("valence CCC", "concordance; 1 is full agreement"),
    "pcc_valence": ("valence correlation", ""),
    "rmse_valence": ("valence error", "root mean square, of a range of 2; less is better"),
    "sagr_valence": ("valence sign", "share of faces with the right sign"),
    "ccc_arousal": ("arousal CCC", "concordance; 1 is full agreement"),
    "pcc_arousal": ("arousal correlation", ""),
    "rmse_arousal": ("arousal error", "root mean square, of a range of 2; less is better"),
    "sagr_arousal": ("arousal sign", "share of faces with the right sign"),
    "rouge_l": ("ROUGE-L", "words shared with the reference"),
    "rouge_l_rege": ("ROUGE-L, as in REGE", ""),
    "rege_au": ("REGE, AUs", "in points"),
    "rege_emotion": ("REGE, emotion", "in points"),
}
LESS = frozenset(
    {"invented", "uncoded", "mae", "mse", "rmse_valence", "rmse_arousal"}
)  # of which less is better; the only ones that may be above 1
HEADLINE = ("score", "au_f1", "emotion_f1", "accuracy")
FEWEST = 20  # faces below which a group gets counts and no score: one face more or less moves a share by 5 points


def title(name: str) -> str:
    """What a score is called."""
    return _TOLD[name][0] if name in _TOLD else name


def told(name: str) -> str:
    """What it says; "" where the name is all."""
    return _TOLD[name][1] if name in _TOLD else ""


def in_order(names: Iterable[str]) -> list[str]:
    """Names of scores as they are listed: those that are told of first, in their order."""
    order = {name: place for place, name in enumerate(_TOLD)}
    return sorted(dict.fromkeys(names), key=lambda name: (order.get(name, len(order)), name))


def shown(value: float | None) -> str:
    """A number as it stands on a page; a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.3f}"
