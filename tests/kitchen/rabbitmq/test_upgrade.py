"""The packages of a member are replaced: maintenance mode, stop, install, start, and it is back."""

from __future__ import annotations

import json

from testinfra.host import Host

from tests.support.phases import applied, call, changed, offer_newer, upgraded
from tests.support.repacked import SUFFIX


def version(host: Host) -> str:
    return host.check_output("dpkg-query -W -f '${Version}' rabbitmq-server")


def maintained(host: Host) -> bool:
    seen = json.loads(host.check_output("rabbitmqctl -s cluster_status --formatter json"))
    return not all("not under" in told for told in seen["maintenance_status"].values())


def test_nothing_is_to_be_done_without_a_newer_version(host: Host) -> None:
    for phase in ("prefetch", "check", "install", "start"):
        assert not changed(applied(host, f"rabbitmq.upgrade.{phase}"))
    assert call(host, "package_upgrade.pending '[rabbitmq-server]'") == {}


def test_feature_flags_are_asked_of_the_server(host: Host) -> None:
    flags = call(host, "rabbitmq_upkeep.flags")
    assert flags["quorum_queue"]["state"] == "enabled"
    assert call(host, "rabbitmq_upkeep.disabled") == []
    assert call(host, "rabbitmq_upkeep.enable_flags") == "All stable feature flags are enabled."


def test_maintenance_mode_closes_it_to_clients_and_is_taken_back(host: Host) -> None:
    # it is alone in its cluster, so the lease takes nothing; the tool does
    assert call(host, "rabbitmq_upkeep.drain").startswith("It is alone")
    host.check_output("rabbitmq-upgrade drain -t 120")
    assert maintained(host)
    assert call(host, "rabbitmq_upkeep.revive") == "In service."
    assert not maintained(host)
    assert call(host, "rabbitmq_upkeep.may_stop")["ok"] is True


def test_the_packages_of_a_stopped_member_are_replaced(host: Host) -> None:
    offer_newer(host, ["rabbitmq-server"])
    before = version(host)
    states = applied(host, "rabbitmq.upgrade.install", test=True)
    assert changed(states) == {"rabbitmq-upgrade-install"}
    host.check_output("rabbitmq-upgrade drain -t 120")
    found = upgraded(host, [f"rabbitmq.upgrade.{one}" for one in ("prefetch", "stop", "install")])
    assert found["rabbitmq.upgrade.stop"] == {"rabbitmq-upgrade-stop"}
    assert found["rabbitmq.upgrade.install"] == {"rabbitmq-upgrade-install"}
    assert version(host) == before + SUFFIX
    # no package starts a daemon
    assert not host.service("rabbitmq-server").is_running
    assert "rabbitmq-server-running" in changed(applied(host, "rabbitmq.server"))
    assert not changed(applied(host, "rabbitmq.upgrade.start"))
    # a start ends the maintenance
    assert not maintained(host)
    assert call(host, "rabbitmq_cluster.healthy")["ok"] is True
    assert not changed(applied(host, "rabbitmq.server"))


def test_a_held_package_stops_it_with_a_sentence(host: Host) -> None:
    host.check_output("apt-mark hold rabbitmq-server")
    try:
        assert not changed(applied(host, "rabbitmq.upgrade.install"))
        newer = "sed -i 's/^\\(Version: .*saltern\\)1$/\\12/' /srv/repacked/Packages"
        host.check_output(f"{newer} && apt-get -qq update")
        done = host.run(
            "salt-call --local --config-dir=/srv/kitchen/etc state.apply rabbitmq.upgrade.install"
        )
        assert done.rc != 0
        assert "rabbitmq-server is on hold at" in done.stdout
        assert "apt-mark unhold rabbitmq-server" in done.stdout
    finally:
        host.check_output("apt-mark unhold rabbitmq-server")
