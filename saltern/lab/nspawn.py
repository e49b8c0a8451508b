"""Lab hosts as systemd-nspawn machines: own network namespace, cgroups and overlay on an image.

The bridge lives in a namespace of its own, without an address: hosts have no route out, the
machine's firewall and interfaces are not touched, and two labs with one subnet never meet.
What ``down`` removes is found by name on the machine, not only in the recorded state, so it
works after a crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from saltern.errors import LabError, PreflightError
from saltern.lab import background, disk, names, sysctl, wiring
from saltern.lab.cgroups import Cgroups
from saltern.lab.fresh import enable_minion, use_offline_repo
from saltern.lab.image import Image, Report, ensure_image, silent
from saltern.lab.paths import lab_dir, make_lab_dir
from saltern.lab.preflight import machine_problems
from saltern.lab.provider import Bind, Completed, HostSpec, HostStatus, Link, Prepare
from saltern.lab.shell import run, tail

#: Seconds until a host must have booted, and until it must have stopped in order.
BOOT_TIMEOUT = 90
STOP_TIMEOUT = 120
#: Seconds after which a host counts as booted though a service of it is still starting: a member
#: of a cluster may wait for its peers, which boot later, and nobody could start those.
SLOW_SERVICE = 20
PATH = "/opt/salt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Joins the cgroups given before ``--``, runs nspawn and records its pid; runs it again when the
#: host restarts itself, which nspawn leaves to a service manager and tells by status 133.
_LAUNCH = """pidfile=$1; shift
while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift
while :; do
    "$@" &
    echo $! > "$pidfile"
    wait $!
    [ $? -eq 133 ] || exit
