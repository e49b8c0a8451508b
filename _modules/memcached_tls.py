"""Talk to the local memcached over verified TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import uuid

from salt.exceptions import CommandExecutionError

CA = "/etc/saltern/pki/ca.crt"
PORT = 11211


def stats(timeout=5):
    """Return the server's own figures.

    :param timeout: seconds
    :returns: ``{name: text}``
    :raises CommandExecutionError: it does not answer over TLS

    CLI Example:

    .. code-block:: bash

        salt 'inf*' memcached_tls.stats
    """
    with _connection(timeout) as stream:
        lines = _ask(stream, b"stats\r\n", b"END\r\n").splitlines()
    found = (line.split(" ", 2) for line in lines if line.startswith("STAT "))
    return {name: value for _, name, value in found}


def healthy(timeout=5):
    """Store a value, read it back and delete it.

    :param timeout: seconds
    :returns: ``{ok, sentence}``

    CLI Example:

    .. code-block:: bash

        salt 'inf*' memcached_tls.healthy
    """
    key, value = f"saltern.{uuid.uuid4().hex}", uuid.uuid4().hex
    try:
        with _connection(timeout) as stream:
            stored = _ask(stream, f"set {key} 0 30 {len(value)}\r\n{value}\r\n".encode(), b"\r\n")
            got = _ask(stream, f"get {key}\r\n".encode(), b"END\r\n")
            _ask(stream, f"delete {key}\r\n".encode(), b"\r\n")
            cipher = stream.version()
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    if stored.strip() != "STORED" or value not in got:
        return {"ok": False, "sentence": f"A stored value did not come back ({stored.strip()})."}
    return {"ok": True, "sentence": f"A value was stored and read back over {cipher}."}


@contextlib.contextmanager
def _connection(timeout):
    host = __pillar__.get("host", {}).get("fqdn") or __grains__["id"]
    server = __pillar__.get("memcached", {}).get("server", {})
    address = server.get("bind") or __pillar__.get("host", {}).get("address") or host
    port = server.get("port", PORT)
    try:
        context = ssl.create_default_context(cafile=server.get("tls", {}).get("ca", CA))
        with (
            socket.create_connection((address, port), timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as stream,
        ):
            yield stream
    except OSError as err:
        raise CommandExecutionError(f"memcached on {address}:{port}: {err}") from err


def _ask(stream, request, end):
    stream.sendall(request)
    answer = b""
    while not answer.endswith(end):
        chunk = stream.recv(65536)
        if not chunk:
            raise CommandExecutionError("memcached closed the connection.")
        answer += chunk
    return answer.decode(errors="replace")
