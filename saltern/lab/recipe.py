"""What the images, repositories and wheels are made of, as data, and the hash that names them."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from typing import Any

import yaml

from saltern.errors import LabError

#: Raise it when the code that builds changes what comes out.
BUILD_VERSION = 1


def data(name: str) -> str:
    """Return a data file of the lab as text.

    :param name: file name in ``saltern/lab/data``
    """
    return (files("saltern.lab") / "data" / name).read_text(encoding="utf-8")


def packages(suite: str) -> dict[str, Any]:
    """Return the package lists of ``suite``: keys ``image``, ``server``, ``build``, ``repository``.

    :raises LabError: the suite is not in ``packages.yaml``
    """
    table: dict[str, Any] = yaml.safe_load(data("packages.yaml"))
    suites = sorted(set(table) - {"common"})
    if suite not in suites:
        raise LabError(
            f"there is no image {suite!r}; known are {', '.join(suites)}",
            where="saltern/lab/data/packages.yaml",
        )
    entry: dict[str, Any] = table[suite]
    return entry


def digest(*parts: Any) -> str:
    """Return 16 hexadecimal digits that name the content of ``parts`` (any JSON values)."""
    text = json.dumps([BUILD_VERSION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def lock_lines(lock: str) -> list[str]:
    """Return ``name==version ; marker`` lines of a hash lock, without the hashes.

    uv reads them as constraints; hashes were checked when the wheels were built.
    """
    lines = []
    for line in lock.splitlines():
        text = line.strip().rstrip("\\").strip()
        if text and not text.startswith(("--hash", "#")):
            lines.append(text)
    return lines
