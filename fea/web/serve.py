"""The page and the addresses of `fea serve`. Photographs are in memory until they are answered, and on no disk."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from flask import Flask, Response, abort, jsonify, request, stream_with_context

from fea.drawn.drawing import DRAWN_AUS
from fea.errors import FEAError
from fea.facs import ACTION_UNITS
from fea.pictures.composing import color_of
from fea.pictures.schematic import probed
from fea.serving.asking import ANALYZE, Asker, Face, address_of, told
from fea.serving.chat import CHAT, Chat, NoModelError, Reply
from fea.serving.fields import Fields, body_of
from fea.serving.gate import BusyError, Gate
from fea.serving.openapi import described
from fea.serving.service import Said, Service, Ticket
from fea.web.server import Address, guarded

LARGEST = 32 << 20  # bytes of a request: a photograph of 50 megapixels has 24, in base64 a third more
_DRAWN = 336  # pixels of a drawn face; more would not be asked for by a page
_MOST_DRAWN = 1024


class Asked(NamedTuple):
    """A face, and the way of what is asked about it."""

    face: Face
    ticket: Ticket


class Desk:
    """Takes requests in, and hands answers out.

    Args:
        asker: reads questions.
        service: answers them.
        gate: bounds how many there are.
        model: its name.
    """

    def __init__(self, asker: Asker, service: Service, gate: Gate, model: str):
        self.asker, self.service, self.gate, self.model = asker, service, gate, model
        self.chat = Chat(asker, model)

    def ask(self, known: tuple[str, ...], look: Callable[[Fields], Sequence[Face]]) -> tuple[Fields, list[Asked]]:
        """The body of the request that is being answered, and the faces in its picture, which the model is asked about.

        Args:
            known: fields of the body.
            look: finds the faces.
        """
        size = request.content_length
        if size is None:
            abort(411, "the request does not say how long it is; send a Content-Length")
        with self.gate.body(size):
            fields = Fields(body_of(request.get_data(cache=False)), known)
            listens = fields.flag("stream")
            self.gate.ready()
            try:
                first, *others = look(fields)
            except BaseException:
                self.gate.taken()
                raise
        asked = [Asked(first, self.service.order(first.order, listens))]
        try:
            for face in others:  # each takes a place of its own, once those before it are in the queue
                self.gate.ready()
                asked.append(Asked(face, self.service.order(face.order, listens)))
        except BusyError:
            for _, ticket in asked:
                ticket.left = True
            raise
        return fields, asked

    def analyze(self, fields: Fields) -> list[Face]:
        """The faces of a body of `/analyze`."""
        return self.asker.look(fields, "image", self.asker.question(fields))


def make_app(desk: Desk, address: Address) -> Flask:
    """The page and what programs may ask for.

    Args:
        desk: of the model.
        address: that all of it is reached at.
    """
    app = guarded(Flask(__name__), address, LARGEST, _error)

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("serve.html")

    @app.get("/start")
    def start() -> Response:
        return jsonify(_start(desk))

    @app.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(described(desk.model, desk.asker.max_tokens))

    @app.get("/drawn")
    def drawn() -> Response:
        return Response(_drawn(request.args), mimetype="image/png")

    @app.get("/v1/models")
    def models() -> Response:
        return jsonify(desk.chat.models())

    @app.post("/analyze")
    def analyze() -> Response:
        with _counted(desk.gate) as kept:
            fields, asked = desk.ask(ANALYZE, desk.analyze)
            shown = fields.flag("shown")
            if fields.flag("stream"):
                return kept(_stream(_analysis(asked[0], shown), asked[0].ticket))
            return jsonify(results=[told(face, ticket.said(), shown) for face, ticket in asked])

    @app.post("/v1/chat/completions")
    def chat() -> Response:
        with _counted(desk.gate) as kept:
            fields, [(face, ticket)] = desk.ask(CHAT, lambda fields: [desk.chat.face(fields)])
            options = Fields(fields.object("stream_options"), ("include_usage",), "stream_options.")
            reply = Reply(desk.model, len(face.order.prompt.ids), options.flag("include_usage"))
            if fields.flag("stream"):
                return kept(_stream(_chunks(ticket, reply, face.order.group), ticket, ending="[DONE]"))
            return jsonify(reply.whole(ticket.said()))

    @app.errorhandler(BusyError)
    def busy(error: BusyError) -> tuple[Response, int, dict[str, str]]:
        return jsonify(_error(str(error), 429)), 429, {"Retry-After": "5"}

    @app.errorhandler(NoModelError)
    def missing(error: NoModelError) -> tuple[Response, int]:
        return jsonify(_error(str(error), 404)), 404

    return app


def _error(sentence: str, code: int) -> Any:
    """An error, in the shape that clients of the address know."""
    if not request.path.startswith("/v1/"):
        return {"error": sentence}
    kind = "invalid_request_error" if code < 500 else "server_error"
    return {"error": {"message": sentence, "type": kind, "param": None, "code": None}}


@contextmanager
def _counted(gate: Gate) -> Iterator[Callable[[Response], Response]]:
    """Counts the request in for the time of the block; a response that is passed through what is given, until it is sent."""
    gate.enter()
    later: list[Response] = []

    def kept(response: Response) -> Response:
        response.call_on_close(gate.leave)
        later.append(response)
        return response

    try:
        yield kept
    finally:
        if not later:
            gate.leave()


def _stream(events: Iterable[dict[str, Any]], ticket: Ticket, ending: str = "") -> Response:
    """Events as a browser and OpenAI's clients read them."""

    def lines() -> Iterator[str]:
        try:
            for event in events:
                yield f"data: {json.dumps(event)}\n\n"
            if ending:
                yield f"data: {ending}\n\n"
        except Exception as error:  # the status is sent already: all that is left is to say so
            yield f"data: {json.dumps(_error(f'the model has failed: {error}', 500))}\n\n"
        finally:
            ticket.left = True

    return Response(stream_with_context(lines()), mimetype="text/event-stream")


