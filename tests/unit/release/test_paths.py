"""A table of requests of the shipped catalogue: the hops, or why there are none."""

from __future__ import annotations

import pytest

from saltern.release.lifecycle import load
from saltern.release.observe import request
from saltern.release.solve import broken, solve, states

CATALOGUE = load()
#: everything from Debian 12, as the lab has it; rows say what is different
DEBIAN = (
    "distribution=bookworm,rabbitmq=3.10,erlang=25,mariadb=10.11,ovn=23.03,libvirt=9.0,qemu=7.2,"
    "ceph=pacific,salt=3008"
)
ALL = "rabbitmq,mariadb,ovn"


def cloud(openstack: str, **other: str) -> str:
    """What runs: a cloud on Debian 12, but for what is named."""
    rows = [f"openstack={openstack}", DEBIAN]
    return ",".join([*rows, *(f"{name.replace('_', '-')}={v}" for name, v in other.items())])


#: what is wanted, what runs, the hops without what comes along, options
LEGAL = [
    # OpenStack: the next release, or from SLURP to SLURP; the control plane first
    ("2023.1", cloud("2022.2"), "openstack 2023.1, openstack-compute 2023.1", {}),
    ("2024.1", cloud("2023.1"), "openstack 2024.1, openstack-compute 2024.1", {}),
    ("2023.2", cloud("2023.1"), "openstack 2023.2, openstack-compute 2023.2", {}),
    ("2025.1", cloud("2024.1"), "openstack 2025.1, openstack-compute 2025.1", {}),
    ("2026.1", cloud("2025.1"), "openstack 2026.1, openstack-compute 2026.1", {}),
    ("epoxy", cloud("2024.2"), "openstack 2025.1, openstack-compute 2025.1", {}),
    ("2025.1", "openstack=2023.2,python=3.11",
     "openstack 2024.1, openstack-compute 2024.1, openstack 2025.1, openstack-compute 2025.1", {}),
    ("2026.1", cloud("2024.1"),
     "openstack 2025.1, openstack-compute 2025.1, openstack 2026.1, openstack-compute 2026.1", {}),
    ("2026.2", cloud("2025.2"),
     "openstack 2026.1, openstack-compute 2026.1, openstack 2026.2, openstack-compute 2026.2", {}),
    ("2025.1", cloud("2025.1"), "", {}),
    # hypervisors that were left behind
    ("2025.1", cloud("2025.1", openstack_compute="2024.1"), "openstack-compute 2025.1", {}),
    ("2026.1", cloud("2025.1", openstack_compute="2024.1"),
     "openstack-compute 2025.1, openstack 2026.1, openstack-compute 2026.1", {}),
    ("openstack=2025.1,openstack-compute=2024.1", cloud("2024.1"), "openstack 2025.1", {}),
    # the distribution, and what comes along
    ("distribution=trixie", cloud("2025.1"), "distribution trixie", {"allow": ALL}),
    ("distribution=trixie", cloud("2024.1"),
     "openstack 2025.1, openstack-compute 2025.1, distribution trixie", {"allow": ALL}),
    ("openstack=2026.2,distribution=trixie", cloud("2025.1"),
     ("distribution trixie, openstack 2026.1, openstack-compute 2026.1,"
      " openstack 2026.2, openstack-compute 2026.2"), {"allow": ALL}),
    ("distribution=trixie", "distribution=bookworm,ceph=pacific", "distribution trixie", {}),
    ("ceph=reef", "distribution=bookworm,ceph=pacific", "distribution trixie", {}),
    ("libvirt=11.3", "distribution=bookworm,libvirt=9.0,qemu=7.2", "distribution trixie", {}),
    ("distribution=trixie", "distribution=bullseye,libvirt=7.0",
     "distribution bookworm, distribution trixie", {}),
    ("noble", "distribution=jammy,mariadb=10.6,ovn=22.03,ceph=quincy", "distribution noble", {}),
    ("24.04", "distribution=jammy,rabbitmq=3.9,erlang=24", "distribution noble",
     {"allow": "rabbitmq"}),
    ("distribution=trixie", "distribution=bookworm,etcd=3.4,containerd=1.6,kubernetes=1.30",
     "distribution trixie", {}),
    # Ceph: from one of the two releases before
    ("quincy", "ceph=pacific", "ceph quincy", {}),
    ("ceph=18", "ceph=pacific", "ceph reef", {}),
    ("squid", "ceph=pacific", "ceph quincy, ceph squid", {}),
    ("umbrella", "ceph=nautilus", "ceph octopus, ceph quincy, ceph squid, ceph umbrella", {}),
    ("umbrella", "ceph=tentacle", "ceph umbrella", {}),
    ("ceph=squid", cloud("2025.1"), "ceph quincy, ceph squid", {"own": "ceph"}),
    # RabbitMQ: its own table, with the Erlang that each series runs on
    ("rabbitmq=3.11", "rabbitmq=3.10,erlang=25", "rabbitmq 3.11", {}),
    ("rabbitmq=3.13", "rabbitmq=3.12,erlang=25", "erlang 26, rabbitmq 3.13", {}),
    ("rabbitmq=4.2", "rabbitmq=3.13,erlang=26", "rabbitmq 4.2", {}),
    ("rabbitmq=4.2", "rabbitmq=4.0,erlang=26", "rabbitmq 4.2", {}),
    ("rabbitmq=4.3", "rabbitmq=3.13,erlang=26", "rabbitmq 4.2, erlang 27, rabbitmq 4.3", {}),
    ("rabbitmq=4.2", cloud("2025.1"),
     "rabbitmq 3.11, rabbitmq 3.12, erlang 26, rabbitmq 3.13, rabbitmq 4.2", {"own": "rabbitmq"}),
    ("rabbitmq=4.2", "rabbitmq=3.10,erlang=25", "rabbitmq 3.12, erlang 26, rabbitmq 4.2",
     {"allow": "rabbitmq"}),
    ("rabbitmq=4.3", "rabbitmq=4.2,erlang=27,openstack=2024.1", "rabbitmq 4.3", {}),
    ("rabbitmq=4.3", "rabbitmq=4.2,erlang=27,openstack=2023.2",
     "openstack 2024.1, openstack-compute 2024.1, rabbitmq 4.3", {}),
    # MariaDB: from one long-term series to the next
    ("mariadb=10.11", "mariadb=10.6", "mariadb 10.11", {}),
    ("mariadb=11.8", "mariadb=10.11", "mariadb 11.4, mariadb 11.8", {}),
    ("mariadb=11.8", "mariadb=10.5", "mariadb 11.8", {"allow": "mariadb"}),
    # OVN: to the next long-term release
    ("ovn=24.03", "ovn=22.03", "ovn 24.03", {}),
    ("ovn=26.03", "ovn=23.03", "ovn 24.03, ovn 26.03", {}),
    ("ovn=25.03", "ovn=23.03", "ovn 24.03, ovn 25.03", {}),
    ("ovn=25.03", "ovn=23.03", "ovn 25.03", {"allow": "ovn"}),
    # Kubernetes: one minor release at a time; nodes up to three behind
    ("1.31", "kubernetes=1.30", "kubernetes 1.31, kubernetes-node 1.31", {}),
    ("1.33", "kubernetes=1.30",
     "kubernetes 1.31, kubernetes 1.32, kubernetes 1.33, kubernetes-node 1.33", {}),
    ("kubernetes=1.34,kubernetes-node=1.31", "kubernetes=1.31,kubernetes-node=1.31",
     "kubernetes 1.32, kubernetes 1.33, kubernetes 1.34", {}),
    ("1.36", "kubernetes=1.35,containerd=1.7",
     "kubernetes 1.36, containerd 2.0, kubernetes-node 1.36", {}),
    ("1.26", "kubernetes=1.24",
     "kubernetes 1.25, kubernetes 1.26, kubernetes-node 1.26", {}),
    ("etcd=3.6", "etcd=3.4", "etcd 3.5, etcd 3.6", {}),
    ("containerd=2.0", "containerd=1.6", "containerd 1.7, containerd 2.0", {}),
    # Salt: the master first
    ("3008", "salt=3006", "salt 3008, salt-minion 3008", {}),
    ("salt=3008,openstack=2026.1", "salt=3007,openstack=2025.1",
     "salt 3008, salt-minion 3008, openstack 2026.1, openstack-compute 2026.1", {}),
]  # fmt: skip

