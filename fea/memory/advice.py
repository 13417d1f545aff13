"""What to say about memory: the plan as a table, and the settings to change where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from fea.memory.plan import GIB, SYSTEM, Plan, Setting, plan
from fea.reports import tables

Remedy = Callable[[Setting], Setting | None]


def table(needs: Plan) -> str:
    """A plan as lines of text."""
    phase = "the rollout" if needs.rollout > needs.update else "the update"
    lines = [
        ("weights", needs.weights, "base and adapter"),
        ("gradients", needs.gradients, "of what is trained"),
        ("optimizer", needs.optimizer, "its moments"),
        ("rollout", needs.rollout, f"{needs.rows} completions, {_size(needs.per_row)} of keys and values each"),
        ("update", needs.update, f"{needs.tokens} tokens in a pack, {_size(needs.update / needs.tokens)} each"),
        ("peak", needs.peak, f"in {phase}"),
    ]
    if not needs.rollout:
        del lines[3]
    return tables.plain("  {:<10}{:>10}   {}", [(name, _size(size), what) for name, size, what in lines])


def verdict(setting: Setting, needs: Plan, card: float) -> str:
    """Whether a plan fits a card, and what to change if not.

    Args:
        setting: that the plan was made for.
        needs: the plan.
        card: bytes of the card.
    """
    room = card - SYSTEM
    if needs.peak <= room:
        return f"fits into {_size(card)}, of which {_size(SYSTEM)} are left to the system; {_size(room - needs.peak)} to spare"
    changed, end = _remedied(setting, needs, room)
    told = f"does not fit into {_size(card)}, of which {_size(SYSTEM)} are left to the system"
    changes = " and ".join(_changes(setting, changed))
    if end.peak <= room:
        return f"{told}; set {changes}: then {_size(end.peak)} are enough"
    return f"{told}; take a smaller model, for even with {changes or 'all settings at their least'} it is {_size(end.peak)}"


def _remedied(setting: Setting, needs: Plan, room: float) -> tuple[Setting, Plan]:
    """The setting after one change upon the other, until the plan fits or nothing helps."""
    for remedy in (_more_packs, _checkpointing, _eight_bit, _four_bit, _fewer_prompts, _fewer_pixels, _shorter):
        while needs.peak > room and (changed := remedy(setting)):
            better = plan(changed)
            if better.peak > 0.99 * needs.peak:
                break
            setting, needs = changed, better
    return setting, needs


def _changes(old: Setting, new: Setting) -> Iterator[str]:
    values = [
        ("data.batch_size", old.batch_size, new.batch_size),
        ("trainer.accumulate_grad_batches", old.packs // old.minibatches, new.packs // new.minibatches),
        ("model.policy.checkpointing", old.policy.checkpointing, new.policy.checkpointing),
        ("model.policy.four_bit", old.policy.four_bit, new.policy.four_bit),
        ("model.policy.max_pixels", old.policy.max_pixels, new.policy.max_pixels),
        ("model.optimization.eight_bit", old.eight_bit, new.eight_bit),
        ("model.generation.max_tokens", old.max_tokens, new.max_tokens),
    ]
    return (f"{name} to {str(value).lower()}" for name, before, value in values if value != before)


def _more_packs(s: Setting) -> Setting | None:
    steps = range(s.packs + s.minibatches, s.batch_size + 1, s.minibatches)
    more = next((packs for packs in steps if s.batch_size % packs == 0), None)
    return replace(s, packs=more) if more and s.group_size > 1 else None


def _checkpointing(s: Setting) -> Setting | None:
    return None if s.policy.checkpointing else replace(s, policy=replace(s.policy, checkpointing=True))


def _eight_bit(s: Setting) -> Setting | None:
    return None if s.eight_bit else replace(s, eight_bit=True)


def _four_bit(s: Setting) -> Setting | None:
    usable = s.policy.lora and s.policy.base != "tiny" and not s.policy.four_bit
    return replace(s, policy=replace(s.policy, four_bit=True)) if usable else None


def _fewer_prompts(s: Setting) -> Setting | None:
    half = s.batch_size // 2
    packs = min(s.packs, half)
    return replace(s, batch_size=half, packs=packs) if half and half % packs == 0 else None


def _fewer_pixels(s: Setting) -> Setting | None:
    half = s.policy.max_pixels // 2
    return replace(s, policy=replace(s.policy, max_pixels=half)) if half >= s.policy.min_pixels else None


def _shorter(s: Setting) -> Setting | None:
    return replace(s, max_tokens=s.max_tokens // 2) if s.max_tokens >= 128 else None


def _size(amount: float) -> str:
    return f"{amount / GIB:.2f} GiB" if amount >= GIB / 10 else f"{amount / 2**20:.2f} MiB"
