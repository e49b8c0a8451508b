"""Hosts with certificates, a backup server that they reach, and MariaDB where there is one."""

from __future__ import annotations

import contextlib
import datetime
import getpass
import http.server
import ipaddress
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pytest
import salt.config
import salt.loader
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import TREE

#: role -> hosts that carry it
ROLES = {
    "backup.client": ["a.test", "b.test"],
    "galera.server": ["a.test", "b.test"],
    "pki.ca": ["a.test"],
    "rehearsal.shadow": ["c.test"],
}
#: role -> the role of hosts that read what its members wrote
READERS = {"galera.server": "rehearsal.shadow"}
KEY = "0123456789abcdef" * 4


class Authority:
    """Certificates of hosts, as pki.ca gives them: the common name is the minion's id."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test CA")])
        self.path = self.write("ca", self.certificate(self.name, self.key, authority=True))

    def certificate(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def write(self, name: str, certificate: x509.Certificate) -> str:
        path = self.directory / f"{name}.crt"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)

    def host(self, name: str) -> tuple[str, str]:
        """Certificate and key of a host."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        path = self.write(name, self.certificate(subject, key, authority=False))
        secret = self.directory / f"{name}.key"
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return path, str(secret)


@dataclass
class Server:
    """A backup server: where it listens, where bundles lie, and whether its disk is full."""

    port: int
    directory: Path
    real: bool
    full: list[bool] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    """What the formula's site of nginx does, for machines that have no nginx."""

    protocol_version = "HTTP/1.1"
    known: Server

    def handle_one_request(self) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            super().handle_one_request()

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def _path(self) -> Path | None:
        role, host, _, _ = self.path.strip("/").split("/")
        subject = dict(part[0] for part in self.connection.getpeercert()["subject"])
        me = subject["commonName"]
        reads = self.command == "GET" and me in ROLES.get(READERS.get(role, ""), [])
        writes = me in ROLES.get(role, []) and (self.command == "GET" or host == me)
        if not (reads or writes):
            return None
        return self.known.directory / self.path.strip("/")

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(204)
            return
        path = self._path()
        if path is None:
            self._answer(403)
        elif path.exists():
            self._answer(200, path.read_bytes())
        else:
            self._answer(404)

    def do_PUT(self) -> None:
        body = b""
        while True:
            line = self.rfile.readline()
            if not line.strip():
                self.close_connection = True
                return  # broke off: nothing is stored
            size = int(line, 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if not size:
                break
        path = self._path()
        if path is None or path.exists():
            self._answer(403 if path is None else 409)
            return
        if self.known.full:
            self._answer(500)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        self._answer(201)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(params=["stand-in", "nginx"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, authority: Authority
) -> Iterator[Server]:
    """The backup server: nginx with the formula's configuration, and what stands in for it."""
    directory = tmp_path / "store"
    directory.mkdir()
    certificate, key = authority.host("server.test")
    known = Server(free_port(), directory, request.param == "nginx")
    if known.real:
        yield from nginx(known, tmp_path, authority, certificate, key)
        return
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    handler = type("Handler", (Handler,), {"known": known})
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", known.port), handler)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield known
    listening.shutdown()
    listening.server_close()


def nginx(
    known: Server, work: Path, authority: Authority, certificate: str, key: str
) -> Iterator[Server]:
    if not shutil.which("nginx"):
        pytest.skip("there is no nginx on this machine")
    loader = jinja2.FileSystemLoader(TREE / "formulas/nginx/files")
    template = jinja2.Environment(loader=loader).get_template("nginx.conf.jinja")
    text = template.render(
        server={
            "user": getpass.getuser(),
            "worker_processes": 1,
            "worker_connections": 64,
            "tls": {
                "certificate": certificate, "key": key, "ca": authority.path,
                "protocols": ["TLSv1.2", "TLSv1.3"],
            },
            "site": {
                "backup": {
                    "kind": "store", "port": known.port, "directory": str(known.directory),
                    "clients": "backup.client", "readers": READERS,
                },
            },
        },
        bind_address="127.0.0.1",
        topology={"roles": ROLES},
    )  # fmt: skip
    (work / "mime.types").write_text("types {}\n")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"  {kind}_temp_path {work}/{kind};\n" for kind in kinds)
    for old, new in {
        "/etc/nginx/": f"{work}/", "/run/": f"{work}/", "/var/log/nginx/": f"{work}/",
        "http {\n": f"daemon off;\nhttp {{\n{paths}",
    }.items():  # fmt: skip
        text = text.replace(old, new)
    (work / "nginx.conf").write_text(text)
    command = ["nginx", "-c", str(work / "nginx.conf"), "-e", str(work / "error.log")]
    with subprocess.Popen(command) as process:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", known.port)):
                break
            time.sleep(0.05)
        try:
            yield known
        finally:
            process.terminate()


@dataclass
class Loaded:
    """Salt's own loader: one for all hosts of a process, as Salt keeps modules by their names."""

    modules: Any
    folder: Path


@dataclass
class Host:
    """A minion; ``call("backup_bundle.check", …)``."""

    name: str
    loaded: Loaded
    settings: dict[str, Any]
    store: Path
    key: Path
    scratch: Path

    @property
    def modules(self) -> Any:
        return self.loaded.modules

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        folder = self.loaded.folder
        (folder / "client.json").write_text(json.dumps(self.settings))
        (folder / "server.json").write_text(json.dumps({"directory": str(self.store)}))
        return self.modules[function](*args, **kwargs)

    def change(self, **settings: Any) -> None:
        self.settings.update(settings)

    def left(self) -> list[str]:
        """What lies in its directory for work."""
        return sorted(path.name for path in self.scratch.iterdir()) if self.scratch.exists() else []


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The execution modules of the checkout."""
    folder = tmp_path_factory.mktemp("minion")
    opts = salt.config.minion_config(None)
    opts.update(
        root_dir=str(folder / "salt"),
        cachedir=str(folder / "salt/cache"),
        extension_modules=str(folder / "salt/extmods"),
        module_dirs=[str(TREE)],
        file_client="local",
        backup_settings=str(folder / "client.json"),
        backup_store=str(folder / "server.json"),
        pillar={},
    )
    opts["grains"] = {"kernel": "Linux", "os": "Debian", "os_family": "Debian"}
    return Loaded(salt.loader.minion_mods(opts), folder)


@pytest.fixture
def make_host(
    loaded: Loaded, tmp_path: Path, authority: Authority, server: Server
) -> Callable[..., Host]:
    """Return a function that makes a host of the server's cluster."""

    def build(name: str = "a.test", **more: Any) -> Host:
        folder = tmp_path / name
        folder.mkdir()
        certificate, key = authority.host(name)
        secret = folder / "key"
        secret.write_text(KEY)
        secret.chmod(0o600)
        told = {
            "cluster": "demo", "host": name, "server": "localhost", "port": server.port,
            "tls": {"ca": authority.path, "certificate": certificate, "key": key},
            "key_file": str(secret), "directory": str(folder / "work"), "compression": 3,
            "mariadb": {}, **more,
        }  # fmt: skip
        return Host(name, loaded, told, server.directory, secret, folder / "work")

    return build


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    """A host that can be backed up."""
    return make_host()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The data directory of a MariaDB that nobody has used, and the options that fit it."""
    needed = ("mariadbd", "mariadb", "mariadb-dump", "mariadb-backup", "mariadb-install-db")
    missing = [name for name in needed if not shutil.which(name)]
    if missing:
        pytest.skip(f"there is no {missing[0]} on this machine")
    base = Path(str(shutil.which("mariadbd"))).resolve().parent.parent
    data = tmp_path_factory.mktemp("mariadb") / "data"
    options = [
        "--no-defaults", f"--basedir={base}", f"--user={getpass.getuser()}",
        "--innodb-log-file-size=8M",
    ]  # fmt: skip
    subprocess.run(
        ["mariadb-install-db", *options, f"--datadir={data}", "--skip-test-db",
         "--auth-root-authentication-method=socket"],
        check=True, capture_output=True,
    )  # fmt: skip
    return data, options


@pytest.fixture
def mariadb(empty_database: tuple[Path, list[str]]) -> Iterator[dict[str, str]]:
    """A MariaDB server of its own; yields what a host says of it in its settings."""
    data, options = empty_database
    # names of sockets are short
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(data, f"{folder}/data")
        defaults = Path(folder, "my.cnf")
        defaults.write_text(f"[mariadb-backup]\ndatadir={folder}/data\n")
        with subprocess.Popen(
            ["mariadbd", *options, f"--datadir={folder}/data", f"--socket={folder}/s",
             "--skip-networking", f"--pid-file={folder}/pid", f"--log-error={folder}/log"],
        ) as process:  # fmt: skip
            try:
                for _ in range(200):
                    if os.path.exists(f"{folder}/s"):
                        break
                    time.sleep(0.05)
                yield {
                    "socket": f"{folder}/s", "datadir": f"{folder}/data",
                    "basedir": options[1].partition("=")[2], "defaults_file": str(defaults),
                    "user": getpass.getuser(),
                }  # fmt: skip
            finally:
                process.terminate()
