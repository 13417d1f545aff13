"""A server for this machine alone: what every page of it needs, whatever it shows.

It listens on 127.0.0.1 and answers no page of another origin; its pages ask no other host for anything. Other people of the
machine reach that address, too: they are kept out by a token, which is drawn at every start and stands in the printed address.
"""

from __future__ import annotations

import errno
import logging
import secrets
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from flask import Flask, Response, abort, jsonify, redirect, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

from fea.errors import FEAError

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # no copies of faces in the browser's cache
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


LARGEST = 1 << 20  # bytes of a request: a text that somebody edits is a thousandth of it
_PATIENCE = 30  # seconds that a client may be silent; nothing of it has to travel farther than within this machine


@dataclass(frozen=True)
class Address:
    """Where a page is reached, and what lets one in.

    Args:
        port: of this machine.
        token: secret of whoever started the server; by default a new one. It is not shown with the rest, and so in no log.
    """

    port: int
    token: str = field(default_factory=secrets.token_urlsafe, repr=False)

    @property
    def url(self) -> str:
        """What opens the page. It may be printed, but stand in no file that others can read, and in no command line."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """The name of the cookie that keeps the token: one a port, since browsers hand cookies to all ports of a host."""
        return f"fea-{self.port}"

    def admits(self, token: str) -> bool:
        """Whether this is the token; how long the comparison takes tells nothing of it."""
        return secrets.compare_digest(token.encode(errors="replace"), self.token.encode())


@contextmanager
def shown(address: Address) -> Iterator[None]:
    """Opens a page in the browser, by way of a file of this user alone: others can read what a program is started with."""
    with tempfile.TemporaryDirectory(prefix="fea-", ignore_cleanup_errors=True) as folder:
        page = Path(folder) / "open.html"
        page.write_text(f'<meta http-equiv="refresh" content="0; url={address.url}">', encoding="utf-8")
        webbrowser.open(page.as_uri())
        yield


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


class Handler(WSGIRequestHandler):
    """Answers a connection, and writes no line about it."""

    timeout = _PATIENCE  # else whoever connects and says nothing would hold a thread for ever

    def log(self, *_: object) -> None:
        """Nothing: a line for every face is of no use, and that of the first request would hold the token."""


def serve(app: Flask, port: int, listening: socket.socket) -> None:
    """Answers until Ctrl-C.

    Args:
        app: the pages, guarded.
        port: that they are reached at.
        listening: the socket of that port.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no lines about how the server is meant to be used
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=Handler, fd=listening.fileno())
    server.serve_forever()


def _told(sentence: str, _: int) -> Any:
    return {"error": sentence}


def guarded(app: Flask, address: Address, largest: int = LARGEST, told: Callable[[str, int], Any] = _told) -> Flask:
    """The app, which now answers nobody but who has its address and its own pages, and tells errors as JSON.

    A program shows the token as `Authorization: Bearer TOKEN`, which no page of another origin can make a browser send.

    Args:
        app: the pages.
        address: that they are reached at; requests for any other one are refused, and those without its token.
        largest: bytes of a request.
        told: the JSON of an error, from a sentence and a status.
    """
    port = address.port
    app.config["MAX_CONTENT_LENGTH"] = largest

    @app.before_request
    def refuse_strangers() -> Response | None:
        # A foreign name that was pointed at this machine shows in Host, a foreign page in Origin.
        if request.host not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            abort(403, f"this page is reached at http://127.0.0.1:{port}/")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and address.admits(token):
            return None
        if address.admits(request.args.get("token", "")) and request.method == "GET":
            return _let_in(address)
        if not address.admits(request.cookies.get(address.cookie, "")):
            abort(
                403,
                "open the address that was printed where this server was started: it ends in a token that lets you in",
            )
        if request.method == "POST" and request.headers.get("Origin") != f"http://{request.host}":
            abort(403, "decisions are taken from this page alone")
        return None

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @app.errorhandler(FEAError)
    def refuse(error: FEAError) -> tuple[Response, int]:
        return jsonify(told(str(error), 400)), 400

    @app.errorhandler(OSError)
    def deny(error: OSError) -> tuple[Response, int]:
        place = f"'{error.filename}': " if error.filename else ""
        return jsonify(told(f"{place}{error.strerror or error}", 400)), 400

    @app.errorhandler(HTTPException)
    def fail(error: HTTPException) -> tuple[Response, int]:
        code = error.code or 500
        said = f"there is nothing at {request.path}" if code == 404 else error.description or error.name
        return jsonify(told(said, code)), code

    return app


def _let_in(address: Address) -> Response:
    """The way from the printed address to the page, by which the token moves from the address line into a cookie."""
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        # From a file or a terminal in the browser. Strict cookies do not follow a redirect that began there, but a page's own.
        response = Response(headers={"Refresh": "0; url=/"})
    else:
        response = cast(Response, redirect("/", 303))
    response.set_cookie(address.cookie, address.token, httponly=True, samesite="Strict")
    return response
