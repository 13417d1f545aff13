"""How much memory a run needs, before it starts, and which setting to change where that is too much.

Computed from the numbers of a config, without any weights: activations by a dry run, the rest from the dimensions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import takewhile
from typing import Any, NamedTuple

from fea.facs import EMOTION_SETS
from fea.memory import weights
from fea.memory.dry_run import Dry, DryRun, PromptShape, longest_prompts
from fea.memory.dry_stock import DryStock
from fea.memory.setting import Setting, Spread
from fea.model.cache import LONG
from fea.model.causal import Causal
from fea.model.config import PolicyConfig
from fea.model.layout import trunk_of
from fea.model.load import count_tokens, skeleton
from fea.model.network import Network
from fea.model.outline import kinds_of
from fea.model.stock import Stock, together
from fea.prompts.prompt import DEFAULT_QUESTION, system_prompt, user_prompt

GIB = 2**30  # bytes; cards are sold by it, under the name of GB
_FRAME = 10  # tokens of the chat format around a text
_SHALLOW = (
    2  # layers at least of a dry run beyond those that add features of the image; every further one costs the same
)
SYSTEM = 1.0 * GIB  # what the driver and the gaps between tensors take on a GPU
Measure = Callable[..., int]


class Plan(NamedTuple):
    """Bytes in one process, but for the tokens and the rows.

    Attributes:
        weights: of the whole model, adapter included, or of this process's share.
        reference: weights of the reference policy, where it is on the card.
        gradients: of what is trained.
        buckets: in which DDP exchanges them.
        optimizer: its state.
        rollout: most of what a rollout needs beside these.
        validation: most of what a validation does.
        update: most of what the passes over a pack do.
        tokens: in a pack.
        rows: completions that are written together.
        eval_rows: answers that a validation writes together.
        per_row: keys and values of one completion or answer.
    """

    weights: float
    reference: float
    gradients: float
    buckets: float
    optimizer: float
    rollout: float
    validation: float
    update: float
    tokens: int
    rows: int
    eval_rows: int
    per_row: float

    @property
    def phases(self) -> dict[str, float]:
        """What comes and goes, by name; before a validation the trainer lets go of the gradients."""
        kept = self.gradients
        return {"rollout": kept + self.rollout, "validation": self.validation, "update": kept + self.update}

    @property
    def peak(self) -> float:
        """Most that is there at a time, once the first step is done."""
        return self.weights + self.reference + self.buckets + self.optimizer + max(self.phases.values())


def plan(setting: Setting) -> Plan:
    """The memory that training needs, with prompts as long as they can get.

    Raises:
        FEAError: the dimensions of the base are not known.
    """
    s, network = setting, skeleton(setting.policy)
    shape, trained = prompt_shape(s, network), weights.trained(network.model)
    parts = s.spread.processes if s.spread.sharded else 1
    return Plan(
        weights=weights.held(network, s) / parts,
        # Without an adapter the reference is all weights, and lies in host memory.
        reference=trained / parts if s.reference and s.policy.lora else 0.0,
        gradients=trained / parts,
        buckets=trained if s.spread.processes > 1 and not s.spread.sharded else 0.0,
        optimizer=(trained / 2 if s.eight_bit else 2 * trained) / parts,
        rollout=_writing(s, network, shape, s.batch_size, s.group_size) if s.samples else 0.0,
        validation=_writing(s, network, shape, s.eval_batch_size, 1) if s.eval_batch_size else 0.0,
        update=_update(s, network, shape),
        tokens=_tokens(s, network, shape),
        rows=_together(s.batch_size, s.group_size, network) * s.group_size,
        eval_rows=_together(s.eval_batch_size, 1, network),
        per_row=_of_row(s, network, shape),
    )


def settled(setting: Setting, card: float | None) -> Setting:
    """A setting with `gather: auto` decided: a rollout holds all sharded weights if they fit, and where no card is known.

    Args:
        setting: to decide in.
        card: bytes of the card.
    """
    spread = setting.spread
    if not spread.sharded or spread.gather != "auto":
        return setting
    whole = setting.but(spread=spread._replace(gather="always"))
    fits = card is None or plan(whole).peak <= card - SYSTEM
    return whole if fits else setting.but(spread=spread._replace(gather="never"))


def prompt_shape(setting: Setting, network: Network | Stock) -> PromptShape:
    """Of the longest prompt that an ordinary question makes."""
    config = setting.policy
    if isinstance(network, Causal | Stock):
        return _processed_shape(config, network)
    visual = -(-config.max_pixels // network.family.pixels)  # a few more of very narrow images
    told = [system_prompt(config.knowledge, form, config.numbers) for form in config.forms]
    same = sum(1 for _ in takewhile(lambda letters: len({*letters}) == 1, zip(*told, strict=False)))
    shared = count_tokens(config, told[0][:same])  # all of it where there is one form
    longest = max(count_tokens(config, text) for text in told)
    trunk = shared + _FRAME
    asked = longest - shared + count_tokens(config, user_prompt(DEFAULT_QUESTION, EMOTION_SETS["basic8"])) + _FRAME
    return PromptShape(trunk, visual + asked, visual, int(visual * weights.pixels(network)))


def _processed_shape(config: PolicyConfig, network: Causal | Stock) -> PromptShape:
    """As the processor of the base makes it."""
    longest, *others = longest_prompts(config, network)
    trunk = trunk_of([longest, *others, longest], network.image_token)  # a question is asked of many faces
    visual = int((longest.ids == network.image_token).sum())
    pixels = sum(tensor.nbytes for tensor in (longest.given or {}).values())
    return PromptShape(trunk, len(longest.ids) - trunk, visual, pixels)


def _tokens(s: Setting, network: Network | Stock, shape: PromptShape) -> int:
    """In a pack."""
    if isinstance(network, Stock):
        return s.pack * s.group_size * (shape.trunk + shape.own + s.learned)
    return (shape.trunk if s.policy.layout == "tree" else 0) + s.pack * (shape.own + s.group_size * s.learned)


def _together(prompts: int, group: int, network: Network | Stock) -> int:
    """Prompts that are written for at a time."""
    return min(prompts, together(group)) if isinstance(network, Stock) else prompts


def _of_row(s: Setting, network: Network | Stock, shape: PromptShape) -> float:
    """Keys and values of one completion, with its prompt where it has one of its own."""
    if isinstance(network, Stock):
        return _measured(s, DryStock.kept, s.max_tokens)
    return s.max_tokens * _kept(s, network, shape)


def _update(s: Setting, network: Network | Stock, shape: PromptShape) -> float:
    """The passes over a pack, and in a rollout's update the images of all its prompts."""
    completions = s.pack * s.group_size
    if isinstance(network, Stock):
        passes = _measured(s, DryStock.update, s.pack, completions, s.learned, s.microbatches)
        return s.batch_size * s.views * shape.pixels + passes + weights.unpacked(network, s)
    passes = _measured(s, DryRun.update, s.pack, shape, completions, s.learned, s.microbatches)
    seen, images = s.pack * shape.visual, s.batch_size * s.views * _image(s, network, shape)
    if s.policy.train_vision and isinstance(network, Causal):
        kept = _measured(s, DryRun.remembering)
        passes = s.pack * kept + max(passes, _measured(s, DryRun.seeing) - kept)
    elif s.policy.train_vision:
        passes += seen * weights.tower_update(network, s)
    elif s.policy.trains_tower:  # its blocks are computed again when the language model is done
        kept, block = (seen * size for size in weights.adapted_tower(network, s))
        passes = max(passes + kept, kept + block, seen * weights.looking(network, s))
    elif not s.samples:  # each pass begins with the tower; a rollout has looked before
        passes = max(passes, _looking(s, network, shape, s.pack))
    return images + weights.sharded_update(network, s, passes + weights.unpacked(network, s))


