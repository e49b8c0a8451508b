"""A real Keystone, Glance and Placement on loopback, for tests that need no host; and the APIs of
Nova, Neutron and Cinder, without a queue and anything behind them, for those that ask for them.

Environments come from the committed hash locks; they and the synced databases are kept in the
cache, so a warm start is three uwsgi processes. No TLS here: that is the lab's part.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from saltern.errors import SalternError
from saltern.lab.image import uv_program
from saltern.lab.paths import cache_dir
from saltern.lab.shell import clean_environment, run
from tests.support import TREE

#: another one of the catalogue can be asked for: what runs in a service's Python must fit each
RELEASE = os.environ.get("SALTERN_TEST_RELEASE", "2025.1")
#: Known to the tests only: these services live as long as one module of tests.
ADMIN_PASSWORD = "first-admin-password"
SERVICE_PASSWORD = "service-password"

_AUTHTOKEN = """
[keystone_authtoken]
www_authenticate_uri = {keystone}
auth_url = {keystone}
auth_type = password
username = {service}
password = {password}
project_name = service
user_domain_name = Default
project_domain_name = Default
"""

_CONFIG = {
    "keystone": """
[DEFAULT]
log_file = {home}/keystone.log
[database]
connection = sqlite:///{home}/keystone.db
[token]
provider = fernet
[fernet_tokens]
key_repository = {home}/fernet
[fernet_receipts]
key_repository = {home}/fernet
[credential]
key_repository = {home}/credential
[cache]
enabled = true
# values are copied, as memcached does: Keystone changes what it was handed
backend = dogpile.cache.memory_pickle
[identity]
password_hash_algorithm = bcrypt
password_hash_rounds = 4
""",
    "glance": """
[DEFAULT]
log_file = {home}/glance.log
enabled_backends = files:file
[database]
connection = sqlite:///{home}/glance.db
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = {home}/images
[os_glance_staging_store]
filesystem_store_datadir = {home}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {home}/tasks
[paste_deploy]
flavor = keystone
config_file = {venv}/etc/glance/glance-api-paste.ini
"""
    + _AUTHTOKEN,
    "placement": """
[DEFAULT]
log_file = {home}/placement.log
[placement_database]
connection = sqlite:///{home}/placement.db
[api]
auth_strategy = keystone
"""
    + _AUTHTOKEN,
    "nova": """
[DEFAULT]
log_file = {home}/nova.log
state_path = {home}
transport_url = fake:///
[api_database]
connection = sqlite:///{home}/nova_api.db
[database]
connection = sqlite:///{home}/nova.db
[api]
auth_strategy = keystone
[oslo_concurrency]
lock_path = {home}
"""
    + _AUTHTOKEN,
    "neutron": """
[DEFAULT]
log_file = {home}/neutron.log
state_path = {home}
transport_url = fake:///
core_plugin = ml2
service_plugins = router
api_paste_config = {venv}/etc/neutron/api-paste.ini
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
[database]
connection = sqlite:///{home}/neutron.db
[ml2]
type_drivers = flat,local
tenant_network_types = local
mechanism_drivers =
extension_drivers = port_security
[ml2_type_flat]
flat_networks = provider
[oslo_concurrency]
lock_path = {home}
"""
    + _AUTHTOKEN,
    "cinder": """