done
"""


def nsenter(pid: int) -> list[str]:
    """Return the command prefix that runs a program inside the host whose init is ``pid``."""
    return ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]


def host_environment(env: Mapping[str, str] | None = None) -> list[str]:
    """Return ``env -i …``: the only variables a program inside a host gets.

    :param env: variables to add
    """
    variables = {
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "PATH": PATH,
        "TERM": os.environ.get("TERM", "dumb"),
        "DEBIAN_FRONTEND": "noninteractive",
    } | dict(env or {})
    return ["env", "-i", *(f"{key}={value}" for key, value in variables.items())]


def hosts_file(specs: Iterable[HostSpec]) -> str:
    """Return ``/etc/hosts`` with every host of the lab: names resolve although nothing serves them.

    :param specs: all hosts of the lab
    """
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    for spec in sorted(specs, key=lambda spec: spec.name):
        lines.append(f"{names.interface(spec.address).ip} {spec.fqdn} {spec.name}")
    return "\n".join(lines) + "\n"


class NspawnProvider:
    """The hosts of one lab on this machine.

    :param lab: lab name; everything on the machine and on disk is named after it
    :param report: called with the name of each step that takes time
    :param cgroups: where cgroups are
    """

    def __init__(
        self, lab: str, *, report: Report = silent, cgroups: Cgroups | None = None
    ) -> None:
        self.lab = names.check_lab_name(lab)
        self.tag = names.lab_tag(lab)
        self.directory = lab_dir(lab)
        self.report = report
        self.cgroups = cgroups or Cgroups()
        self._recording = threading.Lock()

    # -- recorded state ------------------------------------------------------------------

    @property
    def _record_file(self) -> Path:
        return self.directory / "lab.json"

    def record(self) -> dict[str, Any]:
        """Return the recorded state: ``{"lab": …, "hosts": {name: {spec…, "root_image": …}}}``."""
        try:
            data: dict[str, Any] = json.loads(self._record_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"lab": self.lab, "hosts": {}}
        except ValueError as err:
            raise LabError(
                "the recorded state is not JSON",
                where=str(self._record_file),
                cure=f"Run saltern lab down --lab {self.lab}",
            ) from err
        return data

    def _save(self, record: dict[str, Any]) -> None:
        make_lab_dir(self.lab)
        partial = self._record_file.with_suffix(".new")
        partial.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        partial.rename(self._record_file)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        path = self.directory.parent / f".{self.lab}.lock"
        while True:
            with path.open("w", encoding="utf-8") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                # `down` removes the file: one that is no longer there locks nothing.
                if path.exists() and path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                    yield
                    return

    def specs(self) -> dict[str, HostSpec]:
        """Return the recorded hosts by name."""
        return {name: self._spec(entry) for name, entry in sorted(self.record()["hosts"].items())}

    @staticmethod
    def _spec(entry: Mapping[str, Any]) -> HostSpec:
        binds = tuple(Bind(**bind) for bind in entry["binds"])
        links = tuple(Link(**link) for link in entry.get("links", ()))
        keys = ("name", "fqdn", "address", "image")
        return HostSpec(**{key: entry[key] for key in keys}, binds=binds, links=links)

    def _entry(self, name: str) -> dict[str, Any]:
        hosts = self.record()["hosts"]
        if name not in hosts:
            known = ", ".join(sorted(hosts)) or "none"
            raise LabError(f"lab {self.lab} has no host {name!r}; it has {known}")
        entry: dict[str, Any] = hosts[name]
        return entry

    # -- places on the machine -----------------------------------------------------------

    def _place(self, name: str) -> Path:
        return self.directory / "hosts" / name

    def root(self, name: str) -> Path:
        """Return the root file system of a host on the machine (mounted while it runs)."""
        return self._place(name) / "root"

    def _namespaces(self) -> set[str]:
        return {name for name in wiring.namespaces() if name.startswith(f"{self.tag}-")}

    def _supervisor(self, name: str) -> psutil.Process | None:
        """Return the nspawn process of a host, or None when it does not run."""
        try:
            pid = int((self._place(name) / "nspawn.pid").read_text(encoding="ascii"))
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return process if f"--directory={self.root(name)}" in process.cmdline() else None
        except (OSError, ValueError, psutil.Error):
            return None

    def leader(self, name: str) -> int:
        """Return the pid, on the machine, of a host's init; 0 when it does not run."""
        supervisor = self._supervisor(name)
        if supervisor is None:
            return 0
        with contextlib.suppress(psutil.Error):
            for child in supervisor.children():
                if _is_namespace_init(child.pid):
                    return int(child.pid)
        return 0

    # -- the provider --------------------------------------------------------------------

    def preflight(self, specs: Sequence[HostSpec]) -> list[str]:
        """Return one sentence per thing that is missing; nothing is touched.

        :param specs: the hosts that are wanted
        """
        problems = machine_problems(len(specs))
        problems += names.address_problems({spec.name: spec.address for spec in specs})
        problems += wiring.link_problems(specs)
        ports: dict[str, str] = {}
        for spec in specs:
            other = ports.setdefault(names.port_name(spec.name), spec.name)
            if other != spec.name:
                problems.append(f"hosts {other} and {spec.name} get the same port name")
        for recorded in self.directory.parent.glob("*/lab.json"):
            lab = recorded.parent.name
            if lab != self.lab and names.lab_tag(lab) == self.tag:
                problems.append(f"the lab names {lab} and {self.lab} share one hash; rename one")
        return problems

    def up(self, specs: Sequence[HostSpec], prepare: Prepare | None = None) -> list[str]:
        """Create and start the hosts that are not there yet; return the names of new ones.

        :param specs: all hosts of the lab; recorded ones that are not named stay as they are
        :param prepare: called once per new host with its root mounted, before it boots
        :raises PreflightError: something is missing; nothing was touched
        :raises LabError: a host does not boot; the sentence has its journal's last lines
        """
        problems = self.preflight([spec for spec in specs if not self.leader(spec.name)])
        if problems:
            raise PreflightError("; ".join(problems))
        images = {name: ensure_image(name, self.report) for name in {s.image for s in specs}}
        with self._lock():
            sysctl.raise_limits()
            record = self.record()
            new: list[str] = []
            for spec in specs:
                entry = record["hosts"].get(spec.name)
                if entry is not None:
                    binds = [asdict(bind) for bind in spec.binds]
                    if entry["image"] != spec.image:
                        told = f"{spec.name} has image {entry['image']}, the model {spec.image}"
                        self.report(f"{told}: salt-run rollout.plan reimage")
                    elif not self.leader(spec.name):
                        entry |= {"binds": binds, "links": [asdict(link) for link in spec.links]}
                    elif entry["binds"] != binds:
                        self.report(f"{spec.name} sees new packages only after a restart")
                    continue
                image = images[spec.image]
                record["hosts"][spec.name] = asdict(spec) | {"root_image": str(image.root)}
                new.append(spec.name)
            self._save(record)
            wiring.switch(self.lab, self.specs().values())
            everyone = self.specs()
            asked = [everyone[spec.name] for spec in specs]
            self._each(
                [spec for spec in asked if not self.leader(spec.name)],
                lambda spec: self._bring_up(spec, everyone, prepare),
            )
        return new

    def _bring_up(
        self, spec: HostSpec, everyone: Mapping[str, HostSpec], prepare: Prepare | None
    ) -> None:
        place = self._place(spec.name)
        exchange = disk.load(place)
        if exchange is not None:
            spec = self._exchange(spec.name, exchange)
        wiring.connect(self.lab, spec)
        self._mount(spec.name)
        prepared = place / "prepared"
        if not prepared.exists():
            self._personalise(spec, everyone, new=exchange is None)
            if exchange is not None:
                use_offline_repo(spec.image, self.root(spec.name))
                enable_minion(self.root(spec.name))
            elif prepare is not None:
                prepare(spec, self.root(spec.name))
            prepared.touch()
        self._boot(spec)
        if exchange is not None:
            disk.end(place)

    def _exchange(self, name: str, exchange: disk.Exchange) -> HostSpec:
        """Bring the disk of a stopped host to its new image; return the host as it is then."""
        place = self._place(name)
        exchange = disk.advance(place, exchange)
        with self._recording:
            record = self.record()
            entry = record["hosts"][name]
            entry["image"], entry["root_image"] = exchange.image, exchange.root_image
            entry["binds"] = [dict(bind) for bind in exchange.binds]
            self._save(record)
        if exchange.stage != disk.BOOT:
            disk.save(place, replace(exchange, stage=disk.BOOT))
        return self._spec(entry)

    def reimage(
        self,
        name: str,
        image: Image,
        binds: Callable[[HostSpec], Sequence[Bind]],
        keep: Sequence[str],
    ) -> bool:
        """Start a host from another image; what is kept of its disk is there as it was.

        A host that has the image and runs is left alone. What a crash left half done is finished,
        by this as by every other start of the host.

        :param name: host name
        :param image: the image, which is in the cache
        :param binds: what the host sees of the machine then, from what it is
        :param keep: absolute paths; the last part of one may hold ``*``
        :returns: whether anything was done
        :raises LabError: unknown host, a kept path that cannot be moved, or it does not boot
        """
        with self._lock():
            spec, place = self._spec(self._entry(name)), self._place(name)
            exchange = disk.load(place)
            running = bool(self.leader(name))
            if exchange is not None and running and exchange.stage == disk.BOOT:
                disk.end(place)  # the one who began it ended before it could say so
                exchange = None
            if exchange is not None and exchange.image != image.suite:
                self._halt(name, hard=False)
                spec = self._exchange(name, exchange)
                exchange = None
            if exchange is None and spec.image == image.suite and running:
                return False
            if exchange is None and spec.image != image.suite:
                former = Path(self._entry(name)["root_image"])
                shown = [asdict(bind) for bind in binds(replace(spec, image=image.suite))]
                work = disk.plan(place, image.suite, image.root, former, shown, keep)
                self.report(f"stopping {name}")
                self._halt(name, hard=False)
                disk.begin(place, work)
            sysctl.raise_limits()
            wiring.switch(self.lab, self.specs().values())
            self.report(f"starting {name} from {image.suite}")
            self._bring_up(spec, self.specs(), None)
            return True

    def unfinished(self, name: str) -> str:
        """Return the image that a host is on its way to, empty when it is not on any."""
        exchange = disk.load(self._place(name))
        return exchange.image if exchange is not None else ""

    def start(self, name: str) -> None:
        """Start one host that is stopped; what it had on disk is still there.

        :param name: host name
        :raises LabError: unknown host, or it does not boot
        """
        with self._lock():
            spec = self._spec(self._entry(name))
            if self.leader(name):
                return
            sysctl.raise_limits()
            wiring.switch(self.lab, self.specs().values())
            self._bring_up(spec, self.specs(), None)

    def start_all(self) -> None:
        """Start every host of the lab that is stopped, all at the same time.

        :raises LabError: one does not boot
        """
        with self._lock():
            sysctl.raise_limits()
            wiring.switch(self.lab, self.specs().values())
            everyone = self.specs()
            self._each(
                [spec for spec in everyone.values() if not self.leader(spec.name)],
                lambda spec: self._bring_up(spec, everyone, None),
            )

    def stop(self, name: str, hard: bool = False) -> None:
        """Stop one host in order, or cut its power.

        :param name: host name
        :param hard: kill every process of the host at once, as a power cut would
        :raises LabError: unknown host
        """
        with self._lock():
            self._entry(name)
            self._halt(name, hard)

    def remove(self, name: str) -> None:
        """Take one host out of the lab for good, with its disk and its keys.

        :param name: host name
        :raises LabError: unknown host, or something of it cannot be removed
        """
        with self._lock():
            spec = self._spec(self._entry(name))
            self._halt(name, hard=False)
            namespace = names.host_namespace(self.lab, name)
            if namespace in self._namespaces():
                run(["ip", "netns", "del", namespace], what=f"removing namespace {namespace}")
            for key in (self.directory / "pki").glob(f"{spec.fqdn}.p*"):
                key.unlink()
            shutil.rmtree(self._place(name), ignore_errors=True)
            # last: after a crash before this it is removed by the next call
            record = self.record()
            del record["hosts"][name]
            self._save(record)

    def stop_all(self, hard: bool = False) -> None:
        """Stop every host of the lab at the same time.

        :param hard: as a power cut of the whole site
        """
        with self._lock():
            self._each(list(self.specs().values()), lambda spec: self._halt(spec.name, hard))

    def exec(
        self,
        name: str,
        argv: Sequence[str],
        *,
        input: str | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a program on a host as root and collect its output.

        :param name: host name
        :param argv: program and arguments
        :param input: its standard input; empty when None
        :param check: raise when it exits non-zero
        :param env: variables to add to the host's own
        :raises LabError: the host does not run, or (``check``) the program failed
        """
        command = self.command(name, argv, env)
        done = subprocess.run(
            command,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if check and done.returncode:
            detail = tail(done.stderr) or tail(done.stdout)
            raise LabError(
                f"{' '.join(argv[:4])} failed with exit code {done.returncode}:\n{detail}\n",
                where=f"host {name}",
                cure=f"Look further with: saltern lab exec --lab {self.lab} {name}",
            )
        return done

    def command(
        self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> list[str]:
        """Return the command of this machine that runs ``argv`` on a host.

        :raises LabError: the host does not run
        """
        self._entry(name)
        pid = self.leader(name)
        if not pid:
            raise LabError(
                f"host {name} is stopped",
                cure=f"Start it with: saltern lab start --lab {self.lab} {name}",
            )
        return [*nsenter(pid), *host_environment(env), *argv]

    def status(self) -> list[HostStatus]:
        """Return the state of every host of the lab, sorted by name."""
        found = []
        for spec in self.specs().values():
            pid = self.leader(spec.name)
            state = self._system_state(pid) if pid else "stopped"
            memory = self.memory(spec.name) if pid else 0
            address = str(names.interface(spec.address).ip)
            found.append(HostStatus(spec.name, spec.fqdn, address, spec.image, state, pid, memory))
        return found

    def memory(self, name: str) -> int:
        """Return the bytes of anonymous and shared memory that a host uses.

        Asked from its memory cgroup; where the machine has none, the sum of the proportional
        set sizes of its processes.
        """
        group = names.host_namespace(self.lab, name)
        counted = self.cgroups.memory(group)
        if counted is not None:
            return counted
        total = 0
        for pid in self.cgroups.processes(group):
            with contextlib.suppress(psutil.Error):
                total += int(psutil.Process(pid).memory_full_info().pss)
        return total

    def journal(self, name: str, lines: int = 40, unit: str = "") -> str:
        """Return the last lines of a host's journal, also when it is stopped.

        :param lines: how many
        :param unit: only this systemd unit
        """
        self._entry(name)
        argv = ["journalctl", "--no-pager", "-q", "-n", str(lines)]
        argv += ["-u", unit] if unit else []
        if self.leader(name):
            return self.exec(name, argv, check=False).stdout
        journal = self._place(name) / "upper/var/log/journal"
        if not journal.is_dir():
            return ""
        return run([*argv, "-D", str(journal)], what=f"reading the journal of {name}")

    def down(self) -> None:
        """Remove every trace of the lab: processes, mounts, namespaces, cgroups, files.

        Works from what is on the machine under the lab's name, so after a crash and twice.
        :raises LabError: something cannot be removed; the sentence names it
        """
        background.end(self.directory, hard=True)
        with self._lock():
            groups = self.cgroups.names(f"{self.tag}-")
            hosts_dir = self.directory / "hosts"
            place_names = [p.name for p in hosts_dir.iterdir()] if hosts_dir.is_dir() else []
            groups |= {names.host_namespace(self.lab, name) for name in place_names}
            for name in place_names:
                self._kill(name)
            for group in sorted(groups):
                self._clear_group(group)
            self._unmount_below(self.directory)
            for namespace in sorted(self._namespaces()):
                run(["ip", "netns", "del", namespace], what=f"removing namespace {namespace}")
            for runtime in Path("/run/systemd/nspawn").glob(f"*/{self.tag}-*"):
                shutil.rmtree(runtime, ignore_errors=True)
            if self.directory.exists():
                shutil.rmtree(self.directory)
            lock = self.directory.parent / f".{self.lab}.lock"
            lock.unlink(missing_ok=True)
            others = [path for path in self.directory.parent.glob("*/lab.json") if path.is_file()]
            if not others:
                sysctl.restore_limits()

    # -- steps ---------------------------------------------------------------------------

    def _each(self, specs: Sequence[HostSpec], work: Callable[[HostSpec], None]) -> None:
        if not specs:
            return
        with ThreadPoolExecutor(max_workers=len(specs)) as pool:
            futures = [pool.submit(work, spec) for spec in specs]
        for future in futures:
            future.result()

    def _mount(self, name: str) -> None:
        place = self._place(name)
        for part in ("upper", "work", "root"):
            (place / part).mkdir(parents=True, exist_ok=True)
        if os.path.ismount(place / "root"):
            return
        image = self._entry(name)["root_image"]
        if not Path(image).is_dir():
            raise LabError(
                f"the base image of {name} is gone: {image}",
                cure=f"Run saltern lab down --lab {self.lab} and up again",
            )
        options = f"lowerdir={image},upperdir={place}/upper,workdir={place}/work"
        command = ["mount", "-t", "overlay", f"{self.tag}-{name}", "-o", options]
        run([*command, str(place / "root")], what=f"mounting the disk of {name}")

    def _personalise(self, spec: HostSpec, everyone: Mapping[str, HostSpec], new: bool) -> None:
        """Write what makes a copy of the image this host; only before its first boot on it."""
        etc = self.root(spec.name) / "etc"
        (etc / "hostname").write_text(f"{spec.name}\n", encoding="utf-8")
        (etc / "hosts").write_text(hosts_file(everyone.values()), encoding="utf-8")
        # No name server: a dead one costs seconds per look-up.
        (etc / "resolv.conf").write_text("options attempts:1 timeout:1\n", encoding="utf-8")
        if new:
            (etc / "machine-id").write_text("", encoding="utf-8")

    def _boot(self, spec: HostSpec) -> None:
        group = names.host_namespace(self.lab, spec.name)
        place = self._place(spec.name)
        procs = self.cgroups.create(group)
        argv = ["systemd-nspawn", "--quiet", f"--directory={self.root(spec.name)}", "--boot"]
        argv += ["--register=no", "--keep-unit", f"--machine={group}", f"--hostname={spec.name}"]
        argv += [f"--network-namespace-path=/run/netns/{group}", "--resolv-conf=off"]
        argv += ["--timezone=off", "--link-journal=no", "--capability=all"]
        argv += ["--system-call-filter=@known", "--console=pipe"]
        for bind in spec.binds:
            option = "--bind" if bind.writable else "--bind-ro"
            argv.append(f"{option}={bind.source}:{bind.target}")
        launch = ["setsid", "--fork", "sh", "-c", _LAUNCH, "sh", str(place / "nspawn.pid")]
        env = {
            "PATH": os.environ.get("PATH", PATH),
            # v2 inside, also on hybrid machines; of the sysctls only net.* can be written.
            "UNIFIED_CGROUP_HIERARCHY": "1",
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
            # the lab has its own lock; nspawn's files stay behind when it is killed
            "SYSTEMD_NSPAWN_LOCK": "0",
        }
        (place / "nspawn.pid").unlink(missing_ok=True)
        with (place / "console.log").open("ab") as console:
            subprocess.run(
                [*launch, *map(str, procs), "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=env,
                check=True,
            )
        self._wait_booted(spec.name)

    def _wait_booted(self, name: str) -> None:
        deadline = time.monotonic() + BOOT_TIMEOUT
        state = "no init"
        while time.monotonic() < deadline:
            pid = self.leader(name)
            if pid:
                state = self._system_state(pid)
                if state in ("running", "degraded"):
                    return
                # "initializing" is before basic.target, "starting" is after it
                if (
                    state == "starting"
                    and time.monotonic() > deadline - BOOT_TIMEOUT + SLOW_SERVICE
                ):
                    return
            elif time.monotonic() > deadline - BOOT_TIMEOUT + 10:
                state = "nspawn ended"
                break
            time.sleep(0.2)
        console = (self._place(name) / "console.log").read_text(encoding="utf-8", errors="replace")
        raise LabError(
            f"it did not boot ({state}):\n{tail(console)}\n{tail(self.journal(name))}\n",
            where=f"host {name}",
            cure=f"Look further with: saltern lab logs --lab {self.lab} {name}",
        )

    @staticmethod
    def _system_state(pid: int) -> str:
        command = [*nsenter(pid), *host_environment(), "systemctl", "is-system-running"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() or "initializing"

    def _halt(self, name: str, hard: bool) -> None:
        supervisor = self._supervisor(name)
        if supervisor is not None and not hard:
            supervisor.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + STOP_TIMEOUT
            while self._supervisor(name) is not None and time.monotonic() < deadline:
                time.sleep(0.1)
        self._kill(name)
        self._clear_group(names.host_namespace(self.lab, name))
        self._unmount_below(self._place(name))
        (self._place(name) / "nspawn.pid").unlink(missing_ok=True)

    def _kill(self, name: str) -> None:
        """Kill init first: the kernel takes its whole process namespace down with it, at once."""
        supervisor = self._supervisor(name)
        if supervisor is None:
            return
        for pid in (self.leader(name), supervisor.pid):
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _clear_group(self, group: str) -> None:
        deadline = time.monotonic() + 15
        while True:
            for pid in self.cgroups.processes(group):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self.cgroups.remove(group):
                return
            if time.monotonic() > deadline:
                left = sorted(self.cgroups.processes(group))
                raise LabError(f"processes {left} of {group} cannot be stopped")
            time.sleep(0.05)

    @staticmethod
    def _unmount_below(directory: Path) -> None:
        """Unmount everything at or below ``directory``, the deepest first."""
        for _ in range(40):
            lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
            points = [line.split()[1].replace("\\040", " ") for line in lines]
            ours = [p for p in points if p == str(directory) or p.startswith(f"{directory}/")]
            if not ours:
                return
            for point in sorted(ours, key=len, reverse=True):
                subprocess.run(["umount", point], capture_output=True, check=False)
            time.sleep(0.05)
        for point in sorted(ours, key=len, reverse=True):
            run(["umount", "--lazy", point], what=f"unmounting {point}")


def _is_namespace_init(pid: int) -> bool:
    """Whether process ``pid`` is init (1) of a process namespace below this one."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("NSpid:"):
                return line.split()[1:][1:] == ["1"]
    return False
