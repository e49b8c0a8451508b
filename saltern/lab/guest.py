"""The guest: a tiny image that servers in a test are started from, of Debian's kernel and busybox.

A raw disk, so that a clone in Ceph needs no conversion, which a BIOS boots by itself. It is named
by the hash of its recipe (``data/guest``) and of the packages it was made of, and two builds of one
name are the same to the byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from saltern.errors import LabError
from saltern.lab import recipe
from saltern.lab.chroot import Chroot
from saltern.lab.image import Report, ensure_image, locked, silent
from saltern.lab.paths import cache_dir

#: Release of Debian that the packages come from.
SUITE = "bookworm"
#: Names the newest kernel for virtual machines: smaller than the one for hardware.
KERNEL = "linux-image-cloud-amd64"
#: What builds it. Their versions count too: they write the boot sectors and the file systems.
TOOLS = ("cpio", "dosfstools", "grub-common", "grub-pc-bin", "gzip", "kmod", "mtools")
#: Size of the disk in MiB.
SIZE = 32
#: Where the recipe is, on this machine.
RECIPE = Path(__file__).parent / "data" / "guest"


@dataclass(frozen=True)
class Guest:
    """A finished guest image.

    ``path`` of the raw disk, its ``size`` in bytes, its ``checksum`` as ``openstack:resources``
    wants it, and the ``packages`` that it was made of, name -> version.
    """

    path: str
    size: int
    checksum: str
    packages: dict[str, str]


def _base() -> Path:
    return cache_dir() / "guest"


def recipe_digest() -> str:
    """Return the hash of everything but the packages that decides what the image is."""
    files = [path for path in sorted(RECIPE.rglob("*")) if path.is_file()]
    texts = {str(path.relative_to(RECIPE)): path.read_text(encoding="utf-8") for path in files}
    return recipe.digest(SUITE, KERNEL, TOOLS, SIZE, texts)


def parse_versions(text: str) -> dict[str, str]:
    """Return name -> version of lines ``NAME VERSION``.

    :raises LabError: another line, or none
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, version = line.partition(" ")
        if not name or not version or " " in version:
            raise LabError(f"not a package with its version: {line!r}", where="the guest's build")
        found[name] = version
    if not found:
        raise LabError("apt brought no package", where="the guest's build")
    return found


def cached_guest() -> Guest | None:
    """Return the guest of this recipe when the cache has it; no package index is asked."""
    place = _base() / f"recipe-{recipe_digest()}"
    try:
        kept: dict[str, Any] = json.loads((place / "guest.json").read_text(encoding="utf-8"))
        guest = Guest(**kept)
    except (OSError, ValueError, TypeError):
        return None
    path = Path(guest.path)
    return guest if path.is_file() and path.stat().st_size == guest.size else None


def ensure_guest(report: Report = silent, force: bool = False) -> Guest:
    """Return the guest image, building it when the cache does not have it. Needs root.

    :param report: called with the name of each step that takes time
    :param force: ask apt for the newest packages and build again
    :raises LabError: a build step failed, the sentence names the log; this is no amd64 machine
    """
    if os.uname().machine != "x86_64":
        raise LabError(f"the guest is for x86_64, and this machine is {os.uname().machine}")
    with locked(_base() / "lock"):
        found = None if force else cached_guest()
        return found or _build(report)


def _build(report: Report) -> Guest:
    base = _base()
    name = f"recipe-{recipe_digest()}"
    log = base / f"{name}.log"
    log.unlink(missing_ok=True)
    image = ensure_image(SUITE, report)
    scratch = base / f"{name}.chroot"
    shutil.rmtree(scratch, ignore_errors=True)
    chroot = Chroot.throwaway(image.root, scratch)
    binds = {RECIPE: "/recipe"}
    try:
        report("downloading the guest's kernel and busybox")
        what = "downloading the guest's packages"
        argv = ["sh", "/recipe/build", "versions", KERNEL, *TOOLS]
        versions = parse_versions(chroot.run(argv, what=what, binds=binds, log=log))
        report(f"building the guest's disk with {_kernel(versions)}")
        argv = ["sh", "/recipe/build", "image", KERNEL, str(SIZE)]
        chroot.run(argv, what="building the guest's disk", binds=binds, log=log)
        return _keep(chroot.upper / "guest.raw", versions, name)
    finally:
        chroot.discard()


def _kernel(versions: dict[str, str]) -> str:
    return next(name for name in versions if name.startswith("linux-image-"))


def _keep(disk: Path, versions: dict[str, str], name: str) -> Guest:
    """Move a new disk to its place and let the recipe name it.

    A disk of the same name stays: a test may have it open.
    """
    base = _base()
    target = base / f"guest-{recipe.digest(name, versions)}"
    digest = hashlib.sha512(disk.read_bytes()).hexdigest()
    guest = Guest(
        str(target / "guest.raw"), disk.stat().st_size, f"sha512={digest}", dict(versions)
    )
    text = json.dumps(asdict(guest), indent=1, sort_keys=True) + "\n"
    about = target / "guest.json"
    if not (about.is_file() and about.read_text(encoding="utf-8") == text):
        work = base / f"{target.name}.building"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        shutil.move(disk, work / "guest.raw")
        (work / "guest.json").write_text(text, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
    link = base / f"{name}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(target.name)
    link.rename(base / name)
    return guest
