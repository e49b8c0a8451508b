"""
The internal certificate authority of a cluster: signs the certificates of its hosts.

The master carries the hosts' requests here (runner ``pki.form``); no host may call another.

Names are granted by the model, not by the request: a host gets a certificate for its own names
and addresses, and for those the pillar ``pki:ca:requests`` gives it, and for nothing else.

:depends: cryptography
"""

from __future__ import annotations

import datetime
import logging
import os

import salt.utils.files
from salt.exceptions import CommandExecutionError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )
except ImportError:
    x509 = None

log = logging.getLogger(__name__)

_DIRECTORY = "/etc/saltern/ca"
_DAYS_VALID = 365


def __virtual__():
    return True if x509 else (False, "The cryptography library is missing")


def _setting(key, default):
    return ((__pillar__.get("pki") or {}).get("ca") or {}).get(key, default)


def _path(name):
    return os.path.join(_setting("directory", _DIRECTORY), name)


def _load_csr(csr):
    try:
        request = x509.load_pem_x509_csr(csr.encode())
    except ValueError as error:
        raise CommandExecutionError("The signing request is not a PEM encoded request") from error
    if not request.is_signature_valid:
        raise CommandExecutionError("The signing request is not signed by its own key")
    return request


def granted(node):
    """
    Return what a host may be called: ``{"names": [...], "addresses": [...]}``, sorted.

    node
        Minion id of the host. It must be in the pillar's ``topology``, or be this host.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test pki_ca.granted ctl01.example.test
    """
    data = ((__pillar__.get("topology") or {}).get("nodes") or {}).get(node)
    if data is None:
        raise CommandExecutionError(
            f"The model has no host {node}, so nothing is signed for it. Add it to the cluster"
        )
    names, addresses = {node, data["name"]}, {data["address"]}
    for request in _setting("requests", []):
        if request["node"] == node:
            names.update(request.get("names") or [])
            addresses.update(request.get("addresses") or [])
    return {"names": sorted(names), "addresses": sorted(addresses)}


def certificate():
    """
    Return the authority's own certificate, PEM encoded.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test pki_ca.certificate
    """
    try:
        with salt.utils.files.fopen(_path("ca.crt"), encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise CommandExecutionError(
            f"{_path('ca.crt')}: {error.strerror}. Apply pki.ca on this host first"
        ) from error


def sign(csr, node=None):
    """
    Sign a host's request; returns ``{"certificate": PEM, "ca": PEM}``.

    Raises CommandExecutionError when the request names something the model does not grant the
    host.

    csr
        The signing request, PEM encoded, with a subjectAltName of ``DNS`` and ``IP`` entries.

    node
        Minion id of the host it came from. Default: this host, which may have any name.

    CLI Example:

    .. code-block:: bash

        salt-call pki_ca.sign "$(cat host.csr)"
    """
    request = _load_csr(csr)
    remote = node is not None
    node = node or __opts__["id"]
    try:
        san = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise CommandExecutionError("The signing request has no subjectAltName") from error
    names = san.get_values_for_type(x509.DNSName)
    addresses = [str(address) for address in san.get_values_for_type(x509.IPAddress)]
    if len(names) + len(addresses) != len(list(san)):
        raise CommandExecutionError("The signing request names more than DNS and IP entries")
    if remote:
        allowed = granted(node)
        extra = sorted(
            (set(names) - set(allowed["names"])) | (set(addresses) - set(allowed["addresses"]))
        )
        if extra:
            raise CommandExecutionError(
                f"{node} asks for a certificate for {', '.join(extra)}, which the model does not"
                " grant it. Correct pki:host in its classes"
            )
    usage = ["critical", "digitalSignature"]
    if isinstance(request.public_key(), rsa.RSAPublicKey):
        usage.append("keyEncipherment")
    # An hour back: the clocks of the hosts may differ.
    start = datetime.datetime.now(tz=datetime.timezone.utc) - datetime.timedelta(hours=1)
    # Only the public key is taken from the request, never one of its extensions.
    pem = __salt__["x509.create_certificate"](
        public_key=request.public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        signing_private_key=_path("ca.key"),
        signing_cert=_path("ca.crt"),
        subject={"CN": node},
        subjectAltName=[f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses],
        basicConstraints="critical, CA:false",
        keyUsage=", ".join(usage),
        extendedKeyUsage="serverAuth, clientAuth",
        subjectKeyIdentifier="hash",
        authorityKeyIdentifier="keyid",
        not_before=start.strftime("%Y-%m-%d %H:%M:%S"),
        days_valid=_setting("host_days_valid", _DAYS_VALID),
        copypath=_path("issued"),
        prepend_cn=True,
    )
    log.info("Signed a certificate for %s: %s", node, ", ".join(names + addresses))
    return {"certificate": pem, "ca": certificate()}


def sign_all(requests):
    """
    Sign the requests of several hosts; returns by host what :py:func:`sign` answers, or
    ``{"error": sentence}``.

    requests
        Mapping of minion id to signing request, PEM encoded.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test pki_ca.sign_all '{ctl01.example.test: "-----BEGIN …"}'
    """
    answers = {}
    for node, csr in requests.items():
        try:
            answers[node] = sign(csr, node)
        except CommandExecutionError as error:
            answers[node] = {"error": str(error)}
    return answers


def healthy(days=30):
    """
    Tell whether the authority can sign: its key fits its certificate, which does not end soon.

    Returns ``{"ok": bool, "sentence": str}``.

    days
        How many days the certificate must still be good for.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test pki_ca.healthy
    """
    cert = x509.load_pem_x509_certificate(certificate().encode())
    with salt.utils.files.fopen(_path("ca.key"), "rb") as file:
        key = load_pem_private_key(file.read(), password=None)
    end = getattr(cert, "not_valid_after_utc", None) or cert.not_valid_after.replace(
        tzinfo=datetime.timezone.utc
    )
    left = (end - datetime.datetime.now(tz=datetime.timezone.utc)).days
    if key.public_key() != cert.public_key():
        return {"ok": False, "sentence": "the authority's key does not fit its certificate"}
    return {"ok": left >= days, "sentence": f"the authority's certificate ends in {left} days"}
