"""memcached keeps values, over verified TLS and nothing else."""

from __future__ import annotations

from testinfra.host import Host

#: store a value and read it back; arguments: host name, port, minimum and maximum TLS version
TALK = """
import socket, ssl, sys
name, port, oldest, newest = sys.argv[1:]
context = ssl.create_default_context(cafile="/etc/saltern/pki/ca.crt")
context.set_ciphers("DEFAULT@SECLEVEL=0")
context.minimum_version = getattr(ssl.TLSVersion, oldest)
context.maximum_version = getattr(ssl.TLSVersion, newest)
with context.wrap_socket(socket.create_connection((name, int(port)), 5), server_hostname=name) as s:
    s.sendall(b"set kitchen 0 60 5\\r\\nhello\\r\\nget kitchen\\r\\nquit\\r\\n")
    text = b""
    while chunk := s.recv(4096):
        text += chunk
print(text.decode())
"""


def talk(host: Host, name: str, oldest: str = "TLSv1_2", newest: str = "TLSv1_3") -> str:
    done = host.run("python3 -W ignore -c %s %s 11211 %s %s", TALK, name, oldest, newest)
    return done.stdout if done.rc == 0 else f"failed: {done.stderr}"


def test_a_value_is_kept(host: Host) -> None:
    said = talk(host, "host.kitchen.test")
    assert said.split() == ["STORED", "VALUE", "kitchen", "0", "5", "hello", "END"]


def test_old_protocols_are_refused(host: Host) -> None:
    assert talk(host, "host.kitchen.test", "TLSv1_1", "TLSv1_1").startswith("failed")


def test_plain_text_gets_no_answer(host: Host) -> None:
    said = host.run(
        "printf 'version\\r\\nquit\\r\\n' | timeout 5 bash -c "
        "'exec 3<>/dev/tcp/host.kitchen.test/11211; cat >&3; cat <&3'"
    )
    assert "VERSION" not in said.stdout


def test_it_listens_on_the_host_address_alone(host: Host) -> None:
    """And not with UDP, which made memcached an amplifier."""
    address = host.interface("eth0").addresses[0]
    ours = host.check_output("ss -Hlntup | awk '/memcached/ {print $1, $5}'").splitlines()
    assert set(ours) == {f"tcp {address}:11211"}


def test_it_runs_without_privileges(host: Host) -> None:
    """From the start: it never was root."""
    for process in host.process.filter(comm="memcached"):
        assert process.user != "root"
    assert host.service("memcached").is_running
    assert host.service("memcached").is_enabled
