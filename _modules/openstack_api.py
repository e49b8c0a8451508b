"""
The connection to the OpenStack APIs that the other ``openstack_*`` modules share.

Needs ``openstacksdk`` in the minion's Python and a ``clouds.yaml`` with administrator
credentials (``/etc/openstack/clouds.yaml``; the minion option ``openstack.clouds_file`` names
another one). One connection is kept per run, in ``__context__``.

No function returns, logs or raises with a password in it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from typing import TYPE_CHECKING, Any

from salt.exceptions import CommandExecutionError

try:
    import keystoneauth1.exceptions
    import keystoneauth1.identity.v3
    import keystoneauth1.session
    import openstack
    import openstack.config
    import openstack.exceptions

    HAS_SDK = True
except ImportError:
    HAS_SDK = False

if TYPE_CHECKING:
    from collections.abc import Iterator

    __context__: dict[str, Any]
    __opts__: dict[str, Any]

CLOUDS_FILE = "/etc/openstack/clouds.yaml"
CONNECTIONS = "openstack_api.connections"
#: What urllib3 wraps around a reason.
WRAPPED = re.compile(r": HTTPS?ConnectionPool\(.*\(Caused by \w+\([\"'](?:<[^>]*>: )?(.*)[\"']\)+$")


def __virtual__() -> bool | tuple[bool, str]:
    if HAS_SDK:
        return True
    return False, "openstack_api needs openstacksdk in the Python that runs Salt"


def _error(sentence: str, pending: bool) -> CommandExecutionError:
    error = CommandExecutionError(sentence)
    error.pending = pending
    return error


@contextlib.contextmanager
def spoken(doing: str) -> Iterator[None]:
    """
    Turn what the SDK raises into one sentence; for other execution modules, in ``with``.

    The error's attribute ``pending`` is true for what an earlier step of the same run may cure (the
    API is not up yet), so that test mode can tell it from a refusal.

    CLI Example:

    .. code-block:: bash

        salt-call openstack_api.spoken "look up a project"

    doing
        What is being done, as it follows "Cannot".

    :raises CommandExecutionError: instead of any error of the SDK
    """
    try:
        yield
    except (openstack.exceptions.SDKException, keystoneauth1.exceptions.ClientException) as err:
        pending = isinstance(
            err,
            (
                keystoneauth1.exceptions.ConnectFailure,
                keystoneauth1.exceptions.CatalogException,
                keystoneauth1.exceptions.DiscoveryFailure,
                openstack.exceptions.ConfigException,
            ),
        )
        text = WRAPPED.sub(r": \1", " ".join(str(err).split()))
        raise _error(f"Cannot {doing}: {text}", pending) from None


def connection(cloud: str = "admin") -> Any:
    """
    Return the run's SDK connection; for other execution modules.

    CLI Example:

    .. code-block:: bash

        salt-call openstack_api.connection

    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: clouds.yaml cannot be read or has no such entry
    """
    path = __opts__.get("openstack.clouds_file", CLOUDS_FILE)
    try:
        version = os.stat(path).st_mtime_ns
    except OSError as err:
        raise _error(f"{path} cannot be read: {err.strerror}", pending=True) from None
    kept = __context__.setdefault(CONNECTIONS, {})
    if (path, cloud) not in kept or kept[path, cloud][0] != version:
        # At debug level these write request bodies, and a user's body holds the password.
        for name in ("keystoneauth", "openstack"):
            logging.getLogger(name).setLevel(logging.INFO)
        with spoken(f"read cloud {cloud!r} from {path}"):
            config = openstack.config.OpenStackConfig(
                config_files=[path], secure_files=[], vendor_files=[], load_envvars=False
            )
            made = openstack.connection.Connection(config=config.get_one(cloud=cloud))
        kept[path, cloud] = (version, made)
    return kept[path, cloud][1]


def reconnect() -> None:
    """
    Forget the kept connections: a connection keeps the catalogue that it began with.

    CLI Example:

    .. code-block:: bash

        salt-call openstack_api.reconnect
    """
    __context__.pop(CONNECTIONS, None)


def reachable(cloud: str = "admin") -> dict[str, Any]:
    """
    Authenticate and list the catalogue: is the control plane there for this host?

    Returns ``{"ok": bool, "sentence": str}`` and never raises, so it serves as a health check.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_api.reachable

    cloud
        Entry of clouds.yaml.
    """
    try:
        conn = connection(cloud)
        with spoken("authenticate with Keystone"):
            conn.session.invalidate()
            conn.authorize()
            services = [item.name for item in conn.identity.services()]
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    return {"ok": True, "sentence": f"Keystone answers; services: {', '.join(services)}."}


def password_works(name: str, password: str, domain: str = "Default", cloud: str = "admin") -> bool:
    """
    Tell whether a user can authenticate with a password.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_api.password_works alice "$PASSWORD"

    name, domain
        The user; names, not ids.
    password
        The password to try. It is neither logged nor returned.
    cloud
        Entry of clouds.yaml, which gives the URL and the CA.

    :raises CommandExecutionError: Keystone cannot be asked
    """
    conn = connection(cloud)
    plugin = keystoneauth1.identity.v3.Password(
        auth_url=conn.config.get_auth_args()["auth_url"],
        username=name,
        password=password,
        user_domain_name=domain,
        unscoped=True,
    )
    session = keystoneauth1.session.Session(verify=conn.session.verify, timeout=60)
    with spoken(f"authenticate as user {name!r}"):
        try:
            return bool(plugin.get_token(session))
        except keystoneauth1.exceptions.Unauthorized:
            return False
