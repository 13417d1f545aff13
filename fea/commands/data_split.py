"""`fea data split`: train, test and validation sets from one file, with no person in two and like shares of all labels."""

from __future__ import annotations

from pathlib import Path

from fea.images.opening import MOST_PIXELS, check_most_pixels
from fea.review.decisions import Unreviewed


def split_file(
    file: Path,
    *,
    out: Path,
    test_share: float = 0.1,
    val_share: float = 0.0,
    image_root: Path | None = None,
    emotions: str | list[str] = "basic7",
    unreviewed: Unreviewed = "train",
    distance: int = 12,
    seed: int = 0,
    max_image_pixels: int = MOST_PIXELS,
) -> int:
    """Makes a train and a test set from a reviewed file, with no person in both.

    Rejected lines are dropped, edited descriptions replaced. The test set holds accepted lines whose text is well-formed and
    names exactly the coded Action Units and a right emotion. Lines with the same "subject" in `meta_info` show one person.

    Args:
        file: JSONL in FEA-20K format, reviewed with `fea review` (or not: see `unreviewed`); "subject" in `meta_info` names
            the person.
        out: folder for `train.jsonl`, `test.jsonl` and `val.jsonl`; none may be there yet.
        test_share: share of the lines, of each emotion and of each Action Unit that is wanted for the test set.
        val_share: the same for a validation set, `val.jsonl`, of further people; 0 makes none.
        image_root: folder of the images; by default the folder of the file.
        emotions: allowed emotions: "basic7", "basic8", "compound11" or a list.
        unreviewed: lines that nobody accepted or rejected go to "train"; "drop" leaves them out; "any" takes them for
            reviewed, if they were checked elsewhere or have labels alone.
        distance: people are kept together if images of theirs look alike: if perceptual hashes differ in at most so many of
            256 bits (unrelated images: about 128; copies that were saved again or rescaled: up to 12; 0: equal hashes only).
            Crops and mirror images are not found.
        seed: of the choice between people of the same kind.
        max_image_pixels: an image with more is not read; the default is 8192 x 8192.

    Returns:
        0.

    Raises:
        FEAError: an input cannot be read, two reviewers edited a line differently, `out` holds such files, or there is
            nobody to put into the test set.
    """
    from fea.data.source import told_root
    from fea.facs import emotion_set
    from fea.records.record import Rules
    from fea.review.reviewed import read_reviewed
    from fea.review.split import check_place, split_lines, told, write_sides

    _check(file, test_share, val_share, distance, seed)
    check_most_pixels("max_image_pixels", max_image_pixels)
    check_place(out, val_share > 0)
    read = read_reviewed(file, image_root or file.parent, Rules(emotion_set(emotions)), unreviewed)
    split = split_lines(file, read.lines, test_share, val_share, distance, seed, max_image_pixels)
    root = write_sides(out, read.lines, split.sides)
    print(*told(file, read, split), sep="\n")
    if root != out.resolve():
        names = ("train", "val", "test") if val_share else ("train", "test")
        print(told_root(root, {name: out / f"{name}.jsonl" for name in names}))
    return 0


def _check(file: Path, test_share: float, val_share: float, distance: int, seed: int) -> None:
    from fea.data.leaks import BITS
    from fea.errors import FEAError

    if not file.is_file():
        raise FEAError(f"data file '{file}' does not exist")
    if not 0 < test_share < 1:
        raise FEAError(f"test_share: {test_share}; give a share between 0 and 1")
    if not 0 <= val_share < 1 - test_share:
        raise FEAError(f"val_share: {val_share}; give a share from 0 up that leaves something to learn from")
    if not 0 <= distance < BITS // 2:
        raise FEAError(
            f"distance: {distance}; give a number from 0 to {BITS // 2 - 1}, unrelated images are that far apart"
        )
    if seed < 0:
        raise FEAError(f"seed: {seed}; give a number from 0 up")
