"""What starts hosts of a lab from another image on request: HTTP on a unix socket, no shell.

The socket is in a directory of the lab that only the deployment host sees; there only root and the
user of the Salt master may speak to it. It knows the hosts of its own lab and the images that are
in the cache, and does nothing else.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from saltern.errors import LabError, PreflightError, SalternError
from saltern.lab import background
from saltern.lab.image import SUITES, cached_image
from saltern.lab.nspawn import NspawnProvider
from saltern.lab.paths import lab_dir, make_lab_dir
from saltern.lab.provider import Bind, HostSpec
from saltern.lab.repo import MOUNT, cached_repo
from saltern.rollout import keeping

#: Where the deployment host sees the socket's directory.
DIRECTORY = "/srv/saltern/provisioner"
SOCKET = "socket"
#: Whoever runs the master's programs, beside root.
MASTER_USER = "salt"
#: Bytes that a request may have.
MAX_BODY = 65536
_CREDENTIALS = struct.Struct("3i")


def socket_path(lab: str) -> Path:
    """Return the socket of a lab's provisioner on the machine."""
    return lab_dir(lab) / "provisioner" / SOCKET


def socket_bind(lab: str) -> Bind:
    """Return what the deployment host sees of it."""
    directory = make_lab_dir(lab) / "provisioner"
    directory.mkdir(exist_ok=True)
    return Bind(str(directory), DIRECTORY)


def run_beside(lab: str) -> None:
    """Have the provisioner of a lab run, with the code of now.

    :param lab: name of the lab
    :raises LabError: it does not start, or the one before does not end
    """
    directory = lab_dir(lab)
    background.end(directory)
    program = "from saltern.cli import main; main()"
    argv = [sys.executable, "-c", program, "lab", "provisioner", "--lab", lab]
    background.start(directory, argv, socket_path(lab))


class Provisioner:
    """What can be asked about the hosts of one lab.

    :param provider: the lab
    """

    def __init__(self, provider: NspawnProvider) -> None:
        self.provider = provider

    def hosts(self) -> dict[str, Any]:
        """Return ``{id: {"image", "state", "unfinished"}}`` and the images there are."""
        found = {
            host.fqdn: {
                "image": host.image,
                "state": host.state,
                "unfinished": self.provider.unfinished(host.name),
            }
            for host in self.provider.status()
        }
        images = [suite for suite in SUITES if cached_image(suite) is not None]
        return {"lab": self.provider.lab, "hosts": found, "images": images}

    def reimage(self, asked: Any) -> dict[str, Any]:
        """Start one host from another image.

        :param asked: ``{"node": minion id, "image": name, "keep": [paths]}``
        :returns: ``{"changed": bool, "comment": sentence}``
        :raises PreflightError: a wrong request; nothing was touched
        :raises LabError: the host could not be stopped, changed or started
        """
        if not isinstance(asked, dict) or set(asked) != {"node", "image", "keep"}:
            raise PreflightError("a request has node, image and keep, and nothing else")
        node, suite, keep = asked["node"], asked["image"], asked["keep"]
        if not isinstance(keep, list) or not all(isinstance(path, str) for path in keep):
            raise PreflightError("keep is a list of paths")
        spec = self._host(node)
        if _carries(spec):
            raise PreflightError(f"{node} carries the deployment itself: it cannot be made anew")
        image = cached_image(suite) if suite in SUITES else None
        repo = cached_repo(image) if image is not None else None
        if image is None or repo is None:
            raise PreflightError(
                f"there is no image {suite!r} with its packages",
                cure=f"Run saltern lab image --image {suite if suite in SUITES else SUITES[-1]}",
            )

        def binds(spec: HostSpec) -> list[Bind]:
            others = [bind for bind in spec.binds if not bind.target.startswith(f"{MOUNT}/")]
            return [Bind(str(repo), f"{MOUNT}/{suite}"), *others]

        if self.provider.reimage(spec.name, image, binds, keeping.of_node(keep)):
            return {"changed": True, "comment": f"{node} was started from image {suite}."}
        return {"changed": False, "comment": f"{node} runs on image {suite} already."}

    def _host(self, node: Any) -> HostSpec:
        for spec in self.provider.specs().values():
            if spec.fqdn == node:
                return spec
        raise PreflightError(f"lab {self.provider.lab} has no host {node!r}")

    def speakers(self) -> set[int]:
        """Return the numbers of the users that may ask: root, and the master's on its host."""
        found = {0}
        for spec in self.provider.specs().values():
            if _carries(spec):
                passwd = self.provider.root(spec.name) / "etc/passwd"
                with contextlib.suppress(OSError):
                    rows = [line.split(":") for line in passwd.read_text("utf-8").splitlines()]
                    found |= {int(row[2]) for row in rows if row[0] == MASTER_USER}
        return found


