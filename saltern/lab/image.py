"""Base images of lab hosts and the Python wheels of their Salt, built once and cached.

An image is named by the hash of its recipe and never changes once it is there: hosts mount it
as the lower layer of an overlay. It is built in a directory beside and renamed when done.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from saltern.errors import LabError
from saltern.lab import recipe
from saltern.lab.aptsources import KEYRING, machine_sources
from saltern.lab.chroot import Chroot
from saltern.lab.paths import cache_dir
from saltern.lab.shell import run

SUITES = ("bookworm", "trixie")
#: Salt's own virtual environment in every host.
SALT_VENV = "/opt/salt"
#: Its programs that are linked into /usr/local/bin.
SALT_PROGRAMS = tuple(
    f"salt{suffix}" for suffix in ("", "-api", "-call", "-key", "-master", "-minion", "-run")
)
#: Periodic jobs and consoles that only cost CPU on a lab host, and what wants a kernel of its own.
MASKED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "logrotate.timer",
    "nvmf-autoconnect.service",
    "systemd-modules-load.service",
)

Report = Callable[[str], None]


def silent(_step: str) -> None:
    """Report nothing: the default of every ``report`` parameter."""


@dataclass(frozen=True)
class Image:
    """A finished base image: its suite, its name in the cache and its root file system."""

    suite: str
    ident: str
    root: Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (created when missing), so one process builds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def uv_program() -> Path:
    """Return the uv binary of this Python, or the one in PATH.

    :raises LabError: uv is not installed
    """
    try:
        from uv import find_uv_bin

        return Path(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
        if found is None:
            raise LabError("uv is not installed", cure="Run pip install 'saltern[lab]'") from None
        return Path(found)


def image_ident(suite: str) -> str:
    """Return the name of the image of ``suite`` in the cache: suite and recipe hash."""
    lists = recipe.packages(suite)
    parts = [suite, lists["image"], lists["server"], lists["build"]]
    parts += [
        recipe.data("requirements.lock"),
        recipe.data("dpkg.cfg"),
        recipe.data("salt-minion.service"),
        MASKED_UNITS,
    ]
    parts.append(recipe.data("bytecode.pth"))
    return f"{suite}-{recipe.digest(*parts)}"


def _bootstrap(suite: str, root: Path, log: Path) -> None:
    sources = machine_sources(suite)
    extra = recipe.packages(suite)["image"]
    # there before the first package, so it holds for all of them
    quick = root / "etc/dpkg/dpkg.cfg.d/90saltern-lab"
    quick.parent.mkdir(parents=True)
    quick.write_text(recipe.data("dpkg.cfg"), encoding="utf-8")
    argv = ["debootstrap", "--variant=minbase", f"--include={','.join(sorted(extra))}"]
    if KEYRING.is_file():
        argv.append(f"--keyring={KEYRING}")
    argv += [suite, str(root), sources[0].site]
    # debootstrap mounts /proc inside; in a namespace of its own nothing stays behind.
    namespace = ["unshare", "--mount", "--propagation", "private"]
    run([*namespace, *argv], what=f"debootstrap of {suite}", log=log)
    lines = "\n".join(source.line() for source in sources) + "\n"
    (root / "etc/apt/sources.list").write_text(lines, encoding="utf-8")
    no_extras = 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n'
    (root / "etc/apt/apt.conf.d/90saltern-lab").write_text(no_extras, encoding="utf-8")
    server = " ".join(sorted(recipe.packages(suite)["server"]))
    upgrade = f"apt-get -q update && apt-get -qy dist-upgrade && apt-get -qy install {server}"
    run_in = Chroot(root).run
    run_in(["sh", "-c", f"{upgrade} && apt-get clean"], what=f"upgrading {suite}", log=log)


def _build_wheels(suite: str, base: Path, target: Path, log: Path) -> None:
    """Build every wheel of the lock with the suite's own Python, in a copy that is thrown away."""
    build = Chroot.throwaway(base, target.parent / f"{target.name}.chroot")
    try:
        install = ["apt-get", "-qy", "install", *recipe.packages(suite)["build"]]
        build.run(install, what=f"installing a compiler for the wheels of {suite}", log=log)
        lock = build.upper / "lock.txt"
        lock.write_text(recipe.data("requirements.lock"), encoding="utf-8")
        script = "python3 -m venv /b"
        script += " && /b/bin/pip wheel -q --require-hashes -w /wheels -r /lock.txt"
        what = f"building the Python wheels of {suite}"
        build.run(["sh", "-c", script], what=what, binds={target: "/wheels"}, log=log)
    finally:
        build.discard()


