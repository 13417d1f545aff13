"""What a checkpoint says of its run, and the policy that is built from it.

A checkpoint holds the trainable weights, the optimizer and, under the key "fea", what is needed to build the policy again.
It is written whole or not at all, and read with `weights_only`: a file cannot run code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fea.errors import FEAError
from fea.model import elsewhere, frozen, fsdp
from fea.model.archive import read
from fea.model.config import GONE, Device, LoRA, Numbered, PolicyConfig, TinySize, VisionLoRA
from fea.model.policy import Policy
from fea.model.precision import device_of, without_bf16
from fea.model.runs import absolute, find, folder_of, found
from fea.prompts.answer import Form
from fea.prompts.prompt import PROMPT_VERSION


@dataclass(frozen=True)
class Stored:
    """What a checkpoint says under the key "fea": what is needed to build its policy again, and what that has seen.

    Attributes:
        policy: how it is built.
        emotions: that it may answer.
        datasets: names of the data sets that it and the runs before it were trained on.
        stage: class of the module that wrote it.
        prompt: version of the prompt that it was trained with.
        init_from: run that its run started from.
        inherits: whether weights of that run are needed that this one does not train, and so does not hold.
        skipped: optimizer steps that were left out, since their gradient was not finite.
        reference: trainable weights of the reference policy, by name, or no more of them than `Policy.keep_reference`
            needs; empty without one.
        frozen: digest of the weights that are not in the checkpoint; "" if it does not say.
        precision: that the trainer computed in; earlier releases did not say, and answered in that of the weights.
        coded: FACS numbers that the coders of its faces looked for, of which an answer says whether they show; empty if it does
            not say.
        forms: of answers that it and the runs before it were trained to give; empty if it does not say.
        near: where the base and `init_from` lie as seen from the folder of the run, by these names; "" for what is no path.
    """

    policy: PolicyConfig
    emotions: tuple[str, ...]
    datasets: frozenset[str]
    stage: str
    prompt: str = PROMPT_VERSION
    init_from: str | None = None
    inherits: bool = False
    skipped: int = 0
    reference: Mapping[str, Tensor] = field(default_factory=dict)
    frozen: str = ""
    precision: str = "32-true"
    coded: frozenset[int] = frozenset()
    near: Mapping[str, str] = field(default_factory=dict)
    forms: frozenset[Form] = frozenset()

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any], file: Path | str = "") -> Stored:
        """Reads what a checkpoint says.

        Args:
            checkpoint: its content.
            file: its name, for what is said of it.

        Raises:
            FEAError: it was trained with another version of the prompt, or by a later release, or was touched by hand.
        """
        title = f"checkpoint '{file}'" if file else "the checkpoint"
        try:
            told = dict(checkpoint["fea"])
            if told["prompt"] != PROMPT_VERSION:
                raise FEAError(
                    f"{title} was trained with prompt version {told['prompt']}, this is version {PROMPT_VERSION}; "
                    "use the release of fea that wrote it"
                )
            fields = {name: value for name, value in told["policy"].items() if name not in GONE}
            if isinstance(fields.get("answer"), dict):
                fields["answer"] = Numbered(**fields["answer"])
            policy = PolicyConfig(**{**fields, "tiny": TinySize(**fields["tiny"]), "lora": _lora(fields["lora"])})
            known = {name: told[name] for name in _PLAIN if name in told}
            known["coded"] = frozenset(told.get("coded", ()))
            known["forms"] = frozenset(told.get("forms", policy.forms))  # earlier releases trained in one alone
            return cls(policy, tuple(told["emotions"]), frozenset(told["datasets"]), **known)
        except FEAError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FEAError(
                f"{title} does not say how its model is built ({_why(error)}): a later release of fea wrote it, or it was "
                "touched by hand; use that release, or take another"
            ) from error

    def plain(self) -> dict[str, Any]:
        """As plain values and tensors, for a checkpoint. Folders are named by paths that hold from anywhere."""
        return {
            "policy": {
                **asdict(self.policy),
                "base": absolute(self.policy.base),
                "face_model": _absolute(self.policy.face_model),
            },
            "prompt": self.prompt,
            "emotions": list(self.emotions),
            "datasets": sorted(self.datasets),
            "init_from": self.init_from and absolute(self.init_from),
            "inherits": self.inherits,
            "stage": self.stage,
            "skipped": self.skipped,
            "reference": dict(self.reference),
            "frozen": self.frozen,
            "precision": self.precision,
            "coded": sorted(self.coded),
            "near": dict(self.near),
            "forms": sorted(self.forms),
        }

    def seen_from(self, folder: Path) -> Stored:
        """With base and `init_from` where they lie now.

        Args:
            folder: of the run, wherever it has been moved.
        """
        base = found(self.policy.base, self.near.get("base", ""), folder)
        start = self.init_from and found(self.init_from, self.near.get("init_from", ""), folder)
        return replace(self, policy=replace(self.policy, base=base), init_from=start)


# What `Stored` holds as it stands in a checkpoint.
_PLAIN = ("stage", "prompt", "init_from", "inherits", "skipped", "reference", "frozen", "precision", "near")


def _absolute(file: str | None) -> str | None:
    """A path that holds from anywhere."""
    return file and str(Path(file).absolute())


def _lora(told: Mapping[str, Any] | None) -> LoRA | None:
    """Of plain values; earlier releases had fewer settings."""
    vision = told and told.get("vision")
    return LoRA(**{**told, "vision": vision and VisionLoRA(**vision)}) if told else None


def _why(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def stored(run: str, base: str | None = None) -> Stored:
    """What the checkpoint of a run says, or what is known of an adapter of PEFT on its base, or on that which is named.

    Raises:
        FEAError: there is none, it cannot be read, or it was trained with another version of the prompt.
    """
    if elsewhere.is_adapter(run):
        return _of_elsewhere(run, torch.device("cpu"), None if base == "tiny" else base)
    file = find(run)
    return Stored.of(read(file), file).seen_from(folder_of(file))


def described(name: str, device: torch.device, base: str | None = None) -> Stored:
    """What a run says of itself, or what is known of a model that no run stands behind, with its base where it is now.

    Args:
        name: folder or checkpoint of a run; or a base, an exported model or an adapter of PEFT.
        device: that it will compute on.
        base: folder or hub name of the model that it was trained on, if that is no longer where it was.

    Raises:
        FEAError: as `load_policy` does.
    """
    if elsewhere.names_one(name):
        return _of_elsewhere(name, device, base)
    told = stored(name)
    if card := without_bf16(told.precision, device):
        raise FEAError(f"device: '{name}' computes in bf16, which {card} does not; choose cpu")
    return replace(told, policy=replace(told.policy, base=base_of(name, told, base)))


def _of_elsewhere(name: str, device: torch.device, base: str | None) -> Stored:
    """The like of a model that no run stands behind."""
    told = elsewhere.described(name, device, base)
    return Stored(
        told.policy, told.emotions, told.datasets, "", precision=told.precision, coded=told.coded, forms=told.forms
    )


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """The first half of the SHA-256 of some weights; sharded ones are put together, on all processes at once."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        content = fsdp.whole(fsdp.own_part(weight.detach()), weight).cpu().contiguous()
        digest.update(name.encode())
        digest.update(content.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def weights(run: str | None) -> dict[str, Tensor]:
    """All weights that training changed up to a run's checkpoint, or those of an adapter of PEFT, by their names in the policy.

    An adapter that was trained on top of an earlier run's whole weights brings these along.
    """
    if run is None:
        return {}
    if elsewhere.is_adapter(run):
        return elsewhere.weights(run)
    file = find(run)
    checkpoint = read(file)
    told, named = Stored.of(checkpoint, file).seen_from(folder_of(file)), checkpoint["state_dict"].items()
    if told.inherits and told.init_from and not Path(told.init_from).exists():
        raise FEAError(
            f"'{run}' needs the weights of the run that it started from, and '{told.init_from}' is not there; copy that one, "
            f"too, to '{folder_of(file) / told.near.get('init_from', '')}'"
        )
    own = {name.removeprefix("policy."): weight for name, weight in named if name.startswith("policy.")}
    return (weights(told.init_from) if told.inherits else {}) | own


def check_names(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Compares the weights of a file with those that a policy trains.

    Raises:
        FEAError: a name or a shape differs.
    """
    here, there = ({name: tuple(w.shape) for name, w in weights.items()} for weights in (wanted, stored))
    if here != there:
        name = sorted(set(there.items()) ^ set(here.items()))[0][0]
        raise FEAError(
            f"the checkpoint belongs to another model: '{name.removeprefix('policy.')}' is {there.get(name, 'not')} in it and "
            f"{here.get(name, 'not')} here; use the config that it was trained with"
        )


def check_adapter(run: str | None, config: PolicyConfig) -> None:
    """Refuses to go on from an adapter with another one: a changed alpha would rescale it without a word.

    Raises:
        FEAError: the adapters differ.
    """
    earlier = None if run is None else stored(run, config.base).policy.lora
    if earlier and config.lora and not config.lora.extends(earlier):
        raise FEAError(
            f"policy.lora: {_sizes(config.lora)}, but '{run}' (model.init_from) was trained with {_sizes(earlier)}; use the "
            "same rank, alpha, targets, rs and vision.rank"
        )


def _sizes(lora: LoRA) -> str:
    seeing = f", vision.rank {lora.vision.rank}" if lora.vision else ""
    return f"rank {lora.rank} and alpha {lora.alpha}{seeing}{', rs' * lora.rs}"


def base_of(run: str, told: Stored, base: str | None) -> str:
    """The base of a run.

    Args:
        run: as it was named.
        told: what its checkpoint says, as seen from its folder.
        base: folder or name on the hub instead of what it says.

    Raises:
        FEAError: the folder is neither where it was nor where it would lie as seen from the run.
    """
    known = told.policy.base
    if base is None and Path(known).is_absolute() and not Path(known).exists():
        near = told.near.get("base")
        beside = f", nor at '{(folder_of(find(run)) / near).resolve()}', beside the run" if near else ""
        raise FEAError(
            f"the model that '{run}' was trained on is not at '{known}', where it was then{beside}; name it with "
            "--base FOLDER_OR_HUB_NAME"
        )
    return known if base is None else absolute(base)


def load_policy(run: str, device: Device = "auto", base: str | None = None) -> tuple[Policy, Stored]:
    """The trained policy of a run, ready to answer, and what its checkpoint says about it.

    Args:
        run: folder or checkpoint of a run; or a folder or name on the hub of a base, an exported model or an adapter of PEFT,
            which are asked as they are.
        device: "cpu", "cuda", or "auto".
        base: folder or hub name of the model that it was trained on, if that is no longer where it was.

    Raises:
        FEAError: the run or its base cannot be read, the base is another one, or there is no such device, or none that can
            compute as the run did.
    """
    place = device_of(device)
    told = described(run, place, base)
    if elsewhere.names_one(run):
        return Policy(told.policy, weights(run) if elsewhere.is_adapter(run) else {}).eval().to(place), told
    policy = Policy(told.policy, weights(run)).eval()
    frozen.check(told.frozen, frozen.digest(policy), told.policy.base)
    return policy.to(place), told
