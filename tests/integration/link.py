"""A minion behind a network link of its own, which can be cut: a namespace at the end of a cable.

The master listens on the loopback of this machine only, so what comes over the cable is handed on
to it, one connection for each. A cut is a cable that is pulled: nothing arrives any more, and
nobody is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator, Sequence

#: from the range for documentation (RFC 5737); each link has four addresses of it
NETWORK = "198.51.100"


def why_not() -> str:
    """Say why there can be no such link here; empty: there can."""
    if os.geteuid() != 0:
        return "only root can make a network namespace"
    if not shutil.which("ip"):
        return "there is no ip command (package iproute2)"
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "network namespaces are not allowed here"


class Link:
    """A cable from this machine to a namespace.

    :ivar name: of the namespace
    :ivar cable: of its end here
    :ivar here: address of this machine on it
    """

    def __init__(self) -> None:
        self.cable = f"cut{uuid.uuid4().hex[:8]}"
        self.name = f"tests-{self.cable}"
        first = 4 * secrets.randbelow(64)
        self.here, self.there = f"{NETWORK}.{first + 1}", f"{NETWORK}.{first + 2}"

    def make(self) -> None:
        """Make the namespace and plug the cable in at both ends."""
        _ip("netns", "add", self.name)
        _ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("address", "add", f"{self.here}/30", "dev", self.cable)
        _ip("link", "set", self.cable, "up")
        _ip("-n", self.name, "address", "add", f"{self.there}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self.name, "link", "set", device, "up")

    def remove(self) -> None:
        """Take everything away; the cable goes with its namespace."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self.cable)
        _ip("netns", "delete", self.name)

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Pull the cable inside the block."""
        _ip("link", "set", self.cable, "down")
        try:
            yield
        finally:
            _ip("link", "set", self.cable, "up")

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs another one at the far end."""
        return ["ip", "netns", "exec", self.name, *command]


@contextlib.contextmanager
def link(*ports: int) -> Iterator[Link]:
    """A link over which some ports of this machine's loopback can be reached."""
    made = Link()
    try:
        made.make()
        with _handed_on(made.here, ports):
            yield made
    finally:
        made.remove()


@contextlib.contextmanager
def _handed_on(address: str, ports: Sequence[int]) -> Iterator[None]:
    """Hand on what comes to these ports of an address, from a thread of its own."""
    servers: list[asyncio.Server] = []
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def serve(port: int) -> None:
        server = await asyncio.start_server(lambda r, w: _connected(r, w, port), address, port)
        servers.append(server)

    async def end() -> None:
        for server in servers:
            server.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    try:
        for port in ports:
            asyncio.run_coroutine_threadsafe(serve(port), loop).result(10)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    with contextlib.suppress(OSError):
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # the other end is gone, and so goes this one
    finally:
        writer.close()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
