"""A minion behind a network link of its own, which can be cut: a namespace behind a router.

The master listens on the loopback of this machine only, so what comes over the link is handed on to
it, one connection for each. There are two cuts, and in both nobody is told that anything is gone: a
cable that is pulled, which the minion's host sees, and a router that loses every packet, which
nobody sees at all.
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

#: from the range for documentation (RFC 5737); each link has eight addresses of it
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
    """A link from this machine over a router to a namespace.

    :ivar name: of the namespace at the far end
    :ivar router: of the namespace between
    :ivar cable: of the device here
    :ivar here: address of this machine on it
    :ivar there: address of the far end
    """

    def __init__(self) -> None:
        self.cable = f"cut{uuid.uuid4().hex[:8]}"
        self.name, self.router = f"tests-{self.cable}", f"tests-{self.cable}-router"
        first = 8 * secrets.randbelow(32)
        self.here, near = f"{NETWORK}.{first + 1}", f"{NETWORK}.{first + 2}"
        far, self.there = f"{NETWORK}.{first + 5}", f"{NETWORK}.{first + 6}"
        self.near, self.far = near, far
        self.beyond = f"{NETWORK}.{first + 4}/30"

    def make(self) -> None:
        """Make both namespaces and plug the cables in."""
        _ip("netns", "add", self.router)
        _ip("netns", "add", self.name)
        peer = ("type", "veth", "peer", "name", "eth0", "netns")
        _ip("link", "add", self.cable, *peer, self.router)
        _ip("-n", self.router, "link", "add", "eth1", *peer, self.name)
        _ip("address", "add", f"{self.here}/30", "dev", self.cable)
        _ip("link", "set", self.cable, "up")
        self._at_router("address", "add", f"{self.near}/30", "dev", "eth0")
        self._at_router("address", "add", f"{self.far}/30", "dev", "eth1")
        _ip("-n", self.name, "address", "add", f"{self.there}/30", "dev", "eth0")
        for device in ("lo", "eth0", "eth1"):
            self._at_router("link", "set", device, "up")
        for device in ("lo", "eth0"):
            _ip("-n", self.name, "link", "set", device, "up")
        forward = "echo 1 >/proc/sys/net/ipv4/ip_forward"
        _ip("netns", "exec", self.router, "sh", "-c", forward)
        # once the cable is gone nobody hears from the router that it is
        self._at_router("route", "add", "blackhole", self.beyond, "metric", "9999")
        _ip("route", "add", self.beyond, "via", self.near)
        _ip("-n", self.name, "route", "add", "default", "via", self.far)

    def remove(self) -> None:
        """Take everything away; the cables go with their namespaces."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self.cable)
        for name in (self.name, self.router):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)

    @contextlib.contextmanager
    def pulled(self) -> Iterator[None]:
        """Pull the cable of the far end inside the block."""
        self._at_router("link", "set", "eth1", "down")
        try:
            yield
        finally:
            self._at_router("link", "set", "eth1", "up")

    @contextlib.contextmanager
    def lossy(self) -> Iterator[None]:
        """Lose every packet in both directions inside the block; both ends see no change."""
        routes = [("blackhole", f"{address}/32") for address in (self.here, self.there)]
        for route in routes:
            self._at_router("route", "add", *route)
        try:
            yield
        finally:
            for route in routes:
                self._at_router("route", "delete", *route)

    def _at_router(self, *words: str) -> None:
        _ip("-n", self.router, *words)

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