def _analysis(asked: Asked, shown: bool) -> Iterator[dict[str, Any]]:
    if shown:
        yield {"shown": address_of(asked.face.picture)}
    for event in asked.ticket.events():
        if isinstance(event, Said):
            yield {"result": told(asked.face, event, with_picture=False)}
        elif event.number == 0:
            yield {"text": event.text}


def _chunks(ticket: Ticket, reply: Reply, count: int) -> Iterator[dict[str, Any]]:
    yield reply.first(count)
    for event in ticket.events():
        yield from reply.chunks(event)


def _start(desk: Desk) -> dict[str, Any]:
    """What the page needs to know: units with their names and colors, which can be drawn, and the allowed emotions."""
    units = {number: [unit.name, unit.sign, *color_of(number)] for number, unit in ACTION_UNITS.items()}
    return {
        "model": desk.model, "units": units, "drawn": DRAWN_AUS, "emotions": desk.asker.allowed, "largest": LARGEST,
        "faces": desk.asker.faces,
    }  # fmt: skip


def _drawn(asked: Any) -> bytes:
    """A face with Action Units, as PNG.

    Raises:
        FEAError: something else than drawn units is asked for.
    """
    known = {f"AU{n}": n for n in DRAWN_AUS}
    size = _value(asked.get("size", str(_DRAWN)), "size", 16, _MOST_DRAWN)
    strengths = {}
    for name, text in asked.items():
        if name in known:
            strengths[known[name]] = _value(text, name, 0, 1)
        elif name not in ("size", "token"):
            raise FEAError(f"{name[:80]!r} cannot be drawn; drawn are {', '.join(known)}, from 0 to 1")
    stream = io.BytesIO()
    probed(strengths, int(size)).save(stream, "PNG")
    return stream.getvalue()


def _value(text: str, name: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise FEAError(f"{name}: {text[:80]!r}; give a number from {least} to {most}")
    return value
