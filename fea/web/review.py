"""The page of `fea review`, and what it asks for.

The server listens on 127.0.0.1 alone and answers no page of another origin; the page asks no other host for anything. Every
decision is on the disk before the next face is shown.
"""

from __future__ import annotations

import io
import logging
import socket
from threading import Lock
from typing import cast

from flask import Flask, Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import make_server

from fea.data.images import load_image
from fea.errors import FEAError
from fea.review.desk import Desk, Move

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # no copies of faces in the browser's cache
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


_LONGEST_SIDE = 1024  # pixels of a face on the page


def _serve(desk: Desk, port: int, listening: socket.socket) -> None:
    """Answers the page until Ctrl-C."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for every face
    make_server("127.0.0.1", port, make_app(desk, port), threaded=True, fd=listening.fileno()).serve_forever()


def make_app(desk: Desk, port: int) -> Flask:
    """The page and what it asks for.

    Args:
        desk: of the reviewer.
        port: that the page is reached at; requests for any other address are refused.
    """
    app, alone = Flask(__name__), Lock()

    @app.before_request
    def refuse_strangers() -> None:
        # A foreign name that was pointed at this machine shows in Host, a foreign page in Origin.
        if request.host not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            abort(403, f"this page is reached at http://127.0.0.1:{port}/")
        if request.method == "POST" and request.headers.get("Origin") != f"http://{request.host}":
            abort(403, "decisions are taken from this page alone")

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @app.errorhandler(FEAError)
    def refuse(error: FEAError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 400

    @app.errorhandler(HTTPException)
    def fail(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("review.html")

    @app.get("/face/<key>")
    def face(key: str) -> Response:
        return Response(_picture(desk, key), mimetype="image/png")

    @app.get("/start")
    def start() -> Response:
        return jsonify(desk.start())

    @app.get("/line")
    def line() -> Response:
        with alone:
            return jsonify(desk.look(request.args["key"], cast(Move, request.args["move"]), request.args))

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


def _picture(desk: Desk, key: str) -> bytes:
    """A face of the file as PNG."""
    example = desk.example(key)
    image = load_image(example.image, example.place)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
