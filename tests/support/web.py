"""A web server of a test, on a port of its own."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def served(handler: type[http.server.BaseHTTPRequestHandler], **what: Any) -> Iterator[Any]:
    """Serve requests inside the block.

    :param handler: answers them
    :param what: attributes of the server, which the handler looks at
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    for name, value in what.items():
        setattr(server, name, value)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
