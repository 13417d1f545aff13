"""`fea prune` on runs of the real command line: what is written, read back, healed, and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from conftest import SMALL, fit, small_config
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from fea.cli import main
from fea.drawn.faces import write_faces
from fea.model.checkpoints import weights
from fea.model.config import TinySize
from fea.model.policy import Policy
from fea.pruning import pruning, rounds

QUICK = ("--faces", "3", "--max_tokens", "6", "--device", "cpu")
ADAPTER = '{"rank": 4, "alpha": 8}'


def read(file: Path) -> Any:
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Bases of three families with six layers, a run with an adapter on the last, and calibration faces."""
    place = tmp_path_factory.mktemp("prune")
    write_faces(place / "cal", 4, 2, "analysis")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fea"])
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "cache")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        for family in ("qwen2_5_vl", "qwen2_vl", "qwen3_vl"):
            size = TinySize(**{**vars(SMALL), "layers": 6, "spread": 0.1, "family": family, "vision_layers": 3})
            Policy(small_config(tiny=size), {}).save(place / family)
        fit(
            "sft", place / "qwen3_vl-run", trainer__max_steps=2, model__optimization__lr=2e-2,
            model__optimization__warmup=0, model__policy__base=place / "qwen3_vl", model__policy__lora=ADAPTER,
        )  # fmt: skip
        yield place


def prune(place: Path, run: str, out: Path, *words: str, layers: int = 2) -> int:
    cal = place / "cal" / "faces.jsonl"
    return main(["prune", str(place / run), str(cal), "--layers", str(layers), "--out", str(out), *QUICK, *words])


@pytest.fixture(scope="module")
def pruned(place: Path) -> Path:
    assert prune(place, "qwen3_vl-run", place / "pruned") == 0
    return place / "pruned"


def test_the_folder_is_a_stock_model_of_the_layers_that_stay(place: Path, pruned: Path) -> None:
    """Every weight is the merged one of its old number, and transformers alone reads what fea wrote."""
    told = read(pruned / "pruning.json")
    kept = told["kept"]
    assert len(kept) == read(pruned / "config.json")["text_config"]["num_hidden_layers"] == 4
    assert kept[:2] == [0, 1]  # of three layers in the tower two hand on features, by the number of the layer
    assert kept[-1] == 5
    assert sorted([*kept, *told["dropped"]]) == list(range(6))
    base, adapter, here = load_file(place / "qwen3_vl" / "model.safetensors"), weights(str(place / "qwen3_vl-run")), load_file(
        pruned / "model.safetensors"
    )  # fmt: skip
    assert len(here) == len(base) - 2 * sum(".layers.2." in name for name in base)
    for new, old in enumerate(kept):
        name = "language_model.layers.{}.mlp.down_proj"
        full = next(n for n in base if name.format(old) in n)
        mine = next(n for n in here if name.format(new) in n)
        stem = f"model.model.{name.format(old)}"
        down, up = (adapter[f"{stem}.lora_{factor}.default.weight"] for factor in "AB")
        assert up.any()
        assert torch.allclose(here[mine], base[full] + 2 * up @ down, atol=1e-6)
    model = AutoModelForImageTextToText.from_pretrained(pruned)
    assert [layer.self_attn.layer_idx for layer in model.model.language_model.layers] == [0, 1, 2, 3]


