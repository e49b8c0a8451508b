"""Kernel settings in a container, HAProxy's admin socket, and the shared templates."""

from __future__ import annotations

import configparser
import errno
import shlex
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
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
web,ctl01,2,{ctl01},0,L7OK,Layer7 check passed,,30,2,192.0.2.1:80,
web,ctl02,0,DOWN,1,L4CON,Layer4 connection problem,refused,7,2,192.0.2.2:80,
web,BACKEND,2,UP,0,,,,30,1,,
"""


class HAProxy(threading.Thread):
    """Answers on a unix socket as HAProxy does: one command, one answer, closed."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.status, self.refusal, self.heard = "UP", "", list[str]()
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

    def answer(self, command: str) -> str:
        if command == "show stat":
            return STAT.format(ctl01=self.status) + "\n"
        if command.startswith("set server"):
            if not self.refusal and not self.deaf:
                self.status = "DRAIN" if command.endswith("drain") else "UP"
            return self.refusal + "\n"
        return "Name: HAProxy\nVersion: 2.6\n\n"


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


def test_draining_is_read_back(haproxy: HAProxy) -> None:
    assert haproxy_admin.drain("web", "ctl01") == "DRAIN"
    assert haproxy_admin.ready("web", "ctl01") == "UP"
    assert "set server web/ctl01 state drain" in haproxy.heard
    haproxy.deaf = True
    with pytest.raises(CommandExecutionError, match="web/ctl01 is UP, not drain"):
        haproxy_admin.drain("web", "ctl01")
    haproxy.refusal = "No such server."
    with pytest.raises(CommandExecutionError, match="No such server"):
        haproxy_admin.drain("web", "ctl01")


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
