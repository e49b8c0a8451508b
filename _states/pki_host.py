"""
A host's key and certificate, signed by the authority of its cluster.

Salt's own ``x509.certificate_managed(ca_server=…)`` asks the authority at every run, through the
master, which holds one of its workers for each host that asks. This state asks only when a
certificate is needed, by leaving a request; the runner ``pki.form`` carries the requests of all
hosts to the authority at once, which grants names by the model (:py:func:`pki_ca.sign`).
"""

from __future__ import annotations

import ipaddress
import os

import salt.utils.atomicfile
from salt.exceptions import CommandExecutionError


def _needed(facts, names, addresses, days_remaining, ca_fingerprint):
    """Why a new certificate is needed; empty when the present one will do."""
    if not facts:
        return ["there is none"]
    why = []
    if not facts["key_ok"]:
        why.append("it does not fit the private key")
    if not facts["chain_ok"] or (ca_fingerprint and facts["ca_fingerprint"] != ca_fingerprint):
        why.append("it is not signed by the present authority")
    if (facts["names"], facts["addresses"]) != (names, addresses):
        why.append(f"it should name {', '.join(names + addresses)}")
    if facts["days_left"] < days_remaining:
        why.append(f"it ends in {facts['days_left']} days")
    if facts["ca_days_left"] is not None and facts["ca_days_left"] < days_remaining:
        why.append(f"its authority ends in {facts['ca_days_left']} days")
    return why


def _text(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def managed(
    name,
    dns_names,
    addresses,
    ca_server=None,
    key_algo="ec",
    key_size=256,
    days_remaining=30,
    group="ssl-cert",
    trust=None,
):
    """
    Keep ``ca.crt``, ``host.crt``, ``host.key`` and ``host.pem`` (certificate and key) in a
    directory. The key is made once and never leaves the host.

    name
        The directory.

    dns_names, addresses
        Lists of what the certificate must name, no more and no less.

    ca_server
        Minion id of the authority, which answers by ``salt-run pki.form``; ``None`` signs with
        the authority on this host.

    key_algo, key_size
        ``ec`` with 256, 384, 521 or ``rsa`` with 2048, 3072, 4096 bits. Only for a new key.

    days_remaining
        A certificate that ends in fewer days is renewed.

    group
        Group that may read ``host.key`` and ``host.pem``.

    trust
        A second path the authority's certificate is written to (the system's trust store).
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    addresses = sorted({str(ipaddress.ip_address(address)) for address in addresses})
    names = sorted(set(dns_names))
    try:
        authority = __salt__["pki_ca.certificate"]() if ca_server is None else None
    except CommandExecutionError as error:
        if not __opts__["test"]:
            return {**ret, "result": False, "comment": str(error)}
        authority = None
    fingerprint = (
        __salt__["x509.read_certificate"](authority)["fingerprints"]["sha256"] if authority else ""
    )
    facts = __salt__["pki_host.facts"](name)
    why = _needed(facts, names, addresses, days_remaining, fingerprint.replace(":", "").lower())
    if __opts__["test"]:
        if why:
            ret["result"] = None
            ret["changes"] = {"certificate": {"old": facts.get("not_after"), "new": "signed anew"}}
            ret["comment"] = f"A certificate would be signed: {'; '.join(why)}."
        else:
            ret["comment"] = f"The certificate is good for {facts['days_left']} days."
        return ret
    signed = {}
    try:
        if why:
            asked = __salt__["pki_host.request"](
                names, addresses, name, group, trust, key_algo, key_size
            )
            if asked["key_made"]:
                ret["changes"]["key"] = {"old": None, "new": f"{key_algo} {key_size}"}
            if ca_server is not None:
                if asked["new"]:
                    ret["changes"]["request"] = {"old": None, "new": ", ".join(names + addresses)}
                ret["comment"] = (
                    f"The authority {ca_server} is asked for a certificate ({'; '.join(why)});"
                    " salt-run pki.form brings it."
                )
                return ret
            signed = __salt__["pki_ca.sign"](asked["csr"])
        for path in __salt__["pki_host.install"](
            signed.get("certificate"), signed.get("ca"), name, group, trust
        ):
            ret["changes"][path] = "written"
    except (CommandExecutionError, KeyError, OSError) as error:
        return {**ret, "result": False, "comment": str(error)}
    after = __salt__["pki_host.facts"](name)
    wrong = _needed(after, names, addresses, 0, "")
    if wrong:
        ret["result"] = False
        ret["comment"] = f"The certificate cannot be used: {'; '.join(wrong)}."
        return ret
    if why:
        ret["changes"]["certificate"] = {
            "old": facts.get("not_after"),
            "new": after["not_after"],
        }
    reason = f" Signed anew: {'; '.join(why)}." if why else ""
    ret["comment"] = f"The certificate is good for {after['days_left']} days.{reason}"
    return ret


def stamp(name, directory="/etc/saltern/pki"):
    """
    Keep the fingerprint of the host's certificate in a file. A service that loads the certificate
    at its start watches this state, and so reloads once after a renewal, whichever run renewed it.

    name
        Path of the file.

    directory
        Where the certificate is.

    .. code-block:: yaml

        nginx-server-certificate:
          pki_host.stamp:
            - name: /etc/nginx/certificate.sha256
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "The certificate is known."}
    wanted = __salt__["pki_host.facts"](directory).get("fingerprint")
    old = (_text(name) or "").strip() or None
    if wanted is None and not __opts__["test"]:
        ret["result"] = False
        ret["comment"] = f"There is no certificate in {directory}. Apply pki.host first."
        return ret
    if old == wanted:
        return ret
    ret["changes"] = {"fingerprint": {"old": old, "new": wanted}}
    if __opts__["test"]:
        ret["result"], ret["comment"] = None, "The certificate would be noted."
        return ret
    os.makedirs(os.path.dirname(name), exist_ok=True)
    with salt.utils.atomicfile.atomic_open(name, "w") as file:
        file.write(wanted + "\n")
    os.chmod(name, 0o644)
    ret["comment"] = "The certificate is new to this service."
    return ret
