"""
Facts of a host's certificate: whom it names, how long it is good, whether it fits its key and
authority. The state ``pki_host`` and health checks read them.

:depends: cryptography
"""

from __future__ import annotations

import datetime
import os

import salt.utils.files

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
except ImportError:
    x509 = None

_DIRECTORY = "/etc/saltern/pki"


def __virtual__():
    return True if x509 else (False, "The cryptography library is missing")


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


def facts(directory=None):
    """
    Return what is known about the host's certificate, or ``{}`` when there is none:
    ``names`` and ``addresses`` (sorted), ``subject``, ``not_after`` (ISO 8601, UTC), ``days_left``,
    ``fingerprint`` (SHA-256, hex), ``key_ok`` (the private key fits), ``chain_ok`` (signed by the
    authority in ``ca.crt``), ``bundle_ok`` (``host.pem`` holds this certificate and key),
    ``ca_days_left`` and ``ca_fingerprint``.

    directory
        Where ``host.crt``, ``host.key``, ``host.pem`` and ``ca.crt`` are.
        Default ``/etc/saltern/pki``.

    CLI Example:

    .. code-block:: bash

        salt '*' pki_host.facts
    """
    directory = directory or _DIRECTORY
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
