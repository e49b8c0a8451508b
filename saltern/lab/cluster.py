"""A cluster of the model on lab hosts: boot them, make ``cfg01`` a Salt master, drive it."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from saltern.errors import LabError, PreflightError
from saltern.lab import keys, names, recipe
from saltern.lab.fresh import enable_minion, use_offline_repo
from saltern.lab.hosts import repo_bind
from saltern.lab.image import SALT_VENV, Report, ensure_image, silent, uv_program, wheelhouse
from saltern.lab.nspawn import NspawnProvider
from saltern.lab.paths import cache_dir
from saltern.lab.provider import Bind, HostSpec
from saltern.lab.provisioner import DIRECTORY, SOCKET, run_beside, socket_bind
from saltern.lab.staging import GUEST, Staged, host_facts
from saltern.lab.wheel import ensure_wheel
from saltern.lab.wiring import links_of
from saltern.rollout.returns import failed_states, is_state_return

MASTER_ROLE = "salt.master"
#: What makes the master's host a master; later runs of these roles change nothing.
MASTER_ROLES = ("linux.system", "salt.minion", "pki.ca", "pki.host", "salt.master", "salt.api")
MODEL = "/srv/saltern/model"
ARTIFACTS = "/srv/saltern/artifacts"
WHEELS = "/srv/saltern/wheels"
UV = "/usr/local/bin/uv"
#: Configuration and key ring of the masterless run, on a tmpfs of the host.
BOOTSTRAP = "/run/saltern-bootstrap"
#: Seconds until every minion must have answered the new master.
MINIONS_TIMEOUT = 180
#: The lab's own part of the master's configuration: what lies in the tree is deployed, also when
#: it is in no commit.
FRAGMENT = (
    "etc/salt/master.d/95-lab.conf",
    f"saltern:\n  revision: worktree\n  provision: {{socket: {DIRECTORY}/{SOCKET}}}\n",
)
EXTRAS = "master"
#: Where minions listen to the master.
PUBLISH_PORT = 4505


def master_node(staged: Staged) -> str:
    """Return the minion id of the cluster's Salt master.

    :raises PreflightError: the cluster has none, or several
    """
    found = [node_id for node_id, node in staged.nodes.items() if MASTER_ROLE in node.applications]
    if len(found) != 1:
        raise PreflightError(f"the lab wants one node with role {MASTER_ROLE}, not {len(found)}")
    return found[0]


def masters_line(masters: Sequence[str]) -> str:
    """Return ``20-master.conf`` as the formula ``salt.minion`` writes it."""
    return f"master: {masters[0] if len(masters) == 1 else json.dumps(list(masters))}\n"


class ClusterLab:
    """The hosts of one cluster.

    :param staged: its model
    :param report: called with the name of each step that takes time
    """

    def __init__(self, cluster: str, staged: Staged, report: Report = silent) -> None:
        self.cluster = cluster
        self.staged = staged
        self.report = report
        self.provider = NspawnProvider(cluster, report=report)
        self.master_id = master_node(staged)
        self.facts = host_facts(staged.nodes)
        self.master = str(self.facts[self.master_id]["name"])

    def preflight(self) -> list[str]:
        """Return one sentence per thing that this machine misses to run the cluster's hosts."""
        hosts = [
            HostSpec(fact["name"], node_id, fact["address"], fact["image"], links=links_of(fact))
            for node_id, fact in self.facts.items()
        ]
        running = [name for name in self.provider.specs() if self.provider.leader(name)]
        return self.provider.preflight([host for host in hosts if host.name not in running])

    # -- hosts ---------------------------------------------------------------------------

    def specs(self) -> list[HostSpec]:
        """Return the hosts as the model describes them, with what each is shown of the machine."""
        binds = {}
        for image in {fact["image"] for fact in self.facts.values()}:
            binds[image] = repo_bind(ensure_image(image, self.report), self.report)
        shared = {cache_dir() / "artifacts": ARTIFACTS, cache_dir() / "guest": GUEST}
        for place in shared:
            place.mkdir(parents=True, exist_ok=True)
        specs = []
        for node_id, fact in sorted(self.facts.items()):
            shown = [binds[fact["image"]]]
            if node_id == self.master_id:
                shown += [Bind(str(place), seen) for place, seen in shared.items()]
                shown.append(Bind(str(wheelhouse(fact["image"])), WHEELS))
                shown.append(Bind(str(uv_program()), UV))
                shown.append(socket_bind(self.cluster))
            who = (fact["name"], node_id, fact["address"], fact["image"])
            specs.append(HostSpec(*who, tuple(shown), links_of(fact)))
        return specs

    def up(self) -> list[str]:
        """Boot the hosts that are not running; return the names of new ones."""
        store = self.provider.directory / "pki"
        master = keys.ensure_pair(store, "master")
        minions = {node_id: keys.ensure_pair(store, node_id) for node_id in self.facts}

        def prepare(spec: HostSpec, root: Path) -> None:
            use_offline_repo(spec.image, root)
            seed_minion_config(root, spec.fqdn, [self.master_id])
            keys.seed_minion(root, minions[spec.fqdn], master[1])
            if spec.fqdn != self.master_id:
                # the master's own starts with its configuration; the others use the time till then
                enable_minion(root)
            else:
                accepted = {node_id: pair[1] for node_id, pair in minions.items()}
                keys.seed_master(root, master, accepted)
                copy_key_ring(self.staged.gpg_home, root / "etc/salt/gpgkeys")

        new = self.provider.up(self.specs(), prepare)
        if self.master not in new:
            # hosts that join later: their keys too are laid down on both sides
            ids = [node_id for node_id, fact in self.facts.items() if fact["name"] in new]
            keys.accept(self._root(), {node_id: minions[node_id][1] for node_id in ids})
        run_beside(self.cluster)
        return new

    # -- the master ----------------------------------------------------------------------

    def on_master(self, argv: Sequence[str], *, input: str | None = None) -> str:
        """Run a program on the master's host and return its standard output.

        :raises LabError: it exits non-zero
        """
        return self.provider.exec(self.master, argv, input=input).stdout

    def _done_file(self) -> Path:
        return self.provider.directory / "master.json"

    def configure_master(self) -> bool:
        """Bring package, model and configuration on the master up to date.

        Installs the wheel when it changed, moves the model to the staged commit, applies the
        master's own roles masterless when either changed.

        :returns: whether anything was done
        :raises LabError: a step failed
        """
        wheel = ensure_wheel(self.report)
        wanted = {"wheel": f"{wheel.parent.name}/{wheel.name}", "revision": self.staged.revision}
        try:
            done: dict[str, str] = json.loads(self._done_file().read_text(encoding="utf-8"))
        except FileNotFoundError:
            done = {}
        if done == wanted:
            return False
        self._done_file().unlink(missing_ok=True)
        if done.get("wheel") != wanted["wheel"]:
            self.report("installing the package into the master's Salt")
            self._install(wheel)
        if done.get("revision") != wanted["revision"]:
            self.report(f"moving the model to {self.staged.revision[:12]}")
            self._push_model()
        self._configure_revision()
        self.report("applying the master's own roles")
        self._apply_masterless()
        if done and done.get("wheel") != wanted["wheel"]:
            self.report("restarting the master with the new package")
            self.on_master(["systemctl", "restart", "salt-master", "salt-api"])
        self._done_file().write_text(json.dumps(wanted), encoding="utf-8")
        return True

    def _configure_revision(self) -> None:
        name, text = FRAGMENT
        place = self._root() / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def _root(self) -> Path:
        return self.provider.root(self.master)

    def _install(self, wheel: Path) -> None:
        place = self._root() / "srv/saltern" / wheel.name
        shutil.copyfile(wheel, place)
        inside = f"/srv/saltern/{wheel.name}"
        command = [UV, "pip", "install", "-q", "--python", f"{SALT_VENV}/bin/python"]
        command += ["--offline", "--no-index", "--find-links", WHEELS, "--no-cache"]
        command += ["--compile-bytecode", "--reinstall-package", "saltern"]
        command += ["-c", "/opt/salt-constraints.txt", f"saltern[{EXTRAS}] @ file://{inside}"]
        try:
            self.on_master(command)
        finally:
            place.unlink(missing_ok=True)

    def _push_model(self) -> None:
        """Fetch the staged commit into the master's repository; only changed files are touched."""
        bundle = self._root() / "srv/saltern/model.bundle"
        subprocess.run(
            ["git", "-C", str(self.staged.directory), "bundle", "create", "-q", bundle, "main"],
            check=True,
            capture_output=True,
        )
        script = """set -e
model=$1 bundle=$2
if getent passwd salt >/dev/null; then as="runuser -u salt --"; else as=; fi
[ -d "$model/.git" ] || { install -d -m 0750 "$model"; [ -z "$as" ] || chown salt: "$model"; \
$as git init -q -b main "$model"; }
$as git -C "$model" fetch -q "$bundle" main
$as git -C "$model" reset -q --hard FETCH_HEAD
"""
        try:
            argv = ["sh", "-c", script, "sh", MODEL, "/srv/saltern/model.bundle"]
            self.on_master(argv)
        finally:
            bundle.unlink(missing_ok=True)

    def _apply_masterless(self) -> None:
        roles = self.staged.nodes[self.master_id].applications
        wanted = [role for role in MASTER_ROLES if role in roles]
        config = {
            "id": self.master_id,
            "file_client": "local",
            "log_level": "warning",
            "enable_fqdns_grains": False,
            "cachedir": f"{BOOTSTRAP}/cache",
            "pki_dir": f"{BOOTSTRAP}/pki",
            "log_file": f"{BOOTSTRAP}/log",
            "ext_pillar": [{"saltern_model": {"path": MODEL, "gpg_home": f"{BOOTSTRAP}/gpg"}}],
        }
        script = """set -e
dir=$1 python=$2; shift 2
rm -rf "$dir"; install -d -m 0700 "$dir" "$dir/gpg"
trap 'gpgconf --homedir "$dir/gpg" --kill gpg-agent; rm -rf "$dir"' EXIT
cp -a /etc/salt/gpgkeys/pubring.kbx /etc/salt/gpgkeys/private-keys-v1.d "$dir/gpg/"
chown -R root:root "$dir/gpg"
tree=$("$python" -c 'import os, salt; print(os.path.dirname(salt.__path__[0]))')/saltern/tree
cat >"$dir/minion"
printf 'file_roots: {base: [%s/formulas]}\\n' "$tree" >>"$dir/minion"
salt-call --config-dir "$dir" --local --out=json --out-indent=-1 state.apply "$@"
"""
        argv = ["sh", "-c", script, "sh", BOOTSTRAP, f"{SALT_VENV}/bin/python", ",".join(wanted)]
        text = json.dumps(config)
        # JSON is YAML; the script appends one more key in block style
        text = "\n".join(f"{key}: {json.dumps(value)}" for key, value in config.items()) + "\n"
        result = self.provider.exec(self.master, argv, input=text, check=False)
        problem = state_problem(result.stdout) or (result.stderr if result.returncode else "")
        if problem:
            raise LabError(
                f"configuring the master failed: {problem.strip()}",
                where=f"host {self.master}",
                cure=f"Look further with: saltern lab exec --lab {self.cluster} {self.master}",
            )

    # -- the bus -------------------------------------------------------------------------

    def start_minions(self) -> None:
        """Start the minions that do not run, and have them start at boot from now on."""
        start = "systemctl is-active -q salt-minion || systemctl enable -q --now salt-minion"
        hosts = [str(fact["name"]) for fact in self.facts.values()]
        with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
            list(pool.map(lambda name: self.provider.exec(name, ["sh", "-c", start]), hosts))

    def wait_minions(self) -> None:
        """Return when every minion has answered the master.

        :raises LabError: some did not; the sentence names them
        """
        deadline = time.monotonic() + MINIONS_TIMEOUT
        addresses = {str(names.interface(fact["address"]).ip) for fact in self.facts.values()}
        # A question before a minion listens is lost and costs its whole time-out.
        while not addresses <= self._listening() and time.monotonic() < deadline:
            time.sleep(0.3)
        missing = sorted(self.staged.nodes)
        while missing:
            ask = ["salt-run", "--out=json", "manage.up", "tgt=" + ",".join(missing)]
            ask += ["tgt_type=list", "timeout=10", "gather_job_timeout=5"]
            answers = last_json(self.provider.exec(self.master, ask, check=False).stdout)
            missing = [node_id for node_id in missing if node_id not in (answers or [])]
            if time.monotonic() > deadline:
                break
        if missing:
            raise LabError(
                f"minions that do not answer the master: {', '.join(missing)}",
                cure=f"Look at: saltern lab logs --lab {self.cluster} -u salt-minion "
                f"{missing[0].split('.')[0]}",
            )

    def _listening(self) -> set[str]:
        """Return the addresses that are connected to the master's publisher."""
        argv = ["ss", "-Htn", "state", "established", "sport", "=", f":{PUBLISH_PORT}"]
        return peer_addresses(self.provider.exec(self.master, argv, check=False).stdout)

    def salt_run(self, argv: Sequence[str], on_line: Callable[[str], None]) -> tuple[int, str]:
        """Run ``salt-run`` on the master; its progress lines are passed on as they come.

        :param argv: runner function and arguments
        :param on_line: called with each line of its standard error
        :returns: exit code and standard output
        """
        command = self.provider.command(self.master, ["salt-run", *argv])
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            output, errors = process.stdout, process.stderr

            def follow() -> None:
                for line in errors or ():
                    # Salt warns of its own clients on every call
                    if line.strip() and "unclosed " not in line:
                        on_line(line.rstrip())

            reader = threading.Thread(target=follow, daemon=True)
            reader.start()
            text = output.read() if output else ""
            reader.join()
            return process.wait(), text