def _carries(spec: HostSpec) -> bool:
    return any(bind.target == DIRECTORY for bind in spec.binds)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "saltern"
    sys_version = ""

    def do_GET(self) -> None:
        """``GET /hosts``."""
        if self.path != "/hosts":
            self._tell(HTTPStatus.NOT_FOUND, {"comment": f"there is no {self.path}"})
            return
        with self._answered():
            self._tell(HTTPStatus.OK, self.server.provisioner.hosts())

    def do_POST(self) -> None:
        """``POST /reimage``."""
        if self.path != "/reimage":
            self._tell(HTTPStatus.NOT_FOUND, {"comment": f"there is no {self.path}"})
            return
        length = self.headers.get("Content-Length") or ""
        if not length.isdigit() or int(length) > MAX_BODY:
            self._tell(HTTPStatus.BAD_REQUEST, {"comment": "the request has no proper length"})
            return
        with self._answered():
            try:
                asked = json.loads(self.rfile.read(int(length)))
            except ValueError:
                raise PreflightError("the request is not JSON") from None
            self._tell(HTTPStatus.OK, self.server.provisioner.reimage(asked))

    @contextlib.contextmanager
    def _answered(self) -> Iterator[None]:
        """Answer what goes wrong with a sentence."""
        try:
            yield
        except (BrokenPipeError, ConnectionResetError):
            self.log_message("whoever asked is gone")
        except PreflightError as err:
            self._tell(HTTPStatus.BAD_REQUEST, {"comment": str(err)})
        except SalternError as err:
            self._tell(HTTPStatus.INTERNAL_SERVER_ERROR, {"comment": str(err)})
        except Exception as err:
            told = {"comment": f"the lab's provisioner failed: {type(err).__name__}: {err}"}
            self._tell(HTTPStatus.INTERNAL_SERVER_ERROR, told)
            raise

    def _tell(self, status: HTTPStatus, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        if status != HTTPStatus.OK:
            self.log_message("%s", answer["comment"])

    def address_string(self) -> str:
        """A peer on a unix socket has no address."""
        return "local"


class _Server(socketserver.ThreadingUnixStreamServer):
    # whoever ends the server waits for what is under way
    daemon_threads = False
    block_on_close = True

    def __init__(self, path: Path, provisioner: Provisioner) -> None:
        self.provisioner = provisioner
        super().__init__(str(path), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the kernel says that one who may ask is at the other end."""
        size = _CREDENTIALS.size
        credentials = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        _, user, _ = _CREDENTIALS.unpack(credentials)
        if user in self.provisioner.speakers():
            return True
        print(f"user {user} may not ask", file=sys.stderr, flush=True)
        return False


def serve(provider: NspawnProvider) -> None:
    """Answer until a termination signal, then finish what is under way.

    :param provider: the lab
    :raises LabError: there is no such lab
    """
    path = socket_path(provider.lab)
    if not provider.specs():
        raise LabError(f"there is no lab {provider.lab}")
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".new")
    partial.unlink(missing_ok=True)
    with _Server(partial, Provisioner(provider)) as server:
        # the directory is closed on the machine; on the deployment host the kernel tells users
        partial.chmod(0o666)
        partial.rename(path)

        def stop(_signal: int, _frame: object) -> None:
            threading.Thread(target=server.shutdown, daemon=True).start()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        server.serve_forever(poll_interval=0.5)
        path.unlink(missing_ok=True)
