"""
A host's key and certificate: whom it names, how long it is good, whether it fits its key and
authority; the request for a new one, and the installation of what the authority answers.
The state ``pki_host``, the runner ``pki`` and health checks use them.

:depends: cryptography
"""

from __future__ import annotations

import datetime
import grp
import json
import os
import tempfile

import salt.utils.files
from salt.exceptions import CommandExecutionError

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
except ImportError:
    x509 = None

_DIRECTORY = "/etc/saltern/pki"
#: file -> mode; what the group may read belongs to it
_FILES = {"ca.crt": 0o644, "host.crt": 0o644, "host.key": 0o640, "host.pem": 0o640}
#: a signing request that waits for the authority, and how to install its answer
_PENDING = "host.request"


def __virtual__():
    return True if x509 else (False, "The cryptography library is missing")


def _home(directory):
    """The directory given, else the one of the pillar, else the formula's default."""
    host = (__pillar__.get("pki") or {}).get("host") or {}
    return directory or host.get("directory") or _DIRECTORY


def _read(directory, name):
    try:
        with salt.utils.files.fopen(os.path.join(directory, name), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _load(directory, name, loader):
    data = _read(directory, name)
    try:
        return loader(data) if data else None
    except ValueError:
        return None


def _end(cert):
    # not_valid_after_utc came with cryptography 42
    end = getattr(cert, "not_valid_after_utc", None)
    return end or cert.not_valid_after.replace(tzinfo=datetime.timezone.utc)


def _days(cert):
    return (_end(cert) - datetime.datetime.now(tz=datetime.timezone.utc)).days


def _signed_by(cert, authority):
    try:
        cert.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _write(path, text, mode, gid):
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchown(handle, 0, gid)
            os.fchmod(handle, mode)
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def request(
    names, addresses, directory=None, group="ssl-cert", trust=None, key_algo="ec", key_size=256
):
    """
    Return a signing request, and the host's key made first when there is none:
    ``{"csr": PEM, "key_made": bool, "new": bool}``. The request waits in the directory until
    :py:func:`install` got its answer; the key never leaves the host.

    names, addresses
        Lists of what the certificate must name.

    directory, group, trust, key_algo, key_size
        As for the state ``pki_host.managed``.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test pki_host.request '[ctl01.example.test]' '[192.0.2.1]'
    """
    directory = _home(directory)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    key = os.path.join(directory, "host.key")
    made = not os.path.exists(key)
    if made:
        _write(
            key,
            __salt__["x509.create_private_key"](algo=key_algo, keysize=key_size),
            _FILES["host.key"],
            grp.getgrnam(group).gr_gid,
        )
    wanted = {"names": names, "addresses": addresses, "group": group, "trust": trust}
    waiting = {} if made else pending(directory, full=True)
    if {k: v for k, v in waiting.items() if k != "csr"} == wanted:
        return {"csr": waiting["csr"], "key_made": False, "new": False}
    csr = __salt__["x509.create_csr"](
        private_key=key,
        subject={"CN": __opts__["id"]},
        subjectAltName=[f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses],
    )
    _write(os.path.join(directory, _PENDING), json.dumps({**wanted, "csr": csr}), 0o644, 0)
    return {"csr": csr, "key_made": made, "new": True}


def pending(directory=None, full=False):
    """
    Return the signing request that waits for the authority, PEM encoded; empty when none does.

    directory
        As in :py:func:`facts`.

    full
        Return the request with what it asks for, as a mapping.

    CLI Example:

    .. code-block:: bash

        salt '*' pki_host.pending
    """
    data = _read(_home(directory), _PENDING)
    found = json.loads(data) if data else {}
    return found if full else found.get("csr", "")


def install(certificate=None, ca=None, directory=None, group=None, trust=None):
    """
    Write the certificate, its authority and the bundle beside the key, with the right owners;
    returns the list of paths that changed. Without a certificate the present one is kept.

    certificate, ca
        PEM, as :py:func:`pki_ca.sign` answers. Refused unless they fit the key and each other.

    directory
        As in :py:func:`facts`.

    group, trust
        As for the state ``pki_host.managed``; default: those of the waiting request.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test pki_host.install directory=/etc/saltern/pki
    """
    directory = _home(directory)
    waiting = pending(directory, full=True)
    group = group or waiting.get("group") or "ssl-cert"
    trust = trust or waiting.get("trust")
    gid = grp.getgrnam(group).gr_gid
    key = _read(directory, "host.key")
    if key is None:
        raise CommandExecutionError(f"{directory} has no host.key. Apply pki.host first")
    if certificate is None:
        certificate, ca = ((_read(directory, f) or b"").decode() for f in ("host.crt", "ca.crt"))
    else:
        certificate, ca = (text.rstrip("\n") + "\n" for text in (certificate, ca))
        loaded = x509.load_pem_x509_certificate(certificate.encode())
        own = load_pem_private_key(key, password=None).public_key()
        if loaded.public_key() != own:
            raise CommandExecutionError("The certificate does not fit this host's key")
        if not _signed_by(loaded, x509.load_pem_x509_certificate(ca.encode())):
            raise CommandExecutionError("The certificate is not signed by the authority given")
    texts = {"ca.crt": ca, "host.crt": certificate, "host.key": key.decode()}
    texts["host.pem"] = texts["host.crt"] + texts["host.key"]
    paths = {os.path.join(directory, file): file for file in _FILES}
    if trust:
        paths[trust] = "ca.crt"
    changed = []
    for path, file in paths.items():
        mode, owner = _FILES[file], gid if _FILES[file] == 0o640 else 0
        stat = os.stat(path) if os.path.exists(path) else None
        present = stat and (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
        old = _read(*os.path.split(path))
        if old != texts[file].encode() or present != (mode, 0, owner):
            _write(path, texts[file], mode, owner)
            changed.append(path)
    if waiting:
        os.unlink(os.path.join(directory, _PENDING))
    if trust in changed:
        __salt__["cmd.run_all"]("update-ca-certificates", python_shell=False)
    return changed


def facts(directory=None):
    """
    Return what is known about the host's certificate, or ``{}`` when there is none:
    ``names`` and ``addresses`` (sorted), ``subject``, ``not_after`` (ISO 8601, UTC), ``days_left``,
    ``fingerprint`` (SHA-256, hex), ``key_ok`` (the private key fits), ``chain_ok`` (signed by the
    authority in ``ca.crt``), ``bundle_ok`` (``host.pem`` holds this certificate and key),
    ``ca_days_left`` and ``ca_fingerprint``.

    directory
        Where ``host.crt``, ``host.key``, ``host.pem`` and ``ca.crt`` are.
        Default: the pillar's ``pki:host:directory``, else ``/etc/saltern/pki``.

    CLI Example:

    .. code-block:: bash

        salt '*' pki_host.facts
    """
    directory = _home(directory)
    cert = _load(directory, "host.crt", x509.load_pem_x509_certificate)
    if cert is None:
        return {}
    key = _load(directory, "host.key", lambda data: load_pem_private_key(data, password=None))
    authority = _load(directory, "ca.crt", x509.load_pem_x509_certificate)
    try:
        san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = sorted(san.get_values_for_type(x509.DNSName))
        addresses = sorted(str(a) for a in san.get_values_for_type(x509.IPAddress))
    except x509.ExtensionNotFound:
        names, addresses = [], []
    crt, pem = _read(directory, "host.crt"), _read(directory, "host.key")
    return {
        "subject": cert.subject.rfc4514_string(),
        "names": names,
        "addresses": addresses,
        "not_after": _end(cert).isoformat(),
        "days_left": _days(cert),
        "fingerprint": cert.fingerprint(hashes.SHA256()).hex(),
        "key_ok": key is not None and key.public_key() == cert.public_key(),
        "chain_ok": authority is not None and _signed_by(cert, authority),
        "bundle_ok": bool(pem) and _read(directory, "host.pem") == crt + pem,
        "ca_days_left": _days(authority) if authority else None,
        "ca_fingerprint": authority.fingerprint(hashes.SHA256()).hex() if authority else None,
    }


def healthy(days=7, directory=None):
    """
    Tell whether the host's certificate can be used: it fits its key and its authority, names this
    host, and neither it nor the authority ends within ``days``.

    Returns ``{"ok": bool, "sentence": str}``.

    days
        How many days both must still be good for.

    directory
        As in :py:func:`facts`.

    CLI Example:

    .. code-block:: bash

        salt '*' pki_host.healthy
    """
    found = facts(directory)
    if not found:
        return {"ok": False, "sentence": "this host has no certificate; apply pki.host"}
    wrong = []
    if not found["key_ok"]:
        wrong.append("the private key does not fit the certificate")
    if not found["chain_ok"]:
        wrong.append("the certificate is not signed by the authority in ca.crt")
    if not found["bundle_ok"]:
        wrong.append("host.pem differs from certificate and key")
    if __opts__["id"] not in found["names"]:
        wrong.append(f"the certificate does not name {__opts__['id']}")
    if found["days_left"] < days:
        wrong.append(f"the certificate ends in {found['days_left']} days")
    if found["ca_days_left"] is not None and found["ca_days_left"] < days:
        wrong.append(f"the authority's certificate ends in {found['ca_days_left']} days")
    if wrong:
        return {"ok": False, "sentence": "; ".join(wrong)}
    return {"ok": True, "sentence": f"the certificate is good for {found['days_left']} days"}