def seed_minion_config(root: Path, minion_id: str, masters: Sequence[str]) -> None:
    """Write what the formula ``salt.minion`` would, so its first run restarts no minion.

    :param root: root file system of the host
    :param minion_id: its id
    :param masters: whom it obeys
    """
    salt = root / "etc/salt"
    (salt / "minion.d").mkdir(parents=True, exist_ok=True)
    (salt / "minion_id").write_text(f"{minion_id}\n", encoding="utf-8")
    (salt / "minion.d/10-saltern.conf").write_text(recipe.data("minion.conf"), encoding="utf-8")
    (salt / "minion.d/20-master.conf").write_text(masters_line(masters), encoding="utf-8")


def copy_key_ring(source: Path, target: Path) -> None:
    """Copy a GPG home without the sockets and locks of its agent."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.chmod(0o700)
    shutil.copy2(source / "pubring.kbx", target / "pubring.kbx")
    shutil.copytree(source / "private-keys-v1.d", target / "private-keys-v1.d", dirs_exist_ok=True)


def peer_addresses(ss: str) -> set[str]:
    """Return the peers in the output of ``ss -Htn state established``.

    A line is ``RECV-Q SEND-Q LOCAL:PORT PEER:PORT``.
    """
    fields = [line.split() for line in ss.splitlines()]
    return {row[3].rpartition(":")[0] for row in fields if len(row) >= 4}


def last_json(text: str) -> Any:
    """Return the JSON value that ends Salt's output; lines that are none may precede it.

    :returns: None when there is none
    """
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line[:1] in ("{", "["):
            try:
                return json.loads("\n".join(lines[number:]))
            except ValueError:
                continue
    return None


def state_problem(output: str) -> str:
    """Return the first failed state of ``salt-call --out=json``, or an empty string.

    :param output: its standard output
    """
    found = last_json(output)
    data = found.get("local") if isinstance(found, dict) else None
    if isinstance(data, list):
        return "; ".join(str(item) for item in data)
    if not isinstance(data, dict) or not is_state_return(data):
        return "" if data else "Salt returned nothing"
    failed = failed_states(data)
    return ": ".join(failed[0]) if failed else ""
