"""Chat completions in the shapes of OpenAI's API, which many programs speak already.

A conversation is one question about one image. What else such a program may ask for is refused by name rather than left out
without a word; system messages alone are read past, since the model has its own, with the knowledge it was trained on.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from fea.errors import FEAError
from fea.model.sampling import Generation
from fea.serving.asking import Asker, Face, Question
from fea.serving.fields import Fields
from fea.serving.service import Piece, Said

CHAT = (
    *(
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "n",
        "seed",
        "stream",
        "stream_options",
    ),
    *("emotions", "user", "top_p", "frequency_penalty", "presence_penalty"),
)
_MOST_MESSAGES = 64
_MOST_CHOICES = 16


class NoModelError(FEAError):
    """There is no model of the name that is asked for."""


class Chat:
    """Reads chats as questions.

    Args:
        asker: of the model.
        model: its name here.
    """

    def __init__(self, asker: Asker, model: str):
        self.asker, self.model = asker, model
        self.started = int(time.time())

    def face(self, fields: Fields) -> Face:
        """The face of a body, with what is asked of it.

        Raises:
            FEAError: a field is not as it should be, or something is asked for that is not done here.
            NoModelError: there is no model of that name.
        """
        if fields.text("model") != self.model:
            raise NoModelError(f"model: there is {self.model} here and no other")
        for name, plain in (("top_p", 1), ("frequency_penalty", 0), ("presence_penalty", 0)):
            if fields.number(name, plain, -2, 2) != plain:
                fields.refuse(name, f"only {plain} is done here")
        fields.text("user")
        temperature = fields.number("temperature", 0, 0, 2)
        if 0 < temperature < 0.01:  # what is below is greedy anyway, and would overflow
            fields.refuse("temperature", "give 0 or at least 0.01")
        count = fields.whole("n", 1, 1, _MOST_CHOICES)
        seed = fields.whole("seed", secrets.randbelow(2**31), 0, 2**63 - 1)
        most = self.asker.max_tokens
        length = fields.whole("max_completion_tokens", fields.whole("max_tokens", most, 1, most), 1, most)
        emotions = self.asker.emotions(fields)
        text, part = _asked(fields)
        generation = Generation(length, temperature or 1.0)
        question = Question(self.asker.faces, text, emotions, count, generation, seed if temperature else None)
        return self.asker.look(part, "url", question, only_url=True)[0]

    def models(self) -> dict[str, Any]:
        """The list of the one model."""
        entry = {"id": self.model, "object": "model", "created": self.started, "owned_by": "fea"}
        return {"object": "list", "data": [entry]}


def _asked(fields: Fields) -> tuple[str, Fields]:
    """The text of the question, and the part with the address of its image."""
    messages = [
        Fields(_object(message, f"messages[{n}]"), ("role", "content", "name"), f"messages[{n}].")
        for n, message in enumerate(fields.items("messages", _MOST_MESSAGES))
    ]
    users = []
    for message in messages:
        role = message.text("role")
        if role == "user":
            users.append(message)
        elif role not in ("system", "developer"):
            message.refuse("role", f"{role[:80]!r} is not read: ask one question about one image, as the user")
    if len(users) != 1:
        fields.refuse("messages", f"{len(users)} are from the user; ask one question about one image")
    return _parts(users[0])


def _parts(message: Fields) -> tuple[str, Fields]:
    texts, images = [], []
    if isinstance(message.found.get("content"), str):
        message.refuse("content", "there is no image; send a list with one part of type image_url")
    for number, part in enumerate(message.items("content", _MOST_MESSAGES)):
        place = f"{message.place}content[{number}]"
        found = Fields(_object(part, place), ("type", "text", "image_url"), f"{place}.")
        kind = found.text("type")
        if kind == "text":
            texts.append(found.text("text"))
        elif kind == "image_url":
            images.append(Fields(found.object("image_url"), ("url", "detail"), f"{place}.image_url."))
        else:
            found.refuse("type", f"{kind[:80]!r} is not known; known are text and image_url")
    if len(images) != 1:
        message.refuse("content", f"there are {len(images)} images; send one")
    return "\n".join(texts).strip(), images[0]


def _object(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FEAError(f"{place}: it is no object")
    return value


class Reply:
    """The answer to a chat.

    Args:
        model: its name.
        prompt: tokens of the prompt.
        usage: whether the last chunk of a stream is to count tokens.
    """

    def __init__(self, model: str, prompt: int, usage: bool = False):
        self.prompt, self.usage = prompt, usage
        self.head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}

    def whole(self, said: Said) -> dict[str, Any]:
        """All of it."""
        choices = [
            {
                "index": number,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "logprobs": None,
                "finish_reason": _reason(cut),
            }
            for number, (answer, cut) in enumerate(zip(said.answers, said.cut, strict=True))
        ]
        return {**self.head, "object": "chat.completion", "choices": choices, "usage": self._used(said)}

    def first(self, count: int) -> dict[str, Any]:
        """The chunk that opens a stream."""
        return self._chunk([_choice(number, {"role": "assistant", "content": ""}, None) for number in range(count)])

    def chunks(self, event: Piece | Said) -> Sequence[dict[str, Any]]:
        """What a stream says of an event."""
        if isinstance(event, Piece):
            return [self._chunk([_choice(event.number, {"content": event.text}, None)])]
        ends = [_choice(number, {}, _reason(cut)) for number, cut in enumerate(event.cut)]
        used = [{**self._chunk([]), "usage": self._used(event)}] if self.usage else []
        return [self._chunk(ends), *used]

    def _chunk(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {**self.head, "object": "chat.completion.chunk", "choices": list(choices)}

    def _used(self, said: Said) -> dict[str, int]:
        written = sum(said.tokens)
        return {
            "prompt_tokens": self.prompt, "completion_tokens": written, "total_tokens": self.prompt + written,
        }  # fmt: skip


def _choice(number: int, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": number, "delta": delta, "logprobs": None, "finish_reason": reason}


def _reason(cut: bool) -> str:
    return "length" if cut else "stop"
