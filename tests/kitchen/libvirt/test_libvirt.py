"""A daemon that its group and its fellows may use, and that can run a guest."""

from __future__ import annotations

import json
from typing import Any

from testinfra.host import Host

PKI = "/etc/saltern/pki"
UUID = "4f1d6a0b-8f0e-4f39-a3f5-6f0f1d0c7e52"
#: the firmware alone: nothing to boot, which is enough to see a guest run
GUEST = """<domain type='qemu'><name>probe</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><serial type='pty'/></devices>
</domain>"""


def asked(host: Host, *words: str) -> Any:
    """What a function of Salt answers on the host."""
    said = host.run("salt-call --local --config-dir=/srv/kitchen/etc --out=json " + " ".join(words))
    assert said.rc == 0, said.stdout + said.stderr
    return json.loads(said.stdout)["local"]


def test_the_role_says_that_it_is_healthy(host: Host) -> None:
    """It asks over TLS, with the host's certificate, as a host that migrates to it."""
    answer = asked(host, "libvirt_host.healthy")
    assert answer["ok"] is True, answer
    assert "over TLS" in answer["sentence"]


def test_a_guest_runs_and_outlives_the_daemon(host: Host) -> None:
    host.check_output(f'printf %s "{GUEST}" >/run/guest.xml && virsh create /run/guest.xml')
    try:
        host.check_output("systemctl restart libvirtd")
        assert host.check_output("virsh domstate probe").strip() == "running"
    finally:
        host.check_output("virsh destroy probe")


def test_a_port_speaks_verified_tls(host: Host) -> None:
    shaken = host.run(
        "openssl s_client -connect host.kitchen.test:16514 -verify_return_error"
        f" -verify_hostname host.kitchen.test -CAfile {PKI}/ca.crt"
        f" -cert {PKI}/host.crt -key {PKI}/host.key </dev/null"
    )
    assert "Verify return code: 0 (ok)" in shaken.stdout


def test_a_stranger_is_refused(host: Host) -> None:
    """Also one with a certificate: it is of no authority that the daemon knows."""
    host.check_output(
        "mkdir -p /run/stranger && cd /run/stranger && openssl req -x509 -newkey rsa:2048 -nodes"
        " -subj /CN=host.kitchen.test -keyout clientkey.pem -out clientcert.pem -days 1"
        f" 2>/dev/null && cp {PKI}/ca.crt cacert.pem"
    )
    said = host.run("virsh -c 'qemu+tls://host.kitchen.test/system?pkipath=/run/stranger' version")
    assert said.rc != 0


def test_a_host_that_is_no_hypervisor_is_refused(host: Host) -> None:
    """With a certificate of the authority, of a name that does not carry the role."""
    allowed = host.check_output("grep ^tls_allowed_dn_list /etc/libvirt/libvirtd.conf")
    assert allowed == 'tls_allowed_dn_list = ["CN=host.kitchen.test"]'
    host.check_output(
        "cd /run && openssl req -newkey rsa:2048 -nodes -subj /CN=other.kitchen.test"
        " -keyout other.key -out other.csr 2>/dev/null && openssl x509 -req -in other.csr"
        " -CA /etc/saltern/ca/ca.crt -CAkey /etc/saltern/ca/ca.key -out other.crt -days 1"
        f" 2>/dev/null && mkdir -p other && cp {PKI}/ca.crt other/cacert.pem"
        " && mv other.crt other/clientcert.pem && mv other.key other/clientkey.pem"
    )
    said = host.run("virsh -c 'qemu+tls://host.kitchen.test/system?pkipath=/run/other' version")
    assert said.rc != 0
    here = f"-cert {PKI}/host.crt -key {PKI}/host.key"
    assert host.run(f"openssl verify -CAfile {PKI}/ca.crt /run/other/clientcert.pem").rc == 0, here


def test_its_socket_is_its_groups(host: Host) -> None:
    socket = host.file("/run/libvirt/libvirt-sock")
    assert (socket.group, socket.mode) == ("libvirt", 0o660)
    said = host.run("su -s /bin/sh nobody -c 'virsh -c qemu:///system list'")
    assert said.rc != 0


def test_it_has_no_network_of_its_own(host: Host) -> None:
    assert host.check_output("virsh net-list --all --name").strip() == ""
    assert not host.interface("virbr0").exists


def test_qemu_reads_the_certificate(host: Host) -> None:
    for name in ("ca-cert", "server-cert", "server-key", "client-cert", "client-key"):
        said = host.run(f"su -s /bin/sh libvirt-qemu -c 'cat /etc/pki/qemu/{name}.pem >/dev/null'")
        assert said.rc == 0, name


def test_the_key_of_ceph_is_known_and_nowhere_to_be_read(host: Host) -> None:
    value = host.check_output(f"virsh secret-get-value {UUID}").strip()
    assert value.endswith("==")
    assert len(value) == 40
    assert host.run("journalctl -q -o json | grep -E '6b69746368656e|a2l0Y2hlbi1rZXktbm92'").rc != 0


def test_it_comes_back_after_a_boot(host: Host) -> None:
    for unit in ("libvirtd.service", "libvirtd.socket", "libvirtd-tls.socket"):
        assert host.service(unit).is_enabled, unit
        assert host.service(unit).is_running, unit
