"""The reference is the policy that a fit starts from, exactly, wherever that was."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import SMALL
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fea.data.prompt import Prompt
from fea.losses import kl_k3
from fea.model.config import LoRA
from fea.model.policy import Policy

Start = Callable[[], Policy]
ROUGH: dict[str, Any] = {"tiny": replace(SMALL, spread=0.3)}
LORA: dict[str, Any] = {**ROUGH, "lora": LoRA(4, 8)}
MASK = (torch.arange(5) < torch.tensor([[5], [2], [4], [1]])).long()
IDS = torch.randint(1, 580, (4, 5), generator=torch.Generator().manual_seed(0)) * MASK


def logps(policy: Policy, prompts: list[Prompt]) -> Tensor:
    with torch.no_grad():
        return policy.logps(prompts[:2], IDS, MASK)[0]


def step(policy: Policy, prompts: list[Prompt]) -> None:
    """One large optimizer step."""
    optimizer = torch.optim.AdamW([*policy.trainable().values()], lr=0.05)
    policy.train().logps(prompts[:2], IDS, MASK)[0].sum().backward()
    optimizer.step()
    policy.zero_grad()
    policy.eval()


def weights(policy: Policy) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()}


@pytest.fixture(params=["fresh adapter", "adapter of a first stage", "full fine-tuning"])
def policy(request: pytest.FixtureRequest, make_policy: Callable[..., Policy], prompts: list[Prompt]) -> Policy:
    """A policy at the start of a fit."""
    torch.manual_seed(0)
    policy = make_policy(**(ROUGH if request.param == "full fine-tuning" else LORA))
    if request.param == "adapter of a first stage":
        step(policy, prompts)
        start = {name: parameter.detach().clone() for name, parameter in policy.trainable().items()}
        first, policy = policy, Policy(policy.config, start).eval()
        assert torch.equal(logps(first, prompts), logps(policy, prompts))
    policy.keep_reference()
    return policy


def test_at_the_start_the_reference_is_the_policy_and_the_kl_exactly_zero(
    policy: Policy, prompts: list[Prompt]
) -> None:
    policy.train()
    current, _ = policy.logps(prompts[:2], IDS, MASK)
    with policy.reference():
        reference, _ = policy.logps(prompts[:2], IDS, MASK)
    assert not reference.requires_grad
    assert torch.equal(current, reference)
    assert kl_k3(current, reference).sum().item() == 0.0


def test_after_a_step_the_reference_is_still_the_start(policy: Policy, prompts: list[Prompt]) -> None:
    start = logps(policy, prompts)
    step(policy, prompts)
    moved = logps(policy, prompts)
    with policy.reference():
        reference = logps(policy, prompts)
    assert torch.equal(reference, start)
    assert (kl_k3(moved, reference) * MASK).sum() > 0.1
    assert torch.equal(logps(policy, prompts), moved)


@pytest.mark.parametrize("fails", [False, True])
def test_swapping_leaves_policy_and_reference_as_they_were_to_the_bit(
    policy: Policy, prompts: list[Prompt], fails: bool
) -> None:
    step(policy, prompts)
    before, reference = weights(policy), {name: w.clone() for name, w in policy.reference_weights.items()}
    parameters = {name: id(parameter) for name, parameter in policy.named_parameters()}
    try:
        with policy.reference():
            assert any(not torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    after = weights(policy)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(torch.equal(policy.reference_weights[name], reference[name]) for name in reference)
    assert {name: id(parameter) for name, parameter in policy.named_parameters()} == parameters  # the optimizer's own


def test_the_reference_is_not_the_base_after_a_first_stage(
    make_policy: Callable[..., Policy], prompts: list[Prompt]
) -> None:
    """Switching the adapter off would be another model."""
    policy = make_policy(**LORA)
    base = logps(policy, prompts)
    step(policy, prompts)
    policy.keep_reference()
    step(policy, prompts)
    with policy.reference():
        assert (logps(policy, prompts) - base).abs().max() > 0.1


def test_in_mixed_precision_the_reference_differs_from_the_policy_too(policy: Policy, prompts: list[Prompt]) -> None:
    """Autocast keeps cast copies of the weights; these must not outlive the swap, in either direction."""
    with torch.autocast("cpu", torch.bfloat16):
        start = logps(policy, prompts)
    step(policy, prompts)
    with torch.autocast("cpu", torch.bfloat16):
        moved = logps(policy, prompts)
        with policy.reference():
            reference = logps(policy, prompts)
        again = logps(policy, prompts)
    assert torch.equal(reference, start)
    assert (reference - moved).abs().max() > 0.1
    assert torch.equal(again, moved)


def test_the_reference_holds_the_trainable_weights_in_a_form_that_checkpoints_keep(
    policy: Policy, prompts: list[Prompt]
) -> None:
    fresh = len(policy.reference_weights) < len(policy.trainable())  # then it differs in the second factors from any
    step(policy, prompts)
    expected = {name for name in policy.trainable() if "lora_B" in name or not fresh}
    assert policy.reference_weights.keys() == expected
    file = io.BytesIO()
    torch.save(policy.reference_weights, file)
    file.seek(0)
    other = Policy(policy.config, {name: p.detach() for name, p in policy.trainable().items()}).eval()
    other.reference_weights = torch.load(file, weights_only=True)
    with policy.reference(), other.reference():
        assert torch.equal(logps(policy, prompts), logps(other, prompts))
    assert torch.equal(logps(policy, prompts), logps(other, prompts))


class Copies(TorchDispatchMode):
    """Counts operations that write values anew."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_weights_that_lie_where_they_are_needed_are_exchanged_and_not_copied(
    policy: Policy, prompts: list[Prompt]
) -> None:
    step(policy, prompts)
    places = {name: weight.data_ptr() for name, weight in policy.trainable().items()}
    with Copies() as copies, policy.reference():
        swapped = [name for name, weight in policy.trainable().items() if weight.data_ptr() != places[name]]
    assert not [name for name in copies.names if "copy" in name or "clone" in name]
    assert len(swapped) == len(policy.reference_weights) > 0
    assert {name: weight.data_ptr() for name, weight in policy.trainable().items()} == places


