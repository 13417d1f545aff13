"""Bases whose parts do not belong together: each is refused in one sentence, before its weights are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_config
from publishing import publish, read, write
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, LlamaConfig, LlamaForCausalLM

from fea.errors import FEAError
from fea.model.load import skeleton
from fea.model.policy import Policy


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base as it is published, in two shards."""
    place = tmp_path_factory.mktemp("bases")
    Policy(small_config(), {}).save(place / "saved")
    return publish(place / "saved", place / "base")


def change(folder: Path, name: str, **settings: Any) -> None:
    """Changes settings of a JSON file; a dotted place is written with two underscores."""
    content = read(folder / name)
    for place, value in settings.items():
        *outer, last = place.split("__")
        inner = content
        for part in outer:
            inner = inner[part]
        inner[last] = value
    write(folder / name, content)


def template(text: str) -> Callable[[Path], None]:
    """Another chat template."""

    def harm(folder: Path) -> None:
        (folder / "chat_template.json").unlink()
        change(folder, "tokenizer_config.json", chat_template=text)

    return harm


def replaced_in_template(old: str, new: str) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        written = read(folder / "tokenizer_config.json")["chat_template"]
        assert old in written
        template(written.replace(old, new))(folder)

    return harm


FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))


def more_words(folder: Path) -> None:
    tokenizer = read(folder / "tokenizer.json")
    last = max(token["id"] for token in tokenizer["added_tokens"])
    word = {**tokenizer["added_tokens"][0], "id": last + 1, "content": "<|new|>"}
    write(folder / "tokenizer.json", tokenizer | {"added_tokens": [*tokenizer["added_tokens"], word]})


def no_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("[]")


def cut(folder: Path) -> None:
    content = (folder / SECOND).read_bytes()
    (folder / SECOND).write_bytes(content[:-100])


def cut_in_its_table(folder: Path) -> None:
    content = (folder / SECOND).read_bytes()
    (folder / SECOND).write_bytes(content[:50])


def pointer(folder: Path) -> None:
    (folder / SECOND).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n")


def adapter(folder: Path) -> None:
    write(
        folder / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct"}
    )


def gguf(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    (folder / "model-q4.gguf").write_bytes(b"GGUF")


def a_run(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "checkpoints").mkdir()


def text_alone(folder: Path) -> None:
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 32,
    }
    LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(folder)


def renamed(folder: Path) -> None:
    """Weights by names of another tool, which transformers leaves out, filling in random ones."""
    weights = load_file(folder / FIRST)
    save_file({f"module.{name}": weight for name, weight in weights.items()}, folder / FIRST, {"format": "pt"})
    index = read(folder / "model.safetensors.index.json")
    index["weight_map"] = {(f"module.{n}" if n in weights else n): file for n, file in index["weight_map"].items()}
    write(folder / "model.safetensors.index.json", index)


def clip(folder: Path) -> None:
    write(folder / "preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor"})


