"""Preference optimization: every formula against plain Python, and a packed tree of pairs against forwards one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import fit, small_config
from pairing import pairs_file
from torch import Tensor

from fea.data.example import Example, Rejected
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.losses import anchor_loss, implicit_reward, preference_loss
from fea.model.policy import Policy
from fea.preference import EMPOModule
from fea.training.comparing import Rewards, losses, pairs_of, rewards, sums
from fea.training.preferring import Preference

BETA = 0.3


# --- formulas ---


def plain(logp: float, ref: float, other: float, other_ref: float) -> float:
    return -math.log(1 / (1 + math.exp(-(BETA * (logp - ref) - BETA * (other - other_ref)))))


@pytest.mark.parametrize("case", [(-12.5, -14.0, -30.0, -21.5), (-40.0, -10.0, -8.0, -11.0), (-3.0, -3.0, -5.0, -5.0)])
def test_a_preference_is_the_formula_in_plain_python(case: tuple[float, float, float, float]) -> None:
    logp, ref, other, other_ref = (torch.tensor(value, dtype=torch.float64) for value in case)
    chosen, rejected = implicit_reward(logp, ref, BETA), implicit_reward(other, other_ref, BETA)
    assert float(preference_loss(chosen, rejected)) == pytest.approx(plain(*case), abs=1e-6)
    least = 0.7
    anchored = -math.log(1 / (1 + math.exp(-(BETA * (case[0] - case[1]) - least))))
    assert float(anchor_loss(chosen, least)) == pytest.approx(anchored, abs=1e-6)


def test_what_is_far_off_stays_finite() -> None:
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    preference_loss(far, torch.zeros(2)).sum().backward()
    assert far.grad is not None
    assert far.grad.tolist() == [-1.0, 0.0]


# --- the tree ---


def changed(example: Example) -> list[Example]:
    """Pairs of an example with all parts, and with one of them each."""
    text = (example.analysis or "").replace("AU", "AU1", 1)
    parts = Rejected(f"{text}", "IMAGE", "Which units, and is AU9 among them?")
    alone = [Rejected(**{name: value}) for name, value in parts._asdict().items()]
    return [example._replace(rejected=some, place=f"pairs:{number}") for number, some in enumerate([parts, *alone])]


@pytest.fixture
def pairs(examples: list[Example]) -> list[Example]:
    """Two faces with pairs of all kinds; the rejected image is that of a third face."""
    made = [*changed(examples[3]), *changed(examples[5])]
    return [
        pair._replace(
            rejected=pair.rejected and pair.rejected._replace(image=pair.rejected.image and examples[7].image)
        )
        for pair in made
    ]


def module_of(layout: str = "tree", dtype: str = "float32", **preference: Any) -> EMPOModule:
    module = EMPOModule(
        small_config(layout=layout), preference=Preference(**{"beta": BETA, "anchor": 0.5, **preference})
    )
    module.configure_model()
    module.policy.to(getattr(torch, dtype)).eval()
    return module


def alone(policy: Policy, prompt: Prompt, text: Tensor) -> Tensor:
    """Log-probability of a text behind a prompt, by a forward of its own in the layout of rows."""
    config, policy.config = policy.config, small_config(layout="rows")
    total = policy.logps([prompt], text[None], torch.ones_like(text)[None])[0].sum()
    policy.config = config
    return total


def one_by_one(policy: Policy, prompts: list[Prompt], weights: dict[str, float], least: float) -> Tensor:
    """The loss of pairs from as many forwards as there are texts; the reference is 1.5 nats a text below the policy."""
    by_term: dict[str, list[Tensor]] = {name: [] for name in weights}
    for pair in pairs_of(prompts):
        by_side = {prompt.side: prompt for prompt in pair}
        own = by_side["chosen"]

        def h(prompt: Prompt, text: Tensor, reference: float) -> Tensor:
            return BETA * (alone(policy, prompt, text) - reference)

        chosen = h(own, own.target, -70.0)
        if len(own.rejected):
            by_term["response"].append(-torch.nn.functional.logsigmoid(chosen - h(own, own.rejected, -71.0)))
        for side, reference in (("image", -72.0), ("question", -73.0)):
            if side in by_side:
                other = h(by_side[side], by_side[side].target, reference)
                by_term[side].append(-torch.nn.functional.logsigmoid(chosen - other))
        by_term["anchor"].append(-torch.nn.functional.logsigmoid(chosen - least))
    return torch.stack([weight * torch.stack(by_term[name]).sum() for name, weight in weights.items()]).sum()


def packed(policy: Policy, prompts: list[Prompt], weights: dict[str, float], least: float) -> Tensor:
    """The same loss from one pass."""
    read = sums(policy, prompts)
    whole = torch.zeros_like(read.whole_V2)
    reference = {"chosen": (-70.0, -71.0), "image": (-72.0, 0.0), "question": (-73.0, 0.0)}
    for row, prompt in enumerate(prompts):
        whole[row] = torch.tensor(reference[prompt.side])
    # Of the part that is apart, references are the same but for what both texts begin with.
    begun = read.whole_V2.detach() - read.apart_V2.detach()
    ref = read._replace(whole_V2=whole, apart_V2=whole - begun)
    by_term = losses(rewards(prompts, read, ref, BETA), least)
    return torch.stack([weight * by_term[name].sum() for name, weight in weights.items()]).sum()  # type: ignore[index]


@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-7), ("float32", 1e-5)])
@pytest.mark.parametrize("layout", ["rows", "group", "tree"])
def test_one_tree_is_as_many_forwards(pairs: list[Example], layout: str, dtype: str, close: float) -> None:
    module, weights = module_of(layout, dtype), {"response": 0.7, "image": 1.3, "question": 0.4, "anchor": 0.5}
    read = [prompt for pair in pairs for prompt in module.encode_training(pair)]
    prompts = [prompt._replace(pixels=prompt.pixels.to(getattr(torch, dtype))) for prompt in read]
    assert [prompt.side for prompt in prompts[:3]] == ["chosen", "image", "question"]
    gradients = []
    for loss_of in (packed, one_by_one):
        module.policy.zero_grad()
        loss = loss_of(module.policy, prompts, weights, 0.2)
        loss.backward()
        parts = {name: p.grad.clone() for name, p in module.policy.trainable().items() if p.grad is not None}
        gradients.append((loss.detach(), parts))
    (loss, ours), (expected, theirs) = gradients
    assert float(loss) == pytest.approx(float(expected), rel=close)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 5
    scale = max(float(gradient.norm()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        assert float((ours[name] - gradient).norm()) <= close * scale, name


def test_what_both_texts_begin_with_has_no_part_in_their_comparison(pairs: list[Example]) -> None:
    """Not to rounding: exactly."""
    module = module_of()
    prompts = module.encode_training(pairs[1])
    begun = next(
        at for at, (one, other) in enumerate(zip(prompts[0].target, prompts[0].rejected, strict=False)) if one != other
    )
    assert begun > 5
    logps = torch.zeros(2, max(len(prompts[0].target), len(prompts[0].rejected)), requires_grad=True)

    class Given:
        config = module.config

        def logps(self, *_: Any) -> tuple[Tensor, None]:
            return logps * 1.0, None

    found = rewards(prompts, sums(Given(), prompts), sums(module.policy, prompts), BETA)  # type: ignore[arg-type]
    losses(found, 0.0)["response"].sum().backward()
    assert logps.grad is not None
    assert not logps.grad[:, :begun].any()
    assert logps.grad[0, begun] == -logps.grad[1, begun] != 0


def test_a_pair_without_a_part_has_no_such_term_and_no_gradient_of_nothing(pairs: list[Example]) -> None:
    module = module_of()
    prompts = [prompt for pair in pairs[1:4] for prompt in module.encode_training(pair)]
    read = sums(module.policy, prompts)
    by_term = losses(rewards(prompts, read, sums(module.policy, prompts), BETA), 0.0)
    assert {name: len(values) for name, values in by_term.items()} == {
        "response": 1, "image": 1, "question": 1, "anchor": 3,
    }  # fmt: skip
    torch.stack([values.sum() for values in by_term.values()]).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.policy.parameters())


# --- objectives ---


def test_the_controls_leave_terms_out_and_crop(pairs: list[Example]) -> None:
    sides = {
        name: [prompt.side for prompt in module_of(objective=name, anchor=1.0).encode_training(pairs[0])]
        for name in ("empo", "dpo", "mdpo")
    }
    assert sides == {"empo": ["chosen", "image", "question"], "dpo": ["chosen"], "mdpo": ["chosen", "image"]}
    assert Preference(objective="mdpo").weights == {"response": 1.0, "image": 1.0, "question": 0.0, "anchor": 1.0}
    assert Preference().weights == {"response": 1.0, "image": 1.0, "question": 1.0, "anchor": 1.0}
    crop, again = (module_of(objective="mdpo").encode_training(pairs[0])[1].pixels for _ in range(2))
    assert torch.equal(crop, again)
    assert not torch.equal(crop, module_of().encode_training(pairs[0])[1].pixels)


def test_both_images_are_blurred_or_none(pairs: list[Example]) -> None:
    sharp, soft = (module_of(blur=share).encode_training(pairs[0]) for share in (0.0, 1.0))
    for one, other in zip(sharp[:2], soft[:2], strict=True):
        assert 0 < float((one.pixels - other.pixels).abs().mean()) < 0.2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"beta": 0.0}, r"model\.preference\.beta: 0\.0; give a number above 0"),
        ({"image": -1.0}, r"model\.preference\.image: -1\.0; .* not negative"),
        ({"blur": 2.0}, r"model\.preference\.blur: 2\.0; give a share"),
        ({"objective": "dpo", "response": 0.0}, r"all weights are 0, so nothing is compared"),
    ],
)
def test_what_nothing_can_be_learned_with_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(FEAError, match=told):
        Preference(**wrong)


# --- a fit ---


def test_a_fit_prefers_what_was_chosen(tmp_path: Path, faces_file: Path, make_policy: Callable[..., Policy]) -> None:
    pairs = pairs_file(faces_file, tmp_path / "pairs.jsonl")
    source = f'[{{"file": "{pairs}", "image_root": "{faces_file.parent}"}}]'
    run = fit(
        "empo",
        tmp_path / "run",
        data__train=source,
        model__optimization__lr=1e-3,
        trainer__max_steps=12,
        model__preference__beta=0.5,
    )
    told = run.trainer.callback_metrics
    assert float(told["train/loss"]) < 3 * math.log(2) - 0.3
    assert float(told["train/response_accuracy"]) == 1.0
    assert {"train/image_margin", "train/question_accuracy", "train/drift", "train/image_sensitivity"} <= told.keys()


def test_files_without_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FEAError, match=r"data\.batch_size: 4 .* only 0 preference pairs \(key 'rejected'"):
        fit("empo", tmp_path / "run")


def test_an_objective_without_its_parts_is_refused(tmp_path: Path, faces_file: Path) -> None:
    pairs = pairs_file(faces_file, tmp_path / "pairs.jsonl", parts=("image",))
    source = f'[{{"file": "{pairs}", "image_root": "{faces_file.parent}"}}]'
    with pytest.raises(FEAError, match=r"dpo compares response, and no pair of data\.train has a rejected part"):
        fit("empo", tmp_path / "run", data__train=source, model__preference__objective="dpo")


def test_what_is_chosen_has_a_margin_over_what_is_rejected() -> None:
    """A pair that has all parts, and one without any: what accuracies and margins in the log are made of."""
    nan = math.nan
    both, chosen = torch.tensor([[3.0, 1.0], [nan, nan]]), torch.tensor([2.0, 0.5])
    image, question = torch.tensor([0.5, nan]), torch.tensor([2.25, nan])
    margins = Rewards(chosen, both, image, question, image).margins
    assert {name: values[0].item() for name, values in margins.items()} == {
        "response": 2.0, "image": 1.5, "question": -0.25,
    }  # fmt: skip
    assert all(bool(values[1].isnan()) for values in margins.values())
