"""A server of `fea serve` in this process: its app, and where it is reached."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from werkzeug.serving import make_server

from fea.data.prompt import Prompt
from fea.drawn.faces import EMOTIONS
from fea.model.policy import Policy
from fea.model.sampling import Completions, Generation, Heard
from fea.serving.asking import Asker
from fea.serving.gate import Gate
from fea.serving.service import Service
from fea.web.serve import LARGEST, Desk, make_app
from fea.web.server import Address, Handler, listen


class Scripted:
    """A policy that writes given texts token by token, as slowly as it is told to.

    Args:
        policy: whose encoder and tokenizer it has.
        script: the text that answers a prompt.
        pause: seconds before each token.
    """

    def __init__(self, policy: Policy, script: Callable[[Prompt], str], pause: float = 0.0):
        self.network, self.encoder = policy.network, policy.encoder
        self.script, self.pause = script, pause

    def look(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        return list(prompts)

    def rollout(
        self,
        prompts: Sequence[Prompt],
        group: int,
        generation: Generation,
        noise: Tensor | None,
        trunk: object,
        heard: Heard | None = None,
    ) -> Completions:
        rows = [self.encoder.target(self.script(prompt)) for prompt in prompts for _ in range(group)]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)[:, : generation.max_tokens]
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)[
            :, : ids.shape[1]
        ]
        for place in range(ids.shape[1]):
            time.sleep(self.pause)
            if heard:
                there = mask * (torch.arange(ids.shape[1]) <= place)
                heard(ids * there, there)
        return self.network.told(ids, mask, torch.zeros(ids.shape))


def as_base64(image: Image.Image, kind: str = "PNG") -> str:
    stream = io.BytesIO()
    image.save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()


@contextmanager
def desk_of(policy: Any, max_tokens: int = 32, batch_size: int = 8, **bounds: int) -> Iterator[Desk]:
    """Answers inside the block."""
    gate = Gate(**{"requests": 256, "room": 8 * LARGEST, "ready": 2 * batch_size, **bounds})
    with closing(Service(policy, "32-true", batch_size, gate.taken)) as service:
        yield Desk(Asker(policy.encoder, EMOTIONS, max_tokens), service, gate, "tiny")


@contextmanager
def served(desk: Desk, port: int) -> Iterator[Address]:
    """Serves it on a port, as `fea serve` does."""
    address = Address(port)
    with listen(port) as listening:
        app = make_app(desk, address)
        server = make_server("127.0.0.1", port, app, threaded=True, request_handler=Handler, fd=listening.fileno())
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield address
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