def test_the_reference_of_a_fresh_adapter_is_the_base(
    make_policy: Callable[..., Policy], prompts: list[Prompt]
) -> None:
    """All that is remembered of it are zeros, of which a file holds one."""
    policy, base = make_policy(**LORA), make_policy(**ROUGH)
    policy.keep_reference()
    kept = sum(weight.untyped_storage().nbytes() for weight in policy.reference_weights.values())
    assert kept == 4 * sum("lora_B" in name for name in policy.trainable())
    step(policy, prompts)
    with policy.reference():
        assert torch.equal(logps(policy, prompts), logps(base, prompts))
    assert not torch.equal(logps(policy, prompts), logps(base, prompts))


def test_an_adapter_with_one_factor_that_is_not_zero_is_not_fresh(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(**LORA)
    with torch.no_grad():
        [weight for name, weight in policy.trainable().items() if "lora_B" in name][-1][-1, -1] = 1e-30
    policy.keep_reference()
    assert policy.reference_weights.keys() == policy.trainable().keys()


def test_a_reference_that_was_stored_as_a_whole_is_read(
    make_policy: Callable[..., Policy], prompts: list[Prompt]
) -> None:
    """As earlier releases did with that of a fresh adapter."""
    policy = make_policy(**LORA)
    start = logps(policy, prompts)
    whole = {name: weight.detach().clone() for name, weight in policy.trainable().items()}
    step(policy, prompts)
    assert not policy.has_reference
    policy.reference_weights = whole
    assert policy.has_reference
    with policy.reference():
        assert torch.equal(logps(policy, prompts), start)


def test_only_the_first_process_holds_the_whole_reference_for_a_checkpoint(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert policy.reference_weights
    monkeypatch.setattr("fea.system.processes.rank", lambda: 1)
    assert policy.has_reference
    assert not policy.reference_weights
