"""
A host's key and certificate, signed by the authority of its cluster.

Salt's own ``x509.certificate_managed(ca_server=…)`` asks the authority at every run, so that no
host could be converged while the authority is away, and leaves the names to the request. This
state asks only when a certificate is needed, and the authority grants names by the model
(:py:func:`pki_ca.sign`).
"""

from __future__ import annotations

import grp
import ipaddress
import os
import tempfile

from salt.exceptions import CommandExecutionError

_FILES = {"ca.crt": 0o644, "host.crt": 0o644, "host.key": 0o640, "host.pem": 0o640}


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


def _sign(csr, ca_server, timeout):
    if ca_server is None:
        return __salt__["pki_ca.sign"](csr)
    answer = __salt__["publish.publish"](
        ca_server, "pki_ca.sign", arg=[{"csr": csr, "__kwarg__": True}], timeout=timeout
    )
    signed = answer.get(ca_server) if isinstance(answer, dict) else answer
    if isinstance(signed, dict) and {"certificate", "ca"} <= set(signed):
        return signed
    if signed:
        raise CommandExecutionError(f"The authority {ca_server} did not sign: {signed}")
    raise CommandExecutionError(
        f"The authority {ca_server} did not answer within {timeout} seconds. Check that its minion"
        " runs, and that the master lets hosts publish pki_ca.sign"
    )


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
    timeout=60,
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
        Minion id of the authority; ``None`` signs with the authority on this host.

    key_algo, key_size
        ``ec`` with 256, 384, 521 or ``rsa`` with 2048, 3072, 4096 bits. Only for a new key.

    days_remaining
        A certificate that ends in fewer days is renewed.

    timeout
        Seconds to wait for the authority.

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
    try:
        gid = grp.getgrnam(group).gr_gid
        key = _text(os.path.join(name, "host.key"))
        if key is None:
            key = __salt__["x509.create_private_key"](algo=key_algo, keysize=key_size)
            os.makedirs(name, mode=0o755, exist_ok=True)
            _write(os.path.join(name, "host.key"), key, _FILES["host.key"], gid)
            ret["changes"]["key"] = {"old": None, "new": f"{key_algo} {key_size}"}
        texts = {"host.key": key}
        if why:
            csr = __salt__["x509.create_csr"](
                private_key=os.path.join(name, "host.key"),
                subject={"CN": __opts__["id"]},
                subjectAltName=[f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses],
            )
            signed = _sign(csr, ca_server, timeout)
            texts["ca.crt"] = signed["ca"]
            texts["host.crt"] = signed["certificate"].rstrip("\n") + "\n"
        else:
            texts["ca.crt"] = _text(os.path.join(name, "ca.crt"))
            texts["host.crt"] = _text(os.path.join(name, "host.crt"))
        texts["host.pem"] = texts["host.crt"] + key
        paths = {os.path.join(name, file): file for file in _FILES}
        if trust:
            paths[trust] = "ca.crt"
        for path, file in paths.items():
            mode, owner = _FILES[file], gid if _FILES[file] == 0o640 else 0
            stat = os.stat(path) if os.path.exists(path) else None
            present = stat and (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
            if _text(path) != texts[file] or present != (mode, 0, owner):
                _write(path, texts[file], mode, owner)
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
    _write(name, wanted + "\n", 0o644, 0)
    ret["comment"] = "The certificate is new to this service."
    return ret
