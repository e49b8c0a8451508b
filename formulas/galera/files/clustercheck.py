#!/usr/bin/python3
"""Answer load balancers over HTTP: 200 while the local Galera member serves, 503 with a reason.

A thread asks the server every ``--interval`` seconds over its unix socket; requests are answered
from what it saw last, so they never wait for a server that hangs. An observation that is too old
is no observation.
"""

from __future__ import annotations

import argparse
import http.server
import socketserver
import threading
import time

import pymysql

#: Seconds the server has for each answer.
PATIENCE = 1
DONOR, SYNCED = 2, 4


def verdict(status: dict[str, str], donor_serves: bool) -> tuple[bool, str]:
    """Judge the wsrep status variables: whether the member serves, and why."""
    if status.get("wsrep_cluster_status") != "Primary":
        return False, f"component is {status.get('wsrep_cluster_status', 'unknown')}"
    if status.get("wsrep_ready") != "ON":
        return False, "not ready for queries"
    state = int(status.get("wsrep_local_state", "0"))
    comment = status.get("wsrep_local_state_comment", "unknown")
    return state == SYNCED or (state == DONOR and donor_serves), comment


class Watch:
    """The last thing known about the local server."""

    def __init__(self, user: str, socket: str, interval: float, donor_serves: bool) -> None:
        self.user, self.socket = user, socket
        self.interval, self.donor_serves = interval, donor_serves
        # the slowest look that is still on time, and one lost round
        self.too_old = 2 * interval + 2 * PATIENCE
        self.seen = 0.0
        self.last = (False, "not looked yet")
        self.connection: pymysql.Connection | None = None

    def now(self) -> tuple[bool, str]:
        """Return the verdict of the last look, if it is recent."""
        age = time.monotonic() - self.seen
        if age > self.too_old:
            return False, f"the server has not answered for {age:.0f} s"
        return self.last

    def look(self) -> None:
        """Ask the server once."""
        try:
            if self.connection is None:
                self.connection = pymysql.connect(
                    unix_socket=self.socket,
                    user=self.user,
                    connect_timeout=PATIENCE,
                    read_timeout=PATIENCE,
                    write_timeout=PATIENCE,
                    autocommit=True,
                )
            with self.connection.cursor() as cursor:
                cursor.execute("SHOW GLOBAL STATUS LIKE 'wsrep_%'")
                self.last = verdict(dict(cursor.fetchall()), self.donor_serves)
        except (pymysql.MySQLError, OSError, ValueError) as err:
            # the class and the number; a message may quote what it was sent
            code = err.args[0] if err.args and isinstance(err.args[0], int) else ""
            self.last = (False, f"no answer from the server ({type(err).__name__} {code})")
            if self.connection is not None:
                self.connection._force_close()  # a polite quit would wait for a hung server
                self.connection = None
        self.seen = time.monotonic()

    def run(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            time.sleep(self.interval)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """One short-lived thread per request."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], watch: Watch) -> None:
        self.watch = watch
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Bind without asking the name service for our own name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


class Handler(http.server.BaseHTTPRequestHandler):
    """Any path, any of the methods that load balancers use."""

    timeout = 5
    server: Server
    server_version, sys_version = "clustercheck", ""

    def answer(self) -> None:
        """Send the verdict."""
        good, reason = self.server.watch.now()
        body = f"{reason}\n".encode()
        self.send_response(200 if good else 503)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_OPTIONS = answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: load balancers ask every second."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, default=9200)
    parser.add_argument("--interval", type=float, default=1)
    parser.add_argument("--user", default="clustercheck")
    parser.add_argument("--socket", default="/run/mysqld/mysqld.sock")
    parser.add_argument("--available-when-donor", action="store_true")
    options = parser.parse_args()
    watch = Watch(options.user, options.socket, options.interval, options.available_when_donor)
    threading.Thread(target=watch.run, daemon=True).start()
    Server((options.address, options.port), watch).serve_forever()


if __name__ == "__main__":
    main()
