"""An artifact is verified before it is unpacked, replaced as a whole, and switched in one step."""

from __future__ import annotations

import datetime
import functools
import hashlib
import http.server
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.functional.openstack_services.conftest import Minion

pytestmark = pytest.mark.skipif(
    not (shutil.which("tar") and shutil.which("zstd")), reason="tar or zstd is not installed"
)


@dataclass
class Archive:
    """A packed artifact."""

    path: Path
    sha256: str

    @property
    def source(self) -> str:
        return f"file://{self.path}"


def pack(folder: Path, text: str) -> Archive:
    tree = folder / "service"
    (tree / "bin").mkdir(parents=True, exist_ok=True)
    (tree / "bin" / "run").write_text(text)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:8]}.tar.zst"
    subprocess.run(["tar", "--zstd", "-C", folder, "-cf", path, "service"], check=True)
    return Archive(path, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def one(tmp_path: Path) -> Archive:
    return pack(tmp_path / "one", "one")


@pytest.fixture
def two(tmp_path: Path) -> Archive:
    return pack(tmp_path / "two", "two")


@dataclass
class Place:
    """Where a release is deployed."""

    root: Path
    release: str = "1"

    @property
    def name(self) -> Path:
        return self.root / self.release / "service"

    @property
    def current(self) -> Path:
        return self.root / "current" / "service"

    def arguments(self, archive: Archive, **more: Any) -> dict[str, Any]:
        given = {"source": archive.source, "sha256": archive.sha256, **more}
        return {"name": str(self.name), "current": str(self.current), **given}

    def left_over(self) -> list[str]:
        return [p.name for p in self.root.rglob(".*") if p.name != ".artifact.json"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "opt")


def test_it_is_deployed_once(minion: Minion, place: Place, one: Archive) -> None:
    preview = minion.run("artifact.deployed", test=True, **place.arguments(one))
    assert preview["result"] is None
    assert preview["changes"]["sha256"] == {"old": None, "new": one.sha256}
    assert not place.root.exists()
    first = minion.run("artifact.deployed", **place.arguments(one))
    assert first["result"] is True
    assert first["changes"] == preview["changes"]
    assert place.current.resolve() == place.name
    assert (place.current / "bin/run").read_text() == "one"
    assert not place.left_over()
    for test in (False, True):
        again = minion.run("artifact.deployed", test=test, **place.arguments(one))
        assert (again["result"], again["changes"]) == (True, {})


def test_a_new_release_comes_beside_the_old_one(
    minion: Minion, place: Place, one: Archive, two: Archive
) -> None:
    minion.run("artifact.deployed", **place.arguments(one))
    newer = Place(place.root, "2")
    done = minion.run("artifact.deployed", **newer.arguments(two))
    assert done["changes"]["current"] == {"old": str(place.name), "new": str(newer.name)}
    assert (place.name / "bin/run").read_text() == "one"
    back = minion.run("artifact.deployed", **place.arguments(one))
    assert list(back["changes"]) == ["current"]
    assert (place.current / "bin/run").read_text() == "one"


def test_a_rebuilt_release_replaces_the_whole_directory(
    minion: Minion, place: Place, one: Archive, two: Archive
) -> None:
    minion.run("artifact.deployed", **place.arguments(one))
    (place.name / "stray").touch()
    done = minion.run("artifact.deployed", **place.arguments(two))
    assert done["changes"] == {"sha256": {"old": one.sha256, "new": two.sha256}}
    assert (place.current / "bin/run").read_text() == "two"
    assert not (place.name / "stray").exists()
    assert not place.left_over()


def test_a_release_is_fetched_beside_the_one_that_runs(
    minion: Minion, place: Place, one: Archive, two: Archive
) -> None:
    minion.run("artifact.deployed", **place.arguments(one))

    def fetched(release: str, archive: Archive, **more: Any) -> str:
        source = {"release": release, "url": archive.source, "sha256": archive.sha256, **more}
        return str(minion.call("artifact.prefetch", "service", source, root=str(place.root)))

    newer = Place(place.root, "2")
    assert fetched("2", two) == f"{newer.name} was fetched."
    assert (newer.name / "bin/run").read_text() == "two"
    assert (place.current / "bin/run").read_text() == "one"
    assert fetched("2", two) == f"{newer.name} is there."
    # what may be in use is not replaced before its turn
    assert fetched("1", two) == f"{place.name} is there."
    assert (place.name / "bin/run").read_text() == "one"
    assert "no environment" in fetched("3", two, engine="pkg")
    assert not (place.root / "3").exists()


def test_a_wrong_checksum_names_both_and_changes_nothing(
    minion: Minion, place: Place, one: Archive, two: Archive
) -> None:
    minion.run("artifact.deployed", **place.arguments(one))
    done = minion.run("artifact.deployed", **place.arguments(two, sha256="ab" * 32))
    assert done["result"] is False
    assert "ab" * 32 in done["comment"]
    assert two.sha256 in done["comment"]
    assert done["changes"] == {}
    assert (place.current / "bin/run").read_text() == "one"
    assert minion.call("artifact.info", str(place.name))["sha256"] == one.sha256
    assert not place.left_over()


def test_what_is_no_archive_changes_nothing(minion: Minion, place: Place, one: Archive) -> None:
    minion.run("artifact.deployed", **place.arguments(one))
    path = place.root / "rubbish"
    path.write_text("rubbish")
    rubbish = Archive(path, hashlib.sha256(b"rubbish").hexdigest())
    done = minion.run("artifact.deployed", **place.arguments(rubbish))
    assert done["result"] is False
    assert "cannot be unpacked" in done["comment"]
    assert (place.current / "bin/run").read_text() == "one"
    assert not place.left_over()


def test_half_an_installation_does_not_count(minion: Minion, place: Place, one: Archive) -> None:
    """The stamp is written last: a tree without one was interrupted."""
    minion.run("artifact.deployed", **place.arguments(one))
    (place.name / ".artifact.json").unlink()
    assert minion.call("artifact.info", str(place.name)) == {}
    with pytest.raises(CommandExecutionError, match="not an installed artifact"):
        minion.call("artifact.switch", str(place.current), str(place.name))
    done = minion.run("artifact.deployed", **place.arguments(one))
    assert done["changes"] == {"sha256": {"old": None, "new": one.sha256}}


def test_a_link_never_takes_the_place_of_something_else(
    minion: Minion, place: Place, one: Archive
) -> None:
    place.current.mkdir(parents=True)
    done = minion.run("artifact.deployed", **place.arguments(one))
    assert done["result"] is False
    assert "is not a link" in done["comment"]
    assert place.current.is_dir()
    assert not place.current.is_symlink()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sha256": "12345"}, "is not a sha256"),
        ({"source": "http://example.test/x"}, "comes by https, salt or file"),
        ({"source": "file:///nowhere.tar.zst"}, "cannot be fetched"),
    ],
)
def test_bad_arguments_are_one_sentence(
    minion: Minion, place: Place, one: Archive, arguments: dict[str, str], sentence: str
) -> None:
    done = minion.run("artifact.deployed", **place.arguments(one, **arguments))
    assert done["result"] is False
    assert sentence in done["comment"]
    assert not place.current.exists()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """The tests' output is theirs."""


