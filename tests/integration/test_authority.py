"""A host gets its certificate from the authority through a real master, and only its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from saltern.adapters.salt_bus import SaltBus
from saltern.errors import StageError
from saltern.rollout.pki import certify
from tests.support import TREE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="certificates are handed to root")

AUTHORITY, WEB = "ca.pki.test", "web.pki.test"
NAMES, ADDRESSES = ["api.pki.test", "web", WEB], ["192.0.2.1", "192.0.2.2"]


class Site:
    """Master, authority and one host, with everything they write below one directory."""

    def __init__(self, root: Path, bus: SaltBus, authority: Any) -> None:
        self.root, self.pki, self.trust = root, root / "pki", root / "trust.crt"
        self.bus, self.authority = bus, authority

    def call(self, node: str, fun: str, *args: Any, **kwargs: Any) -> Any:
        """What a minion answers, an error's text included."""
        return self.bus.call([node], fun, args, kwargs, timeout=120)[node].data

    def managed(self, names: list[str] = NAMES, **options: Any) -> dict[str, Any]:
        """Run the state on the host, then bring what it asked for; returns the state's result."""
        result = self.state(names, **options)
        if not options.get("test"):
            certify(self.bus, [WEB], AUTHORITY)
        return result

    def state(self, names: list[str] = NAMES, **options: Any) -> dict[str, Any]:
        """Run the state on the host; returns its one result."""
        states = self.call(
            WEB,
            "state.single",
            "pki_host.managed",
            name=str(self.pki),
            dns_names=names,
            addresses=ADDRESSES,
            ca_server=AUTHORITY,
            group="root",
            trust=str(self.trust),
            **options,
        )
        (result,) = states.values()
        return result  # type: ignore[no-any-return]

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.pki / "host.crt").read_bytes())

    def request(self, *names: str) -> str:
        """A signing request for any names, as a host under somebody's control could make it."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
        san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        csr = (
            builder.add_extension(san, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        return csr.public_bytes(serialization.Encoding.PEM).decode()

    def signed_for(self, node: str, csr: str) -> dict[str, str]:
        """What the authority answers to a request of a host."""
        return self.bus.call([AUTHORITY], "pki_ca.sign_all", ({node: csr},))[AUTHORITY].data[node]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def site(salt_factories: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("pki")
    topology = {
        "nodes": {
            AUTHORITY: {"name": "ca", "address": "192.0.2.9", "roles": ["pki.ca"]},
            WEB: {"name": "web", "address": "192.0.2.1", "roles": ["pki.host"]},
        }
    }
    (root / "pki").mkdir()
    requests = [{"node": WEB, "names": ["api.pki.test"], "addresses": ["192.0.2.2"]}]
    ca = {"directory": str(root / "ca"), "requests": requests}
    quiet = {"log_level_logfile": "warning", "module_dirs": [str(TREE)]}
    pillar = root / "pillar"
    pillar.mkdir()
    (pillar / "top.sls").write_text("base: {'ca.pki.test': [ca], 'web.pki.test': [web]}")
    vouched = {"__reclass__": {"nodename": AUTHORITY}}  # as if it came from the model
    (pillar / "ca.sls").write_text(str({"topology": topology, "pki": {"ca": ca}, **vouched}))
    (pillar / "web.sls").write_text(str({"pki": {"host": {"directory": str(root / "pki")}}}))
    master = salt_factories.salt_master_daemon(
        "pki_master",
        overrides={
            "file_roots": {"base": [str(TREE / "formulas")]},
            "pillar_roots": {"base": [str(pillar)]},
            **quiet,
        },
    )
    with master.started():
        authority = master.salt_minion_daemon(AUTHORITY, overrides=quiet)
        web = master.salt_minion_daemon(WEB, overrides=quiet)
        with authority.started(), web.started():
            built = Site(root, SaltBus(master.config), authority)
            states = built.call(AUTHORITY, "state.apply", "pki.ca")
            assert all(state["result"] for state in states.values()), states
            yield built


@pytest.fixture
def signed(site: Site) -> Site:
    """The host has its certificate, whatever an earlier test did to it."""
    assert site.managed()["result"] is True
    return site


def test_a_host_gets_a_certificate_that_can_be_used(site: Site) -> None:
    result = site.managed()
    assert result["result"] is True, result["comment"]
    cert = site.certificate()
    authority = x509.load_pem_x509_certificate((site.root / "ca/ca.crt").read_bytes())
    cert.verify_directly_issued_by(authority)
    san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(san.get_values_for_type(x509.DNSName)) == NAMES
    assert sorted(str(a) for a in san.get_values_for_type(x509.IPAddress)) == ADDRESSES
    assert not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert site.trust.read_bytes() == (site.root / "ca/ca.crt").read_bytes()
    modes = {path.name: path.stat().st_mode & 0o777 for path in site.pki.iterdir()}
    assert modes == {"ca.crt": 0o644, "host.crt": 0o644, "host.key": 0o640, "host.pem": 0o640}
    assert (site.root / "ca/ca.key").stat().st_mode & 0o777 == 0o600


def test_the_key_is_in_no_return(signed: Site) -> None:
    key = (signed.pki / "host.key").read_text()
    (signed.pki / "host.key").unlink()
    told = str(signed.managed())
    assert (signed.pki / "host.key").read_text() != key
    assert "PRIVATE" not in told


def test_the_second_run_changes_nothing(signed: Site) -> None:
    result = signed.managed()
    assert result["result"] is True
    assert result["changes"] == {}


def test_it_is_renewed_before_it_ends_with_the_same_key(signed: Site) -> None:
    key, serial = (signed.pki / "host.key").read_text(), signed.certificate().serial_number
    result = signed.managed(days_remaining=366)
    assert "request" in result["changes"]
    assert signed.certificate().serial_number != serial
    assert (signed.pki / "host.key").read_text() == key


def test_test_mode_touches_nothing(signed: Site) -> None:
    before = {path: path.read_bytes() for path in signed.pki.iterdir()}
    result = signed.managed(days_remaining=366, test=True)
    assert result["result"] is None
    assert result["changes"]
    assert {path: path.read_bytes() for path in signed.pki.iterdir()} == before


def test_a_name_the_model_does_not_grant_is_refused(signed: Site) -> None:
    before = (signed.pki / "host.crt").read_bytes()
    with pytest.raises(StageError, match=f"{WEB} asks for a certificate for mail.pki.test"):
        signed.managed([*NAMES, "mail.pki.test"])
    assert (signed.pki / "host.crt").read_bytes() == before
    # the model is what changes next: the host asks for less
    assert signed.managed(days_remaining=366)["result"] is True
    assert signed.managed()["changes"] == {}


def test_a_host_cannot_pass_for_another(signed: Site) -> None:
    """It says whom it wants to be; the bus says who it is."""
    answer = signed.signed_for(WEB, signed.request(AUTHORITY))
    assert f"{WEB} asks for a certificate for {AUTHORITY}" in answer["error"]
    assert "certificate" not in answer


def test_a_host_cannot_become_an_authority(signed: Site) -> None:
    """The request asks for CA:TRUE; only its public key is taken."""
    pem = signed.signed_for(WEB, signed.request(WEB))["certificate"]
    cert = x509.load_pem_x509_certificate(pem.encode())
    assert not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_certificate_of_another_key_is_not_installed(signed: Site) -> None:
    before = (signed.pki / "host.crt").read_bytes()
    answer = signed.signed_for(WEB, signed.request(WEB))
    told = signed.call(WEB, "pki_host.install", directory=str(signed.pki), **answer)
    assert "does not fit this host's key" in str(told)
    assert (signed.pki / "host.crt").read_bytes() == before


def test_a_host_cannot_call_the_authority(signed: Site) -> None:
    request = [{"csr": signed.request(WEB), "__kwarg__": True}]
    answer = signed.call(WEB, "publish.publish", AUTHORITY, "pki_ca.sign", arg=request, timeout=10)
    assert not answer


def test_hosts_converge_while_the_authority_is_away(signed: Site) -> None:
    """Last: it stops the authority."""
    with signed.authority.stopped():
        assert signed.state()["changes"] == {}
        assert signed.state(days_remaining=366)["result"] is True
        with pytest.raises(StageError, match=AUTHORITY):
            certify(signed.bus, [WEB], AUTHORITY)