def _looking(s: Setting, network: Network, shape: PromptShape, prompts: int) -> float:
    """Of a tower at work without a backward pass: at all images together, or at one after the other."""
    if isinstance(network, Causal):
        return _measured(s, DryRun.looking)
    return prompts * shape.visual * weights.looking(network, s)


def _writing(s: Setting, network: Network | Stock, shape: PromptShape, prompts: int, group: int) -> float:
    """Looking at images, reading prompts, and writing completions of each."""
    if isinstance(network, Stock):
        working = _measured(s, DryStock.writing, _together(prompts, group, network), group, s.max_tokens)
        return prompts * shape.pixels + working + weights.unpacked(network, s)
    rows, kept = prompts * group, _kept(s, network, shape)
    looking = _looking(s, network, shape, prompts)
    reading = _measured(s, DryRun.reading, prompts, shape)
    choosing = _measured(s, DryRun.choosing, rows, group > 1)
    trunk = shape.trunk if prompts > 1 else 0
    read = trunk + prompts * (shape.own + shape.trunk - trunk)
    shared = read if trunk >= LONG else prompts * (shape.trunk + shape.own)
    caches = kept * (shared + rows * s.max_tokens)
    # What was read lies there until the caches are made of it, its trunk once more for batches to come.
    writing = caches + max(kept * (read + trunk), choosing, _dropping(s, network, rows, kept))
    low = weights.low_copies(network, s)
    if s.policy.lora:
        reading += low
    if s.policy.trains_tower:  # it looks within the rollout
        looking += low
    images = prompts * _image(s, network, shape)
    working = max(looking, reading, writing + low) + weights.unpacked(network, s)
    return images + working + weights.gathered_writing(network, s)


