"""
libvirt of this host: its networks, its secrets, and whether it can start guests
================================================================================

Everything goes through ``virsh``. The state ``libvirt_host`` and health checks use it.

:depends: cryptography
"""

import os
import re
import subprocess
import tempfile
import time

from salt.exceptions import CommandExecutionError

try:
    from cryptography import x509
except ImportError:
    x509 = None

__virtualname__ = "libvirt_host"

_URI = "qemu:///system"
_TIMEOUT = 60
# What the role configures of a socket.
_SOCKET = "/etc/systemd/system/{}.d/saltern.conf"
_DEFINITION = """<secret ephemeral='no' private='no'>
  <uuid>{uuid}</uuid>
  <usage type='ceph'><name>{usage}</name></usage>
</secret>
"""


def __virtual__():
    return __virtualname__ if x509 else (False, "The cryptography library is missing")


def _run(*command):
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
    except FileNotFoundError as err:
        raise CommandExecutionError(
            f"{command[0]} is not installed: apply libvirt.server first."
        ) from err
    except subprocess.TimeoutExpired as err:
        raise CommandExecutionError(f"{command[0]} did not end in {_TIMEOUT} s.") from err
    if done.returncode:
        reason = " ".join(done.stderr.split()) or "failed"
        raise CommandExecutionError(f"{command[0]}: {reason[:300]}")
    return done.stdout


def _virsh(*arguments, uri=_URI):
    return _run("virsh", "--quiet", "--connect", uri, *arguments)


def stale(unit):
    """
    Tell whether a socket was configured after systemd had opened it.

    unit
        Of the socket, such as ``libvirtd-tls.socket``

    CLI Example:

    .. code-block:: bash

        salt 'cmp*' libvirt_host.stale libvirtd-tls.socket
    """
    shown = _run("systemctl", "show", unit, "--property=ActiveEnterTimestampMonotonic")
    since = int(shown.strip().rpartition("=")[2] or 0) / 1_000_000
    started = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + since
    try:
        return os.path.getmtime(_SOCKET.format(unit)) > started
    except FileNotFoundError:
        return False


def unusable(path):
    """
    Tell in one sentence why libvirt and QEMU would not begin with a certificate; empty: they would.

    path
        Of the certificate, PEM encoded

    They look whether the key may encipher keys, which a certificate says of an RSA key only.

    CLI Example:

    .. code-block:: bash

        salt 'cmp*' libvirt_host.unusable /etc/saltern/pki/host.crt
    """
    try:
        with open(path, "rb") as file:
            found = x509.load_pem_x509_certificate(file.read())
    except OSError as err:
        raise CommandExecutionError(f"{path}: {err.strerror}. Apply pki.host first.") from err
    except ValueError as err:
        raise CommandExecutionError(f"{path} is no certificate.") from err
    try:
        usage = found.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        return ""
    if usage.value.key_encipherment or not usage.critical:
        return ""
    return (
        f"{path} is of a key that may not encipher keys, and libvirt refuses to begin with it: set"
        " pki:host:key to {algo: rsa, size: 3072}, remove host.key beside it and apply pki.host."
    )


def networks():
    """
    Return the names of all networks that libvirt knows, also of those that do not run.

    Raises CommandExecutionError when libvirt does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'cmp*' libvirt_host.networks
    """
    return sorted(_virsh("net-list", "--all", "--name").split())


def remove_network(name):
    """
    Stop a network and forget it.

    name
        Of the network

    Raises CommandExecutionError when libvirt refuses.

    CLI Example:

    .. code-block:: bash

        salt 'cmp*' libvirt_host.remove_network default
    """
    if name in _virsh("net-list", "--name").split():
        _virsh("net-destroy", name)
    _virsh("net-undefine", name)


def secret(uuid):
    """
    Return ``{"usage", "key"}`` of a secret for disks in Ceph; None when there is none.

    uuid
        Of the secret

    Raises CommandExecutionError when libvirt does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'cmp*' libvirt_host.secret 0c9a3a4e-5e0d-4b7a-8a55-2b1c7d9e6f14
    """
    known = dict(
        [*line.split(None, 1), ""][:2] for line in _virsh("secret-list").splitlines() if line
    )
    if uuid not in known:
        return None
    try:
        value = _virsh("secret-get-value", uuid).strip()
    except CommandExecutionError:
        value = None  # defined, and never given a value
    return {"usage": known[uuid].removeprefix("ceph").strip(), "key": value}


def set_secret(uuid, usage, key):
    """
    Define a secret for disks in Ceph and give it its value.

    uuid
        Of the secret
    usage
        What it is for, ``client.nova``
    key
        A CephX key; it is on no command line and in no log

    Raises CommandExecutionError when libvirt refuses.

    CLI Example: none, a key does not belong on a command line.
    """
    with tempfile.TemporaryDirectory(dir="/run") as directory:
        definition, value = os.path.join(directory, "secret.xml"), os.path.join(directory, "value")
        for path, text in ((definition, _DEFINITION.format(uuid=uuid, usage=usage)), (value, key)):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        _virsh("secret-define", definition)
        _virsh("secret-set-value", uuid, "--file", value)


def emulators():
    """
    Return what this host can run, by architecture: ``{"x86_64": ["qemu", "kvm"]}``.

    Raises CommandExecutionError when libvirt does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'cmp*' libvirt_host.emulators
    """
    found = {}
    for guest in re.findall(r"<guest>.*?</guest>", _virsh("capabilities"), re.DOTALL):
        arch = re.search(r"<arch name='([^']+)'", guest)[1]
        found.setdefault(arch, set()).update(re.findall(r"<domain type='([^']+)'", guest))
    return {arch: sorted(kinds) for arch, kinds in found.items()}


def healthy():
    """
    Check that libvirt can run guests, and that it answers over TLS as a host it migrates to does.

    Returns ``{"ok": bool, "sentence": str}``.

    CLI Example:

    .. code-block:: bash

        salt 'cmp*' libvirt_host.healthy
    """
    server = (__pillar__.get("libvirt") or {}).get("server") or {}
    port = (server.get("listen") or {}).get("port", 16514)
    try:
        kinds = emulators().get(__grains__["cpuarch"], [])
        if not kinds:
            return {"ok": False, "sentence": "libvirt knows no emulator for this host's processor."}
        told = f"libvirt runs guests with {', '.join(kinds)}"
        if port is None:
            return {"ok": True, "sentence": f"{told}; it is not reached over the network."}
        name = (__pillar__.get("host") or {}).get("fqdn") or __grains__["id"]
        _virsh("version", uri=f"qemu+tls://{name}:{port}/system")
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    return {"ok": True, "sentence": f"{told}, and answers over TLS."}
