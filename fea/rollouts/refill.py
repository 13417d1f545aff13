"""Other faces in place of those about whose completions all rewards agree, so that all groups of a rollout teach.

Two processes with two prompts each; the completions about b and c, and then those about e, score the same:

    place         0 1 2 3 | 4 5 6 7 | 8 ..        in the order of the sampler, which is dealt out in turn
    face          a b c d   e f g h   i
    process       0 1 0 1
    first try     a e f d                         the next faces, for the groups in their order
    second try    a g f d

What is taken comes up again in its own turn: how far an epoch has come does not depend on it, and no face is left out.

Source: dynamic sampling, DAPO, arXiv 2503.14476, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from fea.data.loader import Draw, Loader
from fea.data.prompt import Prompt
from fea.model.sampling import repeats
from fea.rollouts.loader import dealt
from fea.rollouts.rollout import Rollout
from fea.system.processes import count, gathered, rank

Sample = Callable[[Sequence[Prompt], int, Sequence[int]], Rollout]
_ANY = Draw(0, False)  # in a process that has nothing to fill up: those that share the weights meet in every pass


class Filled(NamedTuple):
    """What was filled up.

    Attributes:
        draws: by number of a group of this process, what stands there now.
        numbers: to be reported, the same in all processes; none without refill.
    """

    draws: dict[int, Draw]
    numbers: dict[str, float]


class Refill:
    """Tries further faces: a function of the sampler's order and of what is written, whatever the number of processes.

    Rewards are asked about each answer twice then: to find the groups, and when the rollout is complete.

    Args:
        prompts: batches of prompts.
        place: moves prompts to the device of the policy.
        tries: how often at the most; 0 for never.
    """

    def __init__(self, prompts: Loader, place: Callable[[list[Prompt]], list[Prompt]], tries: int):
        self.prompts, self.place, self.tries = prompts, place, tries
        self._placed: dict[Draw, Prompt] = {}  # of the present rollout

    def __call__(
        self, rollout: Rollout, round: int, sample: Sample, same: Callable[[Rollout], list[bool]]
    ) -> tuple[Rollout, Filled]:
        """Fills a rollout up; all processes call this together.

        Args:
            rollout: of this process.
            round: its number.
            sample: completions of prompts, given the round and how often each one's example was drawn in it before.
            same: for each group, whether no reward tells its completions apart.
        """
        if not self.tries:
            return rollout, Filled({}, {})
        self._placed, draws, ids = {}, dict[int, Draw](), dealt([prompt.example.id for prompt in rollout.prompts])
        faces, alike = len(ids), dict(enumerate(same(rollout)))
        place = (round % len(self.prompts) + 1) * faces
        for _ in range(self.tries):
            slots = _in_turn(group for group, is_same in alike.items() if is_same)
            if not slots:
                break
            next_draws = self.prompts.sampler.at(range(place, place + len(slots)))
            place += len(slots)
            own = {slot // count(): draw for slot, draw in zip(slots, next_draws, strict=True) if _is_own(slot)}
            prompts = self._place_all(list(own.values()))
            drawn = _drawn(ids, [prompt.example.id for prompt in prompts[: len(own)]], slots)
            found = sample(prompts, round, drawn or [0])
            alike = dict(zip(own, same(found), strict=False))
            rollout = rollout.with_groups(list(own), found) if own else rollout
            draws |= own
        return rollout, Filled(draws, {"groups/filled": sum(map(len, gathered(draws))) / faces})

    def shown(self, prompts: list[Prompt], draws: Mapping[int, Draw]) -> list[Prompt]:
        """The prompts of a batch, with those that fill its groups up; all processes call this together."""
        missing = [draw for draw in draws.values() if draw not in self._placed]  # after a resume inside of the rollout
        if any(gathered(bool(missing))):
            self._place_all(missing)
        return [self._placed[draws[group]] if group in draws else prompt for group, prompt in enumerate(prompts)]

    def _place_all(self, draws: list[Draw]) -> list[Prompt]:
        draws = draws or [_ANY]
        prompts = self.place([self.prompts.encoded(draw) for draw in draws])
        self._placed |= zip(draws, prompts, strict=True)
        return prompts


def _in_turn(groups: Iterable[int]) -> list[int]:
    """Numbers of groups of all processes, as one that had all of them would count."""
    return sorted(group * count() + process for process, own in enumerate(gathered(list(groups))) for group in own)


def _drawn(ids: list[str], own: Sequence[str], slots: Sequence[int]) -> list[int]:
    """How often each example of this process was drawn in the round before; adds those of all processes to `ids`."""
    parts = [iter(part) for part in gathered(own)]
    new = [next(parts[slot % count()]) for slot in slots]
    before = repeats([*ids, *new])[len(ids) :]
    ids += new
    return [times for slot, times in zip(slots, before, strict=True) if _is_own(slot)]


def _is_own(slot: int) -> bool:
    return slot % count() == rank()
