"""The queue: batches fill while the model works, words come before the end, and nobody is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from answering import Scripted, desk_of
from conftest import SMALL

from fea.data.prompt import Prompt
from fea.model.policy import Policy
from fea.model.sampling import Generation, noise
from fea.rollouts.rollout import ask
from fea.serving.gate import BusyError, Gate
from fea.serving.service import Order, Piece, Said, Service, Ticket

TEXT = "<think>The lip corners go up (AU12), and the cheeks (AU6).</think><answer>happiness</answer>"
LENGTH = 60


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Policy:
    found = make_policy(tiny=replace(SMALL, spread=0.3))  # each face gets an answer of its own
    found.network.ends = [
        *found.network.ends,
        *range(0, 500, 15),
    ]  # so that answers end by themselves, at various lengths
    return found


def order_of(prompt: Prompt, group: int = 1, sampled: bool = False) -> Order:
    drawn = noise([prompt.example.id], group, LENGTH, 0, 0) if sampled else None
    return Order(prompt, group, Generation(LENGTH), drawn)


@pytest.fixture
def service(policy: Policy) -> Iterator[Service]:
    with desk_of(policy, ready=1000) as desk:
        desk.service.taken = lambda: None  # orders that did not come through the gate
        yield desk.service


def test_what_is_said_is_what_the_policy_says_and_the_words_make_it_up(
    service: Service, policy: Policy, prompts: list[Prompt]
) -> None:
    tickets = [
        (prompt, group, sampled, service.order(order_of(prompt, group, sampled), listens=True))
        for prompt in prompts
        for group, sampled in ((1, False), (3, True))
    ]
    texts = set()
    for prompt, group, sampled, ticket in tickets:
        *pieces, said = ticket.events()
        alone = ask(policy, policy.look([prompt]), group, Generation(LENGTH), order_of(prompt, group, sampled).noise)
        assert isinstance(said, Said)
        assert [answer.text for answer in said.answers] == alone.completions.texts
        assert said.tokens == alone.completions.mask.sum(dim=1).tolist()
        assert said.cut == alone.completions.truncated.tolist()
        texts.add(said.answers[0].text)
        for number, answer in enumerate(said.answers):
            assert "".join(p.text for p in pieces if isinstance(p, Piece) and p.number == number) == answer.text
    assert len(texts) > 4


def test_words_are_told_whole_and_before_the_end(policy: Policy, prompts: list[Prompt]) -> None:
    with desk_of(Scripted(policy, lambda _: TEXT, pause=0.001)) as desk:
        desk.service.taken = lambda: None
        order = Order(prompts[0], 1, Generation(200), None)
        pieces = [event.text for event in desk.service.order(order, listens=True).events() if isinstance(event, Piece)]
        assert [piece.strip() for piece in pieces] == TEXT.split()
        assert [type(event) for event in desk.service.order(order).events()] == [Said]  # nobody listens


def test_a_batch_fills_while_the_model_works(policy: Policy, prompts: list[Prompt]) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def script(_: Prompt) -> str:
        begun.set()
        assert go_on.wait(30)
        return TEXT

    with desk_of(Scripted(policy, script), batch_size=8) as desk:
        desk.service.taken = lambda: None
        first = desk.service.order(order_of(prompts[0]))
        assert begun.wait(30)
        kinds = [(1, False)] * 9 + [(3, True)] * 3
        waiting = [desk.service.order(order_of(prompts[1], *kind)) for kind in kinds]
        gone = desk.service.order(order_of(prompts[2]))
        gone.left = True
        go_on.set()
        assert len([ticket.said() for ticket in (first, *waiting)]) == 13
    assert list(desk.service.batches) == [1, 8, 1, 2, 1]  # 8 rows at most: two groups of three, then the last


def test_an_error_reaches_those_of_its_batch_and_the_next_are_answered(policy: Policy, prompts: list[Prompt]) -> None:
    def script(prompt: Prompt) -> str:
        if prompt is prompts[0]:
            raise MemoryError("no room")
        return TEXT

    with desk_of(Scripted(policy, script)) as desk:
        desk.service.taken = lambda: None
        with pytest.raises(MemoryError, match="no room"):
            desk.service.order(order_of(prompts[0])).said()
        assert desk.service.order(order_of(prompts[1])).said().answers[0].aus == {6, 12}
    with pytest.raises(RuntimeError, match="the server has ended"):
        desk.service.order(order_of(prompts[1])).said()


def test_what_prompts_begin_with_is_read_once(service: Service, policy: Policy, prompts: list[Prompt]) -> None:
    read: list[int] = []
    policy.network.language_model.register_forward_pre_hook(
        lambda _, __, options: read.append(options["inputs_embeds"].shape[1]), with_kwargs=True
    )
    for prompt in (prompts[0], prompts[1]):
        read.clear()
        service.order(order_of(prompt)).said()
    whole = len(prompts[1].ids)
    assert max(read) < whole


def test_a_word_that_may_yet_change_is_kept_back() -> None:
    prompt = Prompt(None, *[torch.empty(0)] * 5)  # type: ignore[arg-type]
    ticket = Ticket(Order(prompt, 1, Generation(5), None), listens=True)
    for text in ("Th", "The", "The li", "The li\ufffd", "The lips ", "The lips 眉\ufffd"):
        ticket.tell(0, text)
    ticket.tell(0, "The lips 眉毛", whole=True)
    ticket.finish(Said([], [], []))
    assert [event.text for event in ticket.events() if isinstance(event, Piece)] == ["The ", "lips ", "眉", "毛"]
    with pytest.raises(RuntimeError, match="became"):
        ticket.tell(0, "Other", whole=True)


def test_the_gate_lets_in_so_much_and_no_more() -> None:
    gate = Gate(requests=2, room=100, ready=1)
    gate.enter()
    gate.enter()
    with pytest.raises(BusyError, match="2 requests"):
        gate.enter()
    gate.leave()
    gate.enter()

    inside, most = [0], [0]

    def send() -> None:
        with gate.body(15):  # 45 of 100 bytes
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.005)
            inside[0] -= 1

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    with gate.body(10_000):  # gets all of it
        assert inside[0] == 0
    for thread in threads:
        thread.join()
    assert most == [2]