#: what is wanted, what runs, the names of the reasons, a part of their sentences, options
ILLEGAL = [
    # no product goes back
    ("2024.1", cloud("2025.1"), {"openstack"}, "OpenStack 2025.1 does not go back to 2024.1", {}),
    ("ceph=quincy", "ceph=reef", {"ceph"}, "does not go back", {}),
    ("rabbitmq=3.13", "rabbitmq=4.0,erlang=26", {"rabbitmq"}, "does not go back", {}),
    ("rabbitmq=3.13", "rabbitmq=4.0,erlang=26", {"rabbitmq"}, "does not go back", {"allow": ALL}),
    ("mariadb=10.6", "mariadb=11.4", {"mariadb"}, "does not go back", {}),
    ("1.30", "kubernetes=1.31", {"kubernetes"}, "does not go back", {}),
    ("3006", "salt=3008", {"salt"}, "does not go back", {}),
    ("bookworm", "distribution=trixie", {"distribution"}, "does not go back", {}),
    ("libvirt=9.0", "libvirt=10.0", {"libvirt"}, "newer libvirt, never to an older one", {}),
    ("qemu=7.2", "qemu=8.2", {"qemu"}, "does not go back", {}),
    # one hop where several are needed
    ("2025.1", "openstack=2023.2", {"openstack"}, "2024.1 is missing between them",
     {"direct": True}),
    ("2026.1", cloud("2024.1"), {"openstack"}, "2025.1 is missing", {"direct": True}),
    ("2026.2", cloud("2025.1"), {"openstack"}, "2026.1 is missing", {"direct": True}),
    ("squid", "ceph=pacific", {"ceph"}, "quincy is missing", {"direct": True}),
    ("1.33", "kubernetes=1.30", {"kubernetes"}, "1.31, 1.32 are missing", {"direct": True}),
    ("rabbitmq=3.13", "rabbitmq=3.12,erlang=25", {"erlang"}, "has to go from 25 to 26",
     {"direct": True}),
    ("mariadb=11.8", "mariadb=10.11", {"mariadb"}, "11.4 is missing", {"direct": True}),
    # what the distribution would bring
    ("distribution=trixie", cloud("2025.1"), {"rabbitmq"}, "3.10 is followed by 3.11 only", {}),
    ("distribution=trixie", cloud("2025.1"), {"mariadb"}, "10.11 is followed by 11.4 only",
     {"allow": "rabbitmq,ovn"}),
    ("distribution=trixie", cloud("2025.1"), {"ovn"}, "23.03 is followed by 24.03 only",
     {"allow": "rabbitmq,mariadb"}),
    ("ceph=reef", cloud("2025.1"), {"rabbitmq"}, "comes from the distribution", {}),
    ("ceph=squid", "distribution=bookworm,ceph=pacific", {"ceph"},
     "nothing that follows bookworm has Ceph squid", {}),
    ("noble", "distribution=jammy,rabbitmq=3.9,erlang=24", {"rabbitmq"}, "noble has 3.12", {}),
    ("noble", "distribution=bookworm", {"distribution"},
     "no hops lead from the distribution bookworm to noble", {}),
    # what does not go together
    ("openstack=2025.2,distribution=trixie", cloud("2025.1"), {"openstack-python"},
     "OpenStack 2025.2 needs Python 3.10 to 3.12, and 3.13 comes with trixie", {"allow": ALL}),
    ("2026.1", "openstack=2025.2,distribution=trixie", {"openstack-python"},
     "and the cluster has 3.13", {}),
    ("2026.1", "openstack=2025.1,distribution=bullseye", {"openstack-python"},
     "OpenStack 2026.1 needs Python 3.10 to 3.13",
     {"goal": "openstack=2026.1,distribution=bullseye"}),
    ("openstack=2024.1,openstack-compute=2024.2", cloud("2024.1"),
     {"openstack-compute-behind-openstack"}, "never newer than the control plane", {}),
    ("openstack=2025.1,openstack-compute=2023.1", cloud("2023.1"),
     {"openstack-compute-behind-openstack"}, "needs nova-compute 2024.1 to 2025.1", {}),
    ("openstack-compute=2025.1,libvirt=7.0",
     "openstack=2025.1,openstack-compute=2024.1,libvirt=7.0",
     {"nova-libvirt"}, "nova-compute 2025.1 needs libvirt 8.0 or later", {}),
    ("openstack-compute=2025.1,qemu=5.2", "openstack=2025.1,openstack-compute=2024.1,qemu=5.2",
     {"nova-qemu"}, "needs QEMU 6.2 or later", {}),
    ("rabbitmq=4.3,erlang=26", "rabbitmq=4.2,erlang=26", {"rabbitmq-erlang"},
     "RabbitMQ 4.3 needs Erlang/OTP 27 to 28", {}),
    ("rabbitmq=4.3,openstack=2023.2", "rabbitmq=4.2,erlang=27,openstack=2023.2",
     {"rabbitmq-transient-queues-compute"}, "needs nova-compute 2024.1 or later", {}),
    ("1.36", "kubernetes=1.35,containerd=1.7,distribution=trixie", {"kubernetes-containerd"},
     "kubelet 1.36 needs containerd 2.0 or later", {}),
    ("kubernetes=1.34,kubernetes-node=1.30", "kubernetes=1.30",
     {"kubernetes-node-behind-kubernetes"},
     "needs kubelet 1.31 to 1.34", {}),
    ("kubernetes=1.30,kubernetes-node=1.31", "kubernetes=1.30",
     {"kubernetes-node-behind-kubernetes"},
     "never newer than the API servers", {}),
    ("salt=3007,salt-minion=3008", "salt=3006", {"salt-minion-behind-salt"},
     "a minion is never newer than its master", {}),
]  # fmt: skip