CASES: list[tuple[Callable[[Path], None], str]] = [
    (more_words, "has a tokenizer of 595 tokens, and by its config.json 594 rows to embed them; copy"),
    (
        lambda at: change(at, "config.json", image_token_id=7),
        "has <|image_pad|> as token 592 in its tokenizer and as 7 in its config.json; copy both from",
    ),
    (lambda at: change(at, "config.json", vision_end_token_id=7), "has <|vision_end|> as token 590"),
    (lambda at: change(at, "config.json", vision_start_token_id=7), "has <|vision_start|> as token 589"),
    (template(""), "has no chat template (no chat_template.jinja in it); copy the chat template from"),
    (
        template("{% for m in messages %}<|im_start|>{{ m['role'] + m['content'] }}<|im_end|>{% endfor %}"),
        'cannot write a question about an image (can only concatenate str (not "list") to str), such as one for text alone',
    ),
    (template("{% for m in messages %}{{ m['content'] }}"), "has a chat template that cannot write a question"),
    (
        template("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"),
        "has a chat template with 0 places (<|image_pad|>) for one image, such as one for text alone; copy",
    ),
    (
        replaced_in_template("<|image_pad|>", "<|image_pad|><|image_pad|>"),
        "with 2 places (<|image_pad|>) for one image;",
    ),
    (replaced_in_template("{{ part['text'] }}", ""), "has a chat template that leaves out what is said ('What does it"),
    (replaced_in_template("{{ message['content'] }}", ""), "leaves out what is said ('Look at the face.')"),
    (replaced_in_template("add_generation_prompt", "false"), "has a chat template that does not begin an answer"),
    (
        lambda at: (at / "preprocessor_config.json").unlink(),
        "holds no image processor (no preprocessor_config.json in it)",
    ),
    (
        lambda at: change(at, "preprocessor_config.json", patch_size=16),
        "with patch_size 16, and a vision tower with patch_size 14; copy both",
    ),
    (
        lambda at: change(at, "preprocessor_config.json", merge_size=1),
        "with merge_size 1, and a vision tower with spatial",
    ),
    (clip, "has an image processor (CLIPImageProcessor"),
    (lambda at: (at / "tokenizer.json").unlink(), "holds no tokenizer (no tokenizer.json in it)"),
    (
        lambda at: (at / SECOND).unlink(),
        f"lacks {SECOND}, of 2 files that model.safetensors.index.json names; download",
    ),
    (no_index, "has a damaged model.safetensors.index.json"),
    (cut, f"is not whole: {SECOND} ends after "),
    (cut_in_its_table, f"is not whole: {SECOND} is damaged; download that file again"),
    (pointer, f"has a pointer of Git LFS in the place of {SECOND}; run 'git lfs pull' there"),
    (
        lambda at: change(at, "generation_config.json", eos_token_id=[582, 151643]),
        "names 151643 as eos_token_id in generation_config.json, and has 594 tokens; copy that file",
    ),
    (lambda at: (at / "generation_config.json").write_text("{"), "has a generation_config.json that cannot be used"),
    (
        adapter,
        "holds an adapter (adapter_config.json) and no whole model; name its base, 'Qwen/Qwen2.5-VL-7B-Instruct'",
    ),
    (gguf, "holds a GGUF file, which is made for llama.cpp; name the folder that it was made from"),
    (a_run, "is a run and no base; to go on from its weights, name it as model.init_from"),
    (text_alone, "is a llama model, which reads text and sees no image; name a vision-language model"),
    (
        lambda at: (at / "config.json").unlink(),
        "holds no model (no config.json in it); copy that file from the model it",
    ),
    (lambda at: (at / "config.json").write_text("{"), "config.json"),
]


@pytest.mark.parametrize(("harm", "said"), CASES)
def test_parts_that_do_not_belong_together_are_one_sentence(
    published: Path, tmp_path: Path, harm: Callable[[Path], Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(published, tmp_path / "base")
    harm(folder)
    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", read_too_early)
    with pytest.raises(FEAError) as refused:
        Policy(small_config(base=str(folder)), {})
    assert str(refused.value).startswith(f"policy.base: '{folder}' " if said in SAID else "policy.base: ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert ";" in str(refused.value)  # what to do


SAID = {said for _, said in CASES if not said.endswith("config.json")}  # the others are told by transformers


def read_too_early(*_: Any, **__: Any) -> None:
    raise AssertionError("weights are read before their parts are compared")


def test_a_whole_one_is_read(published: Path) -> None:
    assert Policy(small_config(base=str(published)), {}).network.ends


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (
            renamed,
            "has other weights than its config.json asks for: 29 which are not in them, such as lm_head.weight, model.",
        ),
        (
            lambda at: change(at, "config.json", num_hidden_layers=1),
            "has other weights than its config.json asks for: 12 that they have beside, such as model.language_model.layers.1.",
        ),
        (
            lambda at: change(at, "config.json", num_hidden_layers=3),
            "asks for: 12 which are not in them, such as model.language_model.layers.2.input_layernorm.weight",
        ),
        (
            lambda at: change(at, "config.json", intermediate_size=168),
            "has weights of other sizes than its config.json: model.language_model.layers.0.mlp.down_proj.weight ((64, 170)",
        ),
    ],
)
def test_no_weight_is_random_or_left_out(
    published: Path, tmp_path: Path, harm: Callable[[Path], None], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(published, tmp_path / "base")
    harm(folder)
    with pytest.raises(FEAError) as refused:
        Policy(small_config(base=str(folder)), {})
    assert str(refused.value).startswith(f"policy.base: '{folder}' ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "LOAD REPORT" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", ["model.gguf", "model.ckpt"])
def test_a_file_is_no_base(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"GGUF1234" if name.endswith("gguf") else b"PK\3\4")
    kind = "is a GGUF file, which is made for llama.cpp" if name.endswith("gguf") else "is a file; name the folder"
    with pytest.raises(FEAError, match=f"{name}' {kind}"):
        Policy(small_config(base=str(tmp_path / name)), {})


def test_a_plan_needs_the_config_alone(published: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(read(published / "config.json")))
    weights = dict(skeleton(small_config(base=str(tmp_path))).model.named_parameters())
    assert {weight.device for weight in weights.values()} == {torch.device("meta")}
    text_alone(tmp_path)
    with pytest.raises(FEAError, match="is a llama model, which reads text"):
        skeleton(small_config(base=str(tmp_path)))
