"""The processor that a base brings along: its tokenizer, its image processor, and what puts the two together.

What it has for films and sounds is left out. It would need torchvision, which no face needs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fea.model import belonging
from fea.model.pretrained import from_base, template
from fea.system.files import write_atomically


def load_processor(base: str, config: Any) -> Any:
    """The joint processor, with `tokenizer` and `image_processor` in it and its chat template at the tokenizer.

    Args:
        base: folder or hub name.
        config: of the base.

    Raises:
        FEAError: it cannot be loaded here.
    """
    from transformers import AutoImageProcessor, AutoTokenizer, ProcessorMixin

    told, _ = from_base(ProcessorMixin.get_processor_dict, base)
    kind = _kind(base, told.get("processor_class"), config)
    parts = {
        "tokenizer": from_base(AutoTokenizer.from_pretrained, base),
        "image_processor": from_base(AutoImageProcessor.from_pretrained, base),
    }
    try:
        processor = _built(kind, parts, told)
    except ImportError as error:
        why = " ".join(str(error).split())
        raise belonging.refusal(base, f"has a processor that needs another package ({why})", "install that") from error
    except (AttributeError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        told = f"has a processor ({kind.__name__}) that cannot be built from its files ({why})"
        raise belonging.refusal(base, told, f"copy the files of tokenizer and processor {belonging.ORIGIN}") from error
    written = processor.chat_template or processor.tokenizer.chat_template or template(base)
    processor.tokenizer.chat_template = written["default"] if isinstance(written, dict) else written
    return processor


def save_processor(processor: Any, folder: Path) -> None:
    """Writes what puts texts and images together; its parts, the tokenizer and the image processor, have files of their own."""
    parts = processor.get_attributes()
    told = {name: value for name, value in processor.to_dict().items() if name not in parts}
    write_atomically(folder / "processor_config.json", json.dumps(told, indent=2).encode())


def _kind(base: str, named: str | None, config: Any) -> Any:
    """The class of the joint processor: the one that the files name, or that of the config's models."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    found = getattr(transformers, named or "", None)
    if found is None and type(config) in PROCESSOR_MAPPING:
        found = PROCESSOR_MAPPING[type(config)]
    if found is None or not hasattr(found, "from_args_and_dict"):
        told = f"is a {config.model_type} model, for which transformers has no processor of texts with images"
        raise belonging.refusal(base, told, "name another model")
    return found


def _built(kind: Any, parts: dict[str, Any], told: dict[str, Any]) -> Any:
    """A processor of some class, content with what a picture of a face needs."""

    class Content(kind):  # type: ignore[misc]
        def check_argument_for_proper_class(self, name: str, part: Any) -> Any:
            return None if part is None else super().check_argument_for_proper_class(name, part)

    processor = Content.from_args_and_dict([parts.get(name) for name in kind.get_attributes()], told)
    processor.__class__ = kind  # what loader workers are handed has to be found by its name
    return processor
