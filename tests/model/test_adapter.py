"""The adapter computes what PEFT's layers compute, and remembers nothing."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fea.data.prompt import Prompt
from fea.model import adapter
from fea.model.adapter import Adapted, held
from fea.model.config import LoRA
from fea.model.policy import Policy

MakePolicy = Callable[..., Policy]
SOME = LoRA(3, 9, r".*language_model.*\.(q_proj|v_proj|o_proj|up_proj)")  # of those that share their input, not all


def random_policy(make_policy: MakePolicy, lora: LoRA, **settings: object) -> Policy:
    policy = make_policy(lora=lora, **settings)
    torch.manual_seed(1)
    for weight in policy.trainable().values():
        torch.nn.init.normal_(weight, std=0.3)
    return policy


def results(policy: Policy, prompts: list[Prompt]) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probabilities of given tokens, and all gradients."""
    ids = torch.arange(40).view(8, 5) * 7 % 300
    logps, _ = policy.logps(prompts, ids, torch.ones_like(ids))
    weights = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (logps * weights).sum().backward()
    return logps.detach(), {name: weight.grad for name, weight in policy.trainable().items() if weight.grad is not None}


@pytest.mark.parametrize("lora", [LoRA(4, 8), SOME])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_values_and_gradients_are_those_of_peft(
    make_policy: MakePolicy,
    prompts: list[Prompt],
    monkeypatch: pytest.MonkeyPatch,
    lora: LoRA,
    checkpointing: bool,
) -> None:
    own = random_policy(make_policy, lora, checkpointing=checkpointing).train().double()
    with monkeypatch.context() as patch:
        patch.setattr(adapter, "install", lambda model: None)
        stock = random_policy(make_policy, lora).train().double()
    assert not [module for module in stock.modules() if isinstance(module, Adapted)]
    assert list(own.state_dict()) == list(stock.state_dict())
    (found, gradients), (expected, others) = results(own, prompts), results(stock, prompts)
    # Gradients of so large updates are near 40: in fp32 rounding alone moves them by 1e-3. Log-probabilities are always fp32.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == others.keys() == own.trainable().keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, others[name], rtol=1e-5, atol=1e-5)


def test_held_weights_are_those_of_the_moment_and_then_gone(make_policy: MakePolicy, prompts: list[Prompt]) -> None:
    policy = random_policy(make_policy, LoRA(4, 8)).eval()
    ids = torch.ones(8, 2, dtype=torch.long)

    def logps() -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return policy.logps(prompts, ids, ids)[0]

    before = logps()
    with held(policy.model, torch.bfloat16):
        assert torch.equal(logps(), before)
        with torch.no_grad():
            for weight in policy.trainable().values():
                weight.mul_(0.5)
        assert torch.equal(logps(), before)
    assert not torch.allclose(logps(), before)


def test_nothing_of_a_pass_is_kept(make_policy: MakePolicy) -> None:
    """What layers share would otherwise keep alive what checkpointing lets go."""
    layer = random_policy(make_policy, LoRA(4, 8)).network.language_model.layers[0]
    for module in (layer.self_attn, layer.mlp):
        x = torch.randn(1, 3, 64)
        for name in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"):
            if hasattr(module, name):
                getattr(module, name)(x)
        alive = weakref.ref(x)
        del x
        assert alive() is None


def test_layers_of_the_same_input_share_a_product_and_others_do_not(make_policy: MakePolicy) -> None:
    layer = random_policy(make_policy, LoRA(4, 8)).network.language_model.layers[0]
    inputs = {name: module.given for name, module in layer.named_modules() if isinstance(module, Adapted)}
    assert [len(given.layers) for given in {id(given): given for given in inputs.values()}.values()] == [3, 1, 2, 1]
    one, other = torch.randn(2, 1, 3, 64)
    q, k = layer.self_attn.q_proj, layer.self_attn.k_proj
    for x in (one, other):
        expected = k.base_layer(x) + 2 * x @ k.lora_A["default"].weight.T @ k.lora_B["default"].weight.T
        q(one)  # what was computed for it is not taken for another input
        torch.testing.assert_close(k(x), expected, rtol=1e-5, atol=1e-5)
