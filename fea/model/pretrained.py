"""What stands in the files of a base: its config, its parts, its weights, in 4 bits if that is asked for.

The heavy libraries are imported inside the functions, so that a mistake in a config is reported at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fea.errors import FEAError
from fea.model import belonging
from fea.model.config import PolicyConfig


def config_of(base: str) -> Any:
    """The config of a base.

    Raises:
        FEAError: there is none to read.
    """
    from transformers import AutoConfig

    belonging.check_place(base)
    return from_base(AutoConfig.from_pretrained, base)


def template(base: str) -> str | None:
    """The chat template of a base that has it in a file of its own, as folders of earlier years do."""
    from transformers.utils import cached_file

    silent = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    file = cached_file(base, "chat_template.json", **silent)
    try:
        return str(json.loads(Path(file).read_text(encoding="utf-8"))["chat_template"]) if file else None
    except (ValueError, KeyError, TypeError) as error:
        raise FEAError(
            f"policy.base: '{file}' holds no chat template ({error}); copy it from the model that '{base}' was made from"
        ) from error


def pretrained(config: PolicyConfig, whole: Sequence[str], empty: bool) -> Any:
    """The network with its weights, all of them from the files of the base.

    Args:
        config: which base, in which type, whether in 4 bits.
        whole: dotted paths of what is not quantized.
        empty: all weights and buffers are on the device "meta".

    Raises:
        FEAError: there is no such base, or its weights are not those of its config.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    options: dict[str, Any] = {"dtype": getattr(torch, config.dtype), "output_loading_info": True}
    options |= {"ignore_mismatched_sizes": True}  # it would raise a table of them; here they are one sentence
    if empty:
        options |= {"device_map": {"": "meta"}}
    if config.four_bit:
        options |= {"quantization_config": _four_bit(whole)}
        if torch.cuda.is_available():  # straight to the card: a copy in host memory may not fit
            options |= {"device_map": {"": torch.cuda.current_device()}}
    if _read_at_once(config.base):  # a bar is for what takes long
        logging.disable_progress_bar()
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # of weights that do not fit it would print a table
    try:
        model, found = from_base(AutoModelForImageTextToText.from_pretrained, config.base, **options)
    finally:
        logging.enable_progress_bar()
        logging.set_verbosity(level)
    belonging.check_loaded(config.base, found)
    for module in model.modules():
        # On a CPU with AVX512-BF16, bitsandbytes repacks 4-bit weights for inference and then gives no gradient.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _read_at_once(base: str) -> bool:
    """Whether weights are in a folder, and so few that nobody waits: at 1 GB a second, as from a disk, less than a second."""
    return Path(base).is_dir() and sum(file.stat().st_size for file in Path(base).glob("*.safetensors")) < 1e9


def _four_bit(whole: Sequence[str]) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_quant_storage=torch.bfloat16,  # what sharding needs
        llm_int8_skip_modules=list(whole),
    )


def from_base(load: Any, base: str, **options: Any) -> Any:
    """Loads from a folder or the hub, with one sentence if there is nothing."""
    from safetensors import SafetensorError

    try:
        return load(base, **options)
    except (OSError, ValueError, SafetensorError) as error:
        if not Path(base).exists() and base.count("/") != 1:
            told = f"there is no folder '{base}' here, and names of the hub are OWNER/MODEL"
        else:
            told = f"cannot load '{base}' from a folder or the hub ({str(error).strip().splitlines()[0]})"
        raise FEAError(f"policy.base: {told}; name another, for a run that is trained already with --base") from error


def load_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into the parameters of the same name.

    Raises:
        FEAError: a name or a shape does not fit.
    """
    parameters = dict(module.named_parameters())
    for name, weight in weights.items():
        if name not in parameters or parameters[name].shape != weight.shape:
            found = (
                "has no such weight" if name not in parameters else f"has shape {tuple(parameters[name].shape)} there"
            )
            raise FEAError(
                f"the weights belong to another model: '{name}' of shape {tuple(weight.shape)}, and this one {found}; "
                "use the same policy.base, policy.tiny and policy.lora as the run they come from"
            )
        with torch.no_grad():
            parameters[name].copy_(weight)


def recompute_activations(model: Any) -> None:
    """In the backward pass. Nothing in a layer is random, so the states of random generators are not kept for it."""
    # The second name is that of older versions of transformers.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False, "preserve_rng_state": False})
