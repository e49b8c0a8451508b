"""Where the lab keeps things: the cache can be deleted at any time, the state only by ``down``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the cache directory (images, repositories, wheels, artifacts).

    ``SALTERN_CACHE``, else ``saltern`` in the XDG cache directory.

    :param environ: environment to read; ``os.environ`` when None
    Source: XDG Base Directory Specification.
    """
    environ = os.environ if environ is None else environ
    if environ.get("SALTERN_CACHE"):
        return Path(environ["SALTERN_CACHE"])
    base = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "saltern"


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the state directory (labs that exist): ``SALTERN_STATE`` or ``/var/lib/saltern``.

    :param environ: environment to read; ``os.environ`` when None
    """
    environ = os.environ if environ is None else environ
    return Path(environ.get("SALTERN_STATE") or "/var/lib/saltern")


def lab_dir(lab: str) -> Path:
    """Return the directory that holds everything one lab owns on disk.

    :param lab: lab name, which is the cluster name unless given otherwise
    """
    return state_dir() / "labs" / lab


def make_lab_dir(lab: str) -> Path:
    """Create the directory of one lab, closed to everybody but root: it holds hosts and keys.

    :param lab: lab name
    """
    place = lab_dir(lab)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.parent.chmod(0o700)
    place.mkdir(exist_ok=True)
    return place


def source_tree() -> Path | None:
    """Return the checkout this package runs from, or None when it is an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "setup.cfg").is_file() and (root / "formulas").is_dir() else None
