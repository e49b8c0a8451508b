"""A host's certificate is trusted, names what it must, and its key is guarded."""

from __future__ import annotations

import pytest
from testinfra.host import Host

PKI = "/etc/saltern/pki"


def test_the_certificate_is_signed_by_the_authority(host: Host) -> None:
    checked = host.run(
        f"openssl verify -x509_strict -purpose sslserver -CAfile {PKI}/ca.crt {PKI}/host.crt"
    )
    assert checked.rc == 0, checked.stderr


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("host", "host.kitchen.test"),
        ("host", "host"),
        ("host", "api.kitchen.test"),
        ("ip", "192.0.2.10"),
    ],
)
def test_the_certificate_names(host: Host, kind: str, name: str) -> None:
    shown = host.check_output(f"openssl x509 -in {PKI}/host.crt -noout -check{kind} {name}")
    assert "does match" in shown


def test_the_certificate_names_the_host_address(host: Host) -> None:
    address = host.interface("eth0").addresses[0]
    shown = host.check_output(f"openssl x509 -in {PKI}/host.crt -noout -checkip {address}")
    assert "does match" in shown


def test_the_key_belongs_to_the_certificate(host: Host) -> None:
    of_key = host.check_output(f"openssl pkey -in {PKI}/host.key -pubout")
    of_certificate = host.check_output(f"openssl x509 -in {PKI}/host.crt -noout -pubkey")
    assert of_key == of_certificate
    bundle = host.file(f"{PKI}/host.pem").content_string
    assert host.file(f"{PKI}/host.key").content_string.strip() in bundle
    assert host.file(f"{PKI}/host.crt").content_string.strip() in bundle


@pytest.mark.parametrize("name", ["host.key", "host.pem"])
def test_only_the_group_reads_the_key(host: Host, name: str) -> None:
    file = host.file(f"{PKI}/{name}")
    assert (file.user, file.group, file.mode) == ("root", "ssl-cert", 0o640)
    assert host.run(f"setpriv --reuid=65534 --clear-groups cat {PKI}/{name}").rc != 0


def test_programs_trust_the_authority(host: Host) -> None:
    """Through the system's trust store, so that a client needs no option."""
    checked = host.run(f"openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt {PKI}/host.crt")
    assert checked.rc == 0, checked.stderr
