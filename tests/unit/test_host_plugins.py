"""Kernel settings in a container, HAProxy's admin socket, and the shared templates."""

from __future__ import annotations

import configparser
import errno
import re
import shlex
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from saltern.modules import haproxy_admin
from saltern.states import linux_sysctl
from tests.support import TREE

# --- kernel settings --------------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of settings in the place of /proc/sys, on a machine."""
    root = tmp_path / "sys"
    for key, value in {"net/core/somaxconn": "128", "net/ipv4/tcp_rmem": "1\t2\t3"}.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_text(value + "\n")
    monkeypatch.setattr(linux_sysctl, "_ROOT", str(root))
    monkeypatch.setattr(linux_sysctl, "_CONTAINER", str(tmp_path / "container"))
    monkeypatch.setattr(linux_sysctl, "__opts__", {"test": False}, raising=False)
    return root


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make every write fail with an error number."""
    import builtins

    real = builtins.open

    def refuse(number: int) -> None:
        def fake(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if "w" in mode:
                raise OSError(number, "refused")
            return real(file, mode, *args, **kwargs)

        monkeypatch.setattr(linux_sysctl, "open", fake, raising=False)

    return refuse


def test_a_setting_is_applied_once(kernel: Path) -> None:
    values = {"net.core.somaxconn": 4096, "net.ipv4.tcp_rmem": "1 2 3", "net.gone": None}
    first = linux_sysctl.applied("x", values)
    assert first["changes"] == {"net.core.somaxconn": {"old": "128", "new": "4096"}}
    assert (kernel / "net/core/somaxconn").read_text() == "4096\n"
    assert linux_sysctl.applied("x", values)["changes"] == {}


def test_test_mode_writes_nothing(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux_sysctl, "__opts__", {"test": True})
    ret = linux_sysctl.applied("x", {"net.core.somaxconn": 4096})
    assert ret["result"] is None
    assert (kernel / "net/core/somaxconn").read_text() == "128\n"


@pytest.mark.usefixtures("kernel")
def test_a_machine_that_refuses_fails(read_only: Callable[[int], None]) -> None:
    read_only(errno.EROFS)
    ret = linux_sysctl.applied("x", {"net.core.somaxconn": 1, "vm.none": 1})
    assert ret["result"] is False
    assert "net.core.somaxconn (refused), vm.none" in ret["comment"]


@pytest.mark.usefixtures("kernel")
def test_a_container_that_refuses_is_told(read_only: Callable[[int], None], tmp_path: Path) -> None:
    (tmp_path / "container").touch()
    read_only(errno.EROFS)
    ret = linux_sysctl.applied("x", {"net.core.somaxconn": 1, "vm.none": 1})
    assert ret["result"] is True
    assert ret["changes"] == {}
    assert ret["comment"].startswith("Skipped in this container: net.core.somaxconn (refused)")


@pytest.mark.usefixtures("kernel")
def test_a_wrong_value_fails_in_a_container_too(
    read_only: Callable[[int], None], tmp_path: Path
) -> None:
    (tmp_path / "container").touch()
    read_only(errno.EINVAL)
    assert linux_sysctl.applied("x", {"net.core.somaxconn": "many"})["result"] is False


# --- HAProxy ----------------------------------------------------------------------------------

STAT = """# pxname,svname,scur,status,bck,check_status,check_desc,last_chk,lastchg,type,addr,
web,FRONTEND,1,OPEN,,,,,,0,,
web,ctl01,{sessions},{ctl01},0,L7OK,Layer7 check passed,,30,2,192.0.2.1:80,
web,ctl02,0,{ctl02},1,L4CON,Layer4 connection problem,refused,7,2,192.0.2.2:80,
web,BACKEND,2,UP,0,,,,30,1,,
alone,FRONTEND,1,OPEN,,,,,,0,,
alone,ctl01,0,UP,0,L7OK,Layer7 check passed,,30,2,192.0.2.1:81,
"""
STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight
2 web 1 ctl01 192.0.2.1 2 {ctl01} 1
2 web 2 ctl02 192.0.2.2 0 {ctl02} 1
"""
MAINTENANCE, DRAINED = 1, 8