def test_pruned_again_it_is_the_same_to_the_byte(place: Path, pruned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune(place, "qwen3_vl-run", place / "again") == 0
    for file in ("model.safetensors", "config.json", "fea.json"):
        assert (pruned / file).read_bytes() == (place / "again" / file).read_bytes()
    one, two = read(pruned / "pruning.json"), read(place / "again" / "pruning.json")
    assert one["rounds"] == two["rounds"]
    out = capsys.readouterr().out
    assert out.startswith("pip: norm of the difference of gradients")
    assert "an adapter is merged into its base first" in out
    assert "3 faces of" in out
    assert f"round 2: layer {two['dropped'][1]} (" in out
    assert "3 of the faces were compared with themselves without a unit" in out
    for row in ("layers  ", "parameters, in millions", "planned peak", "tokens a second", "time to the first token"):
        assert row in out
    assert "of its parameters are left" in out


def test_a_pruning_that_was_killed_goes_on_behind_its_last_round(
    place: Path, pruned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, asked, scores = place / "killed", list[int](), rounds.scores

    def counted(criterion: Any, question: Any) -> dict[int, float]:
        asked.append(question.turn)
        if asked == [0, 1]:
            raise KeyboardInterrupt
        return scores(criterion, question)

    monkeypatch.setattr(rounds, "scores", counted)
    assert prune(place, "qwen3_vl-run", out) == 130
    kept = place / "killed.rounds"
    assert len(kept.read_text().splitlines()) == 2
    with kept.open("a") as stream:
        stream.write('{"dropped": [')  # cut short by a kill
    assert not out.exists()
    assert prune(place, "qwen3_vl-run", out, "--seed", "1") == 2
    assert "holds rounds of another pruning (seed); give the same" in capsys.readouterr().err
    assert prune(place, "qwen3_vl-run", out) == 0
    assert asked == [0, 1, 1]
    assert not kept.exists()
    assert (out / "model.safetensors").read_bytes() == (pruned / "model.safetensors").read_bytes()
    assert read(out / "pruning.json")["rounds"] == read(pruned / "pruning.json")["rounds"]
    kept.write_text("something else\n")
    assert prune(place, "qwen3_vl-run", place / "killed-2") == 0
    shutil.rmtree(out)
    assert prune(place, "qwen3_vl-run", out) == 2
    assert "holds no rounds of a pruning" in capsys.readouterr().err
    assert kept.read_text() == "something else\n"


def test_it_is_planned_healed_measured_and_exported(
    place: Path, pruned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit("sft", place / "healed", trainer__max_steps=1, model__policy__base=pruned, model__policy__lora=ADAPTER)
    words = ["--faces", "2", "--scored", "2", "--max_tokens", "8", "--device", "cpu"]
    assert main(["export", str(place / "healed"), str(place / "taken"), *words]) == 0
    assert read(place / "taken" / "config.json")["text_config"]["num_hidden_layers"] == 4
    images = [str(file) for file in (place / "cal" / "images").glob("*.png")][:1]
    for model in (pruned, place / "healed"):
        assert main(["analyze", *images, "--model", str(model), "--max_tokens", "8", "--device", "cpu"]) == 0
    capsys.readouterr()
    plan = ["plan", "--config", "configs/sft.yaml", "--config", "configs/demo.yaml"]
    assert main([*plan, f"--model.policy.base={pruned}"]) == 0
    less = capsys.readouterr().out
    assert main([*plan, f"--model.policy.base={place / 'qwen3_vl'}"]) == 0
    assert less.splitlines()[1] != capsys.readouterr().out.splitlines()[1]  # weights
    assert main(["fit", *plan[1:], f"--model.init_from={pruned}"]) == 2
    assert f"a fit starts from it with --model.policy.base {pruned}" in capsys.readouterr().err


@pytest.mark.parametrize("criterion", ["bi", "perplexity"])  # of the others the formulas are tested
def test_bases_of_other_families_are_pruned(place: Path, criterion: str, tmp_path: Path) -> None:
    family = {"bi": "qwen2_vl"}.get(criterion, "qwen2_5_vl")
    out = tmp_path / "out"
    assert prune(place, family, out, "--criterion", criterion) == 0
    told = read(out / "pruning.json")
    assert told["after"]["layers"] == 4 == told["before"]["layers"] - 2
    assert told["after"]["parameters"] < told["before"]["parameters"]
    assert told["after"]["peak"] < told["before"]["peak"]
    assert told["counterfactual_faces"] == 0


def test_faces_without_an_analysis_are_answered_first_and_weights_may_be_looked_at_in_four_bits(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(line) for line in (place / "cal" / "faces.jsonl").read_text().splitlines()]
    for line in lines[:3]:
        del line["description"]
    (tmp_path / "some.jsonl").write_text("\n".join(map(json.dumps, lines[:3])))
    words = ["--layers", "1", "--out", str(tmp_path / "out"), *QUICK, "--four_bit", "--image_root", str(place / "cal")]
    assert main(["prune", str(place / "qwen2_5_vl"), str(tmp_path / "some.jsonl"), *words]) == 0
    assert "3 without an analysis are answered first" in capsys.readouterr().out
    held = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in held.values()} == {torch.float32}  # what is written is not in 4 bits


def test_older_folders_keep_their_names_and_shards(place: Path, tmp_path: Path) -> None:
    """Names, shards and a flat config as in folders of earlier years."""
    base = tmp_path / "old"
    shutil.copytree(place / "qwen2_5_vl", base)
    Policy(small_config(base=str(base)), {}).model.save_pretrained(base, max_shard_size="400KB")
    (base / "model.safetensors").unlink(missing_ok=True)
    told = read(base / "config.json")
    flat = {**told.pop("text_config"), **told}
    flat["model_type"] = "qwen2_5_vl"
    (base / "config.json").write_text(json.dumps(flat))
    assert len(list(base.glob("model-*.safetensors"))) > 1
    assert prune(place, str(base), tmp_path / "out", "--criterion", "last") == 0
    assert read(tmp_path / "out" / "config.json")["num_hidden_layers"] == 4
    index = read(tmp_path / "out" / "model.safetensors.index.json")["weight_map"]
    assert {*index} == {n for f in {*index.values()} for n in load_file(tmp_path / "out" / f)}


def refused(place: Path, capsys: pytest.CaptureFixture[str], run: str, *words: str, layers: int = 2) -> str:
    out = place / "nothing"
    assert prune(place, run, out, *words, layers=layers) == 2
    assert not out.exists()
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1
    return told


def test_what_cannot_be_pruned_is_one_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "layers: 5, but of the 6 layers of this language model between 1 and 4 can go" in refused(
        place, capsys, "qwen2_5_vl", layers=5
    )
    assert "between 1 and 3 can go: the first and the last one, and the first 2, which are given" in refused(
        place, capsys, "qwen3_vl", layers=4
    )
    assert "layers: 0; give at least 1" in refused(place, capsys, "qwen2_5_vl", layers=0)
    assert "faces: 0; give at least 1" in refused(place, capsys, "qwen2_5_vl", "--faces", "0")
    assert "nowhere' holds no checkpoint" in refused(place, capsys, "nowhere")
    (tmp_path / "empty.jsonl").write_text("")
    words = ["--layers", "2", "--out", str(tmp_path / "out")]
    assert main(["prune", str(place / "qwen2_5_vl"), str(tmp_path / "empty.jsonl"), *words]) == 2
    assert "holds no usable line" in capsys.readouterr().err
    assert main(["prune", str(place / "qwen2_5_vl"), "no.jsonl", "--layers", "2", "--out", str(place)]) == 2
    assert "is not empty; name a folder" in capsys.readouterr().err
    quantized = tmp_path / "quantized"
    shutil.copytree(place / "qwen2_5_vl", quantized)
    told = read(quantized / "config.json")
    (quantized / "config.json").write_text(
        json.dumps({**told, "quantization_config": {"quant_method": "bitsandbytes"}})
    )
    assert "is a quantized model, and nothing is merged into rounded weights" in refused(place, capsys, str(quantized))


def test_what_reads_back_otherwise_is_not_there(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "kept_of", lambda depth, rounds: [0, 2, 3, 5])
    told = refused(place, capsys, "qwen2_5_vl", "--criterion", "last")  # which leaves 0, 1, 2 and 5
    assert "read back, the pruned model is" in told
