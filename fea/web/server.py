"""A server for this machine alone: what every page of it needs, whatever it shows.

It listens on 127.0.0.1 and answers no page of another origin; its pages ask no other host for anything.
"""

from __future__ import annotations

import errno
import logging
import socket

from flask import Flask, Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import make_server

from fea.errors import FEAError

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # no copies of faces in the browser's cache
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def listen(port: int) -> socket.socket:
    """A socket of this machine, from now on; nobody is answered yet.

    Args:
        port: from 1024 to 65535.

    Raises:
        FEAError: it is another one, or taken.
    """
    if not 1024 <= port <= 65535:
        raise FEAError(f"port: {port}; give one from 1024 to 65535")
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise FEAError(f"port: {port} is taken by another program; give another one with --port") from None


def serve(app: Flask, port: int, listening: socket.socket) -> None:
    """Answers until Ctrl-C.

    Args:
        app: the pages, guarded.
        port: that they are reached at.
        listening: the socket of that port.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for every face
    make_server("127.0.0.1", port, app, threaded=True, fd=listening.fileno()).serve_forever()


def guarded(app: Flask, port: int) -> Flask:
    """The app, which now answers its own pages alone, and tells errors as JSON.

    Args:
        app: the pages.
        port: that they are reached at; requests for any other address are refused.
    """

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

    return app
