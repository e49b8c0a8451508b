"""The guest that servers are started from, what it needs, and how it is reached.

It is the image :data:`IMAGE`, which tells on its console what it found and echoes what it gets on a
TCP port (``saltern lab image --guest``).
"""

from __future__ import annotations

import secrets
import socket
import subprocess
from typing import Any

from saltern.sanity.client import CheckError, Context
from saltern.sanity.waiting import wait

#: Name of the image, and the port on which its guest echoes.
IMAGE, ECHO_PORT = "guest", 7


def external(network: Any) -> Any:
    """Return the external network, the first by name.

    :param network: the SDK's network proxy
    :raises CheckError: there is none
    """
    found = sorted(network.networks(is_router_external=True), key=lambda one: str(one.name))
    if not found:
        raise CheckError("there is no external network, so nothing reaches a server")
    return found[0]


def flavor(context: Context) -> Any:
    """Return the smallest flavor.

    :raises CheckError: there is none
    """
    found = sorted(context.cloud.compute.flavors(), key=lambda one: (one.ram, one.vcpus, one.disk))
    if not found:
        raise CheckError("there is no flavor")
    return found[0]


def image(context: Context) -> Any:
    """Return the image of the guest.

    :raises CheckError: there is none
    """
    found = list(context.cloud.image.images(name=IMAGE))
    if not found:
        raise CheckError(f"there is no image {IMAGE!r} to start a server from")
    return found[0]


def said(context: Context, server: Any) -> list[str]:
    """Return what the guest said on its console so far, line by line."""
    text = context.cloud.compute.get_server_console_output(server)["output"] or ""
    return [line.strip() for line in text.splitlines()]


def told(context: Context, server: Any, words: str) -> str:
    """Wait until the guest said something on its console; return that line.

    :raises CheckError: the time of ``context`` is over
    """

    def look() -> str:
        return next((line for line in said(context, server) if words in line), "")

    line: str = wait(context, f"the guest does not tell {words!r} on its console", look)
    return line


def pinged(address: str) -> bool:
    """Tell whether an address answers a ping within a second."""
    done = subprocess.run(
        ["ping", "-n", "-q", "-c", "1", "-W", "1", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def reached(context: Context, address: str) -> None:
    """Wait until a guest answers a ping and echoes.

    :raises CheckError: the time of ``context`` is over
    """
    wait(context, f"{address} does not answer a ping", lambda: pinged(address))
    wait(context, f"{address} does not echo on TCP {ECHO_PORT}", lambda: echoed(address))


def echoed(address: str) -> bool:
    """Tell whether an address sends back what it is sent on :data:`ECHO_PORT`."""
    sent = secrets.token_hex(16).encode()
    try:
        with socket.create_connection((address, ECHO_PORT), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(sent + b"\n")
            return connection.recv(64).strip() == sent
    except OSError:
        return False
