"""The rows of the table: every figure that is to be taken, and what is expected of it.

Expected figures are those of a reading of the code, for one H100 unless said; none of them has been measured. What is marked as
a gate is held by its test.
"""

from __future__ import annotations

from collections.abc import Mapping

BITS = ("bf16", "4 bits")
PRECISIONS = ("16-mixed", "bf16-true")
OFFSETS = (0, 300)


def _decode(bits: str, launches: str, one_by_one: str, recorded: str) -> dict[str, str]:
    return {
        f"decode, {bits}, one by one": f"{one_by_one} a step of 64 rows, {launches} launches",
        f"decode, {bits}, recorded": f"{recorded} a step",
        f"decode, {bits}: no step waits": "gate",
        f"decode, {bits}: recorded writes the same": "all tokens (gate)",
        f"decode, {bits}: recordings of a rollout": "one a shape, 0.2 s each",
    }


def _step(stage: str, bits: str, peak: str) -> dict[str, str]:
    return {
        f"{stage} step, {bits}: peak": f"{peak}within 15 % of the plan (gate)",
        f"{stage} step, {bits}: seconds": "",
    }


def _sampling(bits: str) -> dict[str, str]:
    return {
        f"GRPO step, {bits}: seconds": "rollout 4 to 20, old and reference 1 to 2, train 3 to 5",
        f"GRPO step, {bits}: sampling": "gap below 0.02 nats, kl about 0, largest ratio below 1.2",
        f"GRPO step, {bits}: self-check": "below 0.02 between sampling and training; policy and reference alike to the bit",
    }


EXPECTED: Mapping[str, str] = {
    "versions": "",
    "Linear4bit: error of a product": "below 1 % (gate)",
    "attention of the trunk, square": "FLASH takes it",
    "attention of a prompt, masked": "EFFICIENT takes it, MATH five times as slow; one but MATH does (gate)",
    "attention of completions, masked": "EFFICIENT below 1 ms, MATH five times as slow; one but MATH does (gate)",
    "logits: error": "below 0.001 where bf16 has steps of 0.125 (gate)",
    "logits: error of gradients": "below 1 % (gate)",
    "logits: time": "no more than in bf16 and a copy to fp32",
    "scores: error": "below 1e-4 of the largest (gate)",
    "scores: time": "",
    **_decode("bf16", "at most 2,200", "40 to 65 ms", "14 ms"),
    **_decode("4 bits", "at most 3,000", "45 to 80 ms", "35 ms"),
    **_step("GRPO", "bf16", "10.7 GiB; "),
    **_sampling("bf16"),
    **_step("GRPO", "4 bits", "7.0 GiB; "),
    **_sampling("4 bits"),
    **_step("SFT", "bf16", "8.8 GiB; "),
    **_step("SFT", "4 bits", "5.0 GiB; "),
    **{
        f"gap, {bits}, offset {offset}": "mean below 0.01 nats, ratios 0.9 to 1.1, in all layouts (gate)"
        for bits in BITS
        for offset in OFFSETS
    },
    "vision tower, 8 faces": "60 to 150 ms",
    "patches by Conv3d and by a product": "Conv3d within twice the time",
    "the same run twice": "weights differ in the last bits",
    "trainer.deterministic": "",
    "killed and resumed": "goes on from its last step (gate); equal to rounding",
    **{f"precision {name}": "refused in a sentence (gate)" for name in PRECISIONS},
    "GRPO step of 7B, bf16: peak": "21.2 GiB; within 15 % of the plan (gate)",
    "GRPO step of 7B, 4 bits: peak": "12.3 GiB; within 15 % of the plan (gate)",
}
NOT_RUN = ("", "not run")


def table(found: Mapping[str, tuple[str, str]]) -> list[str]:
    """Lines of Markdown.

    Args:
        found: figure and verdict by check.
    """
    rows = [("check", "figure", "expected", "verdict"), ("---",) * 4]
    for check, expected in EXPECTED.items():
        figure, verdict = found.get(check, NOT_RUN)
        rows.append((check, figure, expected, verdict))
    return [f"| {' | '.join(row)} |" for row in rows]
