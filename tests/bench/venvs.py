"""Virtual environments of what is measured: each side has one with what it needs, and no more.

Programs that look through all installed distributions, as each job of Salt does, are slower where
the tools of developers are installed beside them.
"""

from __future__ import annotations

import configparser
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.support import TREE


def made(
    name: str, requirements: Sequence[str], *, like_here: bool = False, compiled: bool = True
) -> Path:
    """Return the environment ``build/NAME``, made when it is not there or has others in it.

    :param requirements: as pip takes them
    :param like_here: in the versions that this Python has, with all that they bring
    :param compiled: with bytecode beside the source
    """
    folder = TREE / "build" / name
    constraints = sorted(
        f"{one.metadata['Name']}=={one.version}" for one in metadata.distributions()
    )
    wanted = [*requirements, *(constraints if like_here else ())]
    mark = folder / hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()[:16]
    if not mark.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin/pip"), "install", "-q"]
        if not compiled:
            pip.append("--no-compile")
        if like_here:
            file = folder / "constraints.txt"
            file.write_text("\n".join(constraints) + "\n")
            pip += ["-c", str(file)]
        subprocess.run([*pip, *requirements], check=True)
        mark.touch()
    return folder


def of_master() -> list[str]:
    """What a Salt master with the model and the journal needs, from ``setup.cfg``.

    Left out is what only Salt's API and clouds need: nothing here speaks to either.
    """
    config = configparser.ConfigParser()
    config.read(TREE / "setup.cfg")
    lines = [
        *config["options"]["install_requires"].split("\n"),
        *config["options.extras_require"]["master"].split("\n"),
    ]
    found = [line.strip() for line in lines if line.strip()]
    return [line for line in found if Requirement(line).name not in ("cherrypy", "openstacksdk")]