def _image(s: Setting, network: Network, shape: PromptShape) -> float:
    """Of an image's pixels, and of what a frozen tower has made of them."""
    return shape.pixels + (0.0 if s.policy.train_vision else shape.visual * weights.features(network, s))


def _dropping(s: Setting, network: Network, rows: int, kept: float) -> float:
    """Finished rows leave the caches: what the others wrote is copied, one layer at a time."""
    return rows * s.max_tokens * kept / float(network.model.config.get_text_config().num_hidden_layers)


def _kept(s: Setting, network: Network, shape: PromptShape) -> float:
    """Keys and values of a token in all layers."""
    return _measured(s, DryRun.kept, shape)


def _measured(s: Setting, measure: Measure, *sizes: Any) -> float:
    """What a dry run of the whole depth would measure."""
    alike = s.but(  # for a dry run; its sizes are given by themselves
        four_bit=False, batch_size=1, packs=1, minibatches=1, group_size=1, microbatches=1, max_tokens=1, analysis=0,
        eval_batch_size=0, reference=False, eight_bit=False, views=1, spread=Spread(sharded=s.spread.sharded),
    )  # fmt: skip
    return _by_depth(alike, measure, sizes)


@functools.lru_cache(maxsize=256)  # what is advised is tried, and much of it makes no difference here
def _by_depth(setting: Setting, measure: Measure, sizes: tuple[Any, ...]) -> float:
    """A straight line through two shallow dry runs."""
    layers, runs = _dry_runs(setting)
    few, more = (run.layers for run in runs)
    low, high = (float(measure(run, *sizes)) for run in runs)
    return low + (high - low) / (more - few) * (layers - few)


@functools.lru_cache(maxsize=2)
def _dry_runs(setting: Setting) -> tuple[int, list[Dry]]:
    """The depth of the model, and dry runs of two depths: where layers are of several kinds, whole rounds of these."""
    network = skeleton(setting.policy)
    text = network.model.config.get_text_config()
    run, more = (DryStock, 0) if isinstance(network, Stock) else (DryRun, network.deepstack)
    kinds = max(1, len(kinds_of(text)))
    few = more + -(-_SHALLOW // kinds) * kinds
    return int(text.num_hidden_layers), [run(setting, depth) for depth in (few, few + kinds)]
