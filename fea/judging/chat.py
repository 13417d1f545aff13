"""A chat address that speaks as OpenAI's does, asked with the standard library: one text goes there, one comes back.

Nothing but the words of a message is sent, and the key, if there is one, in its header. The key is in no message, no file and
no error: what a server says is cleared of it. An address that leads on to another one is not followed, so that the key stays
where its owner sent it.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from ipaddress import ip_address
from itertools import count
from typing import IO, Any, Literal, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from fea.errors import FEAError

FailureKind = Literal["timeout", "limited", "server", "refused", "rejected", "unparsable"]
Message = Mapping[str, str]  # "role" and "content"

_LONGEST_PAUSE = 60.0  # seconds: limits of providers are told by the minute
_LARGEST = 1 << 20  # bytes of a reply: a verdict has some hundred, and a server that goes on has lost its way
_AGAIN = ("timeout", "limited", "server")  # what may pass by itself
# Of HTTP; other 4xx, and addresses that lead on, say that no question will be answered there. Some services say 403 of a
# text that they will not have.
_KINDS: dict[int, FailureKind] = {
    400: "rejected", 403: "refused", 408: "timeout", 413: "rejected", 422: "rejected", 429: "limited"
}  # fmt: skip
_SHOWN = 200  # characters of what a server says that stand in a message


class Failure(NamedTuple):
    """Why a question has no answer.

    Attributes:
        kind: "timeout"; "limited" (429); "server" (5xx, or a connection that broke); "refused" (by the model or a filter);
            "rejected" (400, 413, 422); "unparsable" (a reply that is none).
        status: of HTTP, 0 where there was none.
        told: what the server says of it, if it does.
        attempts: how often it was asked.
    """

    kind: FailureKind
    status: int = 0
    told: str = ""
    attempts: int = 1


class Address(NamedTuple):
    """Whom to ask, and how.

    Attributes:
        url: that `/chat/completions` is added to, such as "http://localhost:8000/v1".
        model: its name there.
        temperature: of sampling; None leaves it to the server, which some models insist on.
        max_tokens: of a reply; None leaves it to the server.
        timeout: seconds that a reply may take.
        retries: how often a question is asked again that met a limit, an error of the server or a timeout.
        pause: seconds before the first of these, twice as many before each further one; a server that says how long wins.
    """

    url: str
    model: str
    temperature: float | None = 0.0
    max_tokens: int | None = 1024
    timeout: float = 60.0
    retries: int = 4
    pause: float = 1.0

    @property
    def place(self) -> str:
        """The address of chats."""
        return f"{self.url.rstrip('/').removesuffix('/chat/completions')}/chat/completions"

    def check(self) -> None:
        """Refuses what cannot be asked.

        Raises:
            FEAError: it is no address of a server, it holds a password, or a number is out of its range.
        """
        try:
            parts = urlsplit(self.url)
            whole = (
                parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            )  # whose reading may fail, too
        except ValueError:
            whole = False
        if not whole:
            named = "it" if "@" in self.url else f"'{self.url}'"  # a password may stand before the @
            raise FEAError(f"url: {named} is no address; give one such as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise FEAError(
                "url: it holds a password, a query or a fragment; give the address alone, and the key by key_variable"
            )
        if not self.model.strip():
            raise FEAError("model: no name is given; give the one that the server knows")
        for name, value in (("timeout", self.timeout), ("pause", self.pause)):
            if not 0 <= value < float("inf") or (name == "timeout" and not value):
                raise FEAError(f"{name}: {value}; give a number of seconds")
        if self.retries < 0:
            raise FEAError(f"retries: {self.retries}; give 0 or more")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise FEAError(f"max_tokens: {self.max_tokens}; give 1 or more")

    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """What is sent, but for the header."""
        limits = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        given = {name: value for name, value in limits.items() if value is not None}
        return {"model": self.model, "messages": [dict(message) for message in messages], **given}


class _Nowhere(HTTPRedirectHandler):
    """Follows nobody: a header with a key would go along."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


