"""The general road: a network of any family, through its stock forward pass and its stock `generate`.

Every completion stands beside a whole copy of its prompt, and the image goes through the tower once for each: that is slow, and
right for any family. What is ours is the choice of tokens: which are allowed, and the noise that belongs to the example.

Prompts of the same length whose images give tensors of the same shapes go together, so that none is padded to another:

    prompts    p1 (969 tokens, 4 tiles)   p2 (969, 4)   p3 (1033, 5)      two completions each
    passes     [p1 c11 .]  [p1 c12]  [p2 c21 .]  [p2 c22 .]               and  [p3 c31]  [p3 c32 .]

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion; R rows of one pass, P tokens of its
prompts, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from fea.data.prompt import Prompt
from fea.logprobs import log_distribution, logit_logps, logits
from fea.model.families.general import General
from fea.model.network import Speaker
from fea.model.processed import Processed
from fea.model.processor import save_processor
from fea.model.sampling import Completions, Generation, Heard, choose, widest
from fea.prompts.answer import Form
from fea.prompts.numbers import Numbers
from fea.prompts.prompt import Knowledge

# Completions that are written at a time, of one prompt at least: each keeps keys and values of its whole prompt. With 1,350
# tokens in all, 32 of a model of 2B parameters take up to 8 GiB.
_ROWS = 32

# What a processor says of every token of a prompt. A completion's are like the last of the prompt, which is text, too.
OF_TOKENS = ("token_type_ids", "mm_token_type_ids", "cross_attention_mask")


class Stock(Speaker):
    """A network that is asked as it comes. Its methods are those of `fea.model.roads.Road`.

    Args:
        general: what is known of it.
        model: the whole network.
        processor: of its base.
    """

    family: General

    def __init__(self, general: General, model: Any, processor: Any):
        from transformers import GenerationConfig

        super().__init__(general, model, processor.tokenizer, processor.image_processor)
        self.processor = processor
        # Settings of a base, such as a penalty on what was said before, would bend what is written.
        padding = self.ends[0] if processor.tokenizer.pad_token_id is None else processor.tokenizer.pad_token_id
        model.generation_config = GenerationConfig(eos_token_id=self.ends, pad_token_id=padding)
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        setattr(self.head, "forward", self._exact)  # noqa: B010  # all else of the layer stays as it is

    def _exact(self, hidden: Tensor) -> Tensor:
        """The head in fp32, whatever its factors are kept in."""
        found: Tensor = logits(hidden.flatten(0, -2), self.head.weight).unflatten(0, hidden.shape[:-1])
        return found

    def encoder(self, knowledge: Knowledge, form: Form, numbers: Numbers = ()) -> Processed:
        """As in `Road`."""
        return Processed(self.family, self.processor, knowledge, form, numbers)

    def save(self, folder: Path) -> None:
        """Writes the model in the format of its family, with what puts texts and images together."""
        super().save(folder)
        save_processor(self.processor, folder)

    def look(self, prompts: Sequence[Prompt], again: bool = True) -> list[Prompt]:
        """As in `Road`; images are looked at in each pass."""
        placed: list[Prompt] = move_data_to_device(list(prompts), self.device)
        return placed

    def read(self, layout: str, prompts: Sequence[Prompt]) -> tuple[Tensor, None]:
        """As in `Road`: nothing is shared."""
        return torch.empty(0), None

    def logps(
        self,
        layout: str,
        prompts: Sequence[Prompt],
        ids_NT: Tensor,
        mask_NT: Tensor,
        temperature: float,
        entropy_gradient: bool,
        read: None,
    ) -> tuple[Tensor, Tensor]:
        """As in `Road`."""
        group = len(ids_NT) // len(prompts)
        places, logps, entropies = [], [], []
        for stack in _stacks(prompts):
            rows_R = _rows(stack, group, ids_NT.device)
            longest = int(mask_NT[rows_R].sum(dim=1).max())
            if not longest:
                continue
            ids_RT, mask_RT = ids_NT[rows_R, :longest], mask_NT[rows_R, :longest].bool()
            logits_RTV = self._logits([prompts[number] for number in stack], ids_RT, mask_RT)
            told = logit_logps(
                logits_RTV[mask_RT], ids_RT[mask_RT], self.forbidden, temperature, entropy_gradient=entropy_gradient
            )
            places_RT = rows_R[:, None] * ids_NT.shape[1] + torch.arange(longest, device=ids_NT.device)
            places.append(places_RT[mask_RT])
            logps.append(told[0])
            entropies.append(told[1])
        return _put(places, logps, mask_NT), _put(places, entropies, mask_NT)

    def distributions(self, prompt: Prompt, ids_T: Tensor) -> Tensor:
        """As in `Road`."""
        logits_1TV = self._logits([prompt], ids_T[None], torch.ones_like(ids_T)[None])
        return logits_1TV[0].float().log_softmax(dim=-1)

    def _logits(self, prompts: Sequence[Prompt], ids_RT: Tensor, mask_RT: Tensor) -> Tensor:
        """(R, T, V): what predicts each token of completions, those of one prompt next to each other."""
        group = len(ids_RT) // len(prompts)
        ids_RP, given = self.given(prompts, group, ids_RT.shape[1])
        length = ids_RP.shape[1]
        # Token t stands at P + t and is predicted at the place before.
        asked = torch.arange(length - 1, length - 1 + ids_RT.shape[1], device=ids_RT.device)
        found: Tensor = self.model(
            input_ids=torch.cat([ids_RP, ids_RT], dim=1),
            attention_mask=torch.cat([torch.ones_like(ids_RP), mask_RT.long()], dim=1),
            use_cache=False,
            **({"logits_to_keep": asked} if self._keeps else {}),
            **given,
        ).logits
        return found if self._keeps else found[:, asked]

    def given(self, prompts: Sequence[Prompt], group: int, more: int) -> tuple[Tensor, dict[str, Tensor]]:
        """(R, P) ids of prompts of one shape, each `group` times, and what else the network is given of these.

        Args:
            prompts: of one stack.
            group: rows of each.
            more: tokens behind each prompt.
        """
        kind, given = self.head.weight.dtype, dict[str, Tensor]()
        for name in prompts[0].given or {}:
            parts = [(prompt.given or {})[name] for prompt in prompts for _ in range(group)]
            joined = torch.cat(parts)
            if name in OF_TOKENS:
                joined = torch.cat([joined, *[joined[:, -1:]] * more], dim=1)
            given[name] = joined.to(kind) if joined.is_floating_point() else joined
        return torch.stack([prompt.ids for prompt in prompts for _ in range(group)]), given

    def write(
        self,
        prompts: Sequence[Prompt],
        group: int,
        generation: Generation,
        noise_NT: Tensor | None,
        trunk: Any = None,
        record: Any = None,
        anyone: Any = None,
        heard: Heard | None = None,
    ) -> Written:
        """As in `Road`, by `generate`: nothing read before is used, no step is recorded, and no other process waited for."""
        placed: list[Prompt] = self.look(prompts)
        found = Written(self, len(prompts) * group, generation.max_tokens)
        for stack in _stacks(placed):
            most = together(group)
            for start in range(0, len(stack), most):
                part = stack[start : start + most]
                rows_R = _rows(part, group, self.device)
                uniform_RT = None if noise_NT is None else noise_NT.to(self.device, widest(self.device))[rows_R]
                ids_RP, given = self.given([placed[number] for number in part], group, 0)
                told = partial(found.tell, heard, rows_R, ids_RP.shape[1]) if heard else None
                chosen = Choice(self.forbidden, generation.temperature, uniform_RT, told)
                written: Tensor = self.model.generate(
                    input_ids=ids_RP,
                    attention_mask=torch.ones_like(ids_RP),
                    max_new_tokens=generation.max_tokens,
                    eos_token_id=self.ends,
                    do_sample=False,
                    logits_processor=[chosen],
                    **given,
                )
                found.put(rows_R, written[:, ids_RP.shape[1] :], chosen)
        return found


class Choice:
    """Chooses the tokens within `generate`: of each row it lets one pass.

    Args:
        forbidden: ids that are never written.
        temperature: of sampling.
        uniform_RT: numbers in [0, 1) that choose; None for greedy decoding.
        told: is given what each row has by then, its prompt first.
    """

    def __init__(
        self,
        forbidden: Tensor,
        temperature: float,
        uniform_RT: Tensor | None,
        told: Callable[[Tensor], None] | None = None,
    ):
        self.forbidden, self.temperature, self.uniform_RT, self.told = forbidden, temperature, uniform_RT, told
        self.logps: list[Tensor] = []  # by step, (R,)

    def __call__(self, ids: Tensor, scores_RV: Tensor) -> Tensor:
        """Scores of which one a row is not -inf."""
        if self.told:
            self.told(ids)
        log_p_RV = log_distribution(scores_RV, self.forbidden, self.temperature)
        uniform_R = None if self.uniform_RT is None else self.uniform_RT[:, len(self.logps)]
        chosen_R1 = choose(log_p_RV, uniform_R)[:, None]
        self.logps.append(log_p_RV.gather(-1, chosen_R1)[:, 0])
        return torch.full_like(scores_RV, -torch.inf).scatter(-1, chosen_R1, 0.0)


class Written:
    """What has been written of a rollout.

    Args:
        network: that writes.
        completions: how many, N.
        length: tokens of each at most.
    """

    def __init__(self, network: Stock, completions: int, length: int):
        self.network = network
        self.ids_NT = torch.zeros(completions, length, dtype=torch.long, device=network.device)
        self.mask_NT = torch.zeros_like(self.ids_NT)
        self.logps_NT = torch.zeros(completions, length, device=network.device)
        self.ends = torch.tensor(network.ends, device=network.device)

    def put(self, rows_R: Tensor, ids_Rt: Tensor, chosen: Choice) -> None:
        """Keeps completions up to their first end; behind it `generate` fills up."""
        mask_Rt = self._put(rows_R, ids_Rt)
        length = ids_Rt.shape[1]
        self.logps_NT[rows_R, :length] = torch.stack(chosen.logps[:length], dim=1) * mask_Rt

    def tell(self, heard: Heard, rows_R: Tensor, prompts: int, ids_Rx: Tensor) -> None:
        """Tells of rows that are under way; `ids_Rx` begin with `prompts` tokens of prompts."""
        self._put(rows_R, ids_Rx[:, prompts:])
        heard(self.ids_NT, self.mask_NT)

    def _put(self, rows_R: Tensor, ids_Rt: Tensor) -> Tensor:
        """Keeps the tokens, and returns which are kept, (R, t)."""
        ended_Rt = torch.isin(ids_Rt, self.ends).long()
        mask_Rt = (ended_Rt.cumsum(dim=1) - ended_Rt == 0).long()
        self.ids_NT[rows_R, : ids_Rt.shape[1]] = ids_Rt * mask_Rt
        self.mask_NT[rows_R, : ids_Rt.shape[1]] = mask_Rt
        return mask_Rt

    def completions(self) -> Completions:
        """As in `Road`."""
        return self.network.told(self.ids_NT, self.mask_NT, self.logps_NT)


def together(group: int) -> int:
    """Prompts that are written for at a time.

    Args:
        group: completions of each.
    """
    return max(1, _ROWS // group)


def _stacks(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Numbers of the prompts that go together."""
    found = defaultdict(list)
    for number, prompt in enumerate(prompts):
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in (prompt.given or {}).items())
        found[len(prompt.ids), shapes].append(number)
    return list(found.values())


def _rows(stack: Sequence[int], group: int, device: torch.device) -> Tensor:
    """Numbers of the completions of some prompts."""
    rows = [number * group + completion for number in stack for completion in range(group)]
    return torch.tensor(rows, device=device)


def _put(places: Sequence[Tensor], values: Sequence[Tensor], like_NT: Tensor) -> Tensor:
    """(N, T) with values at flat places, 0 elsewhere."""
    empty = torch.zeros(like_NT.numel(), device=like_NT.device)
    return (empty.scatter(0, torch.cat(list(places)), torch.cat(list(values))) if places else empty).view_as(like_NT)
