"""What GRPO maximizes: the base class of rewards, and the scores of all rewards of a rollout.

What one answer is worth is told in `fea.evaluation.scores`; a reward that does not apply is neither added nor normalized with.
Source: Facial-R1, arXiv 2511.10254v1, "Reinforcement learning": R = R_AU + R_acc + R_format.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from fea.data.example import Example
from fea.data.loader import Faces
from fea.data.module import FEADataModule
from fea.data.shares import Shares
from fea.errors import FEAError
from fea.prompts.answer import Answer, Form
from fea.prompts.numbers import Numbers
from fea.rollouts.rollout import Rollout, Scores
from fea.rollouts.values import asked, number, table
from fea.system.processes import gathered
from fea.system.waiting import Late, Patience

if TYPE_CHECKING:
    import lightning.pytorch as L

Region = Literal["all", "think", "answer"]

# Other faces that a reward is asked about which says nothing of the first ones: a label in 20 is found then.
_TRIED = 64


class RewardCallback(Callback):
    """Base class of rewards: list one under `trainer.callbacks` and GRPO maximizes it.

    Write `reward`, for one answer at a time; or `rewards`, for a whole rollout.

    Args:
        weight: factor in the total reward.
        name: name in the logs; by default the name of the class.
        region: the tokens that the reward credits under `advantage: normalize_then_sum`: "all"; "think" for those up to the
            end of the think block, since later ones cannot have caused what that block earned; "answer" for those after it,
            which is biased, since the thinking causes the answer.
        timeout: seconds that one call of `reward` may take, or one of a `rewards` of your own; null for any. If it takes
            longer, all answers about the face, or all of the rollout, count as unknown, as if it had returned None;
            `reward/NAME_late` counts these faces.
    """

    # For a class of the user's own that does not call this constructor.
    weight: float = 1.0
    name: str = ""
    region: Region = "all"
    patience: Patience | None = None
    late = 0  # faces of the latest rollout for which it took longer
    data: FEADataModule | None = None  # that of the trainer
    needs: Numbers = ()  # numbers beside words that it is about, of which one has to be asked for

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = cls.__name__

    def __init__(
        self, weight: float = 1.0, name: str | None = None, region: Region = "all", timeout: float | None = None
    ):
        self.weight, self.name, self.region = weight, name or type(self).__name__, region
        self.patience = None if timeout is None else Patience(timeout)

    def reward(self, answer: Answer, example: Example, text: str) -> float | None:
        """Scores one answer.

        Args:
            answer: the parsed text.
            example: the face it is about, with all that is known of it.
            text: the text as the policy wrote it.

        Returns:
            The score, or None if the example says nothing about it. What applies to one answer of a face must apply to all.
        """
        raise FEAError(f"reward '{self.name}': {type(self).__name__} has to define reward(answer, example, text)")

    def on_answers(self, rollout: Rollout) -> None:
        """Called on all processes with each rollout of training before it is scored, for a reward that compares or counts.

        Scores are asked for elsewhere too, of validation answers, and not on all processes alike.
        """

    def rewards(self, rollout: Rollout) -> Tensor:
        """Scores a rollout: (B, G), NaN where the reward does not apply."""
        prompts = zip(rollout.prompts, rollout.by_prompt, strict=True)
        return torch.tensor([self._of_face(prompt.example, answers) for prompt, answers in prompts])

    def _of_face(self, example: Example, answers: list[Answer]) -> list[float]:
        where = f"reward '{self.name}': reward()"
        ask = torch.no_grad()(self.reward)  # a thread of its own would not inherit this
        timed = (self.patience, ask) if self.patience else (ask,)
        try:
            values = [asked(where, example, *timed, answer, example, answer.text) for answer in answers]
        except Late:
            self.late += 1
            return [torch.nan] * len(answers)
        return [number(where, example, value) for value in values]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remembers the data; a `setup` of your own calls this one if it asks for `shares`."""
        self.data = cast(Any, trainer).datamodule

    @property
    def limited(self) -> bool:
        """Whether faces may be late, so that it is logged how many are."""
        return self.patience is not None

    @property
    def shares(self) -> Shares:
        """How often each label is right about a training face as it is drawn: what an answer earns without looking.

        Raises:
            FEAError: the reward is asked outside of a trainer, whose data it would count.
        """
        if self.data is None:
            raise FEAError(
                f"reward '{self.name}': it depends on how frequent labels are among the training faces; list it under "
                "trainer.callbacks, or call its setup(trainer, module, 'fit') first"
            )
        return self.data.shares()

    @property
    def state_key(self) -> str:
        """Two rewards of one class keep their states apart by name."""
        return f"{type(self).__qualname__}[{self.name}]"


