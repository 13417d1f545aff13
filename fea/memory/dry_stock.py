"""A training step of a network that is asked as it comes, run dry: its own forward pass and its own `generate`.

Such a network decides by ids and pixels what it does: where the image lies, who sees whom, which positions a token has. These
are real here, and so is whatever follows from them alone; what comes of a weight has a size and no content.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.memory.dry_run import Dry, TensorBytes, longest_prompts
from fea.model.adapter import held
from fea.model.reading import parts_of
from fea.model.sampling import Generation
from fea.model.stock import OF_TOKENS, Stock

_ATEN = torch.ops.aten


class Real(TorchDispatchMode):
    """Keeps real what a network goes by, though it is asked of tensors without content.

    A place where a mask holds is a number, which the mask alone tells; and whatever is most probable, it is one token.

    Args:
        token: that is always the most probable one.
        counted: bytes, whose peak is told anew from each token that is chosen on.

    Attributes:
        peaks: most bytes up to each choice.
    """

    def __init__(self, token: int, counted: TensorBytes) -> None:
        cast(Any, super()).__init__()
        self.token, self.counted, self.peaks = token, counted, list[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Lets an operation happen, in other words or with another result."""
        if func is _ATEN.index.Tensor and isinstance(args[0], FakeTensor):
            args = (args[0], [place for mask in args[1] for place in _places(mask)])
        result = func(*args, **(kwargs or {}))
        if func is not _ATEN.argmax.default or not isinstance(result, FakeTensor):
            return result
        self.peaks.append(self.counted.peak)
        self.counted.peak = self.counted.now
        return torch.full(result.shape, self.token)


class DryStock(Dry):
    """The passes of a training step. Its arguments are those of `Dry`."""

    network: Stock

    def update(self, prompts: int, completions: int, length: int, parts: int = 1) -> int:
        """Bytes that the passes over a pack need at most, beside weights and gradients.

        Args:
            prompts: of the pack.
            completions: of all of them.
            length: of each completion.
            parts: that those of each prompt are split into.

        Raises:
            FEAError: the network goes by numbers that are not there.
        """
        self.network.model.train()
        prompt, entropy = self._prompt(), self.setting.entropy
        ids_NT = torch.full((completions, length), _text(prompt))
        with self._real(prompt) as real:
            for part_NT in parts_of(ids_NT, prompts, parts):
                told = self.network.logps(
                    "rows", [prompt] * prompts, part_NT, torch.ones_like(part_NT), 1.0, entropy, None
                )
                torch.stack([values.sum() for values in told[: 1 + entropy]]).sum().backward()
        return real.counted.peak

    def writing(self, prompts: int, group: int, length: int) -> int:
        """Bytes that it takes at most to write completions.

        The first token comes with the images and the prompts, and behind the last one most keys and values are there. No more
        than these two are written: for the last one what lies before it is put behind the prompt.

        Args:
            prompts: that are written for together.
            group: completions of each.
            length: of each completion.

        Raises:
            FEAError: as `update`.
        """
        prompt = self._prompt()
        first = max(self._written(prompt, prompts, group, 1))
        if length == 1:
            return first
        peaks = self._written(_longer(prompt, length - 2), prompts, group, 2)
        return max(first, *peaks[len(peaks) // 2 :])  # of each token as many; of the last one alone

    def kept(self, length: int) -> int:
        """Bytes of keys and values of a prompt with one completion, and of what else layers remember.

        Args:
            length: of the completion.

        Raises:
            FEAError: as `update`.
        """
        prompt = _longer(self._prompt(), length)
        self.network.model.eval()
        ids_1P, given = self.network.given([prompt], 1, 0)
        with torch.no_grad(), self._real(prompt) as real:
            caches = self.network.model(input_ids=ids_1P, use_cache=True, **given).past_key_values
            del given
            assert caches is not None
            return real.counted.now

    def _written(self, prompt: Prompt, prompts: int, group: int, length: int) -> list[int]:
        """Most bytes up to each choice of a token, and from the last one on."""
        self.network.model.eval()
        noise_NT = torch.rand(prompts * group, length, dtype=torch.float64) if group > 1 else None
        low = torch.bfloat16 if self.setting.autocast else getattr(torch, self.setting.policy.dtype)
        with torch.no_grad(), self._real(prompt) as real, held(self.network.model, low):
            self.network.write([prompt] * prompts, group, Generation(length), noise_NT)
        return [*real.peaks, real.counted.peak]

    def _prompt(self) -> Prompt:
        longest, *_ = longest_prompts(self.setting.policy, self.network)
        return longest

    @contextmanager
    def _real(self, prompt: Prompt) -> Iterator[Real]:
        policy = self.setting.policy
        with self.counted([prompt.ids, *(prompt.given or {}).values()]) as counted:
            try:
                with Real(_text(prompt), counted) as real:
                    yield real
            except (
                Exception
            ) as error:  # of many kinds: a network may ask tensors for content, or compute by kernels of its own
                kind = self.network.family.model_type
                raise FEAError(
                    f"policy.base: no memory can be planned for '{policy.base}', of the {kind} family, whose network goes by "
                    "numbers that are known in training alone; try a few steps, with trainer.max_steps"
                ) from error


def _text(prompt: Prompt) -> int:
    """An ordinary token, such as a prompt ends with: it stands for no image, and ends no answer."""
    return int(prompt.ids[-1])


def _longer(prompt: Prompt, more: int) -> Prompt:
    """A prompt with text behind it."""
    given = {
        name: torch.cat([tensor, *[tensor[:, -1:]] * more], dim=1) if name in OF_TOKENS else tensor
        for name, tensor in (prompt.given or {}).items()
    }
    return prompt._replace(ids=torch.cat([prompt.ids, prompt.ids[-1:].expand(more)]), given=given)


def _places(mask: Tensor | None) -> list[Tensor | None]:
    """Indices in place of a mask."""
    real = isinstance(mask, Tensor) and mask.dtype == torch.bool and not isinstance(mask, FakeTensor)
    return list(mask.nonzero(as_tuple=True)) if real and mask is not None else [mask]
