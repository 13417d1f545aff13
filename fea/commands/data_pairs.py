"""`fea data pairs`: preference pairs for `fea.preference.EMPOModule`, of what a trained run itself says about faces."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from fea.data.example import Example
from fea.data.source import OnBad
from fea.errors import FEAError
from fea.facs import emotion_set
from fea.images.opening import MOST_PIXELS, check_most_pixels
from fea.model.config import Device
from fea.pairs.recipe import PairRecipe
from fea.records.record import Rules
from fea.synthesis.recipe import Pace

if TYPE_CHECKING:
    from fea.model.policy import Policy
    from fea.model.sampling import Generation


def write_pairs(
    run: str,
    file: Path,
    *,
    out: Path,
    base: str | None = None,
    image_root: Path | None = None,
    emotions: str | list[str] | None = None,
    recipe: PairRecipe = PairRecipe(),  # noqa: B008 (read, never changed)
    max_tokens: int = 256,
    temperature: float = 1.0,
    batch_size: int = 16,
    num_workers: int = 2,
    max_image_pixels: int = MOST_PIXELS,
    on_bad: OnBad = "raise",
    device: Device = "auto",
) -> int:
    """Makes preference pairs of labeled faces: what a run says rightly, over what it says wrongly.

    The rejected text is an answer of its own with an invented or a missed unit, or a right one in which a unit was swapped. A
    rejected image lacks a unit: the face drawn again, or another one. A rejected question names a unit that is not there. What
    was stopped goes on. Beside the file stand FILE.tried, a line for every face, and a folder of what was drawn.

    Args:
        run: folder or checkpoint of the run that answers; the fit on the pairs starts from it (model.init_from).
        file: JSONL with coded Action Units, emotions or both.
        out: JSONL file for the pairs.
        base: folder or hub name of the model that it was trained on, if that is no longer where it was.
        image_root: folder of the images; by default the folder of the file.
        emotions: allowed emotions; by default those the run was trained with.
        recipe: how pairs are made.
        max_tokens: length limit of an answer.
        temperature: of sampling.
        batch_size: faces at a time.
        num_workers: processes that read images ahead.
        max_image_pixels: an image with more is not read; the default is 8192 x 8192.
        on_bad: "raise" at the first line or image that cannot be read, or "skip" them with a count.
        device: "cpu", "cuda" or "auto".

    Returns:
        0.

    Raises:
        FEAError: the file or the run cannot be read, no face is labeled, or `out` holds something else.
    """
    from fea.model.checkpoints import load_policy
    from fea.model.sampling import Generation
    from fea.pairs.journal import check_place
    from fea.records.formats import expect_lines

    check_most_pixels("max_image_pixels", max_image_pixels)
    pace = Pace(batch_size, num_workers, None, on_bad)
    expect_lines(file)
    check_place(out)
    policy, trained = load_policy(run, device, base)
    policy.encoder.max_image_pixels = max_image_pixels
    allowed = trained.emotions if emotions is None else emotion_set(emotions)
    faces = _labeled(file, image_root or file.parent, Rules(allowed), on_bad)
    _write(policy, trained.precision, faces, out, recipe, Generation(max_tokens, temperature), pace)
    return 0


def _labeled(file: Path, image_root: Path, rules: Rules, on_bad: OnBad) -> list[Example]:
    """The faces that an answer can be checked by."""
    from fea.data.table import open_jsonl
    from fea.synthesis.attempts import labeled
    from fea.synthesis.round import distinct

    table = open_jsonl(file, image_root, rules, on_bad)
    faces = distinct([example for example in (table[row] for row in range(len(table))) if labeled(example)])
    if not faces:
        raise FEAError(f"no face in '{file}' has labels that an answer could be checked by")
    return faces


def _write(
    policy: Policy,
    precision: str,
    faces: list[Example],
    out: Path,
    recipe: PairRecipe,
    generation: Generation,
    pace: Pace,
) -> None:
    """Writes the pairs, computed in the precision of the run; says what was made and where the images are."""
    from fea.data.source import told_root
    from fea.model.precision import computing
    from fea.pairs.journal import Journal, images_of
    from fea.pairs.making import make_pairs
    from fea.synthesis.round import expect_thinking, provenance, settings_of
    from fea.system.files import common_root

    expect_thinking(policy.config)
    origin = {name: value for name, value in provenance(policy, recipe, 0).items() if name != "round"}
    settings = {"model": origin["model"], **settings_of(faces, pace.batch_size, generation, recipe)}
    root = common_root([*(face.image for face in faces), str(images_of(out) / "0.png")], out.parent)
    journal = Journal(out, settings, root, origin)
    with closing(journal), computing(precision, policy.network.device):
        make_pairs(policy, faces, journal, recipe, generation, pace)
    print(*journal.told(), sep="\n")
    if root != out.parent.resolve():
        print(told_root(root, {"train": out}))
