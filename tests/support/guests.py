"""A guest of the cloud as its user has it: made, reached from outside, moved. Runs on the master.

It is one file that is sent to ``cfg01`` (``python - VERB …``): the SDK and the way out are there.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from functools import cache
from typing import Any

import openstack

CLOUD = openstack.connect(cloud="admin")
ECHO = 7
#: Seconds that a user tries a request again before he takes it for lost, and waits for one answer:
#: a controller without power says nothing to who waits for it.
PATIENCE, ANSWER = 15.0, 6.0


def make(name: str) -> dict[str, Any]:
    """A network with a router, and a server with a floating address; what is there is taken."""
    api = CLOUD.network
    network = api.find_network(name) or api.create_network(name=name)
    if not network.subnet_ids:
        api.create_subnet(name=name, network_id=network.id, ip_version=4, cidr="192.0.2.0/26")
    router = api.find_router(name)
    if not router:
        outside = {"network_id": api.find_network("provider").id}
        router = api.create_router(name=name, external_gateway_info=outside)
        api.add_interface_to_router(router, subnet_id=api.find_subnet(name).id)
    group = api.find_security_group(name)
    if not group:
        group = api.create_security_group(name=name)
        rule = {"security_group_id": group.id, "direction": "ingress", "ether_type": "IPv4"}
        api.create_security_group_rule(**rule, protocol="icmp")
        api.create_security_group_rule(
            **rule, protocol="tcp", port_range_min=ECHO, port_range_max=ECHO
        )
    server = start(name, network.id, group.name)
    server = CLOUD.compute.wait_for_server(server, wait=120)
    (port,) = api.ports(device_id=server.id)
    address = next(iter(api.ips(port_id=port.id)), None) or api.create_ip(
        floating_network_id=api.find_network("provider").id, port_id=port.id
    )
    end = time.monotonic() + 120
    while not reached(address.floating_ip_address):
        if time.monotonic() > end:
            raise SystemExit(f"{address.floating_ip_address} is not reached")
        time.sleep(1)
    return {"address": address.floating_ip_address, "network": network.id, **where(name)}


def start(name: str, network: str, group: str, cloud: Any = CLOUD) -> Any:
    """Ask for a server; one that is there is taken."""
    return cloud.compute.find_server(name) or cloud.compute.create_server(
        name=name,
        **parts(),
        networks=[{"uuid": network}],
        security_groups=[{"name": group}],
    )


@cache
def parts() -> dict[str, str]:
    """Image and flavor of all servers."""
    return {
        "image_id": CLOUD.image.find_image("guest").id,
        "flavor_id": CLOUD.compute.find_flavor("tiny").id,
    }


def where(name: str) -> dict[str, Any]:
    """The server as its user and the administrator see it."""
    found = CLOUD.compute.get_server(CLOUD.compute.find_server(name, ignore_missing=False))
    return {"id": found.id, "status": found.status, "host": found.compute_host}


def move(name: str) -> dict[str, Any]:
    """Live-migrate the server to another hypervisor."""
    before = where(name)
    begin = time.monotonic()
    CLOUD.compute.live_migrate_server(before["id"], host=None, block_migration="auto")
    while True:
        now = where(name)
        if now["status"] == "ACTIVE" and now["host"] != before["host"]:
            return {**now, "seconds": round(time.monotonic() - begin, 1)}
        if now["status"] == "ERROR" or time.monotonic() - begin > 180:
            raise SystemExit(f"{name} stays on {before['host']}: {now}")
        time.sleep(0.5)


def reached(address: str) -> bool:
    """Whether the guest echoes."""
    try:
        with socket.create_connection((address, ECHO), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(b"once\n")
            return connection.recv(64) == b"once\n"
    except OSError:
        return False


def echo(address: str, seconds: str) -> dict[str, Any]:
    """Echo 20 times a second until standard input ends, for so long at most.

    The longest time without an echo, when it began, and broken connections.
    """
    end = time.monotonic() + float(seconds)

    def told() -> None:
        nonlocal end
        sys.stdin.read()
        end = min(end, time.monotonic() + 5)

    threading.Thread(target=told, daemon=True).start()
    last = time.monotonic()
    gap, at, echoes, broken = 0.0, "", 0, 0
    while time.monotonic() < end:
        try:
            with socket.create_connection((address, ECHO), timeout=1) as connection:
                # what is in the connection is sent again by TCP: it is given up late
                connection.settimeout(30)
                while time.monotonic() < end:
                    connection.sendall(b"%d\n" % echoes)
                    if not connection.recv(64):
                        break
                    now = time.monotonic()
                    if now - last > gap:
                        gap, at = now - last, clock(now - last)
                    last = now
                    echoes += 1
                    time.sleep(0.05)
        except OSError:
            pass
        if time.monotonic() < end:
            broken += 1
            time.sleep(0.05)
    if time.monotonic() - last > gap:
        gap, at = time.monotonic() - last, clock(time.monotonic() - last)
    return {"gap": round(gap, 2), "at": at, "echoes": echoes, "broken": broken}


def clock(ago: float) -> str:
    """The time of day so many seconds ago, to be found in logs."""
    return time.strftime("%H:%M:%S", time.gmtime(time.time() - ago))


def many(name: str, count: str, network: str) -> dict[str, Any]:
    """Ask for servers one after another, each again until it is answered or given up."""
    waits, lost = [], []
    parts()
    hasty = openstack.connect(cloud="admin", api_timeout=ANSWER)
    for number in range(int(count)):
        begin = time.monotonic()
        while True:
            try:
                # by name: what was made although nobody was told is not made twice
                start(f"{name}-{number}", network, "probe", hasty)
                break
            except Exception as err:
                if time.monotonic() - begin > PATIENCE:
                    lost.append(f"{name}-{number}: {err}")
                    break
                time.sleep(0.5)
        waits.append(round(time.monotonic() - begin, 1))
        time.sleep(2)
    return {"waits": waits, "lost": lost}


def of(name: str) -> list[Any]:
    """Each of many; one whose answer was lost may be there twice."""
    return [one for one in CLOUD.compute.servers(details=True) if one.name.startswith(f"{name}-")]


def states(name: str) -> dict[str, list[str]]:
    """Status of each of many, by name."""
    found: dict[str, list[str]] = {}
    for one in of(name):
        found.setdefault(one.name, []).append(one.status)
    return found


def drop(name: str) -> dict[str, Any]:
    """Delete each of many, and wait until they are gone."""
    gone = of(name)
    for one in gone:
        CLOUD.compute.delete_server(one.id)
    end = time.monotonic() + 120
    while of(name) and time.monotonic() < end:
        time.sleep(2)
    return {"deleted": len(gone), "left": [one.name for one in of(name)]}


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    print(json.dumps(globals()[verb](*arguments)))
