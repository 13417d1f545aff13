"""A folder in the spelling that a Qwen2.5-VL model is published in, made in little from one that `Policy.save` wrote.

It differs from what transformers writes today: a flat config with the older names of some settings, two shards of weights, an
image processor that is told pixels and no size, the chat template in a file of its own, and settings of generation that would
bend what is sampled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

# As real folders have it: nearly greedy, with a penalty on what the prompt or the answer said before.
GENERATION = {"do_sample": True, "temperature": 1e-6, "repetition_penalty": 1.05}
_NEWER = ("layer_types", "rope_parameters", "model_type", "dtype")  # settings of a text that no published config has


def publish(saved: Path, out: Path) -> Path:
    """Writes a saved model as one that was published.

    Args:
        saved: folder of it.
        out: new folder.

    Returns:
        `out`.
    """
    out.mkdir(parents=True)
    config = read(saved / "config.json")
    write(out / "config.json", flat(config))
    told = read(saved / "generation_config.json")
    ends = {name: told[name] for name in ("eos_token_id", "pad_token_id")}
    write(out / "generation_config.json", {**ends, **GENERATION, "transformers_version": "4.49.0"})
    seen = read(saved / "preprocessor_config.json")
    kept = ("image_mean", "image_std", "patch_size", "temporal_patch_size", "merge_size", "image_processor_type")
    pixels = {"min_pixels": 3136, "max_pixels": 12845056}
    write(out / "preprocessor_config.json", {**pixels, **{name: seen[name] for name in kept}})
    template = (saved / "chat_template.jinja").read_text()
    write(out / "chat_template.json", {"chat_template": template})
    (out / "tokenizer.json").write_bytes((saved / "tokenizer.json").read_bytes())
    write(out / "tokenizer_config.json", {**read(saved / "tokenizer_config.json"), "chat_template": template})
    _write_shards(load_file(saved / "model.safetensors"), out)
    return out


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """A config with the settings of the language model beside all others, by the names of earlier years."""
    text, vision = dict(config["text_config"]), dict(config["vision_config"])
    rope = text["rope_parameters"]
    vision = {name: value for name, value in vision.items() if name not in ("model_type", "rope_parameters")}
    vision["in_chans"] = vision.pop("in_channels")
    vision |= {"spatial_patch_size": vision["patch_size"], "tokens_per_second": 2}
    whole = {name: value for name, value in config.items() if name not in ("text_config", "vision_config", "dtype")}
    return {
        **{name: value for name, value in text.items() if name not in _NEWER},
        **whole,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.41.2",
        "sliding_window": 32768,
        "vision_config": vision,
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
    }


def read(file: Path) -> dict[str, Any]:
    """A JSON file of a model's folder."""
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def write(file: Path, content: dict[str, Any]) -> None:
    """Writes one."""
    file.write_text(json.dumps(content, indent=2) + "\n")


def _write_shards(weights: dict[str, Any], out: Path) -> None:
    names = sorted(weights)
    index, size = {}, sum(weight.numel() * weight.element_size() for weight in weights.values())
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        shard = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, out / shard, {"format": "pt"})
        index |= dict.fromkeys(part, shard)
    write(out / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": index})
