"""Have hosts started from another image: who does it, and whether their minions answer again.

Who does it is the master's configuration:

.. code-block:: yaml

    saltern:
      provision:
        socket: /srv/saltern/provisioner/socket     # the embedded lab
        # or a program of the operator's own:
        command: [/usr/local/sbin/provision, --site, west]

The program gets one JSON object on its standard input and answers with one on its standard output.
``{"action": "reimage", "node", "image", "keep": [paths]}``: stop the host, start it from the image
with these paths as they were, return when it boots; a host that runs on it already is left alone,
an interrupted call is finished by the next one; answer ``{"changed": bool, "comment": sentence}``.
``{"action": "status"}``: answer ``{"hosts": {id: {"image", "state"}}}``. An exit code other than 0
is a failure, and the last line of its standard error says why.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from saltern.errors import LabError, PreflightError, SalternError
from saltern.rollout import keeping
from saltern.rollout.load import Source
from saltern.rollout.ports import Bus, Clock

#: Seconds that one host may take to be stopped, changed and started.
LIMIT = 1800
#: Seconds until the minion of a started host must have answered.
MINION_LIMIT = 600
#: Hosts that are asked for at the same time.
TOGETHER = 4
PAUSE = 1.0
_IMAGE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
_WHERE = "master configuration, saltern:provision"


class Driver(Protocol):
    """Whoever can start a host from an image."""

    def reimage(self, node: str, image: str, keep: Sequence[str]) -> dict[str, Any]:
        """Start one host from an image; return ``{"changed": bool, "comment": sentence}``.

        :raises LabError: it did not work
        """
        ...

    def hosts(self) -> dict[str, Any]:
        """Return ``{id: {"image": name, "state": text, …}}``.

        :raises LabError: it cannot say
        """
        ...


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket.

    :param path: the socket
    :param limit: seconds to wait for an answer
    """

    def __init__(self, path: str, limit: float) -> None:
        super().__init__("localhost", timeout=limit)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class SocketDriver:
    """The provisioner of the embedded lab.

    :param path: its socket
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def reimage(self, node: str, image: str, keep: Sequence[str]) -> dict[str, Any]:
        """As in :class:`Driver`."""
        asked = {"node": node, "image": image, "keep": list(keep)}
        return self._ask("POST", "/reimage", json.dumps(asked))

    def hosts(self) -> dict[str, Any]:
        """As in :class:`Driver`."""
        return _mapping(self._ask("GET", "/hosts", None).get("hosts"), self.path)

    def _ask(self, method: str, path: str, body: str | None) -> dict[str, Any]:
        connection = _Connection(self.path, LIMIT)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = _mapping(json.loads(response.read()), self.path)
        except (OSError, http.client.HTTPException, ValueError) as err:
            raise LabError(
                f"the provisioner does not answer: {err}",
                where=self.path,
                cure="On the machine of the lab: saltern lab up CLUSTER starts it",
            ) from err
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise LabError(str(answer.get("comment") or f"HTTP status {response.status}"))
        return answer


class CommandDriver:
    """A program of the operator's own; see the module.

    :param argv: program and arguments
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)

    def reimage(self, node: str, image: str, keep: Sequence[str]) -> dict[str, Any]:
        """As in :class:`Driver`."""
        asked = {"action": "reimage", "node": node, "image": image, "keep": list(keep)}
        return self._ask(asked)

    def hosts(self) -> dict[str, Any]:
        """As in :class:`Driver`."""
        return _mapping(self._ask({"action": "status"}).get("hosts"), self.argv[0])

    def _ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        program = self.argv[0]
        try:
            done = subprocess.run(
                self.argv,
                input=json.dumps(asked),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=LIMIT,
                check=False,
            )
        except OSError as err:
            raise LabError(f"it cannot be run: {err.strerror}", where=program) from err
        except subprocess.TimeoutExpired:
            raise LabError(f"it did not end within {LIMIT} s", where=program) from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            told = lines[-1].strip() if lines else "it said nothing"
            raise LabError(f"exit code {done.returncode}: {told}", where=program)
        try:
            return _mapping(json.loads(done.stdout), program)
        except ValueError:
            raise LabError("its answer is not JSON", where=program) from None


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise LabError("its answer is no JSON object of the form that is wanted", where=where)
    return value


def driver(settings: Mapping[str, Any]) -> Driver:
    """Return who starts hosts from images.

    :param settings: ``saltern:provision`` of the master's configuration
    :raises PreflightError: nobody is named, or wrongly
    """
    if not settings:
        raise PreflightError(
            "nobody is named who starts hosts from images",
            where=_WHERE,
            cure="Give `command: [program, argument]`; the embedded lab sets `socket` by itself",
        )
    if set(settings) not in ({"socket"}, {"command"}):
        raise PreflightError(
            f"it has the keys {', '.join(sorted(map(str, settings)))}",
            where=_WHERE,
            cure="Give exactly one of socket and command",
        )
    path, argv = settings.get("socket"), settings.get("command")
    if isinstance(path, str) and path.startswith("/"):
        return SocketDriver(path)
    argv = [argv] if isinstance(argv, str) else argv
    words = isinstance(argv, list) and all(isinstance(word, str) for word in argv)
    if words and argv and argv[0].startswith("/"):
        return CommandDriver(argv)
    raise PreflightError(
        "it needs an absolute path",
        where=_WHERE,
        cure="`socket` is a path, `command` a list of a program's path and its arguments",
    )