def rewards_of(trainer: L.Trainer) -> list[RewardCallback]:
    """The rewards among the trainer's callbacks, in their order.

    Raises:
        FEAError: there is none, two have the same name, or one cannot be used as it is.
    """
    found = [callback for callback in trainer.callbacks if isinstance(callback, RewardCallback)]  # type: ignore[attr-defined]
    if not found:
        raise FEAError(
            "trainer.callbacks: GRPO needs a reward; add one, such as fea.callbacks.EmotionReward, or your own RewardCallback"
        )
    names = [callback.name for callback in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise FEAError(f"trainer.callbacks: two rewards are named '{twice[0]}'; give one of them another 'name'")
    if "total" in names:
        raise FEAError(
            "trainer.callbacks: a reward is named 'total', as their sum is in the logs; give it another 'name'"
        )
    for callback in found:
        if not isinstance(callback.weight, int | float) or not math.isfinite(callback.weight):
            raise FEAError(f"reward '{callback.name}': its weight is {callback.weight}; give a finite number")
        if callback.region not in get_args(Region):
            raise FEAError(
                f"reward '{callback.name}': there is no region '{callback.region}'; use all, think or answer"
            )
    return found


def scored(callbacks: Sequence[RewardCallback], rollout: Rollout, device: torch.device | None = None) -> Scores:
    """Scores a rollout by all rewards.

    Args:
        callbacks: the K rewards.
        rollout: G answers to each of B prompts.
        device: for the scores; None for the CPU.

    Raises:
        FEAError: a reward returned or raised what it may not; with its name, the value and the face.
    """
    rewards_BGK = torch.stack([_by_one(callback, rollout) for callback in callbacks], dim=-1)
    weights_K = torch.tensor([callback.weight for callback in callbacks], device=device)
    names = [callback.name for callback in callbacks]
    regions = [str(callback.region) for callback in callbacks]
    late = {callback.name: callback.late for callback in callbacks if callback.limited}
    return Scores(rewards_BGK.to(weights_K.device), weights_K, names, regions, late)


def _by_one(callback: RewardCallback, rollout: Rollout) -> Tensor:
    """(B, G) scores by one reward."""
    kind, where = type(callback), f"reward '{callback.name}': rewards(rollout)"
    if kind.rewards is RewardCallback.rewards and kind.reward is RewardCallback.reward:
        raise FEAError(f"reward '{callback.name}': {kind.__name__} has to define reward(answer, example, text)")
    timed = callback.patience is not None and kind.rewards is not RewardCallback.rewards  # else each answer is
    before, callback.late = callback.late, 0
    try:
        call = (callback.patience, callback.rewards) if timed else (callback.rewards,)
        scores_BG = table(where, rollout, asked(where, None, *call, rollout))
    except Late:
        callback.late = len(rollout.prompts)
        scores_BG = torch.full((len(rollout.prompts), rollout.group), torch.nan)
    if callback.late and not before and callback.patience:
        rank_zero_warn(
            f"reward '{callback.name}' took longer than its timeout of {callback.patience.seconds:g} s for {callback.late} of "
            f"{len(rollout.prompts)} faces: their answers count as unknown; reward/{callback.name}_late counts such faces"
        )
    return scores_BG


def whole_groups(scores_BG: Tensor) -> Tensor:
    """The same with NaN for all answers about a face where it stands for one, for a reward that is unknown by the answer."""
    return scores_BG.masked_fill(scores_BG.isnan().any(dim=1, keepdim=True), torch.nan)


def check_applies(callbacks: Sequence[RewardCallback], scores: Scores, rollout: Rollout, examples: Faces) -> None:
    """Holds, at the first rollout with answers of every form, that each reward says something about some face.

    One that says nothing of the first faces, as many of which may be unlabeled, is asked about others as well.

    Args:
        callbacks: the K rewards.
        scores: by them, of the rollout.
        rollout: the first one.
        examples: those that are trained on.

    Raises:
        FEAError: a reward of the user's own returned None or NaN for all of them; of those of `fea.callbacks` this is told.
    """
    for callback, scores_BG in zip(callbacks, scores.rewards_BGK.unbind(dim=-1), strict=True):
        known = any(gathered(bool(scores_BG.isfinite().any()) or callback.late > 0))
        if known or any(gathered(_applies(callback, rollout, examples))):
            continue
        told = f"reward '{callback.name}' returned None or NaN for every answer"
        if not type(callback).__module__.startswith("fea.callbacks"):
            raise FEAError(
                f"{told} of the first rollout, and for other training faces; return a number from its reward()"
            )
        rank_zero_warn(f"{told} of the first rollout, and for other training faces: their labels say nothing about it")


def every_form(rollout: Rollout, forms: Collection[Form]) -> bool:
    """Whether answers in all of these forms are among those of a rollout, of all processes.

    A reward may have nothing to say of an answer alone, and a first rollout with little else would tell nothing of it.
    """
    if len(forms) == 1:
        return True
    asked = gathered([prompt.form for prompt in rollout.prompts])
    return {*forms} <= {form for part in asked for form in part}


def _applies(callback: RewardCallback, rollout: Rollout, examples: Faces) -> bool:
    """Whether a reward has a number for the answers of a rollout if they were about other faces."""
    faces = len(rollout.prompts)
    tried = [examples[number] for number in range(0, len(examples), math.ceil(len(examples) / _TRIED))]
    for start in range(0, len(tried), faces):
        others = itertools.islice(itertools.cycle(tried[start:]), faces)
        prompts = [prompt._replace(example=other) for prompt, other in zip(rollout.prompts, others, strict=True)]
        if _by_one(callback, rollout._replace(prompts=prompts)).isfinite().any():
            return True
    return False


def check_regions(callbacks: Sequence[RewardCallback], forms: Collection[Form], numbers: Numbers = ()) -> None:
    """Holds that what a reward credits is asked for, in one of these forms at least.

    Raises:
        FEAError: one credits thinking where there is none, or numbers that are not among these.
    """
    for callback in callbacks:
        if callback.needs and not set(callback.needs) & set(numbers):
            raise FEAError(
                f"reward '{callback.name}': it is about {' and '.join(callback.needs)}, and nobody asks for it; set "
                f"policy.answer: {{numbers: [{', '.join(callback.needs)}]}}, or take it out of trainer.callbacks"
            )
        if {*forms} == {"only"} and callback.region == "think":
            raise FEAError(
                f"reward '{callback.name}': it credits the thinking, which policy.answer 'only' does not ask for; take it "
                "out of trainer.callbacks, or let the model think"
            )


def check_groups(scores: Scores, rollout: Rollout) -> None:
    """Holds that each reward applies to all answers about a face or to none: else the group's mean would be biased.

    Raises:
        FEAError: naming the reward and the face.
    """
    missing_BGK = scores.rewards_BGK.isnan()
    for face, column in (missing_BGK.any(dim=1) & ~missing_BGK.all(dim=1)).nonzero().tolist():
        example, count = rollout.prompts[face].example, int(missing_BGK[face, :, column].sum())
        raise FEAError(
            f"reward '{scores.names[column]}' returned None for {count} of {rollout.group} answers about the face "
            f"'{example.id}' ({example.place}), which would bias the mean of the group; return None for all answers about a "
            "face or for none, or use model.objective.advantage normalize_then_sum"
        )
