"""One rollout under way: prompts are read once, their caches repeated, then every completion grows token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fea.data.encoding import Prompt
from fea.losses import log_distribution
from fea.sampling import Completions, Generation, choose

if TYPE_CHECKING:
    from fea.policy import Policy

_FINISHED = 0.25  # share of finished rows from which on they are dropped


class Decoding:
    """The state between two tokens. `Policy.rollout` is its public face and documents the arguments.

    Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion, R rows in the model: completions
    that are finished are dropped from it now and then.
    """

    def __init__(
        self, policy: Policy, prompts: Sequence[Prompt], group: int, generation: Generation, noise_NT: Tensor | None
    ):
        self.policy, self.generation = policy, generation
        device = policy.forbidden.device
        self.noise = None if noise_NT is None else noise_NT.to(device)
        self.ends = torch.tensor(policy.ends, device=device)
        self.next = torch.tensor([int(p.positions.max()) + 1 for p in prompts], device=device).repeat_interleave(group)
        self.seen, self.cache, hidden = self._prefill(prompts)
        self.cache.batch_repeat_interleave(group)
        self.seen = self.seen.repeat_interleave(group, dim=0)
        self.hidden = hidden.repeat_interleave(group, dim=0)
        rows, length = len(self.hidden), generation.max_tokens
        self.rows = torch.arange(rows, device=device)  # (R,) which completion each row is
        self.finished = torch.zeros(rows, dtype=torch.bool, device=device)  # (R,)
        self.written = 0
        self.ids = torch.zeros(rows, length, dtype=torch.long, device=device)
        self.mask = torch.zeros_like(self.ids)
        self.logps = torch.zeros(rows, length, device=device)

    def _prefill(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Any, Tensor]:
        """Reads the prompts, padded on the left: which tokens were seen (B, P), the cache, the last hidden states (B, D)."""
        from transformers import DynamicCache

        policy, width = self.policy, max(len(p.ids) for p in prompts)
        ids = prompts[0].ids.new_zeros(len(prompts), width)
        positions = ids.new_zeros(3, len(prompts), width)
        seen = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            start = width - len(prompt.ids)
            ids[row, start:], positions[:, row, start:], seen[row, start:] = prompt.ids, prompt.positions, 1
        cache = DynamicCache(config=policy.model.config.get_text_config())
        embeddings = policy.embed(ids, range(len(prompts)), policy.image_features(prompts))
        return seen, cache, self._read(embeddings, positions, seen, cache)

    def _read(self, embeddings: Tensor, positions: Tensor, seen: Tensor, cache: Any) -> Tensor:
        """Puts tokens through the language model; returns the hidden states of the last ones."""
        output = self.policy.language_model(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=seen,
            past_key_values=cache,
            use_cache=True,
        )
        last: Tensor = output.last_hidden_state[:, -1]
        return last

    def running(self) -> bool:
        """Whether a completion is unfinished and has room left."""
        return self.written < self.generation.max_tokens and not bool(self.finished.all())

    def step(self) -> None:
        """Chooses one token a row and reads it."""
        policy, at, running = self.policy, self.written, ~self.finished
        log_p = log_distribution(policy.model.lm_head(self.hidden), policy.forbidden, self.generation.temperature)
        chosen = choose(log_p, None if self.noise is None else self.noise[self.rows, at])
        self.ids[self.rows, at] = chosen * running
        self.mask[self.rows, at] = running.long()
        self.logps[self.rows, at] = log_p.gather(-1, chosen[:, None])[:, 0] * running
        self.finished = self.finished | torch.isin(chosen, self.ends)
        self.written += 1
        if self.running():
            chosen = chosen[self._drop_finished()]
            self.seen = torch.cat([self.seen, self.seen.new_ones(len(self.seen), 1)], dim=1)
            positions = self.next.add(at).expand(3, -1)[..., None]
            embeddings = policy.language_model.embed_tokens(chosen[:, None])
            self.hidden = self._read(embeddings, positions, self.seen, self.cache)

    def _drop_finished(self) -> Tensor:
        """Takes finished rows out of the model when they are many; returns the numbers of those that stay."""
        stay = (~self.finished).nonzero()[:, 0]
        if len(stay) > (1 - _FINISHED) * len(self.finished):
            return torch.arange(len(self.finished), device=stay.device)
        self.cache.batch_select_indices(stay)
        self.rows, self.finished, self.seen, self.next = (
            tensor[stay] for tensor in (self.rows, self.finished, self.seen, self.next)
        )
        return stay

    def completions(self) -> Completions:
        """What was written."""
        ids, mask, logps = (tensor[:, : self.written].contiguous() for tensor in (self.ids, self.mask, self.logps))
        ended = torch.isin(ids, self.ends).logical_and(mask.bool()).any(dim=1)
        texts = [self.policy.decode(row[kept]) for row, kept in zip(ids.cpu(), mask.bool().cpu(), strict=True)]
        return Completions(ids, mask, logps, ~ended, texts)