class HAProxy(threading.Thread):
    """Answers on a unix socket as HAProxy does: one command, one answer, closed.

    ``sessions`` are what ctl01 has at each look, ``checks`` its health; the last one stays.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.flags = {"ctl01": 0, "ctl02": 0}
        self.sessions, self.checks = [2], ["UP"]
        self.other, self.refusal, self.heard = "DOWN", "", list[str]()
        self.deaf = False
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()

    def run(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            with client:
                command = client.makefile().readline().strip()
                self.heard.append(command)
                client.sendall(self.answer(command).encode())

    @property
    def commands(self) -> list[str]:
        """What it was told to do, without the questions."""
        return [command for command in self.heard if not command.startswith("show")]

    def answer(self, command: str) -> str:
        if command == "show stat":
            status, left = (found.pop(0) if len(found) > 1 else found[0] for found in self.looks())
            if self.flags["ctl01"] & DRAINED:
                status = status.replace("UP", "DRAIN")
            return STAT.format(ctl01=status, ctl02=self.other, sessions=left) + "\n"
        if command == "show servers state web":
            return STATE.format(**self.flags) + "\n"
        if command.startswith("set server"):
            name, state = command.split("/")[1].split(" state ")
            if not self.refusal and not self.deaf:
                self.flags[name] = {"drain": DRAINED, "ready": 0}[state]
            return self.refusal + "\n"
        return "Name: HAProxy\nVersion: 2.6\n\n"

    def looks(self) -> tuple[list[str], list[int]]:
        return self.checks, self.sessions


@pytest.fixture
def haproxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HAProxy]:
    path = tmp_path / "admin.sock"
    listens = {"web": {"port": 80}, "gone": {"port": 81, "enabled": False}}
    pillar = {"haproxy": {"proxy": {"socket": str(path), "listen": listens}}}
    monkeypatch.setattr(haproxy_admin, "__pillar__", pillar, raising=False)
    fake = HAProxy(path)
    fake.start()
    yield fake
    fake.server.shutdown(socket.SHUT_RDWR)
    fake.server.close()
    fake.join()


@pytest.mark.usefixtures("haproxy")
def test_servers_are_facts() -> None:
    found = haproxy_admin.servers()["web"]
    assert set(found) == {"ctl01", "ctl02"}
    assert found["ctl02"] == {
        "status": "DOWN",
        "backup": True,
        "address": "192.0.2.2:80",
        "sessions": 0,
        "check": "L4CON Layer4 connection problem refused",
        "seconds": 7,
    }
    assert haproxy_admin.info()["Version"] == "2.6"


@pytest.mark.usefixtures("haproxy")
def test_a_server_that_is_down_is_told() -> None:
    assert haproxy_admin.backends_up(minimum=1)["ok"] is True
    told = haproxy_admin.backends_up("web")
    assert told["ok"] is False
    assert "web: 1 of 2 up, ctl02 DOWN" in told["sentence"]
    with pytest.raises(SaltInvocationError, match="no listen named mail"):
        haproxy_admin.backends_up("mail")


def test_a_listen_that_is_not_served_is_told(haproxy: HAProxy) -> None:
    del haproxy
    assert haproxy_admin.running()["ok"] is True
    haproxy_admin.__pillar__["haproxy"]["proxy"]["listen"]["mail"] = {"port": 25}
    assert haproxy_admin.running() == {"ok": False, "sentence": "HAProxy does not serve mail"}


@pytest.fixture
def others_up(haproxy: HAProxy, monkeypatch: pytest.MonkeyPatch) -> HAProxy:
    """An HAProxy whose other server is up; time passes only while it is waited for."""
    haproxy.other = "UP"
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds

    time = SimpleNamespace(monotonic=lambda: passed[0], sleep=sleep)
    monkeypatch.setattr(haproxy_admin, "time", time)
    return haproxy


def test_draining_is_read_back(others_up: HAProxy) -> None:
    assert haproxy_admin.drain("web", "ctl01") == "web/ctl01 is drained."
    assert others_up.commands == ["set server web/ctl01 state drain"]
    assert haproxy_admin.ready("web", "ctl01") == "web/ctl01 is in service."
    others_up.deaf = True
    with pytest.raises(CommandExecutionError, match="HAProxy says web/ctl01 is UP, not drain"):
        haproxy_admin.drain("web", "ctl01")
    others_up.refusal = "No such server."
    with pytest.raises(CommandExecutionError, match="refused to set web/ctl01: No such server"):
        haproxy_admin.drain("web", "ctl01")


def test_draining_twice_is_draining_once(others_up: HAProxy) -> None:
    for _ in range(2):
        haproxy_admin.drain("web", "ctl01")
    assert others_up.commands == ["set server web/ctl01 state drain"]
    for _ in range(2):
        haproxy_admin.ready("web", "ctl01")
    assert others_up.commands[1:] == ["set server web/ctl01 state ready"]


def test_a_drained_server_is_waited_for_until_its_sessions_end(others_up: HAProxy) -> None:
    others_up.sessions = [2, 2, 1, 0]
    told = haproxy_admin.drain("web", "ctl01", wait=60)
    assert told == "web/ctl01 is drained, no session is left after 1 s."
    assert others_up.sessions == [0]


def test_sessions_that_do_not_end_in_time_are_told(others_up: HAProxy) -> None:
    with pytest.raises(CommandExecutionError, match="drained and still has 2 sessions after 9 s"):
        haproxy_admin.drain("web", "ctl01", wait=9)
    assert others_up.flags["ctl01"] == DRAINED
    assert "2 sessions were closed" in haproxy_admin.drain("web", "ctl01", wait=9, force=True)
    assert others_up.commands[-1] == "shutdown sessions server web/ctl01"


def test_the_last_server_that_is_up_is_not_drained(haproxy: HAProxy) -> None:
    with pytest.raises(CommandExecutionError, match="stays in service: 0 of the others are up"):
        haproxy_admin.drain("web", "ctl01")
    haproxy_admin.drain("web", "ctl01", least=0)
    assert haproxy.commands == ["set server web/ctl01 state drain"]


@pytest.mark.usefixtures("haproxy")
@pytest.mark.parametrize(
    ("listen", "server", "told"),
    [
        ("mail", "ctl01", "mail/ctl01 is not in this HAProxy: nothing to drain."),
        ("web", "ctl09", "web/ctl09 is not in this HAProxy: nothing to drain."),
        ("alone", "ctl01", "not drained, as nobody could take its requests."),
    ],
)
def test_there_may_be_nothing_to_drain(listen: str, server: str, told: str) -> None:
    assert haproxy_admin.drain(listen, server).endswith(told)


def test_what_an_administrator_took_out_is_left_alone(others_up: HAProxy) -> None:
    others_up.flags["ctl01"] = MAINTENANCE
    with pytest.raises(CommandExecutionError, match="is in maintenance: somebody else"):
        haproxy_admin.drain("web", "ctl01")
    others_up.flags["ctl01"] = MAINTENANCE | DRAINED
    assert "left to who took it out" in haproxy_admin.ready("web", "ctl01", wait=60)
    assert others_up.commands == []


def test_ready_waits_until_the_checks_pass(others_up: HAProxy) -> None:
    others_up.flags["ctl01"] = DRAINED
    others_up.checks = ["UP", "DOWN", "DOWN 1/2", "UP"]
    told = haproxy_admin.ready("web", "ctl01", wait=60)
    assert told.startswith("web/ctl01 is in service, up after ")
    assert others_up.checks == ["UP"]


def test_a_server_that_broke_a_moment_ago_is_not_given_requests(others_up: HAProxy) -> None:
    """HAProxy still believes it to be well at the first look."""
    haproxy_admin.__pillar__["haproxy"]["proxy"]["listen"]["web"]["check"] = {"interval": 4}
    others_up.flags["ctl01"] = DRAINED
    others_up.checks = ["UP"] * 8 + ["UP 2/3", "UP 1/3", "DOWN"]
    told = haproxy_admin.ready("web", "ctl01", wait=60)
    assert told["ok"] is False
    assert re.match(r"web/ctl01 is DOWN .*, not up, after 60 s; it is no longer", told["sentence"])
    # still drained when it went down, so that no request met it
    assert others_up.commands == ["set server web/ctl01 state ready"]
    before = others_up.heard[: others_up.heard.index("set server web/ctl01 state ready")]
    assert before.count("show stat") > 10


def test_an_haproxy_that_does_not_run_has_nothing_to_give_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillar = {"haproxy": {"proxy": {"socket": str(tmp_path / "none")}}}
    monkeypatch.setattr(haproxy_admin, "__pillar__", pillar, raising=False)
    assert "does not run on this host" in haproxy_admin.ready("web", "ctl01", wait=60)
    with pytest.raises(CommandExecutionError, match="does not answer on"):
        haproxy_admin.drain("web", "ctl01", wait=60)


def test_a_name_cannot_carry_a_command(haproxy: HAProxy) -> None:
    with pytest.raises(SaltInvocationError):
        haproxy_admin.drain("web", "ctl01; shutdown sessions server web/ctl01")
    assert not haproxy.heard


def test_no_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillar = {"haproxy": {"proxy": {"socket": str(tmp_path / "none")}}}
    monkeypatch.setattr(haproxy_admin, "__pillar__", pillar, raising=False)
    with pytest.raises(CommandExecutionError, match="does not answer"):
        haproxy_admin.running()


# --- templates --------------------------------------------------------------------------------


def render(name: str, **context: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TREE / "formulas"), undefined=jinja2.StrictUndefined
    )
    return environment.get_template(f"saltern/files/{name}").render(**context)


def test_an_ini_file_is_what_oslo_reads() -> None:
    data = {
        "b": {"x": [1, "two"], "y": None, "z": True, "d": {"q": 1, "a": False}},
        "a": {"text": "one\ntwo"},
        "DEFAULT": {"debug": False},
        "gone": None,
    }
    text = render("ini.jinja", data=data)
    sections = [line for line in text.splitlines() if line.startswith("[")]
    assert sections == ["[DEFAULT]", "[a]", "[b]"]
    assert "\nx = 1\nx = two\nz = true" in text
    assert "y" not in [line.split(" ")[0] for line in text.splitlines()]
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.read_string(text)
    assert parsed["b"]["d"] == "a:false,q:1"
    assert parsed["a"]["text"] == "one\ntwo"
    assert parsed["DEFAULT"]["debug"] == "false"


def test_an_ini_file_depends_on_no_order() -> None:
    data = {"b": {"y": 1, "x": 2}, "a": {"z": 3}}
    turned = {"a": {"z": 3}, "b": {"x": 2, "y": 1}}
    assert render("ini.jinja", data=data) == render("ini.jinja", data=turned)
    assert render("ini.jinja", data=data, ordered=True).index("[b]") < render(
        "ini.jinja", data=data, ordered=True
    ).index("[a]")


def test_key_and_value_lines_are_what_a_shell_reads() -> None:
    value = 'a "b" $c `d` \\e'
    text = render("keyvalue.jinja", data={"K": value, "N": None, "T": True}, quote=True)
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert set(lines) == {"K", "T"}
    assert lines["T"] == '"true"'
    # shlex knows only two of the escapes a shell undoes inside double quotes
    (word,) = shlex.split(lines["K"])
    assert word.replace("\\$", "$").replace("\\`", "`") == value
