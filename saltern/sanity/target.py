"""What a sanity run is pointed at: values out of one node's pillar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from saltern.errors import PreflightError

#: The role whose node holds the administrator's credentials in its pillar.
ROLE = "openstack.client"
DASHBOARD = "horizon.server"


@dataclass(frozen=True)
class Credentials:
    """The administrator of a cloud. The password is not part of ``repr``.

    :param url: Keystone v3, through the virtual address
    :param cacert: CA bundle that the APIs are verified with; empty: the system's
    """

    url: str
    username: str
    password: str = field(repr=False)
    project: str = "admin"
    user_domain: str = "Default"
    project_domain: str = "Default"
    cacert: str = ""


@dataclass(frozen=True)
class Target:
    """One cloud.

    :param cluster: its name
    :param region: region of the endpoints that are used
    :param interface: ``public``, ``internal`` or ``admin``
    :param members: ``service.role`` -> host names (FQDN) that carry it, sorted
    :param dashboard: its URL as browsers know it; empty: the cluster has none
    """

    cluster: str
    credentials: Credentials
    region: str
    interface: str
    members: Mapping[str, tuple[str, ...]]
    dashboard: str = ""

    def direct_url(self, member: str) -> str:
        """Return the Keystone URL of one member, past the load balancer (same port)."""
        parts = urlsplit(self.credentials.url)
        return parts._replace(netloc=f"{member}:{parts.port or 5000}").geturl()


def target(pillar: Mapping[str, Any]) -> Target:
    """Make a target of the pillar of the node with the role ``openstack.client``.

    :param pillar: with ``openstack:client`` (decrypted) and ``topology``
    :raises PreflightError: the pillar lacks something
    """
    topology = pillar.get("topology") or {}
    client = (pillar.get("openstack") or {}).get("client") or {}
    auth = client.get("auth") or {}
    for key in ("url", "password"):
        if not auth.get(key):
            raise PreflightError(
                f"the pillar has no openstack:client:auth:{key}",
                where=f"cluster {topology.get('cluster', '?')}",
                cure=f"Include service.openstack.client for the node with role {ROLE}",
            )
    names = ("username", "project", "user_domain", "project_domain")
    given = {name: auth[name] for name in names if name in auth}
    credentials = Credentials(
        url=auth["url"],
        password=auth["password"],
        cacert=auth.get("cacert", "/etc/saltern/pki/ca.crt"),
        **{"username": "admin", **given},
    )
    return Target(
        cluster=str(topology.get("cluster", "")),
        credentials=credentials,
        region=client.get("region", "RegionOne"),
        interface=auth.get("interface", "public"),
        members={role: tuple(sorted(ids)) for role, ids in (topology.get("roles") or {}).items()},
    )
