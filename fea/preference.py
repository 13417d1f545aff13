"""Preference optimization with Action Units as entities (EMPO), from top to bottom.

    for each batch of P preference pairs (v, x, y), each with some of a rejected text y', image v' and question x':
        lay all prompts and texts into one tree    [knowledge | v,x: {y, y'} | v',x: {y} | v,x': {y}]
        log-probabilities of its texts under the reference policy, the one that the fit starts from, once a pair
        log-probabilities under the policy
        implicit rewards                            h = beta (log pi - log pi_ref)
        loss = w_r -log sigmoid(h(y | v, x) - h(y' | v, x))
             + w_v -log sigmoid(h(y | v, x) - h(y | v', x))
             + w_x -log sigmoid(h(y | v, x) - h(y | v, x'))
             + w_a -log sigmoid(h(y | v, x) - least)

Each term is a mean over the pairs that have its parts: a sum over these, divided by their share of all training pairs. So the
gradient is the same however a batch is split over accumulation and processes.

Sources: EMPO, arXiv 2506.04039: preference pairs that swap one entity, in the image, in the instruction or in the response.
That each aspect has a logistic loss of its own, and that these are added, is our reading of it; so is what an entity is here:
an Action Unit with its sign, or the emotion. DPO, arXiv 2305.18290; mDPO, arXiv 2406.11839; options of the loss, `Preference`.
Left out: a reward model, sampling while training (`fea data pairs` samples before), and texts that only others wrote.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from fea.data.loader import Encode, EncodeEach, Loader
from fea.data.mixture import Examples
from fea.data.prompt import Prompt
from fea.errors import FEAError
from fea.evaluation.preferences import InventedScores, PairScores
from fea.model.config import PolicyConfig
from fea.model.pairing import PairEncoder
from fea.model.sampling import Generation
from fea.system.processes import gathered, total
from fea.training.comparing import Rewards, Sums, losses, pairs_of, rewards, shares, sums
from fea.training.module import FEAModule
from fea.training.optimization import Optimization
from fea.training.preferring import TERMS, Preference

_SIDES = TERMS[:3]  # the anchor compares nothing


class EMPOModule(FEAModule):
    """Entity-centric multimodal preference optimization, on pairs as `fea data pairs` writes them.

    Pairs among the validation files are compared; all other examples there are answered, as in every stage.

    Args:
        policy: the model and what it is shown.
        init_from: run (folder or checkpoint) whose weights this one starts from, the reference policy; null: the base's own.
        generation: how answers are written in validation and test.
        optimization: optimizer and learning rate.
        preference: what an update maximizes.
    """

    needs_pairs = uses_reference = True
    views = 4

    def __init__(
        self,
        policy: PolicyConfig = PolicyConfig(),  # noqa: B008 (read, never changed)
        init_from: str | None = None,
        generation: Generation = Generation(),  # noqa: B008
        optimization: Optimization = Optimization(lr=5e-6),  # noqa: B008
        preference: Preference = Preference(),  # noqa: B008
    ):
        super().__init__(policy, init_from, generation, optimization)
        self.preference = preference
        self.known_sums: dict[tuple[Any, ...], Sums] = {}

    def setup(self, stage: str) -> None:
        """Metrics of pairs beside those of all stages."""
        super().setup(stage)
        self.pair_scores, self.invented_scores = PairScores(_SIDES), InventedScores()

    # --- one update ---

    def training_step(self, batch: list[Prompt], index: int) -> Tensor:
        """Loss of a batch of pairs."""
        prompts = self._seen(batch)
        reference = self._reference(prompts)
        found = rewards(prompts, sums(self.policy, prompts), reference, self.preference.beta)
        by_term, pairs = losses(found, self.preference.least), len(found.chosen_P)
        loss = torch.stack([self.factors[term] * by_term[term].sum() / pairs for term in self.factors]).sum()
        self._log(found, loss)
        return loss

    def _seen(self, batch: list[Prompt]) -> list[Prompt]:
        """A frozen vision tower sees the images once, for the policy and the reference."""
        with self.sampling():
            return self.policy.look(batch)

    def _reference(self, prompts: list[Prompt]) -> Sums:
        """What the reference policy reads in pairs, each by itself: so it is the same in whatever batch a pair comes back.

        Of sharded weights all processes make as many passes.
        """
        pairs = pairs_of(prompts)
        keys = [_key(pair[0]) for pair in pairs]
        missing = [number for number, key in enumerate(keys) if key not in self.known_sums]
        passes = max(gathered(len(missing)))
        if passes:
            with self.sampling(), self.policy.reference():
                for number in [*missing, *[0] * passes][:passes]:
                    self.known_sums[keys[number]] = sums(self.policy, pairs[number])
        return Sums(*(torch.cat(parts) for parts in zip(*(self.known_sums[key] for key in keys), strict=True)))

    def _log(self, found: Rewards, loss: Tensor) -> None:
        """Numbers of all processes, over the pairs that have them."""
        scores = PairScores(_SIDES).to(loss.device)
        scores.update(found.margins, found.chosen_P, found.seen_P)
        scores.sums = total(scores.sums)
        pairs = len(found.chosen_P)
        self.log("train/loss", total(loss) / self.trainer.world_size, prog_bar=True, batch_size=pairs)
        self.log_dict({f"train/{name}": value for name, value in scores.compute().items()}, batch_size=pairs)

    # --- how pairs are read ---

    @property
    def encode_training(self) -> EncodeEach:
        """Makes the prompts of a pair, as the objective compares them."""
        goal = self.preference
        return PairEncoder(self.policy.encoder, goal.images, goal.weights["question"] > 0, goal.blur)

    @property
    def encode(self) -> Encode | EncodeEach:
        """Makes prompts for an answer; of pairs, those of all sides, whatever the objective: its numbers can be compared."""
        if self.data.wanted == ("predict",):
            return self.policy.encoder
        return PairEncoder(self.policy.encoder, "pairs", questions=True, blur=0.0)

    def train_loader(self, prompts: Loader) -> Loader:
        """Pairs; how many of them have which parts is counted here."""
        goal, examples = self.preference, prompts.examples
        assert isinstance(examples, Examples)
        found = shares(examples, prompts.sampler.weights, goal.images == "crop")
        wanted = {term: weight for term, weight in goal.weights.items() if weight}
        self.factors = {term: weight / found[term] for term, weight in wanted.items() if found[term]}
        if not self.factors.keys() & set(_SIDES):
            raise FEAError(
                f"model.preference.objective: {goal.objective} compares {', '.join(wanted)}, and no pair of data.train has a "
                "rejected part for that; make other pairs, or take another objective"
            )
        for term in wanted.keys() - self.factors.keys():
            rank_zero_info(f"note: no pair of data.train has a rejected {term}: that term is left out")
        return prompts

    # --- evaluation ---

    def validation_step(self, batch: list[Prompt], index: int) -> Any:
        """Compares the pairs of a batch, and answers all else."""
        faces = [prompt for prompt in batch if not prompt.side]
        self._compare([prompt for prompt in batch if prompt.side], faces)
        rollout = super().validation_step(faces, index)
        if rollout:
            self.invented_scores.update(rollout.answers, [prompt.example for prompt in rollout.prompts])
        return rollout

    test_step = validation_step

    def _compare(self, pairs: list[Prompt], faces: list[Prompt]) -> None:
        """Counts pairs. Processes that share the weights read in step; one without a pair reads a face in place of one."""
        shared = self.device_mesh is not None
        if not (any(gathered(bool(pairs))) if shared else pairs):
            return
        filler = [prompt._replace(side="chosen", target=prompt.ids[-1:]) for prompt in (faces or self.known)[:1]]
        prompts = self._seen(pairs or filler)
        with self.sampling():
            policy = sums(self.policy, prompts)
            with self.policy.reference():
                reference = sums(self.policy, prompts)
        if pairs:
            found = rewards(prompts, policy, reference, self.preference.beta)
            self.pair_scores.update(found.margins, found.chosen_P, found.seen_P)

    def _log_scores(self, stage: str) -> None:
        super()._log_scores(stage)
        for metric in (self.pair_scores, self.invented_scores):
            self.log_dict({f"{stage}/{name}": value for name, value in metric.compute().items()})
            metric.reset()


def _key(prompt: Prompt) -> tuple[Any, ...]:
    """What a pair is known by: its line, and how that is shown."""
    return prompt.example.place, prompt.example.flipped, prompt.form
