"""`FEADataModule`: data files in, batches of prompts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import lightning.pytorch as L
import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from fea.data.apart import expect_apart
from fea.data.expecting import Kind, expect_a_batch, expect_labels, expect_something_to_learn, look_at_images
from fea.data.folds import choose
from fea.data.loader import Encode, EncodeEach, EpochSampler, Loader
from fea.data.mixture import Balance, Examples
from fea.data.shares import Shares, check_power, shares_of
from fea.data.source import OnBad, Source
from fea.data.table import Table, open_jsonl
from fea.errors import FEAError
from fea.facs import Emotions, emotion_set
from fea.images.opening import MOST_PIXELS, check_most_pixels
from fea.prompts.answer import Form
from fea.records.record import OnUnknownLabel, Rules


class Consumer(Protocol):
    """What a module has to offer for its data to be loaded.

    Attributes:
        needs_analyses: whether it trains on examples with an analysis only.
        needs_pairs: whether it trains on preference pairs only.
        forms: of answers that training prompts ask for, in these proportions; None: that of the policy.
    """

    needs_analyses: bool
    needs_pairs: bool
    forms: Mapping[Form, float] | None

    @property
    def encode(self) -> Encode | EncodeEach:
        """What makes prompts for an answer; loader workers are handed it, so it holds no weights."""

    @property
    def encode_training(self) -> Encode | EncodeEach:
        """What makes prompts for training, likewise."""

    def limit_images(self, pixels: int) -> None:
        """Keeps images with more pixels from being read."""

    def train_loader(self, prompts: Loader) -> object:
        """What training iterates over."""


class FEADataModule(L.LightningDataModule):
    """Faces with labels, analyses, both or neither.

    Args:
        train: files to train on: paths, or entries with `file`, `image_root`, `emotions`, `weight`.
        val: files to validate on.
        test: files to test on.
        predict: files to predict.
        batch_size: prompts in a training batch; in GRPO the prompts of one rollout.
        eval_batch_size: prompts in a batch of validation, test and prediction.
        num_workers: processes that read images ahead.
        emotions: allowed emotions: "basic7", "basic8", "compound11" or a list of your own words.
        on_unknown_label: "raise" at a label outside `emotions`, or treat it as "unknown".
        on_bad: "raise" at the first line or image that cannot be read, or "skip" them with a count.
        balance: draw training examples so that emotions ("emotion"), Action Units ("au") or, in half of the draws each,
            "both" are even; null: as they come.
        balance_power: how even: 1 in full; 0.5 draws a label of 100 times as many examples 10 times as often, so
            that few faces are not shown again and again.
        mirror: show half of the training images mirrored; sided units change sides.
        seed: of the order of training examples.
        fold: train and validate on the faces of all folds but this one, and test on those of this one; the fold of a face
            is `meta_info.fold`, from 1, or that of its person in published lists. null: no folds.
        max_image_pixels: an image with more is not read; the default is 8192 x 8192.
    """

    def __init__(
        self,
        train: list[str | Source] | None = None,
        val: list[str | Source] | None = None,
        test: list[str | Source] | None = None,
        predict: list[str | Source] | None = None,
        batch_size: int = 8,
        eval_batch_size: int = 32,
        num_workers: int = 2,
        emotions: Emotions = "basic7",
        on_unknown_label: OnUnknownLabel = "raise",
        on_bad: OnBad = "raise",
        balance: Balance | None = None,
        balance_power: float = 1.0,
        mirror: bool = False,
        seed: int = 0,
        fold: int | None = None,
        max_image_pixels: int = MOST_PIXELS,
    ):
        super().__init__()
        check_most_pixels("data.max_image_pixels", max_image_pixels)
        self.max_image_pixels = max_image_pixels
        if check_power("data.balance_power", balance_power) != 1 and balance is None:
            raise FEAError(
                f"data.balance_power: {balance_power}, but nothing is balanced; set data.balance to emotion, au or both"
            )
        self.sources = {
            name: [Source(entry) if isinstance(entry, str) else entry for entry in entries or []]
            for name, entries in {"train": train, "val": val, "test": test, "predict": predict}.items()
        }
        self.batch_size, self.eval_batch_size, self.num_workers = batch_size, eval_batch_size, num_workers
        self.emotions = emotion_set(emotions)
        self.on_unknown_label, self.on_bad = on_unknown_label, on_bad
        self.balance, self.balance_power, self.mirror, self.seed = balance, balance_power, mirror, seed
        self.fold = fold
        self.tables: dict[str, list[Table]] = {}
        self.joined: list[Table] = []
        self.reweighed: dict[str, float] = {}
        self.loaders: list[Loader] = []
        self.counted: Shares | None = None

    def prepare_data(self) -> None:
        """Validates and converts the files once, on one process.

        Before a fit their images are opened once, too; before a measurement, faces that were learned from are looked for.
        """
        tables, name = self._open(), self.wanted[-1]
        judged = [] if name == "predict" else [table for table in tables[name] if not table.overlap]
        learned = tables["train"] if "train" in tables else self._learned_from() if judged else []
        second = tables[name] if "train" in tables else judged if learned else []
        looked = dict.fromkeys(learned, "train") | dict.fromkeys(second, name)
        thumbnails = {t.copy: look_at_images(part, t, self.max_image_pixels, self.on_bad) for t, part in looked.items()}
        expect_apart(name, learned, judged, thumbnails, self.max_image_pixels)

    def _learned_from(self) -> list[Table]:
        """The training files that are still there, of a run that is measured now."""
        there = [source for source in self.sources["train"] if Path(source.file).is_file()]
        if len(there) < len(self.sources["train"]):
            rank_zero_info(
                "data.train: not all of its files are here: nobody looked whether faces of them are measured on"
            )
        tables = [self.open_source(source) for source in there]
        if self.fold is not None:
            choose(tables, self.fold, False, "train")
        return tables

    def setup(self, stage: str) -> None:
        """Opens the converted files and says what is in them."""
        for name, tables in self._open().items():
            self.tables[name] = tables
            for table in tables:
                rank_zero_info(f"{name}: {table.path}: {table.summary.told()}")
                for warning in table.summary.warnings:
                    rank_zero_info(f"{name}: {table.path}: warning: {warning}")

    @property
    def wanted(self) -> tuple[str, ...]:
        """The sets of files that the trainer's present command reads."""
        sets = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}
        return sets[str(self._trainer.state.fn and self._trainer.state.fn.value)]

    def _open(self) -> dict[str, list[Table]]:
        if not self.sources[self.wanted[0]]:
            raise FEAError(f"data.{self.wanted[0]}: no file is given; list at least one JSONL file there")
        tables = {name: [self.open_source(source) for source in self.sources[name]] for name in self.wanted}
        for name in tables:
            if self.fold is not None and name != "predict":
                choose(tables[name], self.fold, name == "test", name)
            if name == "train":
                expect_something_to_learn(tables[name])
            elif name != "predict":
                expect_labels(name, tables[name])
        return tables

    def open_source(self, source: Source) -> Table:
        """Validates and converts a file."""
        file = Path(source.file)
        emotions = self.emotions if source.emotions is None else emotion_set(source.emotions)
        root = file.parent if source.image_root is None else Path(source.image_root)
        table = open_jsonl(file, root, Rules(emotions, self.on_unknown_label, source.wrap), self.on_bad)
        table.weight, table.overlap = source.weight, source.overlap
        return table

    # --- what a synthesis adds ---

    def join(self, source: Source) -> None:
        """Adds analyses to those that are trained on, when the training data are next loaded."""
        self.joined.append(self.open_source(source))

    def reweigh(self, factors: dict[str, float]) -> None:
        """Makes training examples rarer or more frequent, when the training data are next loaded.

        Args:
            factors: by file and line of an example.
        """
        self.reweighed |= factors

    def analyses(self) -> Examples:
        """Training examples with an analysis, those that have been added among them."""
        return Examples([*self.tables["train"], *self.joined], analysed=True)

    def shares(self) -> Shares:
        """How often each label is right about a training face as it is drawn now; counted once, and alike on all processes."""
        if self.counted is None:
            examples = self._trained_on
            self.counted = shares_of(examples, self.weights(examples), self.mirror)
        return self.counted

    @property
    def _trained_on(self) -> Examples:
        if self._module.needs_pairs:
            return Examples(self.tables["train"], paired=True)
        return self.analyses() if self._module.needs_analyses else Examples(self.tables["train"])

    def longest_analysis(self) -> str:
        """Of the training files, if all of them are there already; else ""."""
        sources = self.sources["train"]
        there = "train" in self.tables or all(Path(source.file).is_file() for source in sources)
        tables = self.tables.get("train") or ([self.open_source(source) for source in sources] if there else [])
        return max((table.longest("analysis") for table in tables), key=len, default="")

    @property
    def all_emotions(self) -> tuple[str, ...]:
        """The allowed emotions of all files, for the metrics."""
        own = [emotion_set(s.emotions) for sources in self.sources.values() for s in sources if s.emotions is not None]
        return tuple(dict.fromkeys([*self.emotions, *(word for words in own for word in words)]))

    # --- loaders ---

    def train_dataloader(self) -> object:
        """Batches for the module's stage; GRPO turns them into rollouts."""
        module, examples = self._module, self._trained_on
        self.counted = None  # weights may have changed
        kind: Kind = "paired" if module.needs_pairs else "analysed" if module.needs_analyses else ""
        expect_a_batch(len(examples), kind, self.batch_size, self._trainer.world_size, self.remedy(kind))
        sampler = EpochSampler(
            len(examples), self.seed, True, self.weights(examples), self.mirror, self._trainer.global_rank,
            self._trainer.world_size, forms=module.forms,
        )  # fmt: skip
        return module.train_loader(
            self._loader(examples, module.encode_training, sampler, self.batch_size, training=True)
        )

    def remedy(self, kind: Kind) -> str:
        """What to do where there are too few training examples of a kind for a batch."""
        return "lower it, or give more"

    def weights(self, examples: Examples) -> NDArray[np.float64] | None:
        """How often each example is drawn in training; None if all are drawn alike."""
        weights = examples.weights()
        if self.balance:
            weights = weights * examples.balance(self.balance, self.balance_power)
        if self.reweighed:
            weights = weights * np.array([self.reweighed.get(place, 1.0) for place in examples.places()])
        return weights if self.balance or len(np.unique(weights)) > 1 else None

    def val_dataloader(self) -> Sequence[Loader]:
        """Batches in file order."""
        return self._evaluation("val")

    def test_dataloader(self) -> Sequence[Loader]:
        """Batches in file order."""
        return self._evaluation("test")

    def predict_dataloader(self) -> Sequence[Loader]:
        """Batches in file order."""
        return self._evaluation("predict")

    def _evaluation(self, name: str) -> list[Loader]:
        if not self.tables[name]:
            return []
        examples, trainer = Examples(self.tables[name]), self._trainer
        sampler = EpochSampler(
            len(examples), shuffle=False, rank=trainer.global_rank, world=trainer.world_size, even=False
        )
        return [self._loader(examples, self._module.encode, sampler, self.eval_batch_size, training=False)]

    def _loader(
        self, examples: Examples, encode: Encode | EncodeEach, sampler: EpochSampler, batch_size: int, training: bool
    ) -> Loader:
        self._module.limit_images(self.max_image_pixels)
        self.loaders.append(Loader(examples, encode, sampler, batch_size, self.num_workers, self.on_bad, training))
        return self.loaders[-1]

    def teardown(self, stage: str) -> None:
        """Says how many images were skipped, and why."""
        skipped = {reason: count for loader in self.loaders for reason, count in loader.skipped.items()}
        if skipped:
            rank_zero_info(f"skipped {len(skipped)} unreadable images; the first: {next(iter(skipped))}")
        self.loaders = []

    @property
    def _trainer(self) -> L.Trainer:
        return cast(L.Trainer, self.trainer)

    @property
    def _module(self) -> Consumer:
        return cast(Consumer, self._trainer.lightning_module)
