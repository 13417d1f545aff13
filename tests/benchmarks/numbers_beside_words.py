"""Numbers beside words on drawn faces, whose truth is known: SFT, then GRPO with rewards for points, for concordance, or both.

python tests/benchmarks/numbers_beside_words.py BASE OUT [--seed 0] [--rollouts 160] [--arms point,ccc,both]

BASE is the base of `fea demo`, such as runs/demo/base/model. What is finished is kept: the same command goes on.
An annotator who knows the emotion, and draws every grade to the middle, has written the analyses of SFT; GRPO has labels alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fea.data.example import Example
from fea.demo.board import faces_of
from fea.drawn.module import RenderedFaces
from fea.evaluation.intervals import Tally, differences, judge, scores
from fea.model.cache import Trunk
from fea.model.checkpoints import load_policy
from fea.model.sampling import Generation
from fea.prompts.answer import Answer
from fea.reports.tables import aligned
from fea.rollouts.rollout import ask
from fea.training.fits import Fits

CONFIGS = Path(__file__).parents[2] / "configs"
WORDS = ("MacroF1Reward", "FormatReward")
ARMS = {
    "words": (),
    "point": ("DimensionReward", "IntensityReward"),
    "ccc": ("CCCReward", "IntensityReward"),
    "both": ("DimensionReward", "CCCReward", "IntensityReward"),
    "crps": ("CRPSReward", "IntensityReward"),
}
SHOWN = (
    *("ccc_valence", "ccc_arousal", "rmse_valence", "rmse_arousal", "icc", "pcc", "mae"),
    *("au_f1", "accuracy", "emotion_f1", "invented", "format"),
)
MAX_TOKENS = 176  # of the longest analyses with grades and numbers, 160
BATCH = 100


def settings(options: argparse.Namespace, text: str, faces: int, steps: int) -> dict[str, Any]:
    return {
        "model.policy.base": options.base,
        "model.policy.answer.numbers": ["valence", "arousal", "intensity"],
        "model.generation.max_tokens": MAX_TOKENS,
        "data.numbers": True,
        "data.text": text,
        "data.train_faces": faces,
        "data.folder": options.out / "faces",
        "data.seed": options.seed,
        "seed_everything": options.seed,
        "trainer.max_steps": steps,
        "trainer.limit_val_batches": 0,
    }


def callbacks(arm: str, file: Path) -> Path:
    """A config with the callbacks of stage 2, and rewards for numbers in place of what the comparison does not need."""
    listed = yaml.safe_load((CONFIGS / "grpo.yaml").read_text(encoding="utf-8"))["trainer"]["callbacks"]
    kept = [one for one in listed if one["class_path"].rpartition(".")[2] in (*WORDS, "ModelCheckpoint")]
    added = [{"class_path": f"fea.callbacks.{name}"} for name in ARMS[arm]]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({"trainer": {"callbacks": [*kept, *added]}}), encoding="utf-8")
    return file


def words(*files: Path) -> list[str]:
    return [word for file in files for word in ("--config", str(file))]


def answered(run: Path, faces: Sequence[Example]) -> list[list[Answer]]:
    policy, _ = load_policy(str(run), "cpu")
    found: list[list[Answer]] = []
    trunk = Trunk()
    for start in range(0, len(faces), BATCH):
        prompts = policy.look([policy.encoder(face) for face in faces[start : start + BATCH]])
        found += ask(policy, prompts, 1, Generation(MAX_TOKENS), trunk=trunk).by_prompt
    return found


def shown(name: str, after: Tally, before: Tally) -> list[list[str]]:
    """Rows of a table: each score after SFT and after GRPO, and the interval of its change."""
    late, early, found = scores(after), scores(before), differences(after, before)
    return [
        [
            name,
            score,
            f"{early[score][0]:.3f}",
            f"{late[score][0]:.3f}",
            "{:+.3f} ({:+.3f} .. {:+.3f})".format(*found[score]),
        ]
        for score in SHOWN
        if score in found
    ]


def main(options: argparse.Namespace) -> None:
    fits = Fits(options.out / f"seed-{options.seed}")
    demo = CONFIGS / "demo.yaml"
    first = settings(options, "annotator", options.analyses, options.sft_steps)
    fits.fit("sft", words(CONFIGS / "sft.yaml", demo), {**first, "model.optimization.lr": 1e-3})
    second = {
        **settings(options, "none", 16 * options.rollouts, options.rollouts),
        "model.init_from": fits.out / "sft",
        "model.optimization.lr": 3e-4,
        "model.optimization.warmup": max(1, options.rollouts // 20),
        "model.optimization.decay": "linear",
        "model.objective.beta": 0,
        "model.seed": options.seed,
    }
    for arm in options.arms.split(","):
        file = callbacks(arm, options.out / "rewards" / f"{arm}.yaml")
        fits.fit(f"grpo-{arm}", words(CONFIGS / "grpo.yaml", demo, file), second)
    data = RenderedFaces(str(options.out / "faces"), test_faces=options.faces, numbers=True)
    faces = faces_of(data.draw("test"))
    before = judge(faces, answered(fits.out / "sft", faces))
    head = ("reward", "score", "SFT", "+ GRPO", "change, 95 %")
    for arm in options.arms.split(","):
        after = judge(faces, answered(fits.out / f"grpo-{arm}", faces))
        print(f"\nseed {options.seed}, {len(faces)} held-out faces, {fits.seconds[f'grpo-{arm}']:.0f} s", flush=True)
        print(aligned(head, shown(arm, after, before)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--analyses", type=int, default=400, help="faces of SFT")
    parser.add_argument("--sft-steps", type=int, default=400)
    parser.add_argument("--rollouts", type=int, default=160, help="of 16 faces with 8 answers each")
    parser.add_argument("--arms", default="point,ccc,both", help=f"of {', '.join(ARMS)}")
    parser.add_argument("--faces", type=int, default=1500, help="that are held out")
    main(parser.parse_args())
