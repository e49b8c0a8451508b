"""What outlives a new image: whole paths of roles, nothing of the image."""

from __future__ import annotations

import pytest

from saltern.errors import PreflightError
from saltern.rollout import keeping


def test_what_makes_a_host_this_host_is_always_kept() -> None:
    assert keeping.of_node([]) == tuple(sorted(keeping.ALWAYS))
    assert "/var/lib/ceph" in keeping.of_node(["/var/lib/ceph/"])


def test_a_path_below_another_goes_with_it() -> None:
    found = keeping.checked(["/var/lib/ceph/mon", "/var/lib/ceph", "/var/lib/cephx", "/srv/ceph"])
    assert found == ("/srv/ceph", "/var/lib/ceph", "/var/lib/cephx")


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/etc", "/var", "/var/lib", "/usr/lib/app", "/run/app", "/var/lib/dpkg/info"),
        *("relative", "/srv/../etc/shadow", "/srv//data", "/srv/a b", "/srv/*/data", "/tmp/x"),
    ],
)
def test_what_belongs_to_the_image_is_refused(path: str) -> None:
    with pytest.raises(PreflightError, match="cannot be kept"):
        keeping.checked([path])


def test_roles_say_what_they_keep() -> None:
    lifecycle = {
        "ceph.mon": {"stateful": True, "keep": ["/var/lib/ceph"]},
        "ceph.osd": {"stateful": True, "keep": ["/var/lib/ceph", "/srv/ceph"]},
        "galera.server": {"stateful": True},
        "salt.minion": {"stateful": True, "keep": []},
        "ceph.mgr": {"stateful": False},
    }
    assert keeping.declared(lifecycle, list(lifecycle)) == ("/var/lib/ceph", "/srv/ceph")
    assert keeping.gaps(lifecycle, list(lifecycle)) == ["galera.server"]


def test_keep_is_a_list_of_paths() -> None:
    with pytest.raises(PreflightError, match=r"lifecycle:ceph\.mon:keep"):
        keeping.declared({"ceph.mon": {"keep": "/var/lib/ceph"}}, ["ceph.mon"])
