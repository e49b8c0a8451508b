"""What every host provider can do: the seam where libvirt, maas or preexisting hosts join."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Bind:
    """A directory of the machine inside a host, read-only unless ``writable``."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Link:
    """One more network card of a host.

    :param device: its name inside, such as ``eth1``
    :param network: hosts with a link of this name reach each other there, and nothing else
    :param address: IPv4 address with its prefix; empty: whoever uses the card gives it one
    """

    device: str
    network: str
    address: str = ""


@dataclass(frozen=True)
class HostSpec:
    """One host as the cluster model describes it.

    :param name: short name, unique in the lab
    :param fqdn: full name, which is also the minion id
    :param address: IPv4 address, with ``/prefix`` or a /24
    :param image: name of the base image
    :param binds: directories of the machine to show inside
    :param links: network cards beside ``eth0``, which has the address
    """

    name: str
    fqdn: str
    address: str
    image: str = "bookworm"
    binds: tuple[Bind, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class HostStatus:
    """What a host looks like now.

    :param state: ``running``, ``degraded``, ``starting``, ``stopped``
    :param pid: process id of its init on the machine, 0 when stopped
    :param memory: bytes of anonymous and shared memory in use
    """

    name: str
    fqdn: str
    address: str
    image: str
    state: str
    pid: int = 0
    memory: int = 0


#: Called once for a new host, with its root file system mounted and not yet booted.
Prepare = Callable[[HostSpec, Path], None]
Completed = subprocess.CompletedProcess[str]


class HostProvider(Protocol):
    """Hosts of one lab: brought up, used, and taken down without a trace."""

    def preflight(self, specs: Sequence[HostSpec]) -> list[str]:
        """Return one sentence per thing that is missing; nothing is touched."""
        ...

    def up(self, specs: Sequence[HostSpec], prepare: Prepare | None = None) -> list[str]:
        """Create and start the hosts that are not there yet; return the names of new ones."""
        ...

    def start(self, name: str) -> None:
        """Start one host that is stopped; what it had on disk is still there."""
        ...

    def stop(self, name: str, hard: bool = False) -> None:
        """Stop one host in order, or (``hard``) cut its power."""
        ...

    def exec(
        self,
        name: str,
        argv: Sequence[str],
        *,
        input: str | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a program on a host as root."""
        ...

    def status(self) -> list[HostStatus]:
        """Return the state of every host of the lab."""
        ...

    def down(self) -> None:
        """Remove every trace of the lab; safe to call twice and after a crash."""
        ...
