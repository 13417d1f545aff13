"""Tables and pictures in every kind of log, and the log of a run that goes on."""

from __future__ import annotations

import csv
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import SAVE_EACH_STEP, fit_arguments
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fea.callbacks import SampleTable
from fea.cli import main
from fea.reports.curves import curves_of
from fea.training.logs import begin, check_folder, counts, show_pictures, show_table, silent

COLUMNS, ROWS = ["face", "completion"], [["0", "a <think> | b\nc"], ["1", "ßé"]]


class Wandb(WandbLogger):
    """Keeps what it is asked to log, and knows nothing of the package."""

    def __init__(self) -> None:
        self.tables: list[Any] = []
        self.images: list[Any] = []

    def log_table(self, key, columns=None, data=None, dataframe=None, step=None) -> None:  # type: ignore[no-untyped-def]
        self.tables.append((key, columns, data, step))

    def log_image(self, key, images, step=None, **kwargs) -> None:  # type: ignore[no-untyped-def]
        self.images.append((key, len(images), step))


class MLFlow(MLFlowLogger):
    """The same; `log_text` and `log_image` are those of mlflow.MlflowClient."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    @property
    def run_id(self) -> str:
        return "run"

    @property
    def experiment(self) -> Any:
        return self

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        self.kept[artifact_file] = (run_id, text)

    def log_image(self, run_id: str, image: Any, artifact_file: str | None = None) -> None:
        self.kept[str(artifact_file)] = (run_id, image.size)


class Other(Logger):
    """A kind that nobody knows."""

    name = version = "other"  # type: ignore[assignment]

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Nothing."""

    def log_hyperparams(self, params: Any) -> None:  # type: ignore[override]
        """Nothing."""


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_fakes_are_called_as_the_loggers_are() -> None:
    for method in ("log_table", "log_image"):
        fake, real = (list(inspect.signature(getattr(kind, method)).parameters) for kind in (Wandb, WandbLogger))
        assert fake == real


