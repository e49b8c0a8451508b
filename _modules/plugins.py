"""
Which of the master's plugins a host has
========================================

``saltutil.sync_all`` brings modules, states, grains and executors of the master to a host. The
master asks before it plans: a host that has others than the master serves would answer its
questions, and carry out its steps, as another release of Saltern does.
"""

import hashlib
import os

__virtualname__ = "plugins"


def __virtual__():
    return __virtualname__


def _of(name):
    try:
        with open(os.path.join(__opts__["extension_modules"], *name.split("/")), "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except OSError:
        return "missing"


def digest(names):
    """
    Return one SHA-256 over plugins as this host has them; equal contents give an equal one.

    names
        The plugins, ``modules/health.py``; one that is not there counts as ``missing``

    CLI Example:

    .. code-block:: bash

        salt ctl01.demo-core.test plugins.digest '[modules/health.py, states/artifact.py]'
    """
    lines = sorted({f"{name}\0{_of(name)}\n" for name in names})
    return hashlib.sha256("".join(lines).encode()).hexdigest()
