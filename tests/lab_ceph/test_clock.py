"""A monitor whose clock is off: rollouts are refused, and nothing that users have is lost.

All hosts of the lab share one clock, so the clock of one daemon is shifted: ``libfaketime``, loaded
into the real monitor, adds seconds to the time that it reads. The monitors find it by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab_ceph.storage import Storage
from tests.support.cluster import Cluster, eventually

pytestmark = pytest.mark.full

HOST = "mon02"
UNIT = f"ceph-mon@{HOST}"
LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
DROP_IN = f"/etc/systemd/system/{UNIT}.service.d/clock.conf"
#: what it is off by; monitors accept 0.05 s of each other
SECONDS = 2
SHIFT = f"""set -e
apt-get -qq update && apt-get -qqy install libfaketime
mkdir -p $(dirname {DROP_IN})
cat > {DROP_IN} <<END
[Service]
Environment=LD_PRELOAD={LIBRARY} FAKETIME=+{SECONDS}s FAKETIME_DONT_FAKE_MONOTONIC=1
END
systemctl daemon-reload
systemctl reset-failed {UNIT}
systemctl restart {UNIT}
"""
BACK = f"""set -e
rm -rf $(dirname {DROP_IN})
systemctl daemon-reload
systemctl reset-failed {UNIT}
systemctl restart {UNIT}
"""


@pytest.fixture
def shifted(cluster: Cluster, storage: Storage) -> Iterator[None]:
    """The clock of one monitor is off."""
    try:
        cluster.run(HOST, "sh", "-c", SHIFT)
        assert eventually(lambda: "MON_CLOCK_SKEW" in storage.health()[1], 90), storage.health()
        yield
    finally:
        cluster.run(HOST, "sh", "-c", BACK)
        assert storage.becomes_healthy(), storage.health()


@pytest.mark.usefixtures("shifted")
def test_a_monitor_whose_clock_is_off_refuses_a_restart(storage: Storage, tell: list[str]) -> None:
    with storage.writing() as writes:
        told = storage.refused("restart", "roles=ceph.mon")
    assert "MON_CLOCK_SKEW" in told
    assert HOST in told
    tell.append(f"while a monitor's clock was {SECONDS} s off: {writes}")
    assert (writes.failed, writes.wrong) == ([], [])
    assert storage.held() == ({}, [], [])