def kept(
    source: Callable[[], Source],
    cluster: str,
    nodes: Sequence[str],
    given: Mapping[str, Any] | None,
) -> dict[str, tuple[str, ...]]:
    """Return what each host keeps.

    :param source: gives where the compiled nodes come from
    :param cluster: name of the cluster
    :param nodes: minion ids
    :param given: minion id -> paths; what the nodes' roles declare when None
    :raises PreflightError: a node is not in the model, a role keeps data and does not say where, a
        path cannot be kept
    """
    if given is None:
        given = {}
        known = source().nodes(cluster)
        for node in nodes:
            if node not in known:
                raise PreflightError(f"cluster {cluster} has no node {node}")
            lifecycle, roles = known[node].lifecycle, known[node].applications
            missing = keeping.gaps(lifecycle, roles)
            if missing:
                raise PreflightError(
                    f"{', '.join(missing)} keeps data on it, and `keep` does not say where",
                    where=node,
                    cure="Give lifecycle:<role>:keep in the model, or the argument keep",
                )
            given[node] = list(keeping.declared(lifecycle, roles))
    if not isinstance(given, Mapping) or not set(given) <= set(nodes):
        raise PreflightError("keep is a mapping of the named nodes to lists of paths")
    found = {}
    for node in nodes:
        paths = given.get(node) or []
        if not isinstance(paths, (list, tuple)):
            raise PreflightError(f"keep of {node} is a list of paths")
        found[node] = keeping.of_node(paths)
    return found


def named(nodes: Any, image: Any) -> list[str]:
    """Return the named nodes, each once.

    :param nodes: minion ids, a list or separated by commas
    :param image: name of the image, which is checked too
    :raises PreflightError: no node is named, or the image is no plain name
    """
    if isinstance(nodes, str):
        nodes = nodes.split(",")
    if not isinstance(nodes, (list, tuple)):
        nodes = []
    found = list(dict.fromkeys(str(node).strip() for node in nodes if str(node).strip()))
    if not found:
        raise PreflightError("no node is named", cure="Give nodes=ID,ID")
    if not isinstance(image, str) or not _IMAGE.match(image):
        raise PreflightError(f"{image!r} is no name of an image", cure="Give image=NAME")
    return found


@dataclass(frozen=True)
class Host:
    """How it went with one host.

    :param ok: it runs on the image and its minion answers
    :param changed: it was started anew for that
    :param seconds: what it took
    """

    ok: bool
    changed: bool
    comment: str
    seconds: float = 0

    def to_ret(self) -> dict[str, Any]:
        """Return it as data."""
        return {
            "result": self.ok,
            "changed": self.changed,
            "comment": self.comment,
            "seconds": round(self.seconds, 1),
        }


def reimage(
    driver: Driver,
    bus: Bus,
    clock: Clock,
    image: str,
    keep: Mapping[str, Sequence[str]],
    limit: float = MINION_LIMIT,
) -> dict[str, Host]:
    """Start hosts from an image and wait until their minions answer.

    :param driver: who does it
    :param bus: what reaches the minions
    :param clock: time
    :param image: name of the image
    :param keep: minion id -> paths that are kept
    :param limit: seconds until the minions must have answered
    """
    found: dict[str, Host] = {}

    def one(node: str) -> Host:
        begin = time.monotonic()
        try:
            answer = driver.reimage(node, image, keep[node])
        except SalternError as err:
            return Host(False, False, str(err), time.monotonic() - begin)
        changed = answer.get("changed") is not False
        told = str(answer.get("comment") or "")
        return Host(True, changed, told, time.monotonic() - begin)

    with ThreadPoolExecutor(max_workers=min(TOGETHER, len(keep))) as pool:
        found = dict(zip(keep, pool.map(one, keep), strict=True))
    begin = clock.now()
    left = [node for node, host in found.items() if host.ok]
    while left:
        answers = bus.call(left, "test.ping", timeout=5)
        after = clock.now() - begin
        for node in list(left):
            host = found[node]
            if answers[node].ok:
                seconds = host.seconds + after
                found[node] = Host(True, host.changed, host.comment, seconds)
                left.remove(node)
            elif after > limit:
                told = f"{host.comment} Its minion did not answer within {limit:.0f} s.".strip()
                found[node] = Host(False, host.changed, told, host.seconds + after)
                left.remove(node)
        if left:
            clock.sleep(PAUSE)
    return found


def to_ret(hosts: Mapping[str, Host]) -> dict[str, Any]:
    """Return what a runner answers.

    :param hosts: minion id -> how it went
    """
    bad = [f"{node}: {host.comment}" for node, host in sorted(hosts.items()) if not host.ok]
    changed = sorted(node for node, host in hosts.items() if host.ok and host.changed)
    if bad:
        comment = " ".join(bad)
    elif changed:
        comment = f"Started from the image: {', '.join(changed)}."
    else:
        comment = "Every host runs on the image already."
    return {
        "result": not bad,
        "comment": comment,
        "nodes": {node: host.to_ret() for node, host in sorted(hosts.items())},
    }


def status(driver: Driver, image: str = "", nodes: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the hosts run on, as a runner answers.

    :param driver: who knows
    :param image: one that all of them should run on; empty for none
    :param nodes: minion ids; all when empty
    """
    hosts = driver.hosts()
    asked = list(nodes) or sorted(hosts)
    found, wrong = {}, []
    for node in asked:
        host = hosts.get(node)
        if not isinstance(host, Mapping):
            wrong.append(f"{node} is unknown")
            continue
        found[node] = dict(host)
        if host.get("unfinished"):
            wrong.append(f"{node} is on its way to image {host['unfinished']}")
        elif image and host.get("image") != image:
            wrong.append(f"{node} runs on image {host.get('image')}")
    told = "; ".join(wrong) or f"{len(found)} hosts"
    return {"result": not wrong, "comment": f"{told}.", "nodes": found}