def asked(wanted: str, now: str, options: dict[str, str]):
    return request(
        CATALOGUE, {}, options.get("goal", wanted), with_python(now),
        options.get("own"), options.get("allow"),
    )  # fmt: skip


def with_python(now: str) -> str:
    """Every distribution has a Python; who runs without one here is asked no rule about it."""
    said = dict(pair.split("=") for pair in now.split(","))
    if "distribution" in said and "python" not in said:
        version = CATALOGUE.products["distribution"].versions[said["distribution"]]
        return f"{now},python={version.provides['python']}"
    return now


def test_the_table_is_long_enough() -> None:
    assert len(LEGAL) + len(ILLEGAL) >= 60


@pytest.mark.parametrize(("wanted", "now", "hops", "options"), LEGAL)
def test_a_legal_request(wanted: str, now: str, hops: str, options: dict[str, str]) -> None:
    found = asked(wanted, now, options)
    answer = solve(CATALOGUE, found)
    told = ", ".join(f"{hop.change.product} {hop.change.after}" for hop in answer.hops)
    assert (answer.ok, told) == (True, hops), answer.refusal
    assert not [rule for state in states(found, answer.hops) for rule in broken(CATALOGUE, state)]


@pytest.mark.parametrize(("wanted", "now", "names", "part", "options"), ILLEGAL)
def test_an_illegal_request(
    wanted: str, now: str, names: set[str], part: str, options: dict[str, str]
) -> None:
    answer = solve(CATALOGUE, asked(wanted, now, options), direct="direct" in options)
    assert answer.refusal
    assert {reason.name for reason in answer.refusal.reasons} == names
    assert part in str(answer.refusal)
    assert all(reason.source.startswith("https://") for reason in answer.refusal.reasons)


