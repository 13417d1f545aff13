"""Agreement of numbers against what others compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr
from scoring import run, write

from fea.evaluation.dimensional import Moments, ccc, icc, mae, moments, pcc

TINY = 1e-9


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """60 grades and noisy readings of them, as they were given to pingouin."""
    generator = np.random.default_rng(11)
    truth = generator.integers(0, 6, 60).astype(float)
    return np.clip(truth + generator.normal(0.4, 1.3, 60), 0, 5).round(2), truth


def pooled(told: np.ndarray, truth: np.ndarray) -> Moments:
    return Moments(*(np.asarray(part.sum(axis=0)) for part in moments(told, truth)))


def anova_icc(told: np.ndarray, truth: np.ndarray) -> float:
    """ICC(3,1) from the mean squares of a table of faces by raters (Shrout & Fleiss, 1979)."""
    table = np.stack([told, truth], axis=1)
    faces, raters = table.shape
    grand = table.mean()
    between_faces = raters * ((table.mean(axis=1) - grand) ** 2).sum()
    between_raters = faces * ((table.mean(axis=0) - grand) ** 2).sum()
    rest = ((table - grand) ** 2).sum() - between_faces - between_raters
    msr, mse = between_faces / (faces - 1), rest / ((faces - 1) * (raters - 1))
    return float((msr - mse) / (msr + (raters - 1) * mse))


def test_icc_is_that_of_pingouin_and_of_the_anova() -> None:
    told, truth = drawn()
    assert (told.sum(), truth.sum()) == (pytest.approx(189.45), 170.0)  # the same numbers as then
    found = float(icc(pooled(told, truth)))
    # pingouin 0.7.0, intraclass_corr, type ICC(C,1): consistency of single fixed raters.
    assert found == pytest.approx(0.8048047829140321, abs=TINY)
    assert found == pytest.approx(anova_icc(told, truth), abs=TINY)
    assert found != pytest.approx(float(ccc(pooled(told, truth))), abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_other_formulas_are_their_definitions(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.uniform(-1, 1, 200)
    told = np.clip(0.6 * truth + generator.normal(0.2, 0.3, 200), -1, 1)
    sums = pooled(told, truth)
    expected = 2 * np.cov(told, truth, bias=True)[0, 1] / (told.var() + truth.var() + (told.mean() - truth.mean()) ** 2)
    assert float(ccc(sums)) == pytest.approx(expected, abs=TINY)
    assert float(pcc(sums)) == pytest.approx(pearsonr(told, truth)[0], abs=TINY)
    assert float(icc(sums)) == pytest.approx(anova_icc(told, truth), abs=TINY)
    assert float(mae(sums)) == pytest.approx(np.abs(told - truth).mean(), abs=TINY)


def test_sums_of_parts_are_those_of_the_whole_and_unknown_pairs_count_for_nothing() -> None:
    told, truth = drawn()
    gaps = np.where(np.arange(60) % 7 == 0, np.nan, told)
    known = ~np.isnan(gaps)
    parts = [pooled(gaps[part], truth[part]) for part in (slice(0, 20), slice(20, 60))]
    together = Moments(*(a + b for a, b in zip(*parts, strict=True)))
    assert float(icc(together)) == pytest.approx(anova_icc(told[known], truth[known]), abs=TINY)


def test_constants_have_no_correlation() -> None:
    truth, never = np.arange(6.0), np.full(6, 2.3)
    assert float(pcc(pooled(never, truth))) == float(icc(pooled(never, truth))) == float(ccc(pooled(never, truth))) == 0
    assert np.isnan([float(of(pooled(truth, never))) for of in (pcc, icc, ccc)]).all()


def disfa(subject: str, number: int, grades: dict[str, int]) -> dict[str, Any]:
    coded = {f"AU{unit}": grades.get(f"AU{unit}", 0) for unit in (1, 2, 4, 6, 9, 12, 25, 26)}
    return {
        "id": f"{subject}-{number}", "dataset": "DISFA", "image": f"{subject}/{number}.png", "labels": [],
        "AUs": [code for code, grade in coded.items() if grade >= 2], "AUs_coded": list(coded),
        "AU_intensities": coded, "meta_info": {"subject": subject},
    }  # fmt: skip


def test_told_grades_are_compared_and_a_claim_without_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(2)
    people = ["SN001", "SN003", "SN013"]
    labels = [disfa(person, n, {"AU12": int(generator.integers(0, 6))}) for person in people for n in range(20)]
    told: list[float] = []
    said = []
    for number, line in enumerate(labels):
        grade = int(np.clip(line["AU_intensities"]["AU12"] + generator.integers(-1, 2), 0, 5))
        text = f"The corners rise (AU12{'ABCDE'[grade - 1]})." if grade else "Only the brow moves (AU4A)."
        if number == 7:
            text, grade = "The corners rise (AU12), the brow, too (AU4A).", -1
        said.append({"id": line["id"], "text": f"<think>{text}</think><answer>neutral</answer>"})
        told.append(np.nan if grade < 0 else float(grade))
    truth = np.array([line["AU_intensities"]["AU12"] for line in labels], dtype=float)
    known = ~np.isnan(told)
    files = write(tmp_path / "a.jsonl", *said), write(tmp_path / "l.jsonl", *labels)
    found = run(capsys, files[0], "--protocol", "disfa-8", "--labels", files[1], out=tmp_path / "out").metrics
    unit = found["units"]["AU12"]
    assert unit["icc"] == pytest.approx(anova_icc(np.array(told)[known], truth[known]), abs=TINY)
    assert unit["mae"] == pytest.approx(np.abs(np.array(told) - truth)[known].mean(), abs=TINY)
    assert "pcc" in found["scores"]


def test_nothing_is_reported_of_what_no_answer_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = [disfa("SN001", n, {"AU12": n}) for n in range(6)]
    said = [{"id": line["id"], "text": "<think>AU12 is up.</think><answer>neutral</answer>"} for line in labels]
    files = write(tmp_path / "a.jsonl", *said), write(tmp_path / "l.jsonl", *labels)
    found = run(capsys, files[0], "--protocol", "disfa-8", "--labels", files[1], out=tmp_path / "out").metrics
    assert not {"icc", "pcc", "mae", "ccc_valence", "rouge_l", "accuracy"} & found["scores"].keys()
    assert "icc" not in found["units"]["AU12"]


def test_valence_and_arousal_by_concordance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(4)
    truth = generator.uniform(-1, 1, (40, 2)).round(3)
    told = np.clip(0.7 * truth + generator.normal(0.1, 0.2, (40, 2)), -1, 1).round(3)
    labels = [
        {"id": str(n), "dataset": "AffectNet", "image": f"{n}.jpg", "labels": ["fear"], "valence": v, "arousal": a}
        for n, (v, a) in enumerate(truth.tolist())
    ]
    said = [{"id": str(n), "emotion": "fear", "valence": v, "arousal": a} for n, (v, a) in enumerate(told.tolist())]
    files = write(tmp_path / "a.jsonl", *said), write(tmp_path / "l.jsonl", *labels)
    ran = run(capsys, files[0], "--protocol", "affectnet-8", "--labels", files[1], "--draws", 200, out=tmp_path / "out")
    for column, name in enumerate(("ccc_valence", "ccc_arousal")):
        x, y = told[:, column], truth[:, column]
        expected = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        assert ran.metrics["scores"][name] == pytest.approx(expected, abs=TINY)
        low, high = ran.metrics["intervals"][name]
        assert low < expected < high
    assert ran.metrics["resampled"] == "faces"
