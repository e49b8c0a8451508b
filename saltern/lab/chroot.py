"""Work inside a root file system, with the network of the machine, leaving no mount behind.

Every command runs in its own mount namespace, so what it mounts ends with it, also when the
build is killed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from saltern.errors import LabError
from saltern.lab.shell import run

#: Mounts, then the command. Arguments: root, overlay options (or ""), number of binds, then
#: "source target" pairs, then the command.
_SCRIPT = """set -e
root=$1 overlay=$2 binds=$3; shift 3
[ -z "$overlay" ] || mount -t overlay overlay -o "$overlay" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
while [ "$binds" -gt 0 ]; do
    if [ ! -e "$root$2" ]; then
        if [ -d "$1" ]; then mkdir -p "$root$2"; else
            mkdir -p "$(dirname "$root$2")"; : > "$root$2"; fi
    fi
    mount --bind "$1" "$root$2"; shift 2; binds=$((binds-1))
done
exec chroot "$root" "$@"
"""

#: The CA bundle of the machine inside the root, for downloads only (a tmpfs, never kept).
_CA_BUNDLE = "/tmp/saltern-ca-bundle.crt"  # noqa: S108 - a fresh tmpfs of this namespace
_CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
)
#: Settings that name paths of this machine and mean nothing inside.
_MACHINE_ONLY = ("PIP_FIND_LINKS", "UV_FIND_LINKS", "UV_CACHE_DIR", "PIP_CACHE_DIR")
_KEEP = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def machine_ca_bundle() -> Path | None:
    """Return the CA bundle that this machine trusts for downloads, or None."""
    named = [os.environ.get("SSL_CERT_FILE", ""), "/etc/ssl/certs/ca-certificates.crt"]
    return next((Path(name) for name in named if name and Path(name).is_file()), None)


@dataclass(frozen=True)
class Chroot:
    """A root file system in which commands can be run.

    :param root: directory (the mount point when ``lower`` is given)
    :param lower: base image that stays untouched; None to write into ``root`` itself
    :param scratch: directory for the overlay's upper and work directories
    """

    root: Path
    lower: Path | None = None
    scratch: Path | None = None

    @classmethod
    def throwaway(cls, image: Path, scratch: Path) -> Chroot:
        """Return a root over ``image`` whose changes land in ``scratch/upper``.

        :param image: root file system of a base image
        :param scratch: directory to create; delete it with :meth:`discard`
        """
        for name in ("upper", "work", "root"):
            (scratch / name).mkdir(parents=True, exist_ok=True)
        return cls(scratch / "root", image, scratch)

    @property
    def upper(self) -> Path:
        """Directory with the files that were changed."""
        return self.root if self.scratch is None else self.scratch / "upper"

    def run(
        self,
        argv: Sequence[str],
        *,
        what: str,
        binds: Mapping[Path, str] | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        log: Path | None = None,
    ) -> str:
        """Run a command inside, with the machine's network, and return its standard output.

        :param argv: program and arguments, as seen inside
        :param what: the step in words, for the error sentence
        :param binds: directories or files of the machine -> path inside (created when missing)
        :param env: variables to add
        :param input: standard input
        :param log: file that collects the output
        :raises LabError: the command failed
        """
        overlay = ""
        if self.lower is not None and self.scratch is not None:
            overlay = f"lowerdir={self.lower},upperdir={self.scratch}/upper"
            overlay += f",workdir={self.scratch}/work"
        pairs: list[str] = []
        for source, target in self._binds(binds).items():
            pairs += [str(source), target]
        variables = {key: os.environ[key] for key in _KEEP if key in os.environ}
        variables |= {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        variables |= {
            key: value
            for key, value in os.environ.items()
            if key.startswith(("PIP_", "UV_")) and key not in _MACHINE_ONLY
        }
        if machine_ca_bundle():
            variables |= dict.fromkeys(_CA_VARIABLES, _CA_BUNDLE)
        variables |= env or {}
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh"]
        command += [str(self.root), overlay, str(len(pairs) // 2), *pairs, *argv]
        return run(command, what=what, env=variables, input=input, log=log)

    def _binds(self, binds: Mapping[Path, str] | None) -> dict[Path, str]:
        result = {Path("/etc/resolv.conf"): "/etc/resolv.conf"}
        bundle = machine_ca_bundle()
        if bundle is not None:
            result[bundle] = _CA_BUNDLE
        return result | dict(binds or {})

    def discard(self) -> None:
        """Delete the changes of a throw-away root.

        :raises LabError: this is not a throw-away root
        """
        if self.scratch is None:
            raise LabError(f"{self.root} is not a throw-away root")
        shutil.rmtree(self.scratch, ignore_errors=True)
