"""The agent of a host: what it obeys, and that it runs and comes back after a boot."""

from __future__ import annotations

import json

from testinfra.host import Host


def setting(host: Host, key: str) -> object:
    """A setting as Salt itself reads it from the fragments."""
    done = host.run("salt-call --config-dir /etc/salt --local --out=json config.get %s", key)
    assert done.rc == 0, done.stderr
    return json.loads(done.stdout)["local"]


def test_the_fragments_are_one_configuration(host: Host) -> None:
    assert setting(host, "master") == "host.kitchen.test"
    assert setting(host, "enable_fqdns_grains") is False
    assert setting(host, "mine_interval") == 7200


def test_site_values_are_not_for_everybody(host: Host) -> None:
    assert host.file("/etc/salt/minion.d/90-site.conf").mode == 0o640


def test_the_agent_runs_and_starts_at_boot(host: Host) -> None:
    unit = host.service("salt-minion")
    assert unit.is_running
    assert unit.is_enabled
