"""Models that no run stands behind: a base as it is, a model that was exported whole, an adapter in a folder of PEFT.

`fea.json` in such a folder says how the model was trained to be asked. A base has none, and is asked as a new fit would ask it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fea.errors import FEAError
from fea.faces.crops import MARGIN
from fea.facs import emotion_set
from fea.model import any_family, belonging
from fea.model.config import LoRA, Numbered, PolicyConfig, VisionLoRA
from fea.model.families.known import FAMILIES, of_type, publisher
from fea.model.lora import is_seeing
from fea.model.precision import without_bf16
from fea.model.pretrained import config_of
from fea.model.runs import absolute
from fea.prompts.answer import FORMS, Form
from fea.prompts.prompt import PROMPT_VERSION

SETTINGS = "fea.json"  # how a model was trained to be asked
ADAPTER = "adapter_config.json"  # of a folder of PEFT
_ADAPTED = "adapter_model.safetensors"
_HUB = re.compile(r"\w[\w.-]*/[\w.-]+")  # owner and name
_RUNS = "runs/"  # where fits write, so that a run which is not there is not looked for on the hub
# What `fea.json` says of the policy.
_ASKED = ("knowledge", "answer", "min_pixels", "max_pixels")
# What an adapter may have that ours has not.
_OTHER_KINDS = ("use_dora", "modules_to_save", "lora_bias", "fan_in_fan_out")
# Names of layers in adapters that were trained with releases of transformers before 4.52, where the parts of the Qwen families
# lay beside each other.
_EARLIER = (
    (re.compile(r"^visual\."), "model.visual."),
    (re.compile(r"^model\.layers\."), "model.language_model.layers."),
)


@dataclass(frozen=True)
class Elsewhere:
    """How such a model is built and asked.

    Attributes:
        policy: how it is built.
        emotions: that it may answer.
        datasets: names of the data sets that it was trained on, as far as is known.
        precision: that it computes in.
        coded: FACS numbers that the coders of its faces looked for; empty if nothing says so.
        forms: of answers that it was trained to give; empty likewise.
    """

    policy: PolicyConfig
    emotions: tuple[str, ...]
    datasets: frozenset[str]
    precision: str
    coded: frozenset[int] = frozenset()
    forms: frozenset[Form] = frozenset()


def names_one(name: str) -> bool:
    """Whether a name is that of a base, an exported model or an adapter, and not of a run or a checkpoint."""
    folder = Path(name)
    if folder.exists():
        return any((folder / file).is_file() for file in ("config.json", ADAPTER)) or folder.suffix == ".gguf"
    return bool(_HUB.fullmatch(name)) and not name.startswith(_RUNS)


def is_adapter(name: str) -> bool:
    """Whether a name is that of a folder of PEFT."""
    return (Path(name) / ADAPTER).is_file()


def is_export(name: str) -> bool:
    """Whether a name is that of a folder that says how its model was trained."""
    return (Path(name) / SETTINGS).is_file()


def described(name: str, device: torch.device, base: str | None = None) -> Elsewhere:
    """How a model is built and asked: in fp32 on a CPU; on a GPU in bf16, unless its weights are kept in more.

    Args:
        name: folder, or name on the hub.
        device: that it will compute on.
        base: of an adapter, if it is not where it was.

    Raises:
        FEAError: there is no such model, or it cannot be read here.
    """
    told = _settings(Path(name))
    lora = None
    if is_adapter(name):
        base = base or _base_of(Path(name), str(told.get("base") or ""))
        lora = _lora(Path(name), _all_layers(base))
    elif base:
        raise FEAError(f"base: '{name}' is a whole model and needs none; leave --base out")
    shown: dict[str, Any] = {key: told[key] for key in _ASKED if key in told}
    if told.get("numbers"):
        shown["answer"] = Numbered(told.get("answer", "after_thinking"), list(told["numbers"]))
    if crop := told.get("crop"):
        shown |= {"faces": crop["faces"], "face_model": crop.get("face_model")}
    config = PolicyConfig(base=base or name, lora=lora, **shown)
    emotions = told.get("emotions", "basic7")
    known = frozenset(map(str, told.get("datasets", ())))
    low = device.type == "cuda" and _is_low(config.base) and not without_bf16("bf16-mixed", device)
    if low:  # weights in bf16 stand beside an adapter; a fresh one changes nothing
        config = replace(config, lora=lora or LoRA(), dtype="bfloat16")
    coded = frozenset(map(int, told.get("coded", ())))
    forms = frozenset(form for form in FORMS if form in told.get("forms", ()))
    return Elsewhere(config, emotion_set(emotions), known, "bf16-mixed" if low else "32-true", coded, forms)


def _is_low(base: str) -> bool:
    """Whether the weights of a base are kept in 16 bits."""
    from transformers import AutoConfig

    belonging.check_place(base)
    try:
        kept = AutoConfig.from_pretrained(base).dtype
    except (OSError, ValueError):
        return False  # it is told when the model is loaded
    return kept in (torch.bfloat16, torch.float16)


def _settings(folder: Path) -> dict[str, Any]:
    """What `fea.json` says; nothing without one."""
    file = folder / SETTINGS
    if not file.is_file():
        return {}
    told = _read(file)
    if told.get("prompt") != PROMPT_VERSION:
        raise FEAError(
            f"'{file}' is of prompt version {told.get('prompt')}, this is version {PROMPT_VERSION}; use the release of fea "
            "that wrote it"
        )
    crop = told.get("crop")
    if crop is not None and (
        not isinstance(crop, dict) or crop.get("margin") != MARGIN or crop.get("faces") != "largest"
    ):
        raise FEAError(f"'{file}' asks for cropped images ({crop}), of which this release knows nothing")
    return told


# --- adapters of PEFT ---


def weights(folder: str) -> dict[str, Tensor]:
    """The weights of an adapter, by their names in the policy, as `described` sets it up.

    PEFT gives each layer a rank and a scale of its own, the policy one to each of its parts. A lower rank is filled up with
    zeros, and another scale goes into B: the update of each layer stays what it was.

    Raises:
        FEAError: they cannot be read.
    """
    lora, scales, found = _lora(Path(folder), ""), _scales(Path(folder)), dict[str, Tensor]()
    for layer, (down_rD, up_Or) in _layers(Path(folder)).items():
        rank = lora.vision.rank if lora.vision and _is_seeing(layer) else lora.rank
        missing, scale = rank - len(down_rD), scales[layer] * rank / lora.alpha
        found[f"model.{layer}.lora_A.default.weight"] = F.pad(down_rD, (0, 0, 0, missing))
        found[f"model.{layer}.lora_B.default.weight"] = F.pad(up_Or, (0, missing)) * scale
    return found


def _layers(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """A (r, D) and B (O, r) of each layer."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(folder / _ADAPTED)
    except (OSError, SafetensorError) as error:
        raise FEAError(
            f"'{folder}' holds no weights that can be read in {_ADAPTED} ({error}); copy that file again"
        ) from error
    found: dict[str, dict[str, Tensor]] = {}
    for name, weight in stored.items():
        parts = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        if not parts:
            raise FEAError(f"'{folder / _ADAPTED}' holds '{name}', which is no part of a plain LoRA; read it with PEFT")
        found.setdefault(_spelled(parts[1]), {})[parts[2]] = weight.float()
    if not found or any(len(parts) < 2 for parts in found.values()):
        raise FEAError(f"'{folder / _ADAPTED}' lacks a half of its adapter (lora_A or lora_B); copy that file again")
    return {layer: (parts["A"], parts["B"]) for layer, parts in found.items()}