def test_what_else_is_in_the_way_is_told_after_the_smallest_reason() -> None:
    found = asked("distribution=trixie", cloud("2025.1"), {})
    refusal = solve(CATALOGUE, found).refusal
    assert refusal
    names = [reason.name for reason in (*refusal.reasons, *refusal.further)]
    assert sorted(names) == ["mariadb", "ovn", "rabbitmq"]
    said = ",".join(sorted(cure.partition(" ")[0] for cure in refusal.cures))
    assert said == "allow=mariadb,allow=ovn,allow=rabbitmq,own=mariadb,own=ovn,own=rabbitmq"
    # and with what is offered there is a path
    assert solve(CATALOGUE, asked("distribution=trixie", cloud("2025.1"), {"allow": ALL})).ok


def test_a_hop_tells_how_what_comes_along_gets_there_and_what_has_to_be_ready() -> None:
    found = asked("distribution=trixie", cloud("2025.1"), {"allow": ALL})
    (hop,) = solve(CATALOGUE, found).hops
    ways = {change.product: change.way for change in hop.along}
    assert {name: way for name, way in ways.items() if way != "rolling"} == {
        "mariadb": "stopped", "ovn": "fail-safe", "rabbitmq": "rebuild",
    }  # fmt: skip
    found = asked("rabbitmq=3.12", "rabbitmq=3.11,erlang=25", {})
    (hop,) = solve(CATALOGUE, found).hops
    assert [note.text for note in hop.notes] == [
        "All feature flags are enabled, and every member runs 3.11.18 or later."
    ]