[DEFAULT]
log_file = {home}/cinder.log
state_path = {home}
transport_url = fake:///
api_paste_config = {venv}/etc/cinder/api-paste.ini
[database]
connection = sqlite:///{home}/cinder.db
[oslo_concurrency]
lock_path = {home}
"""
    + _AUTHTOKEN,
}

#: service -> what fills its database
_FILL: dict[str, list[list[str]]] = {
    "keystone": [["db_sync"], ["bootstrap", "--bootstrap-password", ADMIN_PASSWORD]],
    "glance": [["db_sync"]],
    "placement": [["db", "sync"]],
    "nova": [["api_db", "sync"], ["db", "sync", "--local_cell"]],
    "neutron": [],
    "cinder": [["db", "sync"]],
}
#: Neutron's migrations do not run on SQLite; this is what its own tests do instead.
_NEUTRON_TABLES = """
import sys, sqlalchemy
from neutron.db.migration.models import head
head.get_metadata().create_all(sqlalchemy.create_engine(sys.argv[1]))
"""
#: Services that every cloud has; the others are asked for with :meth:`Cloud.add`.
CORE = ("keystone", "glance", "placement")

#: service -> configuration file, module of the WSGI application, the variable that finds the
#: configuration (none: it is an argument), whether it names the file (or its directory)
_SERVERS: dict[str, tuple[str, str, str, bool]] = {
    "keystone": ("keystone.conf", "keystone.wsgi.api", "OS_KEYSTONE_CONFIG_FILES", True),
    "glance": ("glance-api.conf", "glance.wsgi.api", "OS_GLANCE_CONFIG_DIR", False),
    "placement": ("placement.conf", "placement.wsgi.api", "OS_PLACEMENT_CONFIG_DIR", False),
    "nova": ("nova.conf", "nova.wsgi.osapi_compute", "OS_NOVA_CONFIG_DIR", False),
    "neutron": ("neutron.conf", "neutron.wsgi.api", "OS_NEUTRON_CONFIG_FILES", True),
    "cinder": ("cinder.conf", "cinder.wsgi.api", "", True),
}


def lock(service: str, release: str = RELEASE) -> Path:
    """Return the committed lock of a service."""
    return TREE / "releases/openstack" / release / f"{service}.lock"


def _environment(service: str, release: str = RELEASE) -> Path:
    """Return the service's virtual environment, built when it is not in the cache."""
    digest = hashlib.sha256(lock(service, release).read_bytes()).hexdigest()[:16]
    venv = cache_dir() / "test-cloud" / f"{service}-{digest}-py{sys.version_info.minor}"
    if not (venv / "complete").exists():
        shutil.rmtree(venv, ignore_errors=True)
        uv = str(uv_program())
        run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)], what="making a venv")
        python = ["--python", str(venv / "bin/python")]
        argv = [uv, "pip", "install", "--quiet", *python, "--compile-bytecode"]
        argv += ["--require-hashes", "--no-deps"]
        # what builds a source distribution is of the release, too
        run(
            [*argv, "-r", str(lock(service, release)), "-b", str(lock(service, release))],
            what=f"installing {service} of {release}",
        )
        (venv / "complete").touch()
    return venv


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Cloud:
    """The running services.

    ``ports`` and ``urls`` by service; ``home`` holds configuration, databases and logs.
    """

    home: Path
    ports: dict[str, int] = field(default_factory=dict)
    _running: dict[tuple[str, str], subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def urls(self) -> dict[str, str]:
        """Base URL by service; Keystone's ends in /v3."""
        return {
            name: f"http://127.0.0.1:{port}" + ("/v3" if name == "keystone" else "")
            for name, port in self.ports.items()
        }

    def start(self, service: str, address: str = "127.0.0.1", **environ: str) -> None:
        """Start a service on its port and wait until it answers; at most 60 s.

        Another ``address`` of loopback makes one more member of the service; ``environ`` may
        give it a configuration of its own.
        """
        self.stop(service, address)  # or nobody would know of the one before
        venv = _environment(service)
        config, module, variable, is_file = _SERVERS[service]
        home = self.home / service
        place = str(home / config if is_file else home)
        found = {**({variable: place} if variable else {}), **environ}
        log = (home / "uwsgi.log").open("ab")
        argv = [str(venv / "bin/uwsgi"), "--http-socket", f"{address}:{self.ports[service]}"]
        argv += ["--module", f"{module}:application", "--home", str(venv), "--threads", "4"]
        argv += ["--add-header", "Connection: close", "--buffer-size", "65535", "--die-on-term"]
        argv += ["--need-app"]
        if not variable:
            argv += ["--pyargv", f"--config-file {place}"]
        process = self._running[service, address] = subprocess.Popen(
            argv,
            env=clean_environment(found),
            cwd=home,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        deadline = time.monotonic() + 60
        while not self._answers(service, address):
            if process.poll() is not None or time.monotonic() > deadline:
                text = (home / "uwsgi.log").read_text(errors="replace")
                raise RuntimeError(f"{service} did not start:\n{text[-3000:]}")
            time.sleep(0.2)

    def add(self, service: str) -> None:
        """Prepare and start a service that not every cloud has; its user is the test's to make.

        :raises SalternError: there is no lock of it, or its environment cannot be made
        """
        if not lock(service).exists():
            raise SalternError(f"there is no lock of {service} for {RELEASE}")
        self.ports[service] = _free_port()
        values = {"keystone": self.urls["keystone"], "password": SERVICE_PASSWORD}
        _prepare(service, self.home / service, **values)
        self.start(service)

    def stop(self, service: str, address: str = "127.0.0.1") -> None:
        """Kill a service, as a power cut would."""
        process = self._running.pop((service, address), None)
        if process is not None:
            with suppress(ProcessLookupError):  # it ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop_all(self) -> None:
        """Kill every service that runs."""
        for service, address in list(self._running):
            self.stop(service, address)

    def _answers(self, service: str, address: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{address}:{self.ports[service]}/", timeout=20):
                return True
        except urllib.error.HTTPError as answer:
            return answer.code < 500
        except OSError:
            return False


def _prepare(service: str, home: Path, **values: str) -> None:
    """Write the configuration, and fill the database from the cache or by the service's tool."""
    venv = _environment(service)
    for name in ("fernet", "credential", "images", "staging", "tasks"):
        (home / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    for repository in ("fernet", "credential"):
        for number in ("0", "1"):
            key = base64.urlsafe_b64encode(os.urandom(32))
            (home / repository / number).write_bytes(key)
    config = home / _SERVERS[service][0]
    text = _CONFIG[service].format(home=home, venv=venv, service=service, **values)
    config.write_text(text)
    if service == "nova":  # looks for it beside its configuration
        shutil.copy(venv / "etc/nova/api-paste.ini", home)
    database = home / f"{service}.db"
    # as constant as the environment it came from
    kept = venv / "filled.db"
    if kept.exists():
        for path in venv.glob("filled*.db"):
            shutil.copy(path, home / path.name.replace("filled", service))
    else:
        manage = [str(venv / f"bin/{service}-manage"), "--config-file", str(config)]
        for words in _FILL[service]:
            run([*manage, *words], what=f"filling the database of {service}")
        if service == "neutron":
            script = [str(venv / "bin/python"), "-c", _NEUTRON_TABLES, f"sqlite:///{database}"]
            run(script, what="filling the database of neutron")
        with sqlite3.connect(database) as connection:
            # Keystone reads in one session while it commits in another: only this allows it
            connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
        for path in home.glob(f"{service}_*.db"):
            shutil.copy(path, venv / path.name.replace(service, "filled", 1))
        shutil.copy(database, kept)


@contextmanager
def cloud(home: Path) -> Iterator[Cloud]:
    """Run a bare Keystone: an administrator, and an empty catalogue.

    Glance and Placement are prepared and get their ports, but :meth:`Cloud.start` is the test's.

    :param home: an empty directory
    :raises SalternError: the environments cannot be made
    """
    missing = [service for service in CORE if not lock(service).exists()]
    if missing:
        raise SalternError(f"there is no lock of {', '.join(missing)} for {RELEASE}")
    running = Cloud(home, {service: _free_port() for service in CORE})
    values = {"keystone": running.urls["keystone"], "password": SERVICE_PASSWORD}
    try:
        for service in CORE:
            _prepare(service, home / service, **values)
        running.start("keystone")
        yield running
    finally:
        running.stop_all()
