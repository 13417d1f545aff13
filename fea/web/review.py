"""The page of `fea review`, and what it asks for. Every decision is on the disk before the next face is shown."""

from __future__ import annotations

import io
from functools import cache
from threading import Lock
from typing import cast

from flask import Flask, Response, jsonify, request

from fea.errors import FEAError
from fea.images.opening import load_image
from fea.review.desk import Desk, Move
from fea.review.similar import Similar
from fea.web.server import Address, guarded

_LONGEST_SIDE = 1024  # pixels of a face on the page


def make_app(desk: Desk, address: Address) -> Flask:
    """The page and what it asks for.

    Args:
        desk: of the reviewer.
        address: that the page is reached at.
    """
    app, alone, searching = guarded(Flask(__name__), address), Lock(), Lock()
    decoding = Lock()  # a photograph of 100 megapixels takes 300 MB: one at a time, however many are asked for

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("review.html")

    @app.get("/face/<key>", defaults={"rejected": False})
    @app.get("/rejected/<key>", defaults={"rejected": True})
    def face(key: str, rejected: bool) -> Response:
        with decoding:
            return Response(_picture(desk, key, rejected), mimetype="image/png")

    @app.get("/start")
    def start() -> Response:
        return jsonify(desk.start())

    @app.get("/line")
    def line() -> Response:
        with alone:
            return jsonify(desk.look(request.args["key"], cast(Move, request.args["move"]), request.args))

    @cache
    def similar() -> Similar:
        return Similar(desk.inspection)

    @app.get("/similar")
    def alike() -> Response:
        number = desk.number(request.args["key"])
        with searching:  # nobody who decides waits for it
            found = similar().of(number)
        decided = desk.log.decisions
        return jsonify(
            [{**one, "verdict": decided[one["key"]].verdict if one["key"] in decided else None} for one in found]
        )

    @app.post("/decide")
    def decide() -> Response:
        form = request.form
        with alone:
            desk.decide(form["key"], form["verdict"], form["reason"], form["text"])
            return jsonify(desk.look(form["key"], "on", request.args))

    @app.post("/undo")
    def undo() -> Response:
        with alone:
            return jsonify(desk.look(desk.undo(), "here", request.args))

    @app.post("/marked")
    def marked() -> Response:
        return jsonify(desk.marked(request.form["key"], request.form["text"])._asdict())

    return app


def _picture(desk: Desk, key: str, rejected: bool) -> bytes:
    """A face of the file as PNG, or the image that it is preferred to."""
    example = desk.example(key)
    path = example.rejected.image if rejected and example.rejected else example.image
    if path is None:
        raise FEAError(f"{example.place}: no image is rejected there")
    image = load_image(path, example.place, enough=_LONGEST_SIDE**2)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
