"""Health checks against real sockets, certificates, files and a real systemctl in PATH."""

from __future__ import annotations

import datetime
import http.server
import os
import pwd
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from salt.exceptions import SaltInvocationError

from saltern.modules import health, health_host
from saltern.rollout import gates
from tests.support.web import served


@pytest.fixture(autouse=True)
def loader(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What Salt's loader gives a module; returns the execution functions, to add some."""
    kinds = ("tls", "disk", "clock", "version")
    functions: dict[str, object] = {f"health_host.{k}": getattr(health_host, k) for k in kinds}
    monkeypatch.setattr(health_host, "__salt__", functions, raising=False)
    monkeypatch.setattr(health, "__salt__", functions, raising=False)
    monkeypatch.setattr(health, "__pillar__", {"host": {"address": "127.0.0.1"}}, raising=False)
    monkeypatch.setattr(health, "__grains__", {"virtual": "container"}, raising=False)
    monkeypatch.setattr(health, "__opts__", {"id": "ctl01"}, raising=False)
    return functions


def ask(**check):
    answer = verdict(**check)
    return answer["ok"], answer["sentence"]


def verdict(**check):
    (answer,) = health.check([check])
    assert set(answer) == {"check", "ok", "verdict", "code", "sentence"}
    assert answer["check"] == check
    assert answer["sentence"].endswith(".")
    # the reader knows the code, and its level agrees with both the verdict and ok
    read = gates.read(check, answer)
    assert (read.level, read.code) == (answer["verdict"], answer["code"])
    assert read.passes is answer["ok"]
    return answer


# --- ports ------------------------------------------------------------------------------------


def test_a_port_that_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ask(port=port) == (True, f"127.0.0.1:{port} accepts connections.")


def test_a_port_that_does_not_listen():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert ask(port=port) == (
        False,
        f"127.0.0.1:{port} accepts no connection: Connection refused.",
    )


def test_a_port_on_another_address():
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        assert ask(port=port, address="127.0.0.2")[0] is True
        assert ask(port=port)[0] is False


# --- http -------------------------------------------------------------------------------------


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers with the number in the path."""

    def do_GET(self):
        self.send_response(int(self.path.strip("/").split("?")[0] or 200))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        """Be quiet."""


@pytest.fixture
def web() -> Iterator[http.server.HTTPServer]:
    with served(Pages) as server:
        yield server


def issue(name: str, key, issuer: str, signer, *, ca: bool) -> x509.Certificate:
    """A certificate for ``name`` and 127.0.0.1, valid from yesterday to tomorrow."""
    import ipaddress

    def dn(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(dn(name))
        .issuer_name(dn(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName(name)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


@pytest.fixture
def tls(web: http.server.HTTPServer, tmp_path: Path) -> tuple[str, Path]:
    """The web server behind TLS: its base URL and the file of the CA that signed it."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = issue("test CA", ca_key, "test CA", ca_key, ca=True)
    host = issue("ctl01.test", key, "test CA", ca_key, ca=False)
    pem = serialization.Encoding.PEM
    (tmp_path / "ca.crt").write_bytes(ca.public_bytes(pem))
    (tmp_path / "host.pem").write_bytes(
        host.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "host.pem")
    web.socket = context.wrap_socket(web.socket, server_side=True)
    return f"https://127.0.0.1:{web.server_address[1]}", tmp_path / "ca.crt"


def test_http(web: http.server.HTTPServer):
    url = f"http://127.0.0.1:{web.server_address[1]}"
    assert ask(http=f"{url}/200") == (True, f"{url}/200 answers 200.")
    assert ask(http=f"{url}/503") == (False, f"{url}/503 answers 503, not 200.")
    assert ask(http=f"{url}/300?x=1", status=300)[0] is True
    assert ask(http=f"{url}/401", status=[200, 401])[0] is True
    assert ask(http=f"{url}/500", status=[200, 401])[1].endswith("answers 500, not 200 or 401.")


def test_https_with_the_authority(tls: tuple[str, Path]):
    url, ca = tls
    assert ask(http=f"{url}/200", ca=str(ca)) == (True, f"{url}/200 answers 200.")


def test_https_from_an_unknown_authority(tls: tuple[str, Path], tmp_path: Path):
    url, _ = tls
    good, sentence = ask(http=f"{url}/200", ca=str(tmp_path / "none.crt"))
    assert good is False
    assert sentence.startswith(f"{url}/200 does not answer: certificate refused: ")


def test_https_for_another_name(tls: tuple[str, Path], monkeypatch: pytest.MonkeyPatch):
    url, ca = tls
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *args, **kw: real("127.0.0.1", *args, **kw)
    )
    port = url.rpartition(":")[2]
    assert ask(http=f"https://ctl01.test:{port}/200", ca=str(ca))[0] is True
    good, sentence = ask(http=f"https://ctl02.test:{port}/200", ca=str(ca))
    assert good is False
    assert "certificate refused" in sentence


