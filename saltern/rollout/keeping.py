"""What of a host outlives a new image: who it is, and the state of its roles."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from saltern.errors import PreflightError

#: What makes a host this host, whatever runs on it. The last part of a path may hold ``*``.
ALWAYS = (
    "/etc/machine-id",
    "/etc/salt/minion.d",
    "/etc/salt/minion_id",
    "/etc/salt/pki",
    "/etc/saltern",
    "/etc/ssh/ssh_host_*",
)
#: What belongs to the image, or to no disk at all.
NOT_BELOW = (
    *("/bin", "/boot", "/dev", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys"),
    *("/tmp", "/usr", "/var/lib/apt", "/var/lib/dpkg", "/var/run"),  # noqa: S108 - names only
)
#: What is too much: parts of the image are in it.
TOO_MUCH = ("/etc/alternatives", "/etc/salt", "/etc/systemd", "/var/cache", "/var/lib", "/var/log")
_PATH = re.compile(r"^(/[A-Za-z0-9@%+=:._-]+)+\*?$")


def checked(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths of one host that are kept: sorted, none below another.

    :param paths: absolute paths, as the roles of the host declare them
    :raises PreflightError: one is no plain absolute path, or belongs to the image
    """
    found: list[str] = []
    for path in sorted({str(one).rstrip("/") or "/" for one in paths}):
        wrong = ""
        if not _PATH.match(path) or posixpath.normpath(path) != path:
            wrong = "is no absolute path without '..'"
        elif path.count("/") < 2 or path in TOO_MUCH:
            wrong = "is more than the state of a role"
        elif any(path == top or path.startswith(f"{top}/") for top in NOT_BELOW):
            wrong = "belongs to the image or to no disk"
        if wrong:
            raise PreflightError(
                f"{path} {wrong} and cannot be kept",
                cure="Correct `keep` of the role's lifecycle, or the argument keep",
            )
        if not any(path.startswith(f"{above}/") for above in found):
            found.append(path)
    return tuple(found)


def of_node(paths: Iterable[str]) -> tuple[str, ...]:
    """Return all that is kept of a host.

    :param paths: what its roles keep
    :raises PreflightError: as :func:`checked`
    """
    return checked([*ALWAYS, *paths])


def declared(lifecycle: Mapping[str, Any], roles: Sequence[str]) -> tuple[str, ...]:
    """Return what the roles of a node declare: ``lifecycle:<role>:keep``.

    :param lifecycle: the node's, by role
    :param roles: its roles
    :raises PreflightError: ``keep`` of a role is no list of paths
    """
    found: list[str] = []
    for role in roles:
        told = lifecycle.get(role)
        keep = (told.get("keep") if isinstance(told, Mapping) else None) or []
        if not isinstance(keep, list) or not all(isinstance(one, str) for one in keep):
            raise PreflightError("keep must be a list of paths", where=f"lifecycle:{role}:keep")
        found += keep
    return tuple(dict.fromkeys(found))


def gaps(lifecycle: Mapping[str, Any], roles: Sequence[str]) -> list[str]:
    """Return the roles of a node that keep data and do not say where.

    :param lifecycle: the node's, by role
    :param roles: its roles
    """
    found = []
    for role in roles:
        told = lifecycle.get(role)
        if isinstance(told, Mapping) and told.get("stateful") is True and "keep" not in told:
            found.append(role)
    return found
