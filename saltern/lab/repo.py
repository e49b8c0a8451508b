"""The offline Debian repository of the lab: every package a role installs, with dependencies.

One flat directory per content, never changed once it is there, so a running host keeps the
repository it was started with.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from saltern.errors import LabError
from saltern.lab import recipe
from saltern.lab.chroot import Chroot
from saltern.lab.image import Image, Report, locked, silent
from saltern.lab.paths import cache_dir
from saltern.lab.shell import run

#: Where hosts see it: ``/srv/repo/<suite>``.
MOUNT = "/srv/repo"


def repo_ident(image: Image) -> str:
    """Return the name of the repository for ``image``: suite and hash of what is in it."""
    lists = recipe.packages(image.suite)["repository"]
    return f"{image.suite}-{recipe.digest(image.ident, lists)}"


def source_line(suite: str) -> str:
    """Return apt's source line inside a lab host."""
    return f"deb [trusted=yes] file:{MOUNT}/{suite} ./\n"


def file_names(print_uris: str) -> list[str]:
    """Return the ``.deb`` names in the output of ``apt-get --print-uris``.

    A line is ``'URI' NAME SIZE HASH``.
    """
    names = []
    for line in print_uris.splitlines():
        fields = line.split()
        if len(fields) >= 3 and fields[0].startswith("'") and fields[1].endswith(".deb"):
            names.append(fields[1])
    return sorted(set(names))


def _script(groups: dict[str, list[str]]) -> str:
    """Return the shell script that downloads every group into /pool and prints the file names."""
    lines = ["set -e", "apt-get -q update >&2", "mkdir -p /none/partial /pool/partial"]
    for packages in groups.values():
        words = " ".join(shlex.quote(name) for name in packages)
        install = f"install {words}"
        lines.append(f"apt-get -qq -o Dir::Cache::archives=/none --print-uris -y {install}")
        lines.append(f"apt-get -qy -o Dir::Cache::archives=/pool --download-only {install} >&2")
    return "\n".join(lines)


def cached_repo(image: Image) -> Path | None:
    """Return the repository directory for ``image`` when the cache has it."""
    target = cache_dir() / "repo" / repo_ident(image)
    return target if target.is_dir() else None


def ensure_repo(image: Image, report: Report = silent) -> Path:
    """Return the repository directory for ``image``, downloading what is missing.

    :param image: the base image whose installed packages the dependencies are counted from
    :param report: called with the name of each step that takes time
    :raises LabError: a package does not exist or cannot be downloaded
    """
    base = cache_dir() / "repo"
    target = base / repo_ident(image)
    if target.is_dir():
        return target
    with locked(base / f"{image.suite}.lock"):
        if target.is_dir():
            return target
        groups = recipe.packages(image.suite)["repository"]
        report(f"downloading the Debian packages of {len(groups)} groups for {image.suite}")
        pool = base / f"{image.suite}-pool"
        pool.mkdir(parents=True, exist_ok=True)
        log = base / f"{target.name}.log"
        log.unlink(missing_ok=True)
        chroot = Chroot.throwaway(image.root, base / f"{target.name}.chroot")
        try:
            out = chroot.run(
                ["sh", "-c", _script(groups)],
                what=f"downloading packages for {image.suite}",
                binds={pool: "/pool"},
                log=log,
            )
        finally:
            chroot.discard()
        work = base / f"{target.name}.building"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        for name in file_names(out):
            if not (pool / name).is_file():
                raise LabError(f"apt downloaded no {name}", where=str(log))
            os.link(pool / name, work / name)
        index = run(
            ["apt-ftparchive", "packages", "."], what="indexing the offline repository", cwd=work
        )
        (work / "Packages").write_text(index, encoding="utf-8")
        about = [f"APT::FTPArchive::Release::Suite={image.suite}"]
        about.append("APT::FTPArchive::Release::Origin=saltern-lab")
        options = [word for value in about for word in ("-o", value)]
        release = run(
            ["apt-ftparchive", *options, "release", "."],
            what="describing the offline repository",
            cwd=work,
        )
        (work / "Release").write_text(release, encoding="utf-8")
        work.rename(target)
    return target