def test_each_logger_shows_the_table_and_pictures_in_its_own_way(tmp_path: Path) -> None:
    board, file = TensorBoardLogger(tmp_path, "board", ""), CSVLogger(tmp_path, "csv", "")
    wandb, mlflow = Wandb(), MLFlow()
    loggers = [board, file, wandb, mlflow, Other()]
    show_table(loggers, "samples", COLUMNS, ROWS, 20)
    show_pictures(loggers, "samples", [Image.new("RGB", (5, 4))] * 2, 20)
    board.finalize("success")
    events = EventAccumulator(str(tmp_path / "board")).Reload()
    text = events.Tensors("samples/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text == "| face | completion |\n| --- | --- |\n| 0 | a &lt;think> \\| b c |\n| 1 | ßé |"
    assert [(picture.step, picture.width) for picture in events.Images("samples/1")] == [(20, 5)]
    first, second = ({"step": "20", "face": face, "completion": words} for face, words in ROWS)
    assert table(tmp_path / "csv" / "samples.csv") == [first, second]
    assert wandb.tables == [("samples", COLUMNS, ROWS, 20)]
    assert wandb.images == [("samples/faces", 2, 20)]
    assert mlflow.kept["samples/step-000020.md"] == ("run", text)
    assert mlflow.kept["samples/step-000020-1.png"] == ("run", (5, 4))
    assert silent(loggers) == ["Other"]


def test_a_table_that_is_made_again_takes_the_place_of_the_first_and_of_later_ones(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, "", "")
    for step in (0, 20, 40):
        show_table([logger], "samples", ["completion"], [[f"at {step}"]], step)
    show_table([logger], "samples", ["completion", "NewReward"], [["again", "1.00"]], 20)
    told = [(row["step"], row["completion"], row["NewReward"]) for row in table(tmp_path / "samples.csv")]
    assert told == [("0", "at 0", ""), ("20", "again", "1.00")]


def test_a_logger_without_a_folder_for_each_run_comes_second(tmp_path: Path) -> None:
    check_folder([])
    check_folder([CSVLogger(tmp_path), Wandb()])
    with pytest.raises(ValueError, match="and Wandb has none for each run"):
        check_folder([Wandb(), CSVLogger(tmp_path)])


def test_a_logger_that_shows_no_samples_is_told_before_the_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def told(*loggers: Logger, stage: str = "fit") -> str:
        caplog.clear()
        trainer: Any = SimpleNamespace(loggers=loggers, fast_dev_run=False)
        SampleTable().setup(trainer, None, stage)  # type: ignore[arg-type]
        return caplog.text

    assert told(CSVLogger(tmp_path), Other()).count("SampleTable: Other will show no samples") == 1
    assert told(CSVLogger(tmp_path), Wandb()) == told() == told(Other(), stage="test") == ""


def written(logger: CSVLogger, step: int, **numbers: float) -> None:
    logger.log_metrics(dict(numbers), step)
    logger.save()


def test_metrics_up_to_the_checkpoint_stay_and_new_columns_find_room(tmp_path: Path) -> None:
    first = CSVLogger(tmp_path, "", "")
    written(first, 0, loss=3.0)
    written(first, 1, loss=2.0)
    kept = counts([first])
    written(first, 2, loss=1.0)
    for again, rows in ((kept, 2), (None, 3), ([], 0)):
        before, logger = table(tmp_path / "metrics.csv"), CSVLogger(tmp_path, "", "")
        trainer: Any = SimpleNamespace(loggers=[logger], is_global_zero=True)
        begin(trainer, again)
        written(logger, 9, score=0.5)
        now = table(tmp_path / "metrics.csv")
        assert [row["loss"] for row in now[:-1]] == [row["loss"] for row in before[:rows]]
        assert (now[-1]["step"], now[-1]["score"]) == ("9", "0.5")


def test_a_run_of_tables_stops_early_says_so_and_goes_on_as_if_it_had_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def arguments(name: str, patience: int) -> list[str]:
        init = f'{{"monitor": "val/score", "mode": "max", "patience": {patience}}}'
        callbacks = f'[{{"class_path": "EarlyStopping", "init_args": {init}}}, {SAVE_EACH_STEP}]'
        words = fit_arguments(
            "sft", tmp_path / name,
            trainer__callbacks=callbacks, trainer__max_steps=9, trainer__limit_val_batches=1,
            trainer__val_check_interval=3, trainer__accumulate_grad_batches=2,
        )  # fmt: skip
        words.insert(words.index("--trainer.max_steps=9"), "--trainer.logger=CSVLogger")
        return words

    # The score of a tiny untrained model is 0 at each validation, so none is better than the first.
    assert main(arguments("whole", 4)) == 0
    assert main(arguments("again", 2)) == 0
    stopped = table(tmp_path / "again" / "metrics.csv")
    assert main([*arguments("again", 2), "--resume"]) == 0
    assert "the run had stopped early: no val/score was better than 0.000 in 2 validations" in caplog.text
    assert table(tmp_path / "again" / "metrics.csv") == stopped
    caplog.clear()
    assert main([*arguments("again", 4), "--resume"]) == 0
    assert "the run had stopped early" not in caplog.text
    whole, again = (table(tmp_path / name / "metrics.csv") for name in ("whole", "again"))
    assert again == whole
    assert len([row for row in whole if row["val/score"]]) == 5
    assert 1 < len([row for row in stopped if row["val/score"]]) == 3
    test = ["test", "--run", str(tmp_path / "again"), "--data.test_faces=4", "--trainer.callbacks=[]"]
    assert main([*test, "--ckpt_path", str(tmp_path / "again" / "checkpoints" / "last.ckpt")]) == 0
    assert table(tmp_path / "again" / "metrics.csv") == whole
    assert {"train/loss", "val/score", "test/au_f1"} <= curves_of(tmp_path / "again").keys()