def _spelled(layer: str) -> str:
    """The name of a layer as transformers builds it now."""
    for pattern, new in _EARLIER:
        layer = pattern.sub(new, layer)
    return layer


def _is_seeing(layer: str) -> bool:
    """Whether a layer is one that an image goes through before the language model, in whichever family."""
    return any(is_seeing(layer, family) for family in FAMILIES)


def _scales(folder: Path) -> dict[str, float]:
    """What each layer's update is multiplied by: alpha over the rank, or over its root (rsLoRA)."""
    told = _read(folder / ADAPTER)
    alphas = {_spelled(key): alpha for key, alpha in (told.get("alpha_pattern") or {}).items()}
    scales = {}
    for layer, (down_rD, _) in _layers(folder).items():
        # As PEFT finds it: a key is the end of the name, and may be a pattern.
        own = [alpha for key, alpha in alphas.items() if re.fullmatch(rf"(.*\.)?({key})", layer)]
        rank = len(down_rD)
        scales[layer] = float((own or [told.get("lora_alpha") or 0])[0]) / (
            rank**0.5 if told.get("use_rslora") else rank
        )
    return scales


def _all_layers(base: str) -> str:
    """Pattern of all linear layers of the language model of a base."""
    known = publisher(base) or of_type(config_of(base).model_type)
    return known.lora_targets if known else any_family.lora_targets(base)


