"""`RenderedFaces`: a data module that draws its own faces, then reads them like anyone's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fea.data.expecting import Kind
from fea.data.mixture import Balance
from fea.data.module import FEADataModule
from fea.data.source import Source
from fea.drawn.faces import Text, write_faces
from fea.drawn.world import EMOTIONS, WorldSettings, world_of

# Above any training seed that one would choose: faces to be judged on are never among those to learn from.
_VAL_SEED = 1_000_001
_TEST_SEED = 1_000_002


class RenderedFaces(FEADataModule):
    """Drawn faces whose Action Units are true by construction.

    Args:
        folder: where they are drawn, once.
        train_faces: number of training faces.
        text: what their descriptions hold: "analysis" (of all that is labeled), "annotator" (biased), "caption" or "none".
        val_faces: number of validation faces.
        test_faces: number of test faces.
        batch_size: prompts in a training batch; in GRPO the prompts of one rollout.
        eval_batch_size: prompts in a batch of validation and test.
        num_workers: processes that read images ahead.
        mirror: show half of the training images mirrored.
        seed: of the training faces and of their order.
        train: files to train on beside the drawn faces.
        predict: files of `fea predict`.
        world: how often what shows, how many people there are, and how sure the labels are.
        balance: draw training faces so that emotions ("emotion"), Action Units ("au") or, in half of the draws each, "both" are
            even; null: as they come.
        balance_power: how even: 1 in full; 0.5 draws a label of 100 times as many faces 10 times as often.
        numbers: tell valence and arousal, and in descriptions these and grades of units, for `policy.answer.numbers`.
    """

    def __init__(
        self,
        folder: str = "runs/demo/faces",
        train_faces: int = 4000,
        text: Text = "none",
        val_faces: int = 200,
        test_faces: int = 1500,
        batch_size: int = 16,
        eval_batch_size: int = 100,
        num_workers: int = 1,
        mirror: bool = False,
        seed: int = 0,
        train: list[str | Source] | None = None,
        predict: list[str | Source] | None = None,
        world: WorldSettings = WorldSettings(),  # noqa: B008 (read, never changed)
        balance: Balance | None = None,
        balance_power: float = 1.0,
        numbers: bool = False,
    ):
        self.text = text
        self.world = world_of(world.prior, world.people, world.noise)
        learned, judged = (of.name + "-numbers" * numbers for of in (self.world, self.world._replace(noise=0.0)))
        like: dict[str, Any] = {"prior": world.prior, "people": world.people, "numbers": numbers}
        self.drawn = {
            "train": (
                Path(folder) / f"{text}-{seed}-{train_faces}{learned}",
                {"n": train_faces, "seed": seed, "text": text, "noise": world.noise, **like},
            ),
            "val": (
                Path(folder) / f"val-{val_faces}{judged}",
                {"n": val_faces, "seed": _VAL_SEED, "text": "none", **like},
            ),
            "test": (
                Path(folder) / f"test-{test_faces}{judged}",
                {"n": test_faces, "seed": _TEST_SEED, "text": "none", **like},
            ),
        }
        files: dict[str, list[str | Source]] = {
            name: [Source(str(where / "faces.jsonl"), wrap=False, overlap=True)]
            for name, (where, _) in self.drawn.items()
        }
        super().__init__(
            train=[*files["train"], *(train or [])],
            val=files["val"],
            test=files["test"],
            predict=predict,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            emotions=list(EMOTIONS),
            balance=balance,
            balance_power=balance_power,
            mirror=mirror,
            seed=seed,
        )

    def remedy(self, kind: Kind) -> str:
        """What to do where there are too few drawn faces for a batch, or none with a text."""
        if kind == "analysed" and self.text == "none":
            return "drawn faces have none with data.text: none; set it to annotator, or to analysis"
        return super().remedy(kind) if kind == "paired" else "lower it, or set data.train_faces higher"

    def prepare_data(self) -> None:
        """Draws what is not there yet, then converts the files."""
        for name in self.wanted:
            if name in self.drawn:
                self.draw(name)
        super().prepare_data()

    def draw(self, name: str) -> Path:
        """Draws the faces of a set ("train", "val" or "test") unless they are there, and returns their file."""
        where, settings = self.drawn[name]
        file = where / "faces.jsonl"
        return file if file.exists() else write_faces(where, **settings)
