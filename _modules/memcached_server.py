"""Facts about the memcached server of this host, asked over its own TLS port."""

from __future__ import annotations

import socket
import ssl

from salt.exceptions import CommandExecutionError

#: seconds that a connection, and each answer, may take
TIMEOUT = 5.0


def _address():
    return __pillar__.get("host", {}).get("address") or "127.0.0.1"


def version(address=None, port=11211, ca="/etc/saltern/pki/ca.crt"):
    """
    The version that the server reports over TLS, its certificate verified.

    Source: memcached, doc/protocol.txt, command ``version``.

    address
        where the server listens; default: the host's own address
    port
        TCP port
    ca
        path of the CA certificate that the server's certificate must be signed by

    Raises ``CommandExecutionError`` when the server does not answer as memcached does.

    CLI Example:

    .. code-block:: bash

        salt inf01.demo-core.test memcached_server.version
    """
    address = address or _address()
    try:
        context = ssl.create_default_context(cafile=ca)
        with (
            socket.create_connection((address, int(port)), TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=address) as tls,
        ):
            tls.sendall(b"version\r\n")
            answer = tls.recv(128).decode("ascii", "replace").strip()
    except OSError as err:
        raise CommandExecutionError(
            f"memcached at {address}:{port} does not answer over TLS: {err}"
        ) from err
    if not answer.startswith("VERSION "):
        raise CommandExecutionError(f"{address}:{port} answers, but not as memcached: {answer!r}")
    return answer.partition(" ")[2]


def healthy(address=None, port=11211, ca="/etc/saltern/pki/ca.crt"):
    """
    Whether the server answers over TLS.

    address, port, ca
        as for ``memcached_server.version``

    Returns ``{"ok": bool, "sentence": str}``.

    CLI Example:

    .. code-block:: bash

        salt inf01.demo-core.test memcached_server.healthy
    """
    try:
        answer = version(address, port, ca)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    return {"ok": True, "sentence": f"memcached {answer} answers over TLS."}