def certificate(folder: Path) -> Path:
    """A certificate for localhost, which is its own authority, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def served(tmp_path: Path, one: Archive) -> Iterator[tuple[str, Path]]:
    """URL of an archive on an https server, and the certificate it is verified by."""
    both = certificate(tmp_path)
    handler = functools.partial(Quiet, directory=str(one.path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_address[1]}/{one.path.name}", both
        server.shutdown()
        thread.join()


def test_it_comes_over_verified_tls(
    minion: Minion, place: Place, one: Archive, served: tuple[str, Path], tmp_path: Path
) -> None:
    url, authority = served
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    refused = minion.run(
        "artifact.deployed", **place.arguments(one, source=url, ca=str(certificate(stranger)))
    )
    assert refused["result"] is False
    assert "CERTIFICATE_VERIFY_FAILED" in refused["comment"]
    assert not place.name.exists()
    by_address = url.replace("localhost", "127.0.0.1")
    misnamed = minion.run(
        "artifact.deployed", **place.arguments(one, source=by_address, ca=str(authority))
    )
    assert misnamed["result"] is False
    done = minion.run("artifact.deployed", **place.arguments(one, source=url, ca=str(authority)))
    assert done["result"] is True
    assert (place.current / "bin/run").read_text() == "one"


def test_a_server_without_the_file_is_named(
    minion: Minion, served: tuple[str, Path], tmp_path: Path
) -> None:
    url, authority = served
    with pytest.raises(CommandExecutionError, match="cannot be fetched: HTTP Error 404"):
        minion.call("artifact.fetch", url + "x", "00" * 32, str(tmp_path / "t"), str(authority))
    with pytest.raises(SaltInvocationError):
        minion.call("artifact.fetch", url, "short", str(tmp_path / "t"), str(authority))
    assert not os.path.exists(tmp_path / "t")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """What the distribution's packages installed: two bindings and a lot else."""
    made = tmp_path / "dist-packages"
    made.mkdir()
    for name in ("rados", "rbd", "rbdx"):
        (made / f"{name}.cpython-311-x86_64-linux-gnu.so").touch()
    for name in ("rbd.py.bak", "cryptography.py"):
        (made / name).touch()
    return made


