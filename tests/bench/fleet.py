"""A real master with a hundred real minions on one machine, all of them below one directory.

The minions are forked from one Python that has read Salt already, so a hundred of them start in
seconds and share most of their memory; each is a whole minion all the same, with its own keys,
sockets and cache. They listen on nothing, and the master on 127.0.0.1 only.

What a hundred hosts would each do on processors of their own is done here by two cores, so two
settings differ from a host's: jobs run in threads (``multiprocessing``), and the facts of the
machine, which they share, are looked up once (``grains_cache``), see :data:`SHARED`.

``python -m tests.bench.fleet FOLDER`` is that Python: one minion for each folder in ``FOLDER``,
until it is ended.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.bench import venvs
from tests.support import TREE

CLUSTER = "fleet"
ROLE = "fleet.base"
#: Seconds until all minions are there, and until everything is gone.
START, STOP = 300, 20
#: What keeps the cost of many minions on one machine small; see above.
SHARED = {
    "multiprocessing": False,
    "grains_cache": True,
    "grains_cache_expiration": 86400,
}
#: Seconds between two minions: starting takes each a second of a processor.
GAP = 0.5

#: What every host of the model has: one file, and the question whether it is there.
CLASS = {
    "applications": [ROLE],
    "parameters": {
        "fleet": {"base": {"directory": "${_param:directory}", "text": "hello"}},
        "lifecycle": {
            ROLE: {
                "stage": "control",
                "max_unavailable": 8,
                "health": [{"file": "${_param:directory}/${host:name}", "mode": "0644"}],
            }
        },
    },
}
FORMULA = """\
{%- include "saltern/guard.jinja" %}
fleet-base-file:
  file.managed:
    - name: {{ pillar.fleet.base.directory }}/{{ pillar.host.name }}
    - contents: {{ pillar.fleet.base.text }}
    - mode: '0644'
