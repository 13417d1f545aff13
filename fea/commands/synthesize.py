"""`fea synthesize`: analyses for faces that have labels and none, by a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fea.data.example import Example
from fea.data.source import OnBad
from fea.errors import FEAError
from fea.facs import emotion_set
from fea.images.opening import MOST_PIXELS, check_most_pixels
from fea.model.config import Device
from fea.records.record import OnUnknownLabel, Rules
from fea.synthesis.recipe import Pace, Recipe

if TYPE_CHECKING:
    from fea.model.policy import Policy
    from fea.model.sampling import Generation


def synthesize(
    data: list[str],
    *,
    model: str,
    base: str | None = None,
    out: str,
    image_root: str | None = None,
    emotions: str | list[str] | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008 (read, never changed)
    max_tokens: int = 256,
    temperature: float = 1.0,
    batch_size: int = 16,
    num_workers: int = 2,
    minutes: float | None = None,
    max_image_pixels: int = MOST_PIXELS,
    on_bad: OnBad = "raise",
    on_unknown_label: OnUnknownLabel = "raise",
    device: Device = "auto",
) -> int:
    """Writes analyses for faces that have labels and no analysis; those that pass the triple check are kept.

    A run that was stopped goes on where it was. Beside the file stand FILE.tried, with a line for every face, and DATACARD.md
    with yields, reasons and origin.

    Args:
        data: JSONL files with labels.
        model: run (folder or checkpoint) that writes.
        base: folder or hub name of the model that it was trained on, if that is no longer where it was.
        out: JSONL file for the accepted analyses.
        image_root: folder of the images; by default that of each file.
        emotions: allowed emotions; by default those the model was trained with.
        recipe: how analyses are made, and what they have to pass.
        max_tokens: length limit of an analysis.
        temperature: of sampling.
        batch_size: faces at a time.
        num_workers: processes that read images ahead.
        minutes: after which no further batch is begun; the same command goes on later.
        max_image_pixels: an image with more is not read; the default is 8192 x 8192.
        on_bad: "raise" at the first line or image that cannot be read, or "skip" them with a count.
        on_unknown_label: "raise" at a label outside `emotions`, or treat it as "unknown".
        device: "cpu", "cuda" or "auto".

    Returns:
        0.

    Raises:
        FEAError: a file or the run cannot be read, no face is left to write about, or `out` holds something else.
    """
    from fea.model.checkpoints import load_policy
    from fea.model.sampling import Generation

    _check(data, Path(out), max_image_pixels)
    generation, pace = Generation(max_tokens, temperature), Pace(batch_size, num_workers, minutes, on_bad)
    policy, trained = load_policy(model, device, base)
    policy.encoder.max_image_pixels = max_image_pixels
    allowed = trained.emotions if emotions is None else emotion_set(emotions)
    rules = Rules(allowed, on_unknown_label, True)
    faces = _without_analysis([Path(file) for file in data], image_root, rules, on_bad, recipe.vote is not None)
    _write(policy, trained.precision, faces, out, recipe, generation, pace)
    return 0


def _check(data: list[str], out: Path, max_image_pixels: int) -> None:
    """Finds out what stands against the result, before a model of many gigabytes is read."""
    from fea.records.formats import expect_lines
    from fea.synthesis.datacard import check_card
    from fea.synthesis.journal import check_place

    check_most_pixels("max_image_pixels", max_image_pixels)
    check_place(out)
    check_card(out.parent)
    for file in data:
        expect_lines(Path(file))


def _without_analysis(
    files: list[Path], image_root: str | None, rules: Rules, on_bad: OnBad, unlabeled: bool
) -> list[Example]:
    """Faces without an analysis; those without labels only if asked for."""
    from fea.data.mixture import Examples
    from fea.data.table import open_jsonl
    from fea.synthesis.attempts import labeled
    from fea.synthesis.round import distinct

    tables = [
        open_jsonl(file, file.parent if image_root is None else Path(image_root), rules, on_bad) for file in files
    ]
    every = Examples(tables)
    found = [
        example
        for example in (every[number] for number in range(len(every)))
        if example.analysis is None and (unlabeled or labeled(example))
    ]
    if not found:
        raise FEAError(f"no face in {', '.join(map(str, files))} has labels and no analysis (key 'description')")
    return distinct(found)


def _write(
    policy: Policy, precision: str, faces: list[Example], out: str, recipe: Recipe, generation: Generation, pace: Pace
) -> None:
    """Writes the analyses, computed in the precision of the run, and the datacard; says where the images are."""
    from fea.data.source import told_root
    from fea.model.precision import computing
    from fea.synthesis.datacard import write_datacard
    from fea.synthesis.journal import Journal
    from fea.synthesis.round import expect_thinking, provenance, run, settings_of
    from fea.system.files import common_root

    expect_thinking(policy.config)
    file, origin = Path(out), provenance(policy, recipe, round=0)
    settings = {"model": origin["model"], **settings_of(faces, pace.batch_size, generation, recipe)}
    journal = Journal(file, settings, common_root([face.image for face in faces], file.parent), origin)
    with computing(precision, policy.network.device):
        run(policy, faces, journal, recipe, generation, pace)
    print(write_datacard(file.parent))
    if journal.image_root != file.parent.resolve():
        print(told_root(journal.image_root, {"train": file}))