def _lora(folder: Path, usual: str) -> LoRA:
    """The adapter as a setting: the highest rank of each part, with the alpha of its file.

    Args:
        folder: of PEFT.
        usual: pattern of all layers that may have one; "" where it is not asked which have.
    """
    told = _read(folder / ADAPTER)
    other = [name for name in _OTHER_KINDS if told.get(name)]
    if told.get("peft_type") != "LORA" or other or told.get("bias", "none") != "none":
        kind = ", ".join(other) or ("bias" if told.get("peft_type") == "LORA" else told.get("peft_type"))
        raise FEAError(
            f"'{folder / ADAPTER}': only a plain LoRA is read, and this one has {kind}; merge it with PEFT first"
        )
    if not all(scale > 0 for scale in _scales(folder).values()):
        raise FEAError(f"'{folder / ADAPTER}' has lora_alpha {told.get('lora_alpha')}; give one above 0")
    ranks = {layer: len(down_rD) for layer, (down_rD, _) in _layers(folder).items()}
    seeing = max((rank for layer, rank in ranks.items() if _is_seeing(layer)), default=0)
    reading = {layer: rank for layer, rank in ranks.items() if not _is_seeing(layer)}
    if not reading:
        raise FEAError(f"'{folder}' has an adapter on the vision tower alone; merge it with PEFT first")
    alpha = float(told["lora_alpha"])
    return LoRA(
        max(reading.values()),
        int(alpha) if alpha.is_integer() else 1,
        _targets(folder, reading, usual) if usual else LoRA().targets,
        VisionLoRA(seeing) if seeing else None,
    )


def _targets(folder: Path, layers: Iterable[str], usual: str) -> str:
    """Pattern of the layers that have an adapter; what it matches beside them gets one that changes nothing."""
    if outside := [layer for layer in layers if not re.fullmatch(usual, layer)]:
        raise FEAError(
            f"'{folder}' has an adapter on '{outside[0]}', outside of the linear layers of the language model; merge it with "
            "PEFT first"
        )
    names = {layer.rpartition(".")[2] for layer in layers}
    if names == set(usual.rpartition("(")[2].rstrip(")").split("|")):
        return LoRA().targets  # which stands for all of them in every family
    return rf"(?=.*\.({'|'.join(sorted(names))})$){usual}"


def _base_of(folder: Path, near: str) -> str:
    """The base of an adapter: where it lies as seen from its folder, or beside that, or as that names it.

    Args:
        folder: of PEFT.
        near: path from there that `fea export` has left; "" if it has not.
    """
    named = str(_read(folder / ADAPTER).get("base_model_name_or_path") or "")
    # What lies beside it went the same way; a folder of this name where the command is called may be another one.
    places = [folder / near] * bool(near) + [folder / named, folder.parent / named, Path(named)] * bool(named)
    if place := next((place for place in places if place.is_dir()), None):
        return absolute(str(place))
    if not _HUB.fullmatch(named):
        raise FEAError(
            f"the model that '{folder}' was trained on is not at '{near or named}'; name it with --base FOLDER_OR_HUB_NAME"
        )
    return named


def _read(file: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FEAError(f"'{file}' is no JSON ({error}); copy that file again") from error
    if not isinstance(content, dict):
        raise FEAError(f"'{file}' holds no settings; copy that file again")
    return content
