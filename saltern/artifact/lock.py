"""Hash locks: what a service's environment consists of, resolved once and committed."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from saltern.artifact.catalogue import Service
from saltern.errors import ArtifactError, LabError
from saltern.lab.image import uv_program
from saltern.lab.shell import run

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>\S+)")

#: In the directory that the resolver works in; a lock says "-c" with this name.
CONSTRAINTS = "constraints.txt"


def compile_argv(service: Service, uv: Path | str, output: Path | str) -> list[str]:
    """Return the command that resolves ``service``; its requirements come on standard input.

    Cutoff days make the resolution repeatable: upstream's constraint lists are not on the
    package index.

    :param service: what to resolve
    :param uv: the uv binary
    :param output: the lock to write
    """
    argv = [str(uv), "pip", "compile", "-", "--quiet", "--generate-hashes", "--no-header"]
    argv += ["--no-emit-index-url", "--no-emit-find-links", *service.formats]
    argv += ["--python-version", service.python, "--python-platform", "linux"]
    argv += ["--exclude-newer", service.cutoff]
    for dist, day in service.cutoffs.items():
        argv += ["--exclude-newer-package", f"{dist}={day}"]
    if service.constraints:
        argv += ["--constraints", CONSTRAINTS]
    return [*argv, "--output-file", str(output)]


def requirements(service: Service) -> str:
    """Return the top-level requirements of ``service``, one a line."""
    return "\n".join([f"{service.dist}=={service.version}", *service.requirements]) + "\n"


def pins(lock: str) -> dict[str, str]:
    """Return distribution -> version of a lock's text."""
    found = (_PIN.match(line) for line in lock.splitlines())
    return {match["name"]: match["version"] for match in found if match}


def write_lock(service: Service) -> dict[str, tuple[str | None, str | None]]:
    """Resolve ``service`` anew and write its lock.

    :returns: what changed: distribution -> (old version, new version); None = not there
    :raises ArtifactError: the requirements cannot be resolved
    """
    path = service.lock_path
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    partial = path.with_suffix(".lock.new")
    try:
        # without the old lock beside it uv has nothing to prefer: the result is the catalogue's
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, CONSTRAINTS).write_text("\n".join(service.constraints), encoding="utf-8")
            run(
                compile_argv(service, uv_program(), partial),
                what=f"resolving {service.name} {service.version}",
                input=requirements(service),
                cwd=Path(folder),
            )
        header = f"# {service.product} {service.release} {service.name}: saltern artifact lock\n"
        text = header + partial.read_text(encoding="utf-8")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except LabError as err:
        raise ArtifactError(err.sentence, where=str(path)) from err
    finally:
        partial.unlink(missing_ok=True)
    before, after = pins(old), pins(text)
    names = sorted(before.keys() | after.keys())
    return {
        name: (before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    }