class Chat:
    """An address with its key; many threads may ask at once.

    Args:
        address: whom to ask.
        key: goes into the header "Authorization"; "" for none.
        sleep: waits for some seconds.

    Raises:
        FEAError: the address or the key cannot be used.
    """

    def __init__(self, address: Address, key: str = "", sleep: Callable[[float], object] = time.sleep):
        address.check()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise FEAError(
                "key: it has characters that no key has, such as blanks or a line break; look at its variable"
            )
        self.address, self._key, self._sleep = address, key, sleep
        # What is on this machine is asked directly, whatever the environment says of proxies.
        direct = [ProxyHandler({})] if _here(urlsplit(address.url).hostname or "") else []
        self._send, self._dice = build_opener(_Nowhere, *direct).open, random.SystemRandom()

    def ask(self, messages: Sequence[Message]) -> str | Failure:
        """The reply to some messages, or why there is none.

        Raises:
            FEAError: no question will be answered there: nobody listens, the key is wrong, or there is no such model.
        """
        for attempt in count(1):
            outcome, wait = self._once(messages)
            if isinstance(outcome, str):
                break
            outcome = outcome._replace(attempts=attempt)
            if outcome.kind not in _AGAIN or attempt > self.address.retries:
                break
            # Not all at once: many may have met the limit together.
            grown = self.address.pause * 2 ** (attempt - 1) * self._dice.uniform(0.5, 1)
            self._sleep(min(_LONGEST_PAUSE, grown if wait is None else wait))
        return outcome

    def _once(self, messages: Sequence[Message]) -> tuple[str | Failure, float | None]:
        """A reply or a failure, and the seconds that the server asked to wait."""
        header = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "fea"}
        if self._key:
            header["Authorization"] = f"Bearer {self._key}"
        request = Request(self.address.place, json.dumps(self.address.body(messages)).encode(), header)
        deadline = time.monotonic() + self.address.timeout
        try:
            with self._send(request, timeout=self.address.timeout) as reply:
                return self._reply(_content(reply, deadline)), None
        except HTTPError as error:
            with error:
                return self._refusal(error, deadline), _asked_to_wait(error.headers.get("Retry-After"))
        except TimeoutError:
            return Failure("timeout"), None
        except URLError as error:
            if isinstance(error.reason, TimeoutError):
                return Failure("timeout"), None
            if isinstance(error.reason, ConnectionResetError | BrokenPipeError):
                return Failure("server"), None
            raise FEAError(
                f"url: '{self.address.url}' cannot be reached ({self._clear(error.reason)}); start the server, or mend the "
                "address"
            ) from None
        except (OSError, HTTPException):  # the connection broke
            return Failure("server"), None

    def _refusal(self, error: HTTPError, deadline: float) -> Failure:
        """What a status of HTTP means."""
        content = b""
        with suppress(OSError, HTTPException):
            content = _content(error, deadline)
        told = self._clear(_said(content))
        kind: FailureKind | None = _KINDS.get(error.code, "server" if error.code >= 500 else None)
        if kind is None:
            said = f" ({told})" if told else ""
            raise FEAError(
                f"'{self.address.place}' answers {error.code}{said}; check the address, the name of the model, and the key"
            )
        return Failure("refused" if b"content_filter" in content else kind, error.code, told)

    def _reply(self, content: bytes) -> str | Failure:
        try:
            choice = json.loads(content)["choices"][0]
            message = choice["message"]
            if message.get("refusal") or choice.get("finish_reason") == "content_filter":
                return Failure("refused", 200)
            text = message["content"]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return Failure("unparsable", 200)
        return self._without_key(text) if isinstance(text, str) else Failure("unparsable", 200)

    def _clear(self, text: object) -> str:
        """A text of others without the key, in one line that is not too long."""
        return " ".join(self._without_key(str(text)).split())[:_SHOWN]

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def key_of(variable: str | None) -> str:
    """The key that an environment variable holds, "" for no variable.

    Raises:
        FEAError: it is not set.
    """
    key = "" if variable is None else os.environ.get(variable, "").strip()
    if variable is not None and not key:
        raise FEAError(f"key_variable: the environment variable '{variable}' is not set; put the key there")
    return key


def _here(host: str) -> bool:
    """Whether a host is this machine."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _content(stream: Any, deadline: float) -> bytes:
    """All that a server sends, within the time; a part of it would be taken for a reply."""
    parts, size = [], 0
    while part := stream.read1(_LARGEST):
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline:
            raise TimeoutError
        if size > _LARGEST:
            raise HTTPException("too long")
    if getattr(stream, "length", 0):  # of what was promised
        raise HTTPException("cut short")
    return b"".join(parts)


def _said(told: bytes) -> str:
    """What a server says of an error, if it says it as OpenAI's does."""
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        error = json.loads(told)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    return ""


def _asked_to_wait(header: str | None) -> float | None:
    """Seconds of "Retry-After", which holds a number or a date; None if it holds neither."""
    if header is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(header))
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    return None