def test_native_modules_are_linked_and_nothing_else_is(
    minion: Minion, tmp_path: Path, packages: Path
) -> None:
    name = tmp_path / "native/glance"
    wanted = {"name": str(name), "modules": ["rados", "rbd"], "source": str(packages)}
    assert minion.run("artifact.native", test=True, **wanted)["result"] is None
    assert not name.exists()
    assert minion.run("artifact.native", **wanted)["result"] is True
    assert {path.name: path.resolve() for path in name.iterdir()} == {
        file: packages / file
        for file in (
            "rados.cpython-311-x86_64-linux-gnu.so",
            "rbd.cpython-311-x86_64-linux-gnu.so",
        )
    }
    for test in (False, True):
        again = minion.run("artifact.native", test=test, **wanted)
        assert (again["result"], again["changes"]) == (True, {})


def test_a_native_package_is_one_link(minion: Minion, tmp_path: Path, packages: Path) -> None:
    (packages / "ovs").mkdir()
    (packages / "ovs/__init__.py").touch()
    (packages / "ovsdb").mkdir()
    name = tmp_path / "native/neutron"
    wanted = {"name": str(name), "modules": ["ovs"], "source": str(packages)}
    assert minion.run("artifact.native", **wanted)["result"] is True
    assert {path.name: path.resolve() for path in name.iterdir()} == {"ovs": packages / "ovs"}
    assert minion.run("artifact.native", **wanted)["changes"] == {}


def test_native_modules_follow_the_distributions_python(
    minion: Minion, tmp_path: Path, packages: Path
) -> None:
    name = tmp_path / "native/glance"
    wanted = {"name": str(name), "modules": ["rbd"], "source": str(packages)}
    minion.run("artifact.native", **wanted)
    (packages / "rbd.cpython-311-x86_64-linux-gnu.so").rename(
        packages / "rbd.cpython-313-x86_64-linux-gnu.so"
    )
    assert minion.run("artifact.native", **wanted)["result"] is True
    assert [path.name for path in name.iterdir()] == ["rbd.cpython-313-x86_64-linux-gnu.so"]


def test_a_native_module_that_is_not_installed_is_named(
    minion: Minion, tmp_path: Path, packages: Path
) -> None:
    name = tmp_path / "native/glance"
    wanted = {"name": str(name), "modules": ["rbd", "libvirtmod"], "source": str(packages)}
    # a prediction is made before packages come
    assert minion.run("artifact.native", test=True, **wanted)["result"] is None
    done = minion.run("artifact.native", **wanted)
    assert (done["result"], done["changes"]) == (False, {})
    assert "no module libvirtmod" in done["comment"]
    assert not name.exists()


def test_a_directory_that_holds_more_than_links_is_left_alone(
    minion: Minion, tmp_path: Path, packages: Path
) -> None:
    name = tmp_path / "native"
    name.mkdir()
    (name / "mine.py").touch()
    done = minion.run("artifact.native", name=str(name), modules=["rbd"], source=str(packages))
    assert done["result"] is False
    assert "mine.py, which is no link" in done["comment"]
    assert [path.name for path in name.iterdir()] == ["mine.py"]
