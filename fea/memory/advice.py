"""What to say about memory: the plan as a table, and the settings to change where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import isqrt

from fea.errors import FEAError
from fea.memory.plan import GIB, SYSTEM, Plan, plan, prompt_shape
from fea.memory.setting import Setting
from fea.model.load import is_known, skeleton
from fea.reports import tables

Remedy = Callable[[Setting], Setting | None]


def table(needs: Plan) -> str:
    """A plan as lines of text."""
    written = f"{_size(needs.per_row)} of keys and values each"
    lines = [
        ("weights", needs.weights, "base and adapter"),
        ("reference", needs.reference, "the adapter that the fit began with"),
        ("gradients", needs.gradients, "of what is trained"),
        ("buckets", needs.buckets, "in which gradients are exchanged"),
        ("optimizer", needs.optimizer, "its moments"),
        ("rollout", needs.rollout, f"{needs.rows} completions, {written}"),
        ("validation", needs.validation, f"{needs.eval_rows} answers, {written}"),
        ("update", needs.update, f"{needs.tokens} tokens in a pack, {_size(needs.update / needs.tokens)} each"),
        ("peak", needs.peak, f"in the {max(needs.phases, key=needs.phases.__getitem__)}"),
    ]
    rows = [(name, _size(size), what) for name, size, what in lines if size]
    return tables.plain("  {:<10}{:>10}   {}", rows)


def shown(setting: Setting) -> str:
    """What a fit needs, or why that is not known, for the log of a run that goes on without it."""
    try:
        return f"memory plan\n{table(plan(setting))}"
    except FEAError as error:
        return str(error)


def fitting(needs: Mapping[str, Plan], card: float) -> str:
    """Which of several fits a card holds.

    Args:
        needs: plans by the command of the fit.
        card: bytes of the card.
    """
    told = f"of {_size(card)}, {_size(SYSTEM)} are left to the system; on one such card"
    rows = [("fits" if p.peak <= card - SYSTEM else "does not", _size(p.peak), command) for command, p in needs.items()]
    return "\n".join([told, tables.plain("  {:<8}{:>10}   {}", rows)])


def assumed(setting: Setting) -> list[str]:
    """What is planned with, and written in no config."""
    return [*_assumed_images(setting), *_assumed_texts(setting)]


def _assumed_images(setting: Setting) -> list[str]:
    if is_known(setting.policy):
        return []
    side, visual = isqrt(setting.policy.max_pixels), prompt_shape(setting, skeleton(setting.policy)).visual
    return [
        f"assumed: images of {side} x {side} pixels (model.policy.max_pixels), {visual} tokens each by the base's processor; "
        "those of other sizes and shapes may have more"
    ]


def _assumed_texts(setting: Setting) -> list[str]:
    if setting.samples:
        return []
    if setting.analysis:
        return [f"the longest analysis of data.train has {setting.analysis} tokens"]
    return [
        f"assumed: analyses of up to {setting.max_tokens} tokens (model.generation.max_tokens); how long they are is known "
        "where the files of data.train are there"
    ]


def verdict(setting: Setting, needs: Plan, card: float) -> str:
    """Whether a plan fits a card, and what to change if not.

    Args:
        setting: that the plan was made for.
        needs: the plan.
        card: bytes of the card.
    """
    room = card - SYSTEM
    if needs.peak <= room:
        told = f"fits into {_size(card)}, of which {_size(SYSTEM)} are left to the system; {_size(room - needs.peak)} to spare"
        return told + _unquantized(setting, room)
    changed, end = _remedied(setting, needs, room)
    told = f"does not fit into {_size(card)}, of which {_size(SYSTEM)} are left to the system"
    changes = " and ".join(_changes(setting, changed))
    if end.peak <= room:
        return f"{told}; set {changes}: then {_size(end.peak)} are enough"
    more = "more processes or a smaller model" if setting.spread.sharded else "a smaller model"
    return f"{told}; take {more}, for even with {changes or 'all settings at their least'} it is {_size(end.peak)}"


def _unquantized(setting: Setting, room: float) -> str:
    """Whether weights in 4 bits are in vain: they cost time and some accuracy."""
    if not setting.policy.four_bit:
        return ""
    whole = plan(setting.but(four_bit=False)).peak
    return f"; fits without four_bit, too, with {_size(whole)}" if whole <= room else ""


def _remedied(setting: Setting, needs: Plan, room: float) -> tuple[Setting, Plan]:
    """The setting after one change upon the other, until the plan fits or nothing helps."""
    for remedy in _REMEDIES:
        while needs.peak > room and (changed := remedy(setting)):
            better = plan(changed)
            if better.peak > 0.99 * needs.peak:
                break
            setting, needs = changed, better
    return setting, needs


def _changes(old: Setting, new: Setting) -> Iterator[str]:
    values = [
        ("data.eval_batch_size", old.eval_batch_size, new.eval_batch_size),
        ("data.batch_size", old.batch_size, new.batch_size),
        ("trainer.accumulate_grad_batches", old.packs // old.minibatches, new.packs // new.minibatches),
        ("model.microbatches", old.microbatches, new.microbatches),
        ("model.policy.checkpointing", old.policy.checkpointing, new.policy.checkpointing),
        ("model.policy.four_bit", old.policy.four_bit, new.policy.four_bit),
        ("model.policy.max_pixels", old.policy.max_pixels, new.policy.max_pixels),
        ("model.optimization.eight_bit", old.eight_bit, new.eight_bit),
        ("model.generation.max_tokens", old.max_tokens, new.max_tokens),
        ("trainer.strategy", old.spread.sharded and "fsdp2", new.spread.sharded and "fsdp2"),
        ("trainer.strategy.init_args.gather", old.gathers and "always", old.spread.sharded and new.spread.gather),
    ]
    return (f"{name} to {str(value).lower()}" for name, before, value in values if value != before)


def _smaller_evaluation(s: Setting) -> Setting | None:
    return s.but(eval_batch_size=s.eval_batch_size // 2) if s.eval_batch_size > 1 else None


def _never_whole(s: Setting) -> Setting | None:
    return s.but(spread=s.spread._replace(gather="never")) if s.gathers else None


def _more_packs(s: Setting) -> Setting | None:
    steps = range(s.packs + s.minibatches, s.batch_size + 1, s.minibatches)
    more = next((packs for packs in steps if s.batch_size % packs == 0), None)
    return s.but(packs=more) if more and s.samples else None


def _microbatches(s: Setting) -> Setting | None:
    """Halves the completions that are held at a time; beside packs of a single group, or where packs are no more to be had."""
    more = min(2 * s.microbatches, s.group_size)
    return s.but(microbatches=more) if more > s.microbatches else None


def _checkpointing(s: Setting) -> Setting | None:
    return None if s.policy.checkpointing else s.but(checkpointing=True)


def _sharded(s: Setting) -> Setting | None:
    """Several cards hold together what each of them would have to hold."""
    apart = s.spread.processes > 1 and not s.spread.sharded and is_known(s.policy)
    return s.but(spread=s.spread._replace(sharded=True, gather="never"), eight_bit=False) if apart else None


def _eight_bit(s: Setting) -> Setting | None:
    return None if s.eight_bit or s.spread.sharded else s.but(eight_bit=True)  # refused where weights are sharded


def _four_bit(s: Setting) -> Setting | None:
    usable = s.policy.lora and s.policy.base != "tiny" and not s.policy.four_bit
    return s.but(four_bit=True) if usable else None


def _fewer_prompts(s: Setting) -> Setting | None:
    half = s.batch_size // 2
    packs = min(s.packs, half)
    whole = half and half % packs == 0 and packs % s.minibatches == 0
    return s.but(batch_size=half, packs=packs) if whole else None


def _fewer_pixels(s: Setting) -> Setting | None:
    half = s.policy.max_pixels // 2  # which other families do not go by
    return s.but(max_pixels=half) if half >= s.policy.min_pixels and is_known(s.policy) else None


def _shorter(s: Setting) -> Setting | None:
    return s.but(max_tokens=s.max_tokens // 2) if s.max_tokens >= 128 else None


# What costs little time comes first, what changes the result last.
_REMEDIES: tuple[Remedy, ...] = (
    _smaller_evaluation, _never_whole, _more_packs, _microbatches, _checkpointing, _sharded, _four_bit, _eight_bit,
    _fewer_prompts, _fewer_pixels, _shorter,
)  # fmt: skip


def _size(amount: float) -> str:
    return f"{amount / GIB:.2f} GiB" if amount >= GIB / 10 else f"{amount / 2**20:.2f} MiB"
