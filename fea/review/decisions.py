"""What reviewers decide about written analyses, and how far they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Literal, NamedTuple, get_args

from fea.evaluation.intervals import cohens_kappa

Verdict = Literal["accept", "reject", "skip"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Unreviewed = Literal["train", "drop", "any"]  # where lines go that nobody accepted or rejected


class Decision(NamedTuple):
    """What a reviewer decided about one analysis.

    Attributes:
        key: of the line that was judged.
        verdict: "accept", "reject" or "skip".
        reason: of a rejection.
        text: the edited description; "" if it was left as it is.
    """

    key: str
    verdict: Verdict
    reason: str
    text: str


def agreement(first: Mapping[str, Decision], second: Mapping[str, Decision]) -> tuple[int, float | None]:
    """Agreement of two reviewers beyond chance, on the lines that both accepted or rejected.

    Returns:
        The number of these lines, and Cohen's kappa; None where chance alone would agree on all of them, or there is none.
    """
    pairs = [
        (decision.verdict == "accept", second[key].verdict == "accept")
        for key, decision in first.items()
        if key in second and "skip" not in (decision.verdict, second[key].verdict)
    ]
    return len(pairs), cohens_kappa([accepted for accepted, _ in pairs], [accepted for _, accepted in pairs])


def summary(reviews: Mapping[str, Mapping[str, Decision]]) -> list[str]:
    """Counts by verdict for each reviewer, and Cohen's kappa for each pair of them, one sentence each."""
    told = []
    for reviewer, decisions in reviews.items():
        counts = Counter(decision.verdict for decision in decisions.values())
        edited = sum(decision.verdict == "accept" and bool(decision.text) for decision in decisions.values())
        told.append(
            f"{reviewer}: {counts['accept']} accepted ({edited} of them edited), {counts['reject']} rejected, "
            f"{counts['skip']} skipped"
        )
    for first, second in combinations(reviews, 2):
        shared, kappa = agreement(reviews[first], reviews[second])
        value = "not defined" if kappa is None else f"{kappa:.2f}"
        told.append(f"{first} and {second}: Cohen's kappa {value} (lines that both accepted or rejected: {shared})")
    return told
