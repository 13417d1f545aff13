"""Preference pairs of a file of faces, batch by batch.

    for each batch of faces that are labeled:
        sample answers from the policy
        take the best one that is right                        -> y      (fea.pairs.choosing)
        take one that is wrong, or swap an entity of y         -> y'     (fea.pairs.choosing, fea.pairs.edits)
        draw the face again without a unit, or find one        -> v'     (fea.pairs.counterfactual)
        ask by naming its units, and swap one of them          -> x, x'  (fea.pairs.edits)
        append what was kept, and why the others were not      (fea.pairs.journal)

Chance belongs to the face: a run that was stopped goes on to the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fea.data.example import Example
from fea.data.loader import EpochSampler, Loader
from fea.data.prompt import Prompt
from fea.drawn.world import world_of
from fea.model.cache import Trunk
from fea.model.policy import Policy
from fea.model.sampling import Generation, noise
from fea.pairs.choosing import preferred, rejected
from fea.pairs.counterfactual import Labeled, Retrieve, other_image
from fea.pairs.edits import naming, with_other_unit
from fea.pairs.journal import Journal
from fea.pairs.made import Made
from fea.pairs.recipe import PairRecipe
from fea.prompts.answer import Answer
from fea.rollouts.rollout import ask
from fea.synthesis.attempts import as_in_files
from fea.synthesis.recipe import Pace
from fea.system.progress import progress


def make_pairs(
    policy: Policy,
    examples: Sequence[Example],
    journal: Journal,
    recipe: PairRecipe,
    generation: Generation,
    pace: Pace,
    retrieve: Retrieve | None = None,
) -> None:
    """Goes through faces, from where the journal stands.

    Args:
        policy: in eval mode.
        examples: the faces, each with an id of its own.
        journal: keeps what is made.
        recipe: how pairs are made.
        generation: length limit and temperature.
        pace: how much at a time.
        retrieve: finds faces for rejected images; None finds them by their labels.
    """
    made = _maker(recipe, retrieve or Labeled(examples))
    trunk, begun = Trunk(), journal.batches * pace.batch_size
    with progress(len(examples), "faces", min(begun, len(examples))) as advance:  # the last batch may be a short one
        for faces, prompts in _batches(policy, examples, begun, pace):
            said = _answers(policy, prompts, recipe, generation, trunk)
            journal.add([made(face, said.get(face.place)) for face in faces])
            advance(len(faces))


def _batches(
    policy: Policy, examples: Sequence[Example], begun: int, pace: Pace
) -> Iterator[tuple[Sequence[Example], list[Prompt]]]:
    left, size = examples[begun:], pace.batch_size
    sampler = EpochSampler(len(left), shuffle=False)
    loader = Loader(left, policy.encoder, sampler, size, pace.workers, pace.on_bad, training=False)
    return zip((left[start : start + size] for start in range(0, len(left), size)), loader, strict=True)


def _answers(
    policy: Policy, prompts: list[Prompt], recipe: PairRecipe, generation: Generation, trunk: Trunk
) -> dict[str, list[Answer]]:
    """By place of a face that could be read, what the policy writes about it."""
    if not prompts:
        return {}
    seen = policy.look(prompts)
    chance = noise([p.example.id for p in seen], recipe.samples, generation.max_tokens, recipe.seed, 0)
    said = ask(policy, seen, recipe.samples, generation, chance, trunk).by_prompt
    return {
        prompt.example.place: [as_in_files(answer, prompt) for answer in answers]
        for prompt, answers in zip(seen, said, strict=True)
    }


def _maker(recipe: PairRecipe, retrieve: Retrieve) -> Callable[[Example, list[Answer] | None], Made]:
    """What makes a pair of a face and the answers about it."""
    prior = world_of(recipe.prior, 0, 0.0).prior if recipe.images == "auto" else None

    def made(example: Example, answers: list[Answer] | None) -> Made:
        if answers is None:
            return Made(example, "unreadable")
        # A stream for each choice, so that one more draw in one of them changes none of the others.
        texts, images, questions = (_chance(example, recipe.seed, name) for name in ("texts", "images", "questions"))
        chosen = preferred(example, answers, recipe)
        if chosen is None:
            return Made(example, "no answer is right")
        claimed = chosen.answer.aus & example.present
        other = None
        if recipe.images != "none":
            other = other_image(example, claimed, prior, retrieve, images)
        pair = Made(
            example,
            "",
            chosen,
            rejected(example, answers, chosen.answer, recipe, texts),
            other,
            _questions(example, claimed, recipe, questions),
        )
        return pair if pair.rejected or pair.other or pair.questions else Made(example, "nothing is wrong")

    return made


def _questions(
    example: Example, claimed: frozenset[int], recipe: PairRecipe, chance: np.random.Generator
) -> tuple[str, str] | None:
    if chance.random() >= recipe.questions or not claimed:
        return None
    other = with_other_unit(claimed, example, chance)
    return None if other is None else (naming(claimed), naming(other))


def _chance(example: Example, seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\0{name}\0{example.id}".encode(errors="replace")).digest()
    return np.random.default_rng(list(digest[:16]))
