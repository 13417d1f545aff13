"""One model for many who ask at once: while it answers a batch, the next one fills.

Nobody waits for a batch to be full. Whoever asks while the model rests is answered alone, and whoever asks while it works goes
into the next batch with all others who ask alike; so batches are as large as it takes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Condition, Thread
from typing import NamedTuple

import torch
from torch import Tensor

from fea.data.prompt import Prompt
from fea.evaluation.votes import vote
from fea.model.cache import Trunk
from fea.model.policy import Policy
from fea.model.precision import computing
from fea.model.sampling import Generation
from fea.prompts.answer import Answer, Form
from fea.rollouts.likelihood import likelihoods
from fea.rollouts.rollout import Rollout, ask, trunk_of

# What is said for good: up to the last blank, or the last sign of a script without blanks. A character may come in several
# tokens, and a word of several is easier to read whole.
_WHOLE = re.compile(r".*[\s\u2e80-\ua4cf\uac00-\ud7a3]", re.DOTALL)


class Order(NamedTuple):
    """What is asked for.

    Attributes:
        prompt: a face and its question.
        group: answers to it.
        generation: their length and temperature.
        noise: (group, max_tokens) numbers that choose the tokens; None for greedy answers.
        likelihood: whether each allowed emotion gets its likelihood as the answer.
    """

    prompt: Prompt
    group: int
    generation: Generation
    noise: Tensor | None
    likelihood: bool = False

    def like(self, other: Order) -> bool:
        """Whether both can be answered in one batch."""
        greedy = self.noise is None, other.noise is None
        same = self.group == other.group and self.generation == other.generation and greedy[0] == greedy[1]
        same = same and self.likelihood == other.likelihood
        return same and self.prompt.form == other.prompt.form  # else they would hardly begin alike


class Said(NamedTuple):
    """What the model said.

    Attributes:
        answers: of the group.
        tokens: of each answer, its end included.
        cut: whether an answer met the length limit before its end.
        likelihood: of each allowed emotion behind the answer that speaks for all; None where it was not asked for.
    """

    answers: list[Answer]
    tokens: list[int]
    cut: list[bool]
    likelihood: dict[str, float] | None = None


class Piece(NamedTuple):
    """More of the text of an answer of the group."""

    number: int
    text: str


class Ticket:
    """An order on its way.

    Args:
        order: what was asked for.
        listens: whether somebody wants the words as they come.
    """

    def __init__(self, order: Order, listens: bool):
        self.order, self.listens = order, listens
        self.left = False  # nobody waits for it any more
        self._told = [""] * order.group
        self._events: SimpleQueue[Piece | Said | Exception] = SimpleQueue()

    def events(self) -> Iterator[Piece | Said]:
        """The words as they come, if somebody listens, and what was said in the end.

        Raises:
            Exception: whatever has stopped the model.
        """
        while True:
            event = self._events.get()
            if isinstance(event, Exception):
                raise event
            yield event
            if isinstance(event, Said):
                return

    def said(self) -> Said:
        """What was said; waits for it."""
        return next(event for event in self.events() if isinstance(event, Said))

    def tell(self, number: int, text: str, whole: bool = False) -> None:
        """Passes on what is new in the text of an answer by now.

        Args:
            number: of the answer.
            text: that it has.
            whole: there will be no more.
        """
        before = self._told[number]
        if not whole:
            found = _WHOLE.match(text, len(before))
            text = text[: found.end()] if found else before
        if not text.startswith(before):
            raise RuntimeError(f"a text that began with {before!r} became {text!r}")
        if len(text) > len(before):
            self._told[number] = text
            self._events.put(Piece(number, text[len(before) :]))

    def finish(self, event: Said | Exception) -> None:
        """Passes on what was said, or why nothing was."""
        self._events.put(event)


class Service:
    """Answers orders until it is closed.

    Args:
        policy: in eval mode, on its device.
        precision: that it computes in.
        batch_size: answers that are written at a time.
        taken: is told of each order that leaves the queue.

    Attributes:
        batches: sizes of those that were answered, the last thousand.
    """

    def __init__(self, policy: Policy, precision: str, batch_size: int, taken: Callable[[], None]):
        self.policy, self.precision, self.batch_size, self.taken = policy, precision, batch_size, taken
        self.batches: deque[int] = deque(maxlen=1000)
        self._waiting: deque[Ticket] = deque()
        self._changed = Condition()
        self._closed = False
        self._trunks: dict[Form, Trunk] = {}  # what all prompts of a form begin with, read with the first of them
        self._thread = Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def order(self, order: Order, listens: bool = False) -> Ticket:
        """Puts an order into the queue."""
        ticket = Ticket(order, listens)
        with self._changed:
            if self._closed:
                ticket.finish(RuntimeError("the server has ended"))
                self.taken()
            else:
                self._waiting.append(ticket)
                self._changed.notify()
        return ticket

    def close(self) -> None:
        """Answers what is under way and nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            self.batches.append(len(batch))
            try:
                self._answer(batch)
            except Exception as error:  # whatever it is, those who wait are to be told, and the next ones answered
                for ticket in batch:
                    ticket.finish(error)

    def _next(self) -> list[Ticket]:
        """The order that has waited longest, with others like it; waits for one. None at all means the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                gone = [ticket for ticket in self._waiting if ticket.left or self._closed]
                batch = self._chosen([ticket for ticket in self._waiting if ticket not in gone])
                for ticket in (*gone, *batch):
                    self._waiting.remove(ticket)
                    self.taken()
                for ticket in gone:
                    ticket.finish(RuntimeError("the server has ended"))
                if batch or self._closed:
                    return batch

    def _chosen(self, waiting: Sequence[Ticket]) -> list[Ticket]:
        if not waiting:
            return []
        alike = [ticket for ticket in waiting if ticket.order.like(waiting[0].order)]
        return alike[: max(1, self.batch_size // waiting[0].order.group)]

    def _answer(self, batch: Sequence[Ticket]) -> None:
        first = batch[0].order
        drawn = [ticket.order.noise for ticket in batch if ticket.order.noise is not None]
        listening = any(ticket.listens for ticket in batch)

        def hear(ids_NT: Tensor, mask_NT: Tensor) -> None:
            self._hear(batch, ids_NT.cpu(), mask_NT.cpu().bool())

        with computing(self.precision, self.policy.network.device):
            prompts = self.policy.look([ticket.order.prompt for ticket in batch])
            trunk = self._trunks.get(prompts[0].form) or trunk_of(self.policy, prompts[0])
            self._trunks[prompts[0].form] = trunk
            rollout = ask(
                self.policy,
                prompts,
                first.group,
                first.generation,
                torch.cat(drawn) if drawn else None,
                trunk,
                hear if listening else None,
            )
            likely: Sequence[dict[str, float] | None] = [None] * len(batch)
            if first.likelihood:
                likely = self._likelihoods(rollout)
        for number, ticket in enumerate(batch):
            said = _said(rollout, number)._replace(likelihood=likely[number])
            if ticket.listens:
                for answer, told in enumerate(said.answers):
                    ticket.tell(answer, told.text, whole=True)
            ticket.finish(said)

    def _likelihoods(self, rollout: Rollout) -> list[dict[str, float]]:
        speaking = [vote(answers).answer for answers in rollout.by_prompt]
        return likelihoods(self.policy, rollout.prompts, speaking, self.batch_size)

    def _hear(self, batch: Sequence[Ticket], ids_NT: Tensor, mask_NT: Tensor) -> None:
        for number, ticket in enumerate(batch):
            if ticket.listens and not ticket.left:
                for answer in range(ticket.order.group):
                    row = number * ticket.order.group + answer
                    ticket.tell(answer, self.policy.network.decode(ids_NT[row][mask_NT[row]]))


def _said(rollout: Rollout, number: int) -> Said:
    """What belongs to a prompt of a rollout."""
    rows = slice(number * rollout.group, (number + 1) * rollout.group)
    completions = rollout.completions
    return Said(rollout.answers[rows], completions.mask[rows].sum(dim=1).tolist(), completions.truncated[rows].tolist())
