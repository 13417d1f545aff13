"""What may be written: text and an end, and nothing that the text would not show."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import small_config

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.logprobs import log_distribution, logits, token_logps
from fea.model import decoding
from fea.model.encoding import TAGS
from fea.model.policy import Policy
from fea.model.sampling import Generation, choose, noise
from fea.prompts.answer import parse

MakePolicy = Callable[..., Policy]
FILLED = 48  # rows of the head for which there is no token
ENDS = ("<|im_end|>", "<|endoftext|>")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model as they are published: a vocabulary filled up, tokens for the tags, and special ones of all kinds."""
    folder = tmp_path_factory.mktemp("base")
    policy = Policy(small_config(), {})
    tokenizer = policy.network.tokenizer
    tokenizer.add_tokens(["<think>", "</think>", "<tool_call>"])
    tokenizer.add_tokens(["<|reserved_7|>"], special_tokens=True)
    tokenizer.unk_token = "<|reserved_7|>"  # what it calls the tags that it has no token for
    policy.model.resize_token_embeddings(len(tokenizer) + FILLED, mean_resizing=False)
    policy.save(folder)
    file = folder / "tokenizer_config.json"
    told = json.loads(file.read_text())
    told["extra_special_tokens"].remove("<|box_start|>")  # only the token itself says that it is special
    file.write_text(json.dumps(told))
    return folder


@pytest.fixture
def policy(base: Path, make_policy: MakePolicy) -> Policy:
    return make_policy(base=str(base))


def ids_of(policy: Policy, *tokens: str) -> set[int]:
    return set(policy.network.tokenizer.convert_tokens_to_ids(list(tokens)))


def test_text_and_ends_are_allowed_and_nothing_else(policy: Policy) -> None:
    network, tokenizer = policy.network, policy.network.tokenizer
    rows, forbidden = len(network.head.weight), set(network.forbidden.tolist())
    assert rows == len(tokenizer) + FILLED
    assert not ids_of(policy, "<|box_start|>") & {*tokenizer.all_special_ids}
    assert {tokenizer.unk_token_id} == ids_of(policy, "<|reserved_7|>") == ids_of(policy, "<answer>")
    assert forbidden >= set(range(len(tokenizer), rows))
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    assert forbidden == special - set(network.ends) | set(range(len(tokenizer), rows))
    assert ids_of(policy, "<|reserved_7|>", "<|im_start|>", "<|box_start|>", "<|image_pad|>") <= forbidden
    assert not forbidden & ids_of(policy, "<think>", "</think>", "<tool_call>", *ENDS)


def test_sampling_never_yields_another_and_the_allowed_ones_share_all_probability(policy: Policy) -> None:
    network, generator = policy.network, torch.Generator().manual_seed(0)
    rows, forbidden = len(network.head.weight), network.forbidden
    allowed = torch.ones(rows, dtype=torch.bool).index_fill(0, forbidden, False)
    for spread, temperature in ((0.1, 1.0), (3.0, 1.0), (300.0, 1.0), (1.0, 1e-9), (1.0, 100.0)):
        wanted = torch.randn(64, rows, generator=generator) * spread - 20.0
        wanted[:32, forbidden] += 1000.0  # these are what it wants most
        log_p = log_distribution(wanted, forbidden, temperature)
        torch.testing.assert_close(log_p[:, allowed].exp().sum(1), torch.ones(64))
        for uniform in (
            None,
            torch.rand(64, generator=generator, dtype=torch.float64),
            torch.ones(64).double() - 1e-16,
        ):
            assert allowed[choose(log_p, uniform)].all()


def test_log_probabilities_of_training_leave_them_out_too(policy: Policy) -> None:
    network = policy.network
    hidden, rows = torch.randn(3, network.width), torch.arange(len(network.head.weight))
    allowed = rows[~torch.isin(rows, network.forbidden)]
    for state in hidden:
        logps, _ = token_logps(state.expand(len(allowed), -1), network.head.weight, allowed, network.forbidden)
        assert logps.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_a_rollout_writes_none_of_them(policy: Policy, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the head wants nothing else."""
    wanted = policy.network.forbidden
    monkeypatch.setattr(decoding, "logits", lambda hidden, head: logits(hidden, head).index_fill(-1, wanted, 1e4))
    chance = noise([prompt.example.id for prompt in prompts], 4, 6, 0, 0)
    for group, drawn in ((4, chance), (1, None)):
        completions = policy.rollout(prompts, group, Generation(6), drawn)
        assert not torch.isin(completions.ids[completions.mask.bool()], policy.network.forbidden).any()


def test_the_text_shows_all_that_was_written(policy: Policy) -> None:
    """Each allowed token in the middle of a completion adds to its text, so nothing earns the reward for form unseen."""
    network = policy.network
    around = [network.tokenizer(part)["input_ids"] for part in ("<think>AU6</think>", "<answer>happiness</answer>")]
    assert parse(network.decode(torch.tensor([*around[0], *around[1], network.ends[0]]))).well_formed
    rows = torch.arange(len(network.head.weight))
    written = rows[~torch.isin(rows, torch.cat([network.forbidden, torch.tensor(network.ends)]))].tolist()
    for token in random.Random(0).sample(written, 200) + list(ids_of(policy, "<think>", "<tool_call>")):
        text = network.decode(torch.tensor([*around[0], token, *around[1], network.ends[0]]))
        assert len(text) > len(network.decode(torch.tensor([*around[0], *around[1]])))
        assert text.startswith("<think>AU6</think>")


@pytest.mark.parametrize("special", [False, True])
def test_a_tag_that_is_a_token_is_written_and_read(
    base: Path, tmp_path: Path, make_policy: MakePolicy, examples: list[Example], special: bool
) -> None:
    """What stage 1 teaches can be written, whatever the tokenizer calls it."""
    policy = make_policy(base=str(base))
    policy.network.tokenizer.add_tokens(sorted(TAGS), special_tokens=special)
    policy.save(tmp_path / "base")
    policy = make_policy(base=str(tmp_path / "base"))
    target = policy.encoder(examples[0], with_target=True).target
    assert ids_of(policy, *TAGS) <= set(target.tolist())
    assert not torch.isin(target, policy.network.forbidden).any()
    assert policy.network.decode(target) == examples[0].analysis


@pytest.mark.parametrize("named", [None, "one", "both"])
def test_the_end_of_a_turn_ends_a_completion_whatever_the_base_names(
    base: Path, tmp_path: Path, make_policy: MakePolicy, named: str | None
) -> None:
    whole = make_policy(base=str(base))
    end, padding = (int(next(iter(ids_of(whole, token)))) for token in ENDS)
    whole.save(tmp_path / "base")
    told = {None: None, "one": padding, "both": [padding, end]}[named]
    for file in ("generation_config.json", "config.json"):
        settings = json.loads((tmp_path / "base" / file).read_text()) | {"eos_token_id": told}
        if "text_config" in settings:
            settings["text_config"]["eos_token_id"] = told
        (tmp_path / "base" / file).write_text(json.dumps(settings))
    network = make_policy(base=str(tmp_path / "base")).network
    assert set(network.ends) == {end, *([] if told is None else [padding])}
    assert not torch.isin(torch.tensor(network.ends), network.forbidden).any()
    assert (padding in network.forbidden.tolist()) == (told is None)
