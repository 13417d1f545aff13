"""Whether the parts of a base belong together, asked before its weights are read.

A base is a config, weights, a tokenizer with a chat template, an image processor and settings of generation, in one folder or
under one name of the hub. Folders are put together by hand, downloaded by halves, written by other tools: what does not fit
would train on other tokens than it was taught, or stop hours later in a stack of errors. Each mistake is one sentence: what is
wrong, where, and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fea.errors import FEAError
from fea.model.families.family import Family

_GGUF = b"GGUF"  # first bytes of such a file
_POINTER = b"version https://git-lfs"  # and of a file that git has left elsewhere
_LENGTH = 8  # bytes at the head of a safetensors file: how long its table of contents is
_TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model")
_IMAGE_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ORIGIN = "from the model it was made from"


def check_place(base: str) -> None:
    """Looks at what a name of a base is, without reading a model; names of the hub pass.

    Raises:
        FEAError: it is a file, an adapter, a run, or a folder without a config.
    """
    folder = Path(base)
    if folder.is_file():
        with folder.open("rb") as content:
            gguf = content.read(len(_GGUF)) == _GGUF
        kind = "a GGUF file, which is made for llama.cpp and not for training" if gguf else "a file"
        raise refusal(base, f"is {kind}", "name the folder of the model, with config.json and *.safetensors in it")
    if not folder.is_dir():
        return
    if (folder / "adapter_config.json").is_file():
        origin = _adapted(folder / "adapter_config.json")
        raise refusal(base, "holds an adapter (adapter_config.json) and no whole model", f"name its base{origin}")
    if (folder / "config.json").is_file():
        return
    if next(folder.glob("*.gguf"), None):
        raise refusal(base, "holds a GGUF file, which is made for llama.cpp", "name the folder that it was made from")
    if (folder / "checkpoints").is_dir():
        raise refusal(base, "is a run and no base", "to go on from its weights, name it as model.init_from")
    raise refusal(base, "holds no model (no config.json in it)", f"copy that file {ORIGIN}, or name another folder")


def check_files(base: str) -> None:
    """Looks for the files of a folder and at how long its weights are; names of the hub pass.

    Raises:
        FEAError: tokenizer, image processor or weights are not there, or not whole.
    """
    folder = Path(base)
    if not folder.is_dir():
        return
    for names, what in ((_TOKENIZERS, "tokenizer"), (_IMAGE_PROCESSORS, "image processor")):
        if not any((folder / name).is_file() for name in names):
            raise refusal(base, f"holds no {what} (no {names[0]} in it)", f"copy that file {ORIGIN}")
    for file in _weights(base, folder):
        _check_whole(base, file)


def _weights(base: str, folder: Path) -> list[Path]:
    """The files with weights, those that an index names among them."""
    for name in _WEIGHTS:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            try:
                named = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise refusal(base, f"has a damaged {index.name} ({error})", f"copy that file {ORIGIN}") from error
            missing = [shard for shard in named if not (folder / shard).is_file()]
            if missing:
                told = f"lacks {_listed(missing)}, of {len(named)} files that {index.name} names"
                raise refusal(base, told, "download it again")
            return [folder / shard for shard in named]
    raise refusal(base, f"holds no weights (no {_WEIGHTS[0]} in it)", f"copy them {ORIGIN}")


def _check_whole(base: str, file: Path) -> None:
    """Compares the length of a file with what its own table of contents says."""
    size = file.stat().st_size
    with file.open("rb") as content:
        head = content.read(len(_POINTER))
        if head == _POINTER:
            told = f"has a pointer of Git LFS in the place of {file.name}"
            raise refusal(base, told, "run 'git lfs pull' there, or download it again")
        if file.suffix != ".safetensors":
            return
        length = int.from_bytes(head[:_LENGTH], "little")
        content.seek(_LENGTH)
        try:
            table = json.loads(content.read(length)) if length <= size else {}
            whole = _LENGTH + length + max(part["data_offsets"][1] for part in table.values() if "data_offsets" in part)
        except (ValueError, KeyError, TypeError, AttributeError):
            whole = -1
    if size != whole:
        cut = f"ends after {size} of {whole} bytes"
        told = f"is not whole: {file.name} {cut if size < whole else 'is damaged'}"
        raise refusal(base, told, "download that file again")


def check_sees(base: str, config: Any) -> None:
    """Holds that a config is that of a model with a vision tower.

    Raises:
        FEAError: it reads text alone.
    """
    if not hasattr(config, "vision_config"):
        told = f"is a {config.model_type} model, which reads text and sees no image"
        raise refusal(base, told, "name a vision-language model")


def check_parts(base: str, family: Family, config: Any, tokenizer: Any, image_processor: Any) -> None:
    """Holds that tokenizer, chat template and image processor are those of a config.

    Args:
        base: as it was named.
        family: of the config.
        config: of the base.
        tokenizer: of the base, with its chat template.
        image_processor: of the base.

    Raises:
        FEAError: they are not.
    """
    words, rows = tokenizer.get_vocab(), int(config.get_text_config().vocab_size)
    check_words(base, words, rows)
    wanted = {token: getattr(config, name, None) for name, token in family.never_sampled.items()}
    for token, told_id in {**wanted, family.end_token: words.get(family.end_token)}.items():
        if token not in words:
            told = f"lacks its own tokenizer: there is no token {token} in it"
            raise refusal(base, told, f"copy the files of the tokenizer {ORIGIN}")
        if words[token] != told_id:
            told = f"has {token} as token {words[token]} in its tokenizer and as {told_id} in its config.json"
            raise refusal(base, told, f"copy both {ORIGIN}")
    check_ends(base, rows)
    _check_template(base, family, tokenizer)
    _check_image_processor(base, config.vision_config, image_processor)


def check_words(base: str, words: Mapping[str, int], rows: int) -> None:
    """Holds that every token of a tokenizer has a row that embeds it.

    Args:
        base: as it was named.
        words: the tokens with their ids.
        rows: that embed tokens.

    Raises:
        FEAError: there are too few.
    """
    if max(words.values()) >= rows:
        told = f"has a tokenizer of {max(words.values()) + 1} tokens, and by its config.json {rows} rows to embed them"
        raise refusal(base, told, f"copy tokenizer and config {ORIGIN}")


def check_ends(base: str, rows: int) -> None:
    """Holds that the ends which a base names are among its tokens.

    Args:
        base: as it was named.
        rows: that embed tokens.

    Raises:
        FEAError: they are not, or their file cannot be used.
    """
    from transformers import GenerationConfig

    try:
        told = GenerationConfig.from_pretrained(base).eos_token_id
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and not (Path(base) / "generation_config.json").is_file():
            return  # not every base has one
        told = f"has a generation_config.json that cannot be used ({' '.join(str(error).split())})"
        raise refusal(base, told, f"copy that file {ORIGIN}") from error
    ends = told if isinstance(told, list) else [] if told is None else [told]
    if outside := [end for end in ends if not isinstance(end, int) or not 0 <= end < rows]:
        told = f"names {_listed(outside)} as eos_token_id in generation_config.json, and has {rows} tokens"
        raise refusal(base, told, f"copy that file {ORIGIN}")


def _check_template(base: str, family: Family, tokenizer: Any) -> None:
    """Writes a small prompt and looks for what a prompt needs."""
    from jinja2 import TemplateError

    system, question = "Look at the face.", "What does it show?"
    shown = [{"type": "image"}, {"type": "text", "text": question}]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": shown}]
    copy = f"copy the chat template {ORIGIN}"
    if not tokenizer.chat_template:
        raise refusal(base, "has no chat template (no chat_template.jinja in it)", copy)
    try:
        turns, asked = (
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            for prompt in (False, True)
        )
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        why = " ".join(str(error).split())
        told = f"has a chat template that cannot write a question about an image ({why}), such as one for text alone"
        raise refusal(base, told, copy) from error
    places = asked.count(family.image_token)
    if places != 1:
        told = f"has a chat template with {places} places ({family.image_token}) for one image"
        raise refusal(base, f"{told}, such as one for text alone" if not places else told, copy)
    for text in (system, question):
        if text not in asked:
            raise refusal(base, f"has a chat template that leaves out what is said ('{text}')", copy)
    if len(asked) <= len(turns):
        told = "has a chat template that does not begin an answer (it takes no notice of add_generation_prompt)"
        raise refusal(base, told, copy)


def _check_image_processor(base: str, vision: Any, image_processor: Any) -> None:
    """Compares how images are cut with what the tower takes in."""
    for name in ("patch_size", "spatial_merge_size", "temporal_patch_size"):
        there = name.removeprefix("spatial_")
        wanted, found = getattr(vision, name, None), getattr(image_processor, there, None)
        if wanted is not None and wanted != found:
            cut = "none" if found is None else found
            told = f"has an image processor ({type(image_processor).__name__}) with {there} {cut}"
            raise refusal(base, f"{told}, and a vision tower with {name} {wanted}", f"copy both {ORIGIN}")


def check_loaded(base: str, found: Mapping[str, Collection[Any]]) -> None:
    """Holds that every weight of the model came from its files, and every one of these is in use.

    Args:
        base: as it was named.
        found: what `from_pretrained` says of names that it missed, did not expect, or that have another shape.

    Raises:
        FEAError: otherwise some weights would be random, or left out.
    """
    shapes = {name: f"{name} ({tuple(there)}, not {tuple(here)})" for name, there, here in found["mismatched_keys"]}
    kinds = {
        "which are not in them": sorted(found["missing_keys"]),
        "that they have beside": sorted(found["unexpected_keys"]),
    }
    if shapes:
        told = f"has weights of other sizes than its config.json: {_listed([shapes[name] for name in sorted(shapes)])}"
        raise refusal(base, told, f"copy both {ORIGIN}")
    for how, names in kinds.items():
        if names:
            told = f"has other weights than its config.json asks for: {len(names)} {how}, such as {_listed(names)}"
            raise refusal(base, told, f"copy both {ORIGIN}")


def _adapted(file: Path) -> str:
    """The base that an adapter names, for the end of a sentence."""
    try:
        return f", '{json.loads(file.read_text(encoding='utf-8'))['base_model_name_or_path']}'"
    except (ValueError, KeyError, TypeError):
        return ""


def _listed(names: list[Any]) -> str:
    """The first three."""
    return ", ".join(map(str, names[:3])) + (", ..." if len(names) > 3 else "")


def refusal(base: str, wrong: str, way_out: str) -> FEAError:
    """One sentence about a base: what is wrong with it, and what to do."""
    return FEAError(f"policy.base: '{base}' {wrong}; {way_out}")
