"""An exported model as anybody reads it: by transformers or PEFT, with nothing of fea between its files and its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fea.export.asked import Asked, Heard
from fea.model.processor import load_processor
from fea.model.stock import OF_TOKENS


class Reader:
    """A model with its processors, all of them from files.

    Args:
        folder: with the processors.
        model: the network, in fp32.
        inner: the network without what PEFT puts around it, which hands on what it is given.

    Attributes:
        told: what reads, in words.
    """

    def __init__(self, folder: Path, model: Any, inner: Any):
        self.model = model.eval()
        self.processor = _processor(folder, inner)
        self.told = f"{_libraries(model, inner)} with {type(self.processor.image_processor).__name__}"

    def inputs(self, question: Asked) -> dict[str, Tensor]:
        """What the model reads."""
        speaker, device = self.processor.tokenizer, next(self.model.parameters()).device
        text = speaker.apply_chat_template(question.messages, tokenize=False, add_generation_prompt=True)
        begun = bool(speaker.bos_token) and text.startswith(speaker.bos_token)  # by the template
        found = self.processor(text=[text], images=[question.image], return_tensors="pt", add_special_tokens=not begun)
        return {name: value.to(device) for name, value in found.items() if isinstance(value, Tensor)}

    @torch.no_grad()
    def heard(self, asked: Sequence[Asked], max_tokens: int) -> list[Heard]:
        """What the model says about each question.

        Args:
            asked: the questions, with the answers of the run.
            max_tokens: length limit of its own answers.
        """
        return [self._heard(question, max_tokens) for question in asked]

    def _heard(self, question: Asked, max_tokens: int) -> Heard:
        inputs = self.inputs(question)
        length, device = inputs["input_ids"].shape[1], inputs["input_ids"].device
        answer = question.answer.to(device)
        longer = {**inputs, "input_ids": torch.cat([inputs["input_ids"], answer[None]], dim=1)}
        for name in inputs.keys() & {"attention_mask", *OF_TOKENS}:  # of an answer as of the text before it
            longer[name] = torch.cat([inputs[name], *[inputs[name][:, -1:]] * len(answer)], dim=1)
        logits = self.model(**longer, use_cache=False).logits[0, length - 1 : -1]
        logps = F.log_softmax(logits.float(), dim=-1).gather(1, answer[:, None]).squeeze(1).cpu()
        written = self.model.generate(**inputs, max_new_tokens=max_tokens)
        return Heard(logps, written[0, length:].tolist())


def _libraries(model: Any, inner: Any) -> str:
    import peft
    import transformers

    own = f"transformers {transformers.__version__}"
    return own if model is inner else f"{own} and PEFT {peft.__version__}"


def _processor(folder: Path, model: Any) -> Any:
    """The joint processor; where there is no torchvision, without its part for films."""
    from transformers import AutoProcessor
    from transformers.utils import is_torchvision_available

    if not is_torchvision_available():
        return load_processor(str(folder), model.config)
    found = AutoProcessor.from_pretrained(folder)
    found.tokenizer.chat_template = found.chat_template or found.tokenizer.chat_template
    return found


def read_merged(folder: Path, device: torch.device) -> Reader:
    """A folder with a whole model."""
    model = _model(folder, device)
    return Reader(folder, model, model)


def read_peft(folder: Path, base: str | Path, device: torch.device) -> Reader:
    """A folder with an adapter, on the model that it belongs to."""
    from peft import PeftModel
    from transformers import GenerationConfig

    model = _model(base, device)
    adapted = PeftModel.from_pretrained(model, folder)
    adapted.generation_config = GenerationConfig.from_pretrained(folder)
    return Reader(folder, adapted, model)


def _model(named: str | Path, device: torch.device) -> Any:
    from transformers import AutoModelForImageTextToText

    with quiet():
        return AutoModelForImageTextToText.from_pretrained(named, dtype=torch.float32).to(device)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars of a library that shows one for every file."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