"""


class Fleet:
    """The master, its model and its minions.

    :param root: an empty directory with a short name: names of sockets are below it
    :param count: how many minions
    :param shared: minions spare the machine, see :data:`SHARED`; else they are set up as on hosts
    """

    def __init__(self, root: Path, count: int, *, shared: bool = True) -> None:
        self.settings = SHARED if shared else {}
        self.root = root.resolve()
        root = self.root
        self.nodes = [f"n{number:03}.{CLUSTER}.test" for number in range(1, count + 1)]
        self.work = root / "work"
        self.model = root / "model"
        self.minions = root / "m"
        self.config = root / "etc"
        self.packages = root / "python"
        self.python = Path(sys.executable)
        self.processes: list[subprocess.Popen[bytes]] = []

    # -- what is there before anything runs ------------------------------------------------

    def build(self) -> None:
        """Write model, formula and configurations; make the keys, the store and the journal."""
        # bytecode goes elsewhere (see environment): beside the modules it doubles the files that
        # each of Salt's loaders goes through
        wanted = venvs.of_master()
        self.python = venvs.made("fleet", wanted, like_here=True, compiled=False) / "bin/python"
        for path in (self.work, self.minions, self.config, self.packages, self.root / "artifacts"):
            path.mkdir()
        # the packages without what says that they are installed: Salt would look for plugins twice
        for name in ("saltern", "tests"):
            (self.packages / name).symlink_to(TREE / name)
        self._model()
        (self.config / "master").write_text(yaml.safe_dump(self._master()))
        public, private = self._key()
        accepted = Path(self._master()["pki_dir"]) / "minions"
        accepted.mkdir(parents=True)
        for node in self.nodes:
            folder = self.minions / node
            pki = folder / "pki"
            pki.mkdir(parents=True)
            # one pair of keys for all: making a hundred would take longer than starting them
            (pki / "minion.pem").write_text(private)
            (pki / "minion.pem").chmod(0o400)
            (pki / "minion.pub").write_text(public)
            (accepted / node).write_text(public)
            (folder / "minion").write_text(yaml.safe_dump(self._minion(node, folder)))

    def _model(self) -> None:
        write(self.model / "classes/service/fleet/base.yml", CLASS)
        param = {"cluster_name": CLUSTER, "cluster_domain": f"{CLUSTER}.test"}
        param["directory"] = str(self.work)
        write(
            self.model / f"classes/cluster/{CLUSTER}/init.yml",
            {"classes": ["service.fleet.base"], "parameters": {"_param": param}},
        )
        for number, node in enumerate(self.nodes, start=1):
            host = {"name": node.split(".")[0], "address": f"127.0.1.{number}"}
            write(
                self.model / f"nodes/{CLUSTER}/{node}.yml",
                {"classes": [f"cluster.{CLUSTER}"], "parameters": {"host": host}},
            )
        formula = self.root / "formulas/fleet/base.sls"
        formula.parent.mkdir(parents=True)
        formula.write_text(FORMULA)
        schema = self.model / "formulas/fleet/schemas/base.yaml"
        properties = {name: {"type": "string"} for name in ("directory", "text", "note")}
        write(schema, {"type": "object", "properties": properties})
        self.commit("the fleet")

    def commit(self, subject: str, **values: Any) -> str:
        """Commit the model, with more values of its role if there are any; return the commit."""
        path = self.model / "classes/service/fleet/base.yml"
        data = yaml.safe_load(path.read_text())
        data["parameters"]["fleet"]["base"].update(values)
        write(path, data)
        if not (self.model / ".git").is_dir():
            self._git("init", "-q", "-b", "main")
        self._git("add", "-A")
        self._git("commit", "-q", "-m", subject)
        return self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        name = {"GIT_AUTHOR_NAME": "bench", "GIT_COMMITTER_NAME": "bench"}
        mail = {"GIT_AUTHOR_EMAIL": "bench@example.org", "GIT_COMMITTER_EMAIL": "bench@example.org"}
        done = subprocess.run(
            ["git", "-C", str(self.model), *arguments],
            env={**os.environ, **name, **mail, "GIT_CONFIG_GLOBAL": os.devnull},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout.strip()

    def _master(self) -> dict[str, Any]:
        serving = {
            "store": str(self.root / "store"),
            "journal": f"sqlite:///{self.root}/journal/journal.db",
        }
        ports = getattr(self, "_ports", None)
        if ports is None:
            ports = self._ports = free_ports(2)
        return {
            "user": "root",
            "interface": "127.0.0.1",
            "publish_port": ports[0],
            "ret_port": ports[1],
            "root_dir": str(self.root / "master"),
            "pki_dir": str(self.root / "master/pki"),
            "cachedir": str(self.root / "master/cache"),
            "sock_dir": str(self.root / "master/run"),
            "pidfile": str(self.root / "master/master.pid"),
            "log_file": str(self.root / "master/log"),
            "log_level": "error",
            "log_level_logfile": "warning",
            "module_dirs": [str(TREE)],
            "file_roots": {"base": [str(self.root / "formulas"), str(TREE / "formulas")]},
            "ext_pillar": [{"saltern_model": serving}],
            "master_tops": {"saltern_model": serving},
            "minion_data_cache": False,
            "timeout": 15,
            "saltern": {
                **serving,
                "cluster": CLUSTER,
                "model": str(self.model),
                "artifacts": str(self.root / "artifacts"),
                "revision": "HEAD",
            },
        }

    def _minion(self, node: str, folder: Path) -> dict[str, Any]:
        return {
            # as in etc/minion.d
            **yaml.safe_load("".join(one.read_text() for one in TREE.glob("etc/minion.d/*.conf"))),
            **self.settings,
            "id": node,
            "user": "root",
            "master": "127.0.0.1",
            "master_port": self._ports[1],
            "root_dir": str(folder),
            "pki_dir": str(folder / "pki"),
            "cachedir": str(folder / "cache"),
            "sock_dir": str(folder / "run"),
            "pidfile": str(folder / "pid"),
            "log_file": str(folder / "log"),
            "log_level": "error",
            "module_dirs": [str(TREE)],
        }

    def _key(self) -> tuple[str, str]:
        from cryptography.hazmat.primitives import serialization as form
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(65537, 2048)
        public = key.public_key().public_bytes(
            form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
        )
        private = key.private_bytes(
            form.Encoding.PEM, form.PrivateFormat.TraditionalOpenSSL, form.NoEncryption()
        )
        return public.decode(), private.decode()

    # -- the processes ---------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """For programs of Salt: their bytecode is kept, as where Salt is installed for use."""
        kept = {key: text for key, text in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        return {**kept, "PYTHONPYCACHEPREFIX": str(self.root / "bytecode")}

    def options(self) -> dict[str, Any]:
        """The master's options, as a runner has them."""
        import salt.config

        return dict(salt.config.master_config(str(self.config / "master")))

    def start(self) -> float:
        """Start master and minions; return the seconds until all of them answered."""
        from saltern.adapters import modelsite
        from saltern.adapters.master import Site
        from saltern.adapters.salt_bus import SaltBus
        from saltern.rollout.ports import Call

        options = self.options()
        serving = options["ext_pillar"][0]["saltern_model"]
        modelsite.prepare(Site.of(options), "bench", serving)
        begin = time.monotonic()
        self._run(str(self.python.with_name("salt-master")), "-c", str(self.config))
        while not (Path(options["sock_dir"]) / "publish_pull.ipc").exists():
            self._late(begin, "the master does not start")
            time.sleep(0.2)
        self._run("-m", "tests.bench.fleet", str(self.minions))
        bus = SaltBus(options)
        missing = set(self.nodes)
        while missing:
            self._late(begin, f"{len(missing)} of {len(self.nodes)} minions do not answer")
            # patient: questions that pile up are what keeps them from answering
            call = Call(tuple(sorted(missing)), "test.ping", timeout=60, chase=False)
            answers = bus.call_all([call])[0]
            missing = {node for node, answer in answers.items() if not answer.ok}
        return time.monotonic() - begin

    def _late(self, begin: float, what: str) -> None:
        for process in self.processes:
            if process.poll() is not None:
                raise SystemExit(f"{process.args} ended with code {process.returncode}")
        if time.monotonic() - begin > START:
            raise SystemExit(f"{what} within {START} s")

    def _run(self, *arguments: str) -> None:
        with (self.root / "output").open("ab") as output:
            self.processes.append(
                subprocess.Popen(
                    [str(self.python), "-W", "ignore", *arguments],
                    cwd=self.root,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # a group of its own: an interrupt of the terminal is not for it
                    start_new_session=True,
                    env={**self.environment(), "PYTHONPATH": str(self.packages)},
                )
            )

    def settle(self, role: str) -> None:
        """Apply a role on all minions: their caches are full and their files are there then.

        :raises SystemExit: it failed somewhere
        """
        from saltern.adapters.salt_bus import SaltBus

        kwarg = {"mods": [role]}
        answers = SaltBus(self.options()).call(self.nodes, "state.apply", kwarg=kwarg, timeout=120)
        failed = [answer.sentence for answer in answers.values() if not answer.ok]
        if failed:
            raise SystemExit(f"{len(failed)} minions: {failed[0]}")

    def memory(self) -> dict[str, float]:
        """MiB that only one minion has (proportional share), the median of all."""
        (parent,) = [p.pid for p in self.processes if "tests.bench.fleet" in p.args]  # type: ignore[operator]
        shares = sorted(proportional(pid) for pid in children(parent))
        return {"processes": len(shares), "median_mib": round(shares[len(shares) // 2], 1)}

    def stop(self) -> None:
        """End every process that :meth:`start` began, and wait until they are gone."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.running():
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
            deadline = time.monotonic() + STOP
            while time.monotonic() < deadline and self.running():
                for process in self.processes:
                    process.poll()
                time.sleep(0.1)
        self.processes.clear()

    def running(self) -> list[int]:
        """Every process of this fleet.

        Known by the directory that they run in, or that their title names: jobs leave the group
        of their minion, the master leaves the directory, and neither keeps its environment.
        """
        found = []
        mark = f"{self.root}/".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                with suppress(OSError):
                    inside = (folder / "cwd").readlink() == self.root
                    if inside or mark in (folder / "cmdline").read_bytes():
                        found.append(int(folder.name))
        return found


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Write a YAML file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(data)))


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in opened]
    for each in opened:
        each.close()
    return ports


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def proportional(pid: int) -> float:
    """MiB of a process, pages that others share divided among them; 0 when it ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


# -- the Python that minions are forked from -----------------------------------------------


def fork_all(folders: Iterable[Path]) -> dict[int, Path]:
    """Fork a minion for each folder; return them by process id."""
    import salt._logging
    import salt.cli.daemons

    # what every minion would read first of all
    for name in ("minion", "loader", "state", "channel.server", "transport.zeromq", "master"):
        importlib.import_module(f"salt.{name}")
    found = {}
    for folder in folders:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                salt._logging.in_mainprocess.__pid__ = os.getpid()
                sys.argv = ["salt-minion", "-c", str(folder)]
                salt.cli.daemons.Minion().start()
                code = 0
            finally:
                os._exit(code)
        found[pid] = folder
        time.sleep(GAP)
    return found


def main() -> None:
    """Fork the minions and wait; the end of this process ends them."""
    found = fork_all(sorted(Path(sys.argv[1]).iterdir()))
    try:
        while True:
            pid, status = os.wait()
            if pid in found:
                print(f"{found[pid].name} ended with status {status}", flush=True)
    except ChildProcessError:
        raise SystemExit("no minion is left") from None


if __name__ == "__main__":
    main()
