"""Each criterion beside an independent computation of its formula, on weights away from every trivial point."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_config
from torch import Tensor

from fea.data.example import Example
from fea.model.config import LoRA, TinySize
from fea.model.policy import Policy
from fea.pruning.calibration import Face, read_faces
from fea.pruning.criteria import EPS, Question, scores
from fea.pruning.dropping import inner, keep, without
from fea.pruning.gradients import matrix, size, watching, weight_norm
from fea.pruning.rounds import kept_of, rounds_of
from fea.pruning.views import Pair, difference, losses_of, pairs_of

LAYERS = 6
TINY = TinySize(hidden=64, layers=LAYERS, heads=4, vision_hidden=64, vision_layers=2, spread=0.1)


def built(family: str = "qwen2_5_vl", **changes: Any) -> Policy:
    policy = Policy(
        small_config(tiny=TinySize(**{**vars(TINY), "family": family}), layout="group", **changes), {}
    ).eval()
    torch.manual_seed(2)
    with torch.no_grad():
        for number, layer in enumerate(policy.network.language_model.layers):
            for weight in layer.parameters():  # norms and biases away from 1 and 0; layers that differ
                weight.add_(torch.randn_like(weight) * (0.3 if weight.dim() == 1 else 0.02 * (1 + (number * 5) % 7)))
    return policy


@pytest.fixture(scope="module")
def policy() -> Policy:
    return built()


@pytest.fixture
def faces(policy: Policy, examples: list[Example]) -> list[Face]:
    return read_faces(policy, examples[:2], 12, counterfactual=True)


def asked(policy: Policy, faces: list[Face], going: int = 2, turn: int = 0) -> Question:
    return Question(policy, faces, going, 7, turn)


def stock_loss(policy: Policy, prompt: Any, ids_T: Tensor) -> Tensor:
    """Mean negative log-likelihood of a text, through the stock forward pass of transformers."""
    logits = policy.model(
        input_ids=torch.cat([prompt.ids, ids_T])[None], pixel_values=prompt.pixels, image_grid_thw=prompt.grid[None],
        mm_token_type_ids=(torch.cat([prompt.ids, ids_T]) == policy.network.image_token).long()[None],
    ).logits[0, len(prompt.ids) - 1 : -1]  # fmt: skip
    forbidden = policy.network.forbidden
    logps = logits.index_fill(-1, forbidden, -torch.inf).log_softmax(dim=-1)
    return -logps.gather(1, ids_T[:, None]).mean()


def gradients(policy: Policy, loss: Tensor) -> list[list[tuple[Tensor, Tensor]]]:
    """By layer, its weights and their gradients by autograd."""
    layers = [list(layer.parameters()) for layer in policy.network.language_model.layers]
    found = iter(torch.autograd.grad(loss, [weight for layer in layers for weight in layer]))
    return [[(weight.detach(), next(found)) for weight in layer] for layer in layers]


def norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float((t.double() ** 2).sum()) for t in tensors))


def close(found: dict[int, float], wanted: list[float]) -> None:
    for place, score in found.items():
        assert score == pytest.approx(wanted[place], rel=1e-5, abs=1e-6)
    assert len({round(score, 9) for score in found.values()}) == len(found)  # off the trivial point: they differ


def test_pip_is_the_norm_of_the_difference_of_two_gradients(policy: Policy, faces: list[Face]) -> None:
    pairs = list(pairs_of(policy, faces, 7, 0))
    kinds = [len(pair.prompts) for pair in pairs]
    assert kinds == [1, 2] * 2
    total = np.zeros(LAYERS)
    for pair in pairs:
        first, second = pair.prompts[0], pair.prompts[-1]
        one = gradients(policy, stock_loss(policy, first, pair.ids_2T[0]))
        two = gradients(policy, stock_loss(policy, second, pair.ids_2T[1]))
        for layer in range(LAYERS):
            apart = [b - a for (_, a), (_, b) in zip(one[layer], two[layer], strict=True)]
            total[layer] += norm(apart) / (norm([weight for weight, _ in one[layer]]) + EPS)
    found = scores("pip", asked(policy, faces))
    assert [*found] == [1, 2, 3, 4]
    close(found, (total / len(pairs)).tolist())


def test_taylor_is_the_sum_of_gradients_times_weights(policy: Policy, faces: list[Face]) -> None:
    total = np.zeros(LAYERS)
    for face in faces:
        for layer, parts in enumerate(gradients(policy, stock_loss(policy, face.prompt, face.ids))):
            total[layer] += sum(float((weight.double() * gradient.double()).abs().sum()) for weight, gradient in parts)
    close(scores("taylor", asked(policy, faces)), (total / len(faces)).tolist())


def hidden(policy: Policy, face: Face) -> list[Any]:
    """Hidden states before each layer, as transformers itself tells them."""
    ids = torch.cat([face.prompt.ids, face.ids])
    with torch.no_grad():
        told = policy.model(
            input_ids=ids[None], pixel_values=face.prompt.pixels, image_grid_thw=face.prompt.grid[None],
            mm_token_type_ids=(ids == policy.network.image_token).long()[None], output_hidden_states=True,
        )  # fmt: skip
    return [states[0].double().tolist() for states in told.hidden_states]


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_block_influence_and_angular_distance(policy: Policy, faces: list[Face]) -> None:
    states = [hidden(policy, face) for face in faces]
    bi = {}
    for layer in range(1, LAYERS - 1):
        cosines = [cosine(a, b) for told in states for a, b in zip(told[layer], told[layer + 1], strict=True)]
        bi[layer] = 1 - sum(cosines) / len(cosines)
    close(scores("bi", asked(policy, faces)), [0.0, *bi.values(), 0.0])
    blocks = {}
    for start in range(1, LAYERS - 2):  # two inner layers
        blocks[start] = sum(math.acos(cosine(told[start][-1], told[start + 2][-1])) / math.pi for told in states) / len(
            states
        )
    found = scores("cosine_block", asked(policy, faces, going=2))
    assert [*found] == [*blocks]
    close(found, [0.0, *blocks.values()])


def test_perplexity_is_what_the_loss_grows_by(policy: Policy, faces: list[Face]) -> None:
    def mean(some: Policy) -> float:
        with torch.no_grad():
            return sum(float(stock_loss(some, face.prompt, face.ids)) for face in faces) / len(faces)

    whole, wanted = mean(policy), [0.0]
    for place in range(1, LAYERS - 1):
        other = copy.deepcopy(policy)
        other.network.language_model.layers.__delitem__(place)
        for number, layer in enumerate(other.network.language_model.layers):
            layer.self_attn.layer_idx = number
        other.network.language_model.config.num_hidden_layers = LAYERS - 1
        wanted.append(mean(other) - whole)
    close(scores("perplexity", asked(policy, faces)), wanted)
    assert len(policy.network.language_model.layers) == LAYERS


def test_controls(policy: Policy, faces: list[Face]) -> None:
    last = scores("last", asked(policy, faces))
    assert sorted(last, key=lambda place: last[place]) == [4, 3, 2, 1]
    one, again, other = (scores("random", asked(policy, faces, turn=turn)) for turn in (0, 0, 1))
    assert one == again != other


def test_measuring_leaves_a_policy_as_it_was(policy: Policy, faces: list[Face]) -> None:
    before = {name: weight.requires_grad for name, weight in policy.named_parameters()}
    pair = next(iter(pairs_of(policy, faces, 0, 0)))
    layers = list(policy.network.language_model.layers)
    hooks = [len(module._forward_hooks) for layer in layers for module in layer.modules()]
    with watching(policy, layers) as seen:
        first, second = (seen.of(difference(policy, pair)) for _ in range(2))
    assert first == second  # nothing adds up from one pass to the next
    assert {name: weight.requires_grad for name, weight in policy.named_parameters()} == before
    assert all(weight.grad is None for weight in policy.parameters())
    assert [len(module._forward_hooks) for layer in layers for module in layer.modules()] == hooks
    assert size(layers[0]) == sum(weight.numel() for weight in layers[0].parameters())


@pytest.fixture(scope="module")
def low(tmp_path_factory: pytest.TempPathFactory) -> tuple[Policy, Policy]:
    """The same weights in 4 bits, with a fresh adapter, and unpacked in fp32."""
    folder = tmp_path_factory.mktemp("low")
    built().save(folder)
    four = Policy(small_config(base=str(folder), lora=LoRA(8, 16), four_bit=True, layout="group"), {}).eval()
    whole = Policy(small_config(base=str(folder), layout="group"), {}).eval()
    packed = dict(four.network.language_model.named_modules())
    with torch.no_grad():
        for name, module in whole.network.language_model.named_modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.copy_(matrix(packed[f"{name}.base_layer"]))
    return four, whole


def test_in_four_bits_the_gradient_is_that_of_the_adapter_before_its_sketch(
    low: tuple[Policy, Policy], examples: list[Example]
) -> None:
    """With B = 0 the adapter's own gradient is s G A^T: what autograd says of it, G has to say, too."""
    four, _ = low
    (face,) = read_faces(four, examples[:1], 12, counterfactual=False)
    layer = four.network.language_model.layers[2]
    with watching(four, [layer]) as seen:
        caught: list[tuple[Any, Tensor]] = []
        add, seen._add = seen._add, lambda number, g, w: (caught.append((w.shape, g)), add(number, g, w))[1]  # type: ignore[method-assign]
        seen.of(losses_of(four, [face.prompt], face.ids[None])[0])
    down = layer.mlp.down_proj
    loss = losses_of(four, [face.prompt], face.ids[None])[0]
    (gradient,) = torch.autograd.grad(loss, [down.lora_B["default"].weight])
    (whole,) = [g for shape, g in caught if shape == matrix(down.base_layer).shape]
    wanted = down.scale * whole @ down.down_rD.T
    assert torch.allclose(gradient, wanted, rtol=0.05, atol=0.02 * float(wanted.abs().max()))  # products in bf16
    assert float(gradient.norm()) > 0


