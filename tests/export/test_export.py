"""`fea export` on runs of the real command line: what is written, what is read back, and what is refused."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, by_itself, fit, small_config
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

import fea
from fea.cli import main
from fea.export import adapter, exporting, reading
from fea.export.adapter import Update
from fea.model.checkpoints import weights
from fea.model.config import TinySize
from fea.model.elsewhere import described
from fea.model.policy import Policy

LORA = '{"rank": 4, "alpha": 8}'
QUICK = ("--faces", "3", "--scored", "4", "--max_tokens", "10", "--device", "cpu")


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def shards(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder, by the names in its files."""
    return {
        name: weight for file in sorted(folder.glob("model*.safetensors")) for name, weight in load_file(file).items()
    }


def spell(folder: Path, older: bool) -> None:
    """Gives a saved base two shards, and names as published files have them: those of earlier years or those of now."""
    held = load_file(folder / "model.safetensors")
    assert "model.layers.0.mlp.up_proj.weight" in held
    if not older:
        held = {
            re.sub("^visual", "model.visual", re.sub("^model", "model.language_model", n)): w for n, w in held.items()
        }
    (folder / "model.safetensors").unlink()
    names, index = sorted(held), {}
    for number, part in enumerate((names[:20], names[20:]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: held[name] for name in part}, folder / file, {"format": "pt"})
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    generation = read(folder / "generation_config.json")
    penalty = {"do_sample": True, "temperature": 1e-6, "repetition_penalty": 1.05}
    (folder / "generation_config.json").write_text(json.dumps({**generation, **penalty}))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with three bases, and a run with an adapter on each: spelled as of old, as of now, and kept in 16 bits."""
    place = tmp_path_factory.mktemp("export")
    with by_itself(tmp_path_factory):
        for name in ("old", "now", "low"):
            policy = Policy(small_config(tiny=TinySize(**{**vars(SMALL), "spread": 0.1})), {})
            (policy.bfloat16() if name == "low" else policy).save(place / name)
            spell(place / name, older=name != "now")
            lower = {"model__policy__dtype": "bfloat16", "trainer__precision": "bf16-mixed"} if name == "low" else {}
            fit(
                "sft", place / f"{name}-run", trainer__max_steps=6, model__optimization__lr=2e-2,
                model__optimization__warmup=0, model__policy__base=place / name, model__policy__lora=LORA, **lower,
            )  # fmt: skip
        yield place


def exported(place: Path, out: Path, name: str, *words: str) -> str:
    """Exports a run; returns what is shown."""
    shown = io.StringIO()
    with redirect_stdout(shown):
        assert main(["export", str(place / f"{name}-run"), str(out), *QUICK, *words]) == 0
    return shown.getvalue()


@pytest.fixture(scope="module")
def taken(place: Path) -> dict[str, str]:
    """What is shown of an export in each of the two formats: beside the bases, named by the format."""
    named = ("--base_name", "Qwen/Qwen2.5-VL-7B-Instruct")
    return {
        "merged": exported(place, place / "merged", "old", *named),
        "peft": exported(place, place / "peft", "old", "--format", "peft"),
    }


def texts(folder: Path) -> str:
    """Everything readable in a folder."""
    return "\n".join(file.read_text() for file in folder.rglob("*") if file.suffix in (".json", ".md", ".jinja"))


def gap_in(shown: str) -> float:
    found = re.search(r"differ by (\S+) at most", shown)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("name", ["old", "now"])
def test_a_merged_folder_is_the_base_with_the_adapter_in_its_own_spelling(
    place: Path, taken: dict[str, str], tmp_path: Path, name: str
) -> None:
    out = place / "merged" if name == "old" else tmp_path / "out"
    shown = taken["merged"] if name == "old" else exported(place, out, name)
    assert gap_in(shown) < 1e-4
    base, merged = shards(place / name), shards(out)
    for file in ("model.safetensors.index.json", "config.json"):
        assert (out / file).read_bytes() == (place / name / file).read_bytes()
    changed = {key for key in base if not torch.equal(base[key], merged[key])}
    assert base.keys() == merged.keys()
    assert changed == {key for key in base if re.search(r"layers\.\d+\..*_proj\.weight$", key) and "visual" not in key}
    trained = weights(str(place / f"{name}-run"))
    layer = "model.model.language_model.layers.1.mlp.up_proj"
    down, up = (trained[f"{layer}.lora_{part}.default.weight"] for part in "AB")
    key = next(key for key in base if key.endswith("layers.1.mlp.up_proj.weight"))
    torch.testing.assert_close(merged[key], base[key] + 2 * up @ down, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("format", ["merged", "peft"])
def test_what_stands_beside_the_weights_asks_as_the_run_does(place: Path, taken: dict[str, str], format: str) -> None:
    out = place / format
    generation = read(out / "generation_config.json")
    assert generation["do_sample"] is False
    assert "temperature" not in generation
    assert generation["repetition_penalty"] == 1
    assert not {*generation["eos_token_id"]} & {*generation["suppress_tokens"]}
    assert read(out / "preprocessor_config.json")["size"] == {"shortest_edge": 112 * 112, "longest_edge": 112 * 112}
    assert read(out / "processor_config.json")["processor_class"] == "Qwen2_5_VLProcessor"
    told = read(out / "fea.json")
    assert (told["prompt"], told["knowledge"], told["max_pixels"], told["crop"]) == ("1", "brief", 112 * 112, None)
    assert (told["answer"], told["forms"]) == ("after_thinking", ["after_thinking"])
    assert described(str(out), torch.device("cpu")).forms == {"after_thinking"}


@pytest.mark.parametrize("format", ["merged", "peft"])
def test_the_card_says_what_is_known_and_no_folder_of_this_machine(
    place: Path, taken: dict[str, str], tmp_path: Path, format: str
) -> None:
    card = (place / format / "README.md").read_text()
    lines = re.findall("^- (?:read back|log-prob|the same).*", card, re.MULTILINE)
    assert [f"- {line}" for line in taken[format].splitlines()[1:]] == lines
    of_hub = "license: apache-2.0\nbase_model: Qwen/Qwen2.5-VL-7B-Instruct\nbase_model_relation: finetune\n"
    assert card.startswith(f"---\n{of_hub if format == 'merged' else 'license: other'}")
    told = (
        "| SFTModule | 6 | 32 drawn faces",
        "| 0 | cpu, 1 process, 32-true |",
        "rank 4, alpha 8",
        "prompt version 1",
    )
    assert [
        words for words in (*told, "| Action Unit | F1 | recall | support |", "Intended use") if words not in card
    ] == []
    assert "4 of the 4 validation faces of the run" in card
    assert str(place) not in texts(place / format)
    assert ("--enable-lora" in card) is (format == "peft")


@pytest.mark.parametrize("format", ["merged", "peft"])
def test_what_the_card_says_to_do_asks_the_model(
    place: Path, taken: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (place / format / "README.md").read_text(), re.DOTALL)
    image = next(place.glob("**/*.png"))
    code = (
        code.replace("FOLDER", str(place / format)).replace("face.jpg", str(image)).replace('("old"', f'("{place}/old"')
    )
    joint = reading._processor(place / format, AutoModelForImageTextToText.from_pretrained(place / "merged"))
    joint.chat_template = joint.tokenizer.chat_template
    monkeypatch.setattr(
        "transformers.AutoProcessor.from_pretrained", lambda folder: joint
    )  # which asks for torchvision
    shown = io.StringIO()
    with redirect_stdout(shown):
        exec(code, {})
    base = {"base": place / "old"} if format == "peft" else {}
    (said,) = fea.load(place / format, device="cpu", **base).analyze(image, max_tokens=256)
    assert shown.getvalue().rstrip("\n") == said.text


def test_a_peft_folder_is_read_by_peft(place: Path, taken: dict[str, str]) -> None:
    assert gap_in(taken["peft"]) < 1e-5
    told = read(place / "peft" / "adapter_config.json")
    assert (told["r"], told["lora_alpha"], told["base_model_name_or_path"]) == (4, 8, "old")
    names = {name.split(".lora_")[0] for name in load_file(place / "peft" / "adapter_model.safetensors")}
    assert names == {f"base_model.model.{layer}" for layer in told["target_modules"]}
    assert len(names) == 2 * 7
    assert all("language_model" in name for name in names)
    assert not list((place / "peft").glob("model*"))
    assert "base" not in read(place / "peft" / "fea.json")  # which lies outside of the working directory


def test_an_adapter_finds_a_base_below_the_working_directory(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.parent)
    out = place / "to" / "give"
    exported(place, out, "old", "--format", "peft", "--faces", "1", "--scored", "0")
    assert read(out / "adapter_config.json")["base_model_name_or_path"] == "old"
    assert read(out / "fea.json")["base"] == "../../old"
    assert str(place) not in texts(out)
    monkeypatch.chdir(tmp_path)
    assert described(str(out), torch.device("cpu")).policy.base == str((place / "old").resolve())


def test_each_layer_has_its_own_rank_and_scale_in_a_peft_folder(place: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    policy = Policy(small_config(base=str(place / "old"), lora=None), {})
    shapes = {
        name: layer.weight.shape for name, layer in policy.model.named_modules() if name.endswith(("q_proj", "v_proj"))
    }
    scales = dict.fromkeys(shapes, 2.0) | {"model.language_model.layers.1.self_attn.v_proj": 0.5}
    ranks = dict.fromkeys(shapes, 4) | {"model.language_model.layers.0.self_attn.q_proj": 3}
    updates = [
        Update(name, torch.randn(ranks[name], inner), torch.randn(outer, ranks[name]), scales[name])
        for name, (outer, inner) in shapes.items()
    ]
    adapter.write_peft(tmp_path, updates, "old")
    read_back = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(place / "old"), tmp_path)
    layers = dict(read_back.base_model.model.named_modules())
    for update in updates:
        expected = update.scale * update.up_Or @ update.down_rD
        torch.testing.assert_close(layers[update.layer].get_delta_weight("default"), expected)


@pytest.mark.parametrize("format", ["merged", "peft"])
def test_an_export_that_lost_its_adapter_is_refused_and_leaves_nothing(
    place: Path, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(network: torch.nn.Module) -> list[Update]:
        return [update._replace(up_Or=torch.zeros_like(update.up_Or)) for update in adapter.updates_of(network)]

    monkeypatch.setattr(exporting, "updates_of", lost)
    out = tmp_path / "out"
    assert main(["export", str(place / "old-run"), str(out), *QUICK, "--format", format]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"log-probabilities differ by up to \d", told)
    assert "nothing was left there" in told
    assert list(tmp_path.iterdir()) == []


def test_one_layer_that_lost_its_adapter_is_refused_where_weights_are_rounded(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = lambda network: adapter.updates_of(network)[:7]  # noqa: E731 (of one layer of two)
    monkeypatch.setattr(exporting, "updates_of", kept)
    assert main(["export", str(place / "low-run"), str(tmp_path / "out"), *QUICK]) == 2
    assert "a tenth of what training changed, since the base is stored in bfloat16" in capsys.readouterr().err


def test_a_base_in_16_bits_stays_one(place: Path, tmp_path: Path) -> None:
    shown = exported(place, out := tmp_path / "out", "low")
    assert {weight.dtype for weight in shards(out).values()} == {torch.bfloat16}
    assert "computed on a base in bf16 in bf16-mixed, the run itself gives these answers on" in shown
    assert gap_in(shown) > 1e-5  # what rounding costs is told


# --- other runs ---


def test_a_run_of_whole_weights_is_merged_and_has_no_adapter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit("sft", tmp_path / "run", trainer__max_steps=2)
    words = ["export", str(tmp_path / "run"), str(tmp_path / "out"), *QUICK]
    assert main([*words, "--format", "peft"]) == 2
    assert "trained whole weights and has no adapter; export it with --format merged" in capsys.readouterr().err
    assert main(words) == 0
    assert gap_in(capsys.readouterr().out) < 1e-4
    trained, held = weights(str(tmp_path / "run")), shards(tmp_path / "out")
    assert torch.equal(held["model.embed_tokens.weight"], trained["model.model.language_model.embed_tokens.weight"])


def test_a_run_in_4_bits_is_merged_into_the_base_that_is_not(place: Path, tmp_path: Path) -> None:
    fit(
        "sft", tmp_path / "four-run", trainer__max_steps=2, model__policy__base=place / "old", model__policy__lora=LORA,
        model__policy__four_bit="true", trainer__precision="bf16-mixed",
    )  # fmt: skip
    shown = exported(tmp_path, out := tmp_path / "out", "four")
    assert gap_in(shown) < 1e-4
    assert "computed on a base in 4 bits in bf16-mixed, the run itself gives these answers on" in shown
    assert {weight.dtype for weight in shards(out).values()} == {torch.float32}
    base = shards(place / "old")
    assert all(torch.equal(weight, base[name]) for name, weight in shards(out).items() if "_proj.weight" not in name)


# --- refusals ---


def test_what_cannot_be_done_is_said_before_the_work(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*words: str) -> str:
        assert main(["export", *words]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    run = str(place / "old-run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert "full' is not empty; name a folder that is not there yet, or empty it" in told(run, str(tmp_path / "full"))
    assert "mine.txt' is a file; name a folder" in told(run, str(tmp_path / "full" / "mine.txt"))
    assert "nowhere' holds no checkpoint" in told(str(tmp_path / "nowhere"), str(tmp_path / "out"))
    assert "faces: 0; give at least 1" in told(run, str(tmp_path / "out"), "--faces", "0")
    assert "push: 'me' is no name on the hub" in told(run, str(tmp_path / "out"), "--push", "me")
    assert "nothing is given for out" in told(run)
    copy = shutil.copytree(place / "old-run", tmp_path / "moved" / "run")
    assert "name it with --base FOLDER_OR_HUB_NAME" in told_without_base(place, str(copy), tmp_path, capsys)
    assert not (tmp_path / "out").exists()


def told_without_base(place: Path, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    away = (place / "old").rename(place / "away")
    try:
        assert main(["export", run, str(tmp_path / "out")]) == 2
        return capsys.readouterr().err.splitlines()[-1]
    finally:
        away.rename(place / "old")


def test_a_quantized_base_is_not_merged_into(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = shutil.copytree(place / "old", tmp_path / "base")
    from fea.errors import FEAError
    from fea.export.folder import base_folder

    config = {**read(base / "config.json"), "quantization_config": {"quant_method": "awq"}}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(FEAError, match="is a quantized model, and nothing is merged into rounded weights"):
        base_folder(small_config(base=str(base)), tmp_path)


def test_validation_faces_that_are_gone_are_told_and_others_drawn(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(place / "old-run", tmp_path / "run")
    (run / "config.yaml").unlink()
    assert main(["export", str(run), str(tmp_path / "out"), *QUICK, "--base", str(place / "old")]) == 0
    told = capsys.readouterr()
    assert "cannot be read (run: there is no" in told.err
    assert "about 3 drawn faces" in told.out
    assert "Not measured here" in (tmp_path / "out" / "README.md").read_text()


# --- the hub ---


def test_an_export_is_uploaded_only_when_asked(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    called: list[Any] = []

    class Hub:
        """The boundary: what would go over the network."""

        def create_repo(self, name: str, **options: Any) -> str:
            called.append((name, options))
            return f"https://hub/{name}"

        def upload_folder(self, *, repo_id: str, folder_path: Path) -> None:
            called.append((repo_id, sorted(file.name for file in folder_path.iterdir())))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    words = [str(place / "old-run"), str(tmp_path / "out"), *QUICK, "--format", "peft"]
    assert main(["export", *words, "--push", "me/model"]) == 2
    assert "nobody is logged in to the hub" in capsys.readouterr().err
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "x")
    assert main(["export", *words, "--push", "me/model"]) == 0
    assert "uploaded to https://hub/me/model" in capsys.readouterr().out
    assert called[0] == ("me/model", {"private": True, "exist_ok": True})
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "fea.json"} <= set(called[1][1])
