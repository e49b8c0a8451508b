"""A newer version of packages that a host has: the same files, packed anew under a later version.

The offline repository has one version of each package, so there is nothing to upgrade to. What is
made here is honest about one thing: everything that apt, dpkg, maintainer scripts and daemons do in
an upgrade is done. That a later release also behaves differently is not shown by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: ends the version of what was packed anew
SUFFIX = "+saltern1"
#: the repository on the host, and the file that makes apt read it
PLACE, SOURCE = "/srv/repacked", "/etc/apt/sources.list.d/repacked.list"

_PACK = r"""
set -eu
mkdir -p @PLACE@ && cd @PLACE@
for name in @NAMES@; do
  version=$(dpkg-query -W -f '${Version}' "$name")
  case "$version" in *@SUFFIX@) continue ;; esac
  rm -rf work && mkdir work
  (cd work && apt-get -qq -o APT::Sandbox::User=root download "$name=$version" 2>/dev/null)
  dpkg-deb -R work/*.deb work/tree
  sed -i "s/^Version: .*/&@SUFFIX@/" work/tree/DEBIAN/control
  dpkg-deb -Zgzip -z1 --root-owner-group -b work/tree "$name.deb" >/dev/null
  rm -rf work
done
: >Packages
for file in *.deb; do
  dpkg-deb -f "$file" >>Packages
  printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" \
    "$(sha256sum "$file" | cut -d' ' -f1)" >>Packages
done
echo 'deb [trusted=yes] file:@PLACE@ ./' >@SOURCE@
apt-get -qq update
"""


def offer(run: Callable[[str], object], packages: Sequence[str]) -> None:
    """Let a host's apt find a later version of some packages that it has.

    :param run: runs a shell command on the host as root, and raises when that fails
    :param packages: names; a second call adds to the first
    """
    words = {"PLACE": PLACE, "SOURCE": SOURCE, "SUFFIX": SUFFIX, "NAMES": " ".join(packages)}
    text = _PACK
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    run(text)


def withdraw(run: Callable[[str], object]) -> None:
    """Forget that repository; what was installed from it stays.

    :param run: as of :func:`offer`
    """
    run(f"rm -rf {PLACE} {SOURCE} && apt-get -qq update")