@pytest.mark.parametrize("criterion", ["pip", "taylor"])
def test_four_bits_rank_layers_as_the_true_gradient_does(
    low: tuple[Policy, Policy], examples: list[Example], criterion: Any
) -> None:
    found = []
    for some in low:
        some_faces = read_faces(some, examples[:2], 12, counterfactual=True)
        found.append(scores(criterion, asked(some, some_faces)))
    four, whole = found
    assert sorted(four, key=lambda place: four[place]) == sorted(whole, key=lambda place: whole[place])
    for place, score in whole.items():
        assert four[place] == pytest.approx(score, rel=0.1)
    for a, b in zip(*(some.network.language_model.layers for some in low), strict=True):
        assert weight_norm(a) == pytest.approx(weight_norm(b), rel=1e-4)


def test_rounds_take_the_least_and_number_the_others_anew(faces: list[Face]) -> None:
    one, two, faces = built(), built(), faces[:1]
    rounds = list(rounds_of(one, faces, "pip", 2, 7))
    for turn, told in enumerate(rounds):
        found = scores("pip", Question(two, faces, 2, 7, turn))
        least = min(found, key=lambda place: found[place])
        original = kept_of(LAYERS, rounds[:turn])
        assert told.dropped == [original[least]]
        assert [*told.scores.values()] == [*found.values()]
        keep(two.network, [place for place in range(LAYERS - turn) if place != least])
    assert [layer.self_attn.layer_idx for layer in one.network.language_model.layers] == [0, 1, 2, 3]
    assert one.network.language_model.config.num_hidden_layers == 4
    assert len(one.network.language_model.config.layer_types) == 4