def test_plain_http_where_tls_is_expected(web: http.server.HTTPServer):
    url = f"https://127.0.0.1:{web.server_address[1]}"
    assert ask(http=url, timeout=3)[0] is False


def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        assert ask(http=url, timeout=0.3) == (False, f"{url} does not answer: no answer in time.")


# --- files ------------------------------------------------------------------------------------


def test_files(tmp_path: Path):
    path = tmp_path / "keystone.conf"
    me = pwd.getpwuid(os.getuid()).pw_name
    assert ask(file=str(path)) == (False, f"{path} cannot be read: No such file or directory.")
    path.touch()
    path.chmod(0o640)
    assert ask(file=str(path), mode="0640", user=me) == (True, f"{path} is as it should be.")
    assert ask(file=str(path), mode="0600") == (False, f"{path} has mode 0640, not 0600.")
    # an unquoted 0640 in YAML arrives as this number
    assert ask(file=str(path), mode=0o640)[0] is True
    assert ask(file=str(path), user="daemon") == (
        False,
        f"{path} belongs to user {me}, not daemon.",
    )
    assert ask(file=str(path), group="daemon")[0] is False


# --- units ------------------------------------------------------------------------------------


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that answers from files ``<verb>-<unit>``."""
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\ncat "{tmp_path}/$1-$2" 2>/dev/null || exit 4\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize(
    ("active", "enabled", "good", "sentence"),
    [
        ("active", "enabled", True, "unit nginx is active."),
        ("active", "static", True, "unit nginx is active."),
        ("failed", "enabled", False, "unit nginx is failed, not active."),
        ("activating", "enabled", False, "unit nginx is activating, not active."),
        ("active", "disabled", False, "will not start at boot"),
        (None, None, False, "unit nginx is unknown, not active."),
    ],
)
def test_units(systemctl: Path, active, enabled, good, sentence):
    if active:
        (systemctl / "is-active-nginx").write_text(active + "\n")
        (systemctl / "is-enabled-nginx").write_text(enabled + "\n")
    answer = ask(unit="nginx")
    assert answer[0] is good
    assert sentence in answer[1]


def test_a_unit_that_need_not_be_enabled(systemctl: Path):
    (systemctl / "is-active-nginx").write_text("active\n")
    assert ask(unit="nginx", enabled=False)[0] is True


def test_a_host_without_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    good, sentence = ask(unit="nginx")
    assert good is False
    assert "could not be asked for" in sentence


# --- calls ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "good", "sentence"),
    [
        (True, True, "x.healthy is content."),
        (False, False, "x.healthy says no."),
        (None, False, "x.healthy says no."),
        ({"ok": True, "sentence": "3 of 3."}, True, "3 of 3."),
        ({"ok": False, "sentence": "2 of 3"}, False, "2 of 3."),
        ({"result": True, "comment": "fine"}, True, "fine."),
        ({}, False, "x.healthy says no."),
    ],
)
def test_calls(loader, answer, good, sentence):
    loader["x.healthy"] = lambda: answer
    assert ask(call="x.healthy") == (good, sentence)


def test_what_could_not_be_asked_is_unknown(loader, tmp_path, monkeypatch):
    def raises():
        raise RuntimeError("no connection")

    loader["x.healthy"] = raises
    assert verdict(call="x.healthy")["verdict"] == "unknown"
    assert verdict(call="x.gone")["code"] == "call-missing"
    del loader["health_host.disk"]
    assert verdict(disk="/")["code"] == "call-missing"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert verdict(unit="nginx")["verdict"] == "unknown"


def test_a_call_may_warn(loader):
    loader["x.healthy"] = lambda: {"ok": True, "verdict": "warn", "sentence": "2 alarms"}
    assert (verdict(call="x.healthy")["verdict"], ask(call="x.healthy")[0]) == ("warn", True)
    loader["x.healthy"] = lambda: {"ok": False, "verdict": "warn", "sentence": "2 alarms"}
    assert verdict(call="x.healthy")["verdict"] == "fail"


def test_a_call_may_have_a_code_of_its_own(loader):
    said = {"ok": False, "verdict": "fail", "code": "ceph-pgs", "sentence": "3 peering."}
    loader["x.healthy"] = lambda: said
    answer = verdict(call="x.healthy", scope="cluster")
    assert (answer["verdict"], answer["code"]) == ("fail", "ceph-pgs")
    said.update(ok=True, verdict="warn")
    assert verdict(call="x.healthy")["verdict"] == "warn"
    # without a level nothing is known
    del said["verdict"]
    assert health.check([{"call": "x.healthy"}])[0]["verdict"] == "unknown"


def test_a_call_gets_its_arguments(loader):
    loader["x.healthy"] = lambda a, b: {"ok": (a, b) == (1, 2), "sentence": "."}
    assert ask(call="x.healthy", args=[1], kwargs={"b": 2})[0] is True


def test_a_call_that_raises_is_no_health(loader):
    def raises():
        raise RuntimeError("no connection")

    loader["x.healthy"] = raises
    assert ask(call="x.healthy") == (False, "call x.healthy: no connection.")


def test_a_call_that_is_not_there():
    assert ask(call="x.healthy") == (False, "x.healthy is not available on this host.")


# --- certificates, room, clock, versions ------------------------------------------------------


def test_a_certificate_that_ends_soon(tls: tuple[str, Path]):
    url, ca = tls
    address = url.removeprefix("https://")
    assert verdict(tls=address, ca=str(ca), days=0, warn_days=0.5)["verdict"] == "ok"
    soon = verdict(tls=address, ca=str(ca), days=0.5, warn_days=30)
    assert (soon["verdict"], soon["code"]) == ("warn", "tls-expiring")
    assert soon["sentence"] == f"the certificate of {address} is good for 1 days."
    assert verdict(tls=address, ca=str(ca), days=7)["verdict"] == "fail"


def test_a_certificate_that_is_over(tls: tuple[str, Path], monkeypatch: pytest.MonkeyPatch):
    url, ca = tls

    def refuse(*args: object, **kwargs: object) -> None:
        error = ssl.SSLCertVerificationError(1, "certificate verify failed")
        error.verify_message = "certificate has expired"
        raise error

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", refuse)
    answer = verdict(tls=url.removeprefix("https://"), ca=str(ca))
    assert (answer["verdict"], answer["code"]) == ("fail", "tls-expiring")


def test_a_certificate_of_another_authority(tls: tuple[str, Path], tmp_path: Path):
    address = tls[0].removeprefix("https://")
    assert verdict(tls=address, ca=str(tmp_path / "none"))["code"] == "tls-refused"


def test_a_service_without_tls():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    assert verdict(tls=address)["code"] == "tls-refused"


def test_room_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert verdict(disk=str(tmp_path), free=0, inodes=0)["verdict"] == "ok"
    assert verdict(disk=str(tmp_path), free=0, warn=10**9)["verdict"] == "warn"
    full = verdict(disk=str(tmp_path), free=10**9)
    assert (full["verdict"], full["code"]) == ("fail", "disk-low")
    assert verdict(disk=str(tmp_path / "none"))["verdict"] == "unknown"
    for left, told in ((4, "fail"), (8, "warn"), (50, "ok")):
        table = SimpleNamespace(
            f_files=100, f_favail=left, f_bavail=1, f_blocks=1, f_bfree=1, f_frsize=4096
        )
        monkeypatch.setattr(health_host.os, "statvfs", lambda _, table=table: table)
        found = health_host.disk(str(tmp_path), free=0)
        assert (found["verdict"], found["ok"]) == (told, told != "fail")


@pytest.mark.parametrize(
    ("program", "answer", "found"),
    [
        ("chronyc", "50505053,PPS,1,1.2,-0.001,0.1,0.1,0,0,0,0,0,0,Normal", ("ok", "ok")),
        ("chronyc", "50505053,PPS,1,1.2,-0.3,0.1,0.1,0,0,0,0,0,0,Normal", ("warn", "clock-off")),
        ("chronyc", "50505053,PPS,1,1.2,0.7,0.1,0.1,0,0,0,0,0,0,Normal", ("fail", "clock-off")),
        ("chronyc", "0,,0,0,0,0,0,0,0,0,0,0,0,Not synchronised", ("fail", "clock-free")),
        ("chronyc", "506 Cannot talk to daemon", ("unknown", "not-asked")),
        ("timedatectl", "yes", ("ok", "ok")),
        ("timedatectl", "no", ("fail", "clock-free")),
        ("none", "", ("unknown", "not-asked")),
    ],
)
def test_the_clock(tmp_path, monkeypatch, program, answer, found):
    (tmp_path / program).write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = verdict(clock=0.5)
    assert (answer["verdict"], answer["code"]) == found


def test_versions_of_packages(loader):
    loader["pkg.version"] = lambda name: {"haproxy": "2.6.12-1"}.get(name, "")
    assert verdict(version="haproxy", wanted="2.6.*")["sentence"] == "haproxy is 2.6.12-1."
    assert verdict(version="haproxy", wanted="2.8.*")["code"] == "version-differs"
    assert verdict(version="nginx")["code"] == "version-missing"
    del loader["pkg.version"]
    assert verdict(version="nginx")["verdict"] == "unknown"


def test_versions_in_a_virtual_environment(tmp_path: Path):
    site = tmp_path / "lib/python3.11/site-packages"
    for name in ("keystone-27.0.0.dist-info", "keystone_tempest_plugin-1.0.dist-info"):
        (site / name).mkdir(parents=True)
    assert verdict(version="keystone", venv=str(tmp_path), wanted="27.0.0")["ok"] is True
    assert verdict(version="keystone", venv=str(tmp_path), wanted="28.*")["ok"] is False
    assert verdict(version="Keystone.Tempest-Plugin", venv=str(tmp_path), wanted="1.0")["ok"]
    assert verdict(version="glance", venv=str(tmp_path))["code"] == "version-missing"


def test_a_time_out_for_what_has_none_is_left_out(tmp_path: Path):
    assert verdict(disk=str(tmp_path), free=0, inodes=0, timeout=3)["verdict"] == "ok"


# --- all of them ------------------------------------------------------------------------------


def test_retry_ends_with_the_first_content_answer(loader):
    answers = iter([False, False, True])
    loader["x.healthy"] = lambda: next(answers)
    assert ask(call="x.healthy", retry={"attempts": 5, "interval": 0.01})[0] is True
    assert list(answers) == []


def test_retry_is_used_up(loader):
    loader["x.healthy"] = lambda: False
    assert ask(call="x.healthy", retry={"attempts": 3, "interval": 0.01}) == (
        False,
        "x.healthy says no (asked 3 times).",
    )


def test_answers_come_in_the_order_asked(loader):
    loader["x.healthy"] = lambda: True
    answers = health.check([{"file": "/none"}, {"call": "x.healthy"}, {"port": 1}])
    assert [answer["ok"] for answer in answers] == [False, True, False]


def test_a_minion_answers_its_own_checks_of_those_of_many(tmp_path):
    asked = {"ctl01": [{"file": str(tmp_path)}], "ctl02": [{"file": "/none"}, {"port": 1}]}
    assert [answer["ok"] for answer in health.check(asked)] == [True]
    with pytest.raises(SaltInvocationError, match="no checks for ctl01"):
        health.check({"ctl02": asked["ctl02"]})


@pytest.mark.parametrize(
    "checks", [{"unit": "x"}, [{}], [{"unit": "x", "port": 1}], ["unit"], [{"http": "ctl01"}]]
)
def test_a_malformed_check_is_an_error_not_an_answer(checks):
    with pytest.raises(SaltInvocationError, match=r"health\.check"):
        health.check(checks)


# --- facts ------------------------------------------------------------------------------------


def test_facts_are_those_of_this_machine():
    facts = health.facts()
    assert facts["memory"]["total"] >= facts["memory"]["available"] > 0
    assert facts["disk"]["/"] > 0
    assert facts["arch"] == os.uname().machine
    assert facts["os"]


def test_preflight_says_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    release = {"ID": "debian", "VERSION_ID": "11"}
    monkeypatch.setattr(health, "_os_release", lambda: release)
    found = health.preflight(disk={"/": 10**9}, memory=10**9)["findings"]
    assert found[0].startswith("debian 11 is not supported; the formulas know debian 12, ")
    assert found[1].startswith("/ has ")
    assert found[1].endswith(" MiB free, 1000000000 MiB are needed.")
    assert found[2].endswith("of memory are available, 1000000000 MiB are needed.")
    release["VERSION_ID"] = "12"
    assert health.preflight(disk={"/": 1}, memory=1)["findings"] == []
