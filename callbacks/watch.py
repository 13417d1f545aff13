"""Warnings while there is still time: a policy that collapses, rambles, games its rewards, does not look, or forgets."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from fea.evaluation import looking
from fea.evaluation.looking import Look, Said
from fea.evaluation.vanished import Vanishing
from fea.rollouts.loader import RolloutCallback
from fea.rollouts.rollout import Rollout
from fea.system.processes import gathered

# Share of answers with thinking and an emotion from which on a policy has to look: first it learns to write.
_READABLE = 0.75
_SURE = 2.0  # standard deviations below the line
_PATIENCE = 5  # windows after which a policy has to earn more than one answer to all: a poor one gets there on its way
_TITLES = {"au": "claimed Action Units", "emotion": "answered emotions"}


class Watch(RolloutCallback):
    """Looks at the mean of the last rollouts and warns when a line is crossed, once until it is crossed back.

    `watch/warnings` in the log is the number of lines that are crossed. What answers earn by looking at the face is there too:
    `watch/au_f1` and `watch/accuracy` in place, `..._elsewhere` if they were about other faces, `..._constant` with the best
    answer that is the same for all, and `watch/au_look` and `watch/emotion_look` how far they depend on the face, from 0 to 1.

    It names each emotion that the policy answered at the start, or Action Unit that it claimed, and that has vanished since
    while the labels still hold it, once until it comes back; `watch/vanished` is their number.

    Args:
        entropy: nats per token below which completions hardly differ.
        same: share of answers with one emotion above which the policy has stopped to look, unless the labels are as uneven.
        spam: claimed Action Units for each labeled one above which the policy guesses.
        length: tokens of a completion, as a multiple of those at the start.
        truncated: share of completions without an end.
        look: share of what looking at the face can earn, below which claimed units, or emotions, are those of a policy that
            does not look.
        window: rollouts in the mean, and at least in the start that vanished classes are compared with.
    """

    def __init__(
        self,
        entropy: float = 0.02,
        same: float = 0.8,
        spam: float = 2.0,
        length: float = 2.0,
        truncated: float = 0.5,
        look: float = 0.1,
        window: int = 10,
    ):
        self.entropy, self.same, self.spam, self.length, self.truncated = entropy, same, spam, length, truncated
        self.look, self.window = look, window
        self.rollouts = 0
        self.recent: deque[dict[str, float]] = deque(maxlen=window)
        self.said: deque[list[Said]] = deque(maxlen=window)
        self.first_length: float | None = None
        self.vanishing = Vanishing(window)
        self.warned: set[str] = set()
        self.numbers: dict[str, float] = {}

    def on_rollout(
        self, trainer: Trainer, module: LightningModule, rollout: Rollout, rewards: dict[str, Tensor]
    ) -> None:
        """Adds a rollout of all processes and warns."""
        self.rollouts += 1
        faces, sums = _seen(rollout)
        self.said.append(faces)
        self.vanishing.add(faces)
        self.recent.append(_means(faces, sums))
        if len(self.recent) < self.window:
            return
        mean = {name: fmean(seen[name] for seen in self.recent) for name in self.recent[0]}
        self.first_length = self.first_length or mean["length"]
        window = [face for faces in self.said for face in faces]
        looks = {"au": looking.claims(window), "emotion": looking.emotions(window)}
        found = dict([*self._found(mean), *self._blind(looks, mean["readable"]), *self._vanished()])
        for kind in found.keys() - self.warned:
            rank_zero_warn(f"step {trainer.global_step}: {found[kind]}")
        self.warned = set(found)
        self.numbers = {**_numbers(looks), "watch/vanished": float(len(self.vanishing.gone))}
        self.numbers["watch/warnings"] = float(len(found))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Logs what the latest rollouts have shown."""
        pl_module.log_dict(self.numbers)

    def _blind(self, looks: Mapping[str, Look | None], readable: float) -> Iterable[tuple[str, str]]:
        for part, seen in looks.items():
            if seen and readable >= _READABLE and seen.share + _SURE * seen.doubt < self.look:
                yield (
                    f"blind {part}",
                    f"the {_TITLES[part]} do not depend on the face: {_scores(part, seen)}; the policy games its "
                    "rewards, or never learned to look: go back to an earlier checkpoint and raise model.objective.beta, or "
                    "teach it more analyses in stage 1",
                )
            elif seen and self.rollouts >= _PATIENCE * self.window and seen.here <= seen.constant:
                yield (
                    f"below {part}",
                    f"after {self.rollouts} rollouts the {_TITLES[part]} earn no more than one answer to all: "
                    f"{_scores(part, seen)}; look at the samples, or teach the policy more analyses in stage 1",
                )

    def _vanished(self) -> Iterable[tuple[str, str]]:
        for name, lost in self.vanishing.gone.items():
            told, labeled = ("claimed", "show it") if name.startswith("AU") else ("said", "are labeled so")
            yield (
                f"vanished {name}",
                f"{name} has vanished: {lost.start:.1%} of the answers {told} {name} at the start, {lost.now:.1%} since "
                f"rollout {lost.since}, and {lost.labels:.1%} of the faces {labeled}; go back to an earlier checkpoint, and "
                "show it more often: data.balance: both, with a higher data.balance_power; fea.callbacks.MacroF1Reward helps, "
                "too",
            )

    def _found(self, mean: dict[str, float]) -> Iterable[tuple[str, str]]:
        if mean["entropy"] < self.entropy:
            yield (
                "entropy",
                f"the entropy fell to {mean['entropy']:.3f} nats a token: completions hardly differ and teach little; lower "
                "model.optimization.lr, or raise model.objective.beta",
            )
        if mean["same"] > max(self.same, mean["same_labels"] + 0.1):
            yield (
                "same",
                f"{mean['same']:.0%} of the answers name the same emotion, and {mean['same_labels']:.0%} of the labels: the "
                "policy may be gaming a reward; set data.balance to emotion, or raise model.objective.beta",
            )
        if mean["claimed"] > self.spam * max(1.0, mean["labeled"]):
            yield (
                "spam",
                f"answers claim {mean['claimed']:.1f} Action Units where {mean['labeled']:.1f} are labeled: the policy may "
                "be guessing; look at the samples, and check that files with few coded units name them in AUs_coded",
            )
        if mean["length"] > self.length * (self.first_length or mean["length"]) or mean["truncated"] > self.truncated:
            yield (
                "length",
                f"completions have {mean['length']:.0f} tokens, {self.first_length:.0f} at the start, and "
                f"{mean['truncated']:.0%} have no end; raise model.generation.max_tokens, or set "
                "model.objective.mask_truncated",
            )

    def state_dict(self) -> dict[str, Any]:
        """What it has seen."""
        return {
            "rollouts": self.rollouts,
            "recent": list(self.recent),
            "said": [[list(face) for face in faces] for faces in self.said],
            "first_length": self.first_length,
            "vanishing": self.vanishing.state_dict(),
            "warned": sorted(self.warned),
            "numbers": self.numbers,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on watching; what an earlier release did not keep begins anew."""
        if "said" not in state:
            return
        self.rollouts = state["rollouts"]
        self.recent = deque(state["recent"], maxlen=self.window)
        self.said = deque([[Said(*face) for face in faces] for faces in state["said"]], maxlen=self.window)
        self.first_length, self.warned, self.numbers = state["first_length"], set(state["warned"]), state["numbers"]
        if "vanishing" in state:  # else the policy of now is taken for that of the start
            self.vanishing.load_state_dict(state["vanishing"])


def _seen(rollout: Rollout) -> tuple[list[Said], dict[str, float]]:
    """What was said about each face, and sums over completions; of all processes."""
    completions = rollout.completions
    faces = [looking.said(p.example, answers) for p, answers in zip(rollout.prompts, rollout.by_prompt, strict=True)]
    sums = {
        "surprise": float(-completions.logps.sum()),
        "tokens": float(completions.mask.sum()),
        "truncated": float(completions.truncated.sum()),
        "answers": float(len(rollout.answers)),
    }
    parts = gathered((faces, sums))
    return [face for faces, _ in parts for face in faces], {name: sum(part[name] for _, part in parts) for name in sums}


def _means(faces: Sequence[Said], sums: Mapping[str, float]) -> dict[str, float]:
    emotions = [emotion for face in faces for emotion in face.emotions if emotion]
    labels = [label for face in faces for label in face.labels]
    coded = [len(face.present) for face in faces if face.coded and face.units]
    claimed = [len(units) for face in faces if face.units for units in face.claimed]
    forms = [
        (thinks or not face.units, emotion)
        for face in faces
        for thinks, emotion in zip(face.thinking, face.emotions, strict=True)
    ]
    return {
        "entropy": sums["surprise"] / sums["tokens"],  # of what was sampled: an estimate without bias
        "same": _most(emotions) / sums["answers"],
        "same_labels": _most(labels) / len(labels) if labels else 1.0,
        "claimed": fmean(claimed or [0]),
        "labeled": fmean(coded) if coded else float("inf"),
        "length": sums["tokens"] / sums["answers"],
        "truncated": sums["truncated"] / sums["answers"],
        "readable": fmean(all(form) for form in forms),
    }


def _scores(part: str, seen: Look) -> str:
    if part == "au":
        return (
            f"their F1 is {seen.here:.2f}, would be {seen.elsewhere:.2f} about other faces, and {seen.constant:.2f} for the "
            "best set that is the same for all"
        )
    return (
        f"{seen.here:.0%} are right, {seen.elsewhere:.0%} would be about other faces, and {seen.constant:.0%} for the one that "
        "is right most often"
    )


def _numbers(looks: Mapping[str, Look | None]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for part, score in {"au": "au_f1", "emotion": "accuracy"}.items():
        if seen := looks[part]:
            numbers |= {
                f"watch/{score}": seen.here,
                f"watch/{score}_elsewhere": seen.elsewhere,
                f"watch/{score}_constant": seen.constant,
                f"watch/{part}_look": seen.share,
            }
    return numbers


def _most(words: list[str]) -> int:
    return max(Counter(words).values(), default=0)
