"""A server for this machine alone."""

from __future__ import annotations

import errno
import socket

from fea.errors import FEAError


def _listen(port: int) -> socket.socket:
    if not 1024 <= port <= 65535:
        raise FEAError(f"port: {port}; give one from 1024 to 65535")
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise FEAError(f"port: {port} is taken by another program; give another one with --port") from None
