"""Run a program and turn its failure into one sentence."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from saltern.errors import LabError

#: Lines of a failed program's output that are worth showing.
TAIL = 12


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for programs that build things.

    Variables of this process that change what is built (byte code, package indexes given for
    another purpose, locale) are left out.

    :param extra: variables to add
    """
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PIP_FIND_LINKS", "VIRTUAL_ENV")
        and not key.startswith("LC_")
    }
    env.update(LC_ALL="C.UTF-8", DEBIAN_FRONTEND="noninteractive")
    env.update(extra or {})
    return env


def tail(text: str, lines: int = TAIL) -> str:
    """Return the last non-empty ``lines`` of ``text``."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def run(
    argv: Sequence[str | Path],
    *,
    what: str,
    input: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
) -> str:
    """Run ``argv`` and return its standard output.

    :param argv: program and arguments
    :param what: the step in words, for the error sentence
    :param input: what it reads on standard input
    :param env: whole environment; :func:`clean_environment` when None
    :param cwd: working directory
    :param log: file that collects the output of both streams
    :raises LabError: the program is missing or exits non-zero; the sentence has its last lines
    """
    command = [str(part) for part in argv]
    data = input.encode() if isinstance(input, str) else input
    try:
        done = subprocess.run(
            command,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            check=False,
            env=dict(env) if env is not None else clean_environment(),
            cwd=cwd,
        )
    except FileNotFoundError as err:
        raise LabError(f"{what}: {command[0]} is not installed") from err
    out = done.stdout.decode(errors="replace")
    err_text = done.stderr.decode(errors="replace")
    if log is not None:
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ {' '.join(command)}\n{out}{err_text}")
    if done.returncode:
        detail = tail(err_text or out)
        raise LabError(
            f"{what} failed with exit code {done.returncode}:\n{detail}\n",
            cure=f"Read {log}" if log is not None else "",
        )
    return out