@pytest.mark.parametrize("criterion", ["bi", "last", "cosine_block"])
def test_what_is_published_as_one_look_drops_all_at_once(faces: list[Face], criterion: Any) -> None:
    (told,) = rounds_of(built(), faces, criterion, 3, 7)
    assert len(told.dropped) == 3
    if criterion == "cosine_block":
        start = min(told.scores, key=lambda layer: told.scores[layer])
        assert told.dropped == [start, start + 1, start + 2]
    if criterion == "last":
        assert told.dropped == [2, 3, 4]


def test_layers_that_are_given_features_stay(examples: list[Example]) -> None:
    policy = built("qwen3_vl")
    assert policy.network.deepstack == 1
    assert inner(policy.network) == range(1, LAYERS - 1)
    policy.network.vision_tower.config.deepstack_visual_indexes = [0, 0, 1]
    assert inner(policy.network) == range(3, LAYERS - 1)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl"])
def test_a_network_without_a_layer_answers_in_all_layouts(
    make_policy: Callable[..., Policy], examples: list[Example], family: str
) -> None:
    policy = built(family)
    face, other = read_faces(policy, examples[:2], 12, counterfactual=False)
    with without(policy.network, 2):
        stock = [stock_loss(policy, some.prompt, some.ids) for some in (face, other)]
        own = [losses_of(policy, [some.prompt], some.ids[None])[0] for some in (face, other)]
        pair = Pair([face.prompt], torch.stack([face.ids, face.ids.flip(0)]))
        apart = float(difference(policy, pair))
        policy.config.layout = "rows"
        assert float(difference(policy, pair)) == pytest.approx(apart, abs=1e-5)
    assert [float(a) for a in stock] == pytest.approx([float(b) for b in own], abs=1e-5)
