"""Stage 2: Group Relative Policy Optimization with verifiable rewards, from top to bottom.

    for each batch of B prompts:
        sample G completions of each from the policy                    -> rollout
        try other prompts where all of them score the same              -> rollout
        score them with every reward                                    -> scores        (B, G, K)
        compare the completions of a prompt with each other             -> advantages    (N, T)
        drop groups that teach nothing, spread the others over packs    -> packs
        remember what the sampling and the reference policy thought     -> old, ref      (N, T)
        for each of mu epochs, for each pack:
            correction = min(old / sampled, cap);  ratio = policy / old
            loss = -correction min(ratio A, clip(ratio) A) + beta KL(policy || reference) - entropy H(policy)
                   + sft_weight * cross-entropy of analyses that a synthesis accepted

Sources: GRPO, arXiv 2402.03300, section 4.1; Facial-R1, arXiv 2511.10254v1; options of the loss, `Objective`. Left out: a value
model, since the group is the baseline; reward models, since every reward is computed from labels.

Shapes in names: B prompts, G completions of each, N = B * G, K rewards, T tokens of a completion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from fea.advantages import normalize_then_sum, sum_then_normalize, token_advantages
from fea.data.loader import Loader
from fea.data.mixture import Examples
from fea.data.prompt import Prompt, targets
from fea.errors import FEAError
from fea.losses import mean_nll
from fea.model.config import PolicyConfig
from fea.model.sampling import Generation, noise
from fea.rewards import check_applies, check_groups, check_regions, every_form, rewards_of, scored
from fea.rollouts import statistics
from fea.rollouts.buffer import Buffer, Pack
from fea.rollouts.drift import Drift
from fea.rollouts.loader import RolloutCallback, RolloutLoader, drawn_before
from fea.rollouts.packing import Packing
from fea.rollouts.rarity import Rarity
from fea.rollouts.refill import Refill
from fea.rollouts.replay import Replay
from fea.rollouts.rollout import Rollout, Scores, ask, logps_of
from fea.system.processes import total
from fea.training.microbatches import learn
from fea.training.module import FEAModule
from fea.training.objective import Objective
from fea.training.optimization import Optimization
from fea.training.terms import terms

_ROOMY = 16384  # tokens of a pack that a 24 GB GPU is known to hold


class GRPOModule(FEAModule):
    """Reinforcement learning from the rewards under `trainer.callbacks`.

    One rollout is one batch of the data module. It is used for mu * minibatches optimizer steps, each of
    `trainer.accumulate_grad_batches` packs.

    Args:
        policy: the model and what it is shown.
        init_from: run (folder or checkpoint) whose weights this one starts from; null: the base's own.
        generation: how completions are sampled, and answers written in validation and test.
        optimization: optimizer and learning rate.
        group_size: completions of each prompt.
        refill: where all completions of a prompt score the same, try the next prompts instead, so many times at the most (DAPO,
            arXiv 2503.14476). Such groups teach nothing; each try takes about the time of the sampling of a rollout.
        mu: epochs over each rollout.
        minibatches: optimizer steps that an epoch over a rollout is split into.
        microbatches: parts that the completions of each group are split into in an update: for a group that is larger than
            memory, where packs hold no more than one. Its prompt is read once for all of them, and gradients are the same.
        objective: what an update maximizes.
        sft_weight: weight of the cross-entropy on training analyses, and on those that `fea.callbacks.Synthesis` accepts;
            each rollout is then joined by as many of them as it has prompts, which `fea plan` does not count.
        seed: of the sampling noise.
    """

    def __init__(
        self,
        policy: PolicyConfig = PolicyConfig(),  # noqa: B008 (read, never changed)
        init_from: str | None = None,
        generation: Generation = Generation(),  # noqa: B008
        optimization: Optimization = Optimization(),  # noqa: B008
        group_size: int = 8,
        refill: int = 0,
        mu: int = 1,
        minibatches: int = 1,
        microbatches: int = 1,
        objective: Objective = Objective(),  # noqa: B008
        sft_weight: float = 0.0,
        seed: int = 0,
    ):
        super().__init__(policy, init_from, generation, optimization)
        if group_size < 2:
            raise FEAError(f"model.group_size: {group_size}; to compare completions with each other needs at least 2")
        if refill < 0:
            raise FEAError(f"model.refill: {refill}; give the number of tries, 0 for none")
        self.objective, self.sft_weight, self.seed = objective, sft_weight, seed
        if not 1 <= microbatches <= group_size:
            raise FEAError(f"model.microbatches: {microbatches}; give 1 to {group_size}, the completions of a group")
        self.group_size, self.tries, self.mu = group_size, refill, mu
        self.minibatches, self.microbatches = minibatches, microbatches
        self.uses_reference, self.uses_entropy = objective.beta > 0, objective.entropy > 0
        self.clock, self.drift, self.begun = statistics.Clock(), Drift(), False

    # --- one rollout ---

    @torch.no_grad()
    def roll(self, prompts: list[Prompt], round: int) -> Buffer:
        """Samples completions of a batch of prompts and prepares their update."""
        with self.sampling():
            rollout, filled = self.refill(self._sample(prompts, round), round, self._sample, self._same)
            scores = self._score(rollout)
            advantages_NT = self._advantages(rollout, scores)
            weights_NT = self._weights(rollout)
            packs = self._packs(rollout, advantages_NT)
            old_logps, ref_logps = self._old_and_reference(rollout, packs)
        lessons_N = (weights_NT * (advantages_NT.abs() + self.objective.of_all_tokens)).sum(dim=1)
        return Buffer(
            ids=rollout.completions.ids,
            mask=rollout.completions.mask,
            advantages=advantages_NT,
            weights=weights_NT,
            sampled_logps=rollout.completions.logps,
            old_logps=old_logps,
            ref_logps=ref_logps,
            packs=packs,
            signal=self.packing.signal(lessons_N, total),
            metrics=statistics.report(rollout, scores, advantages_NT, self.data.all_emotions, self.clock)
            | filled.numbers,
            filled=filled.draws,
        )

    def _sample(self, prompts: Sequence[Prompt], round: int, drawn: Sequence[int] | None = None) -> Rollout:
        with self.clock.timed("rollout"):
            ids = [prompt.example.id for prompt in prompts]
            before = drawn_before(ids) if drawn is None else drawn
            noise_NT = noise(ids, self.group_size, self.generation.max_tokens, self.seed, round, before)
            return ask(self.policy, prompts, self.group_size, self.generation, noise_NT)

    def _score(self, rollout: Rollout) -> Scores:
        with self.clock.timed("reward"):
            rewards = rewards_of(self.trainer)
            for reward in rewards:
                reward.on_answers(rollout)
            scores = scored(rewards, rollout, self.device)
            if not self.begun and every_form(rollout, self.config.forms):
                check_applies(rewards, scores, rollout, self.examples)
                self.begun = True
        for observer in cast(Any, self.trainer).callbacks:
            if isinstance(observer, RolloutCallback):
                observer.on_rollout(self.trainer, self, rollout, scores.by_name)
        return scores

    def _same(self, rollout: Rollout) -> list[bool]:
        """For each group, whether no reward tells its completions apart."""
        with self.clock.timed("reward"):
            scores = scored(rewards_of(self.trainer), rollout, self.device)
        told = self._compare(rollout, scores, "none")
        return (~told.flatten(1).any(dim=1)).tolist()

    def _compare(self, rollout: Rollout, scores: Scores, *how: Any) -> Tensor:
        """(B, G) or (B, G, K)."""
        if self.objective.advantage == "sum_then_normalize":
            check_groups(scores, rollout)
            return sum_then_normalize(scores.rewards_BGK, scores.weights_K, *how)
        return normalize_then_sum(scores.rewards_BGK, scores.weights_K, *how)

    def _advantages(self, rollout: Rollout, scores: Scores) -> Tensor:
        """(N, T), spread over the tokens that each reward credits."""
        mask_NT, goal = rollout.completions.mask, self.objective
        advantages_NK = self._compare(rollout, scores, goal.scale, goal.baseline, total).view(len(mask_NT), -1)
        regions = ["all"] if goal.advantage == "sum_then_normalize" else scores.regions
        spans = rollout.regions(self.policy.tokens_until)
        regions_NK2 = torch.stack([spans[region] for region in regions], dim=1).to(self.device)
        return token_advantages(advantages_NK, regions_NK2, mask_NT)

    def _weights(self, rollout: Rollout) -> Tensor:
        """(N, T)."""
        mask_NT, truncated_N = rollout.completions.mask, rollout.completions.truncated
        counted_NT = mask_NT * ~truncated_N[:, None] if self.objective.mask_truncated else mask_NT
        limit, processes = self.generation.max_tokens, self.trainer.world_size
        weights_NT = self.packing.weights(counted_NT, self.objective.normalizer, limit, total, processes)
        rarity_B = self.rarity(rollout.prompts).to(self.device)
        return weights_NT * rarity_B.repeat_interleave(rollout.group)[:, None]

    def _packs(self, rollout: Rollout, advantages_NT: Tensor) -> list[list[int]]:
        """Group numbers of each pack; a group whose completions all score the same is dropped if nothing else teaches it."""
        written_B = rollout.completions.mask.view(len(rollout.prompts), -1).sum(dim=1).tolist()
        teaches_B = advantages_NT.view(len(rollout.prompts), -1).any(dim=1) | (self.objective.of_all_tokens > 0)
        tokens = {
            number: self.packing.tokens(len(prompt.ids), written)
            for number, (prompt, written) in enumerate(zip(rollout.prompts, written_B, strict=True))
            if teaches_B[number]
        }
        return self.packing.split(tokens)

    def _old_and_reference(self, rollout: Rollout, packs: list[list[int]]) -> tuple[Tensor | None, Tensor | None]:
        """Log-probabilities under the sampling and the reference policy, pack by pack as the update will compute them.

        With a single optimizer step a rollout the first of these are the update's own.
        """
        with self.clock.timed("old_and_reference"):
            asked = self.policy, rollout, packs, self.generation.temperature, self.microbatches
            old = logps_of(*asked) if self.mu * self.minibatches > 1 else None
            if not self.objective.beta:
                return old, None
            with self.policy.reference():
                return old, logps_of(*asked)

    # --- update ---

    def training_step(self, pack: Pack, index: int) -> Tensor:
        """Loss of one pack; the packs of an optimizer step, on all processes, add up to its mean."""
        self.has_signal = pack.signal or bool(pack.replay)
        losses, options = partial(terms, self.objective), (self.generation.temperature, self.objective.entropy > 0)
        learned = learn(self.policy, pack, self.microbatches, losses, *options, factor=self.trainer.world_size)
        loss, policy, watched = losses(learned.logps, learned.entropies, pack)
        loss = learned.joined(loss)
        self.drift.add(learned.logps, pack)
        if pack.replay:
            loss = loss + self.sft_weight * self._replayed(pack)
        self._log(statistics.update_numbers(loss, policy, watched, pack, total) | pack.metrics, pack)
        # Lightning divides by the accumulation, and data parallelism averages over processes.
        return loss * self.trainer.accumulate_grad_batches * self.trainer.world_size

    def _replayed(self, pack: Pack) -> Tensor:
        """This pack's part of the mean cross-entropy over the replayed analyses of an optimizer step, in nats per token."""
        ids, mask = targets(pack.replay)
        loss = mean_nll(self.policy.logps(pack.replay, ids, mask)[0], mask)
        self.log("train/replay_loss", total(loss) / self.trainer.world_size, batch_size=len(pack.replay))
        return loss / (self.trainer.accumulate_grad_batches * self.trainer.world_size)

    def _log(self, values: Mapping[str, Tensor | float], pack: Pack) -> None:
        for name, value in values.items():
            self.log(name, value, prog_bar=name == "reward/total", batch_size=len(pack.prompts))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step in which all groups score the same, or all completions are masked, changes nothing."""
        self.log_dict(self.drift.told(several=self.mu * self.minibatches > 1))
        super().on_before_optimizer_step(optimizer)
        if not self.has_signal:
            self.skip_step()

    # --- how rollouts are served ---

    def train_loader(self, prompts: Loader) -> RolloutLoader:
        """Rollouts instead of prompts."""
        steps, packs, self.examples = self.minibatches, self.trainer.accumulate_grad_batches, prompts.examples
        copies = self.group_size if self.config.layout == "rows" else 1
        self.packing = Packing(prompts.batch_size, self.group_size, steps, packs, copies)
        goal, drawn = self.objective, prompts.sampler.weights
        self.rarity = Rarity(cast(Examples, prompts.examples), drawn, goal.balance, goal.balance_power)
        longest = self.policy.encoder.most_tokens(prompts.examples[0])
        if advice := self.packing.advice(longest, self.generation.max_tokens, _ROOMY, self.microbatches):
            rank_zero_warn(advice)
        replay = self._replay(max(1, prompts.batch_size // (steps * packs)))
        self.refill = Refill(prompts, self._place, self.tries)
        return RolloutLoader(prompts, self.roll, steps * packs, self.mu, self._place, replay, self.refill.shown)

    def packs(self, accumulate: int) -> int:
        """Into how many packs a rollout is split."""
        return self.minibatches * accumulate

    def _replay(self, size: int) -> Callable[[int], list[Prompt]]:
        """Draws `size` analyses for a pack; none without a weight for them."""
        if not self.sft_weight:
            return lambda pack: []
        data, examples = self.data, self.data.analyses()
        return Replay(examples, data.weights(examples), self.policy.encoder, size, self.seed, data.on_bad, self.forms)

    def _place(self, prompts: list[Prompt]) -> list[Prompt]:
        """Moves prompts to the device; a frozen vision tower sees their images here, once for all passes."""
        with self.sampling():
            return self.policy.look(prompts)

    def on_fit_start(self) -> None:
        """Checks the rewards."""
        super().on_fit_start()
        rewards = rewards_of(self.trainer)
        check_regions(rewards, self.config.forms, self.config.numbers)
        rank_zero_info(f"rewards: {', '.join(f'{reward.name} (weight {reward.weight:g})' for reward in rewards)}")