def _install_salt(root: Path, wheels: Path, log: Path) -> None:
    constraints = root / "opt/salt-constraints.txt"
    pins = "\n".join(recipe.lock_lines(recipe.data("requirements.lock"))) + "\n"
    constraints.write_text(pins, encoding="utf-8")
    uv = "/tmp/uv"  # noqa: S108 - a tmpfs of the build's own namespace
    binds = {uv_program(): uv, wheels: "/mnt"}
    offline = ["--offline", "--no-index", "--find-links", "/mnt", "--compile-bytecode"]
    chroot = Chroot(root)
    env = {"UV_CACHE_DIR": "/tmp/uv-cache", "UV_LINK_MODE": "copy"}  # noqa: S108
    make = [uv, "venv", "-q", "--system-site-packages", "--python", "/usr/bin/python3", SALT_VENV]
    chroot.run(make, what="creating Salt's virtual environment", binds=binds, env=env, log=log)
    # Salt's loaders go through every file beside a module, so bytecode there costs each job a fifth
    (library,) = (root / SALT_VENV.lstrip("/") / "lib").glob("python3.*")
    elsewhere = library / "site-packages/saltern-bytecode.pth"
    elsewhere.write_text(recipe.data("bytecode.pth"), encoding="utf-8")
    standard = ["-m", "compileall", "-q", f"/usr/lib/{library.name}", "/usr/lib/python3"]
    what = "compiling Python's own modules for Salt"
    chroot.run([f"{SALT_VENV}/bin/python", *standard], what=what, env=env, log=log)
    install = [uv, "pip", "install", "-q", "--python", f"{SALT_VENV}/bin/python", *offline]
    install += ["-c", "/opt/salt-constraints.txt", "salt"]
    chroot.run(install, what="installing Salt", binds=binds, env=env, log=log)
    for program in SALT_PROGRAMS:
        link = root / "usr/local/bin" / program
        link.unlink(missing_ok=True)
        link.symlink_to(f"{SALT_VENV}/bin/{program}")


def _finish(root: Path) -> None:
    """Make the root file system one that boots as a lab host."""
    units = root / "etc/systemd/system"
    unit = recipe.data("salt-minion.service")
    (units / "salt-minion.service").write_text(unit, encoding="utf-8")
    for name in MASKED_UNITS:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    # Journals outlive a power cut, so `saltern lab logs` can read those of a dead host.
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
    conf = root / "etc/systemd/journald.conf.d"
    conf.mkdir(parents=True, exist_ok=True)
    (conf / "lab.conf").write_text("[Journal]\nStorage=persistent\nSystemMaxUse=64M\n", "utf-8")
    for place in ("etc/machine-id", "etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id"):
        (root / place).unlink(missing_ok=True)
    (root / "etc/machine-id").touch()
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
    (root / "var/lib/apt/lists/partial").mkdir(parents=True)
    for place in ("srv/repo", "srv/saltern", "etc/salt/minion.d", "etc/salt/pki/minion"):
        (root / place).mkdir(parents=True, exist_ok=True)


def wheelhouse(suite: str) -> Path:
    """Return the directory with the wheels of the lock for ``suite`` (made with the image)."""
    ident = recipe.digest(suite, recipe.data("requirements.lock"))
    return cache_dir() / "wheels" / f"{suite}-{ident}"


def cached_image(suite: str) -> Image | None:
    """Return the base image of ``suite`` when the cache has it.

    :param suite: one of :data:`SUITES`
    """
    ident = image_ident(suite)
    image = Image(suite, ident, cache_dir() / "images" / ident / "root")
    return image if image.root.is_dir() else None


def ensure_image(suite: str, report: Report = silent) -> Image:
    """Return the base image of ``suite``, building it when the cache does not have it.

    :param suite: one of :data:`SUITES`
    :param report: called with the name of each step that takes time
    :raises LabError: a build step failed; the sentence names the log
    """
    images = cache_dir() / "images"
    ident = image_ident(suite)
    image = Image(suite, ident, images / ident / "root")
    if image.root.is_dir() and wheelhouse(suite).is_dir():
        return image
    with locked(images / f"{suite}.lock"):
        if image.root.is_dir() and wheelhouse(suite).is_dir():
            return image
        work = images / f"{ident}.building"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        log = images / f"{ident}.log"
        log.unlink(missing_ok=True)
        root = work / "root"
        report(f"bootstrapping Debian {suite}")
        _bootstrap(suite, root, log)
        wheels = wheelhouse(suite)
        if not wheels.is_dir():
            report(f"building Salt's wheels for {suite}")
            partial = wheels.with_name(f"{wheels.name}.building")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _build_wheels(suite, root, partial, log)
            partial.rename(wheels)
        report(f"installing Salt into the {suite} image")
        _install_salt(root, wheels, log)
        _finish(root)
        if image.root.is_dir():  # only the wheels were missing; the image may be in use
            shutil.rmtree(work)
        else:
            os.rename(work, images / ident)
    return image
