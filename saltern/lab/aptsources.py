"""Where packages come from: the machine's own apt configuration, or one option.

No host name is written into the project. ``SALTERN_APT_MIRROR`` (a URL) replaces what the
machine is configured with, for instance on a machine of another distribution.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from saltern.errors import PreflightError
from saltern.lab.shell import run

#: Where distributions keep the keyring that signs their archive.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class AptSource:
    """One line of apt's sources: where, which release, which components."""

    site: str
    release: str
    components: tuple[str, ...] = ("main",)

    def line(self) -> str:
        """Return it as one ``deb`` line."""
        return f"deb {self.site} {self.release} {' '.join(self.components)}"


def own_codename(os_release: str) -> str:
    """Return ``VERSION_CODENAME`` of an ``os-release`` text, or an empty string."""
    for line in os_release.splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip().strip('"')
    return ""


def derive(
    index_targets: Iterable[str], own: str, suite: str, mirror: str | None = None
) -> list[AptSource]:
    """Return the sources of ``suite``, the base release first.

    :param index_targets: lines ``SITE|RELEASE|COMPONENT|LABEL`` as apt prints them
    :param own: code name of the machine's own release
    :param suite: code name wanted; another one is looked for at the same sites
    :param mirror: URL that replaces the sites of the machine (base release only)
    :raises PreflightError: the machine has no source of its own release and no mirror is given
    """
    if mirror:
        return [AptSource(mirror.rstrip("/"), suite)]
    found: dict[tuple[str, str], list[str]] = {}
    for line in index_targets:
        site, _, rest = line.strip().partition("|")
        release, _, rest = rest.partition("|")
        component, _, label = rest.partition("|")
        if not label.startswith("Debian") or own not in (release, release.split("-")[0]):
            continue
        key = (site, suite + release[len(own) :])
        if component not in found.setdefault(key, []):
            found[key].append(component)
    sources = [AptSource(site, release, tuple(comps)) for (site, release), comps in found.items()]
    sources.sort(key=lambda source: (source.release != suite, source.release))
    if not sources or sources[0].release != suite:
        raise PreflightError(
            f"the apt configuration of this machine names no archive with Debian {suite}",
            cure="Set SALTERN_APT_MIRROR to the URL of a Debian mirror",
        )
    return sources


def machine_sources(suite: str, environ: Mapping[str, str] | None = None) -> list[AptSource]:
    """Return the apt sources for ``suite`` on this machine.

    :param suite: ``bookworm``, ``trixie``, …
    :param environ: environment to read ``SALTERN_APT_MIRROR`` from; ``os.environ`` when None
    :raises PreflightError: see :func:`derive`; LabError: apt cannot be asked
    """
    environ = os.environ if environ is None else environ
    mirror = environ.get("SALTERN_APT_MIRROR")
    targets: list[str] = []
    own = ""
    if not mirror:
        own = own_codename(Path("/etc/os-release").read_text(encoding="utf-8"))
        template = "$(SITE)|$(RELEASE)|$(COMPONENT)|$(LABEL)"
        out = run(["apt-get", "indextargets", "--format", template], what="asking apt its sources")
        targets = sorted(set(out.splitlines()))
    return derive(targets, own, suite, mirror)
