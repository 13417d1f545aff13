"""What stands beside the weights of an exported model, so that other programs ask it as its run did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fea.errors import FEAError
from fea.faces.crops import MARGIN
from fea.model.causal import Causal
from fea.model.checkpoints import Stored
from fea.model.config import PolicyConfig
from fea.model.elsewhere import SETTINGS
from fea.model.load import is_known
from fea.model.network import Network, Speaker
from fea.model.policy import Policy
from fea.model.stock import Stock
from fea.prompts.prompt import system_prompt, user_prompt
from fea.system.files import write_atomically

_CONFIG = "config.json"
_GENERATION = "generation_config.json"
_TEMPLATE = "chat_template.jinja"
_IMAGES = "preprocessor_config.json"
_PROCESSOR = "processor_config.json"
_VIDEOS = "video_preprocessor_config.json"
# Of a base, what is taken along as it is. A license file goes with the weights that it is about.
_AS_IT_IS = (
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json"),
    *("added_tokens.json", "tokenizer.model", "chat_template.json", _TEMPLATE, "additional_chat_templates", _VIDEOS),
)
_OF_PROCESSORS = (_IMAGES, _PROCESSOR)
_LICENSES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")
_WANTED = ("*.json", "*.txt", "*.jinja", "*.model", "*.safetensors", "LICENSE*", "NOTICE*")


def base_folder(config: PolicyConfig, scratch: Path) -> Path:
    """A folder with the files of a policy's base.

    Args:
        config: of the policy.
        scratch: an empty folder for a base that is in no file.

    Raises:
        FEAError: it cannot be had, or is a quantized one.
    """
    if config.base == "tiny":
        Policy(replace(config, lora=None, dtype="float32"), {}).save(scratch)
        return scratch
    folder = Path(config.base)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(config.base, allow_patterns=list(_WANTED)))
        except (OSError, ValueError) as error:
            why = str(error).strip().splitlines()[0]
            raise FEAError(
                f"base: the files of '{config.base}' cannot be had from the hub ({why}); name a folder with them with --base"
            ) from error
    if not (folder / _CONFIG).is_file():
        raise FEAError(f"base: '{config.base}' holds no model (no {_CONFIG} in it); name it with --base")
    if "quantization_config" in _read(folder / _CONFIG):
        raise FEAError(
            f"base: '{config.base}' is a quantized model, and nothing is merged into rounded weights; name the one that it was "
            "made from with --base"
        )
    return folder


def write_beside(
    folder: Path, base: Path, network: Network | Stock, told: Stored, weights: bool, near: str = ""
) -> None:
    """Writes all but weights and card.

    Args:
        folder: that is there.
        base: the files of the base.
        network: of the run.
        told: by its checkpoint.
        weights: whether the folder holds a whole model, which needs its config.
        near: where the base lies as seen from the folder, for an adapter; "" if that is not to be told.
    """
    for name in (*_AS_IT_IS, *(_LICENSES if weights else ()), *((_CONFIG,) if weights else ())):
        source = base / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        elif source.is_file():
            shutil.copyfile(source, folder / name)
    if network.tokenizer.chat_template and not _template_in(base):
        write_atomically(folder / _TEMPLATE, network.tokenizer.chat_template.encode())
    _write(folder / _GENERATION, _generation(network))
    if isinstance(network, Causal | Stock):  # its own processor decides how it sees
        for name in _OF_PROCESSORS:
            if (base / name).is_file():
                shutil.copyfile(base / name, folder / name)
    else:
        _write_processors(folder, base, network, told.policy)
    _write(folder / SETTINGS, settings(told) | ({"base": near} if near else {}))


def copy_settings(folder: Path, other: Path) -> None:
    """Copies what an export is asked by, and the terms of its base, for files that hold all else themselves."""
    for name in (SETTINGS, *_LICENSES):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, other / name)


def settings(told: Stored) -> dict[str, Any]:
    """How a model was trained to be asked, so that it can be asked so from anywhere."""
    policy = told.policy
    pixels = {"min_pixels": policy.min_pixels, "max_pixels": policy.max_pixels}
    return {
        "prompt": told.prompt,
        "knowledge": policy.knowledge,
        "answer": policy.form,
        **({"numbers": list(policy.numbers)} if policy.numbers else {}),
        "forms": sorted(told.forms),
        "emotions": list(told.emotions),
        "datasets": sorted(told.datasets),
        **(pixels if is_known(policy) else {}),  # of which other processors know nothing
        "coded": sorted(told.coded),
        "crop": _crop(policy),
        "system": system_prompt(policy.knowledge, policy.form, policy.numbers),
        "user": user_prompt("", told.emotions),
    }


def _crop(policy: PolicyConfig) -> dict[str, Any] | None:
    """How faces are cut out of a picture; None where it is shown whole."""
    if policy.faces == "none":
        return None
    model = policy.face_model and Path(policy.face_model).name  # a path would mean nothing elsewhere
    return {"faces": policy.faces, "margin": MARGIN, "face_model": model}


def _template_in(base: Path) -> bool:
    return (base / _TEMPLATE).is_file() or bool(_read(base / "tokenizer_config.json").get("chat_template"))


def _generation(network: Speaker) -> dict[str, Any]:
    """Greedy answers of the tokens that a run may write. The penalty that some bases bring along would bend them."""
    config = network.model.generation_config
    found = {
        "do_sample": False,
        "repetition_penalty": 1.0,  # said, since beside an adapter what is not said is the base's
        "eos_token_id": network.ends,
        "pad_token_id": network.tokenizer.pad_token_id,
        "bos_token_id": config.bos_token_id,
        "suppress_tokens": sorted(set(network.forbidden.tolist())),
    }
    return {name: value for name, value in found.items() if value is not None}


def _write_processors(folder: Path, base: Path, network: Network, policy: PolicyConfig) -> None:
    """Image processor and joint one, with the pixels of training; that of videos is the base's, or made from these two."""
    images = _read(base / _IMAGES) or network.image_processor.to_dict()
    images = _sized(images, policy)
    # Without its ending it is read by every version of the libraries, by those that have no torchvision, too.
    images["image_processor_type"] = str(images["image_processor_type"]).removesuffix("Pil").removesuffix("Fast")
    joint = _read(base / _PROCESSOR)
    if "image_processor" in joint:
        joint["image_processor"] = _sized(joint["image_processor"], policy)
    _write(folder / _IMAGES, images)
    _write(folder / _PROCESSOR, {"processor_class": _processor_class(network), **joint})


def _sized(images: Mapping[str, Any], policy: PolicyConfig) -> dict[str, Any]:
    """The settings of an image processor with the pixels of training, under both names that readers know."""
    size = {"shortest_edge": policy.min_pixels, "longest_edge": policy.max_pixels}
    return {**images, "size": size, "min_pixels": policy.min_pixels, "max_pixels": policy.max_pixels}


def _processor_class(network: Network) -> str:
    """What transformers calls the joint processor of a family."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    return str(PROCESSOR_MAPPING_NAMES[network.model.config.model_type])


def _read(file: Path) -> dict[str, Any]:
    """A file with settings; none if it is not there."""
    if not file.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FEAError(f"'{file}' is no JSON ({error}); restore it from where the base is from") from error
    return found


def _write(file: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    write_atomically(file, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
