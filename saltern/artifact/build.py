"""Build release artifacts: an environment at its final path, packed with a manifest.

The build runs inside a throw-away copy of the base image of the hosts, so the interpreter, the
libraries and the paths are those it will meet. Cached artifacts are found again by their recipe.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from saltern.artifact.catalogue import Service, services
from saltern.digest import sha256_of
from saltern.errors import ArtifactError, LabError
from saltern.lab.chroot import Chroot
from saltern.lab.image import Report, ensure_image, locked, silent, uv_program
from saltern.lab.paths import cache_dir

#: Raise it when the code below changes what comes out.
BUILD_VERSION = 1
#: Base image that environments are built in.
SUITE = "bookworm"
ZSTD_LEVEL = 10
#: Every file gets this time: the byte code does not depend on it, the digest would.
MTIME = "2000-01-01 00:00:00Z"


@dataclass(frozen=True)
class Manifest:
    """What is known of a packed artifact; written beside it as JSON.

    :param file: path of the archive below the artifacts directory
    :param sha256: of the archive
    :param size: of the archive, bytes
    :param lock: sha256 of the lock it was built from
    :param recipe: hash of everything the build depends on
    :param built: when, ISO 8601, UTC
    """

    product: str
    release: str
    name: str
    role: str
    version: str
    python: str
    suite: str
    wsgi: str
    database: dict[str, Any] | None
    file: str
    sha256: str
    size: int
    lock: str
    recipe: str
    built: str


def artifacts_dir() -> Path:
    """Return the directory that the artifact server publishes."""
    return cache_dir() / "artifacts"


def manifest_path(service: Service) -> Path:
    """Return where the manifest of ``service`` is kept in the cache."""
    return artifacts_dir() / service.product / service.release / f"{service.name}.json"


def recipe(service: Service, suite: str = SUITE) -> str:
    """Return the hash of what a build of ``service`` depends on: lock, checks, code, suite.

    :raises ArtifactError: the service has no lock
    """
    parts = [BUILD_VERSION, suite, service.lock_sha256(), service.prefix, service.python]
    parts += [service.wsgi, service.imports, service.database and service.database.to_json()]
    # what is empty does not count: it came later than artifacts that do without it
    parts += [{key: value for key, value in asdict(service.check).items() if value}]
    more = {"links": service.links, "finish": service.finish, "tools": service.tools}
    parts += [{key: value} for key, value in more.items() if value]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest at ``path``, or None when there is none of this version's shape."""
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


def cached(service: Service, suite: str = SUITE) -> Manifest | None:
    """Return the manifest of a finished artifact of exactly this recipe, or None."""
    manifest = read_manifest(manifest_path(service))
    if manifest is None or manifest.recipe != recipe(service, suite):
        return None
    archive = artifacts_dir() / manifest.file
    return manifest if archive.is_file() and archive.stat().st_size == manifest.size else None


def verify(manifest: Manifest) -> str | None:
    """Return what is wrong with an artifact in the cache, as a sentence, or None.

    :param manifest: as read from the cache
    """
    archive = artifacts_dir() / manifest.file
    if not archive.is_file():
        return f"{archive} is missing"
    found = sha256_of(archive)
    if found != manifest.sha256:
        return f"{archive} has sha256 {found}, its manifest says {manifest.sha256}"
    return None


def ensure(
    product: str,
    release: str,
    names: Iterable[str] = (),
    *,
    suite: str = SUITE,
    report: Report = silent,
) -> list[Manifest]:
    """Return artifacts of a release, building those that the cache does not have.

    :param product: name of the catalogue (``openstack``)
    :param release: for example ``2025.1``
    :param names: the services wanted; all of the release when empty
    :param suite: base image to build in
    :param report: called with the name of each step that takes time
    :raises ArtifactError: unknown release or service, no lock, or a failed build
    """
    return [build(item, suite, report) for item in services(product, release, names)]


def build(service: Service, suite: str = SUITE, report: Report = silent) -> Manifest:
    """Return the artifact of one service, built unless the cache has it.

    :param service: from the catalogue
    :param suite: base image to build in
    :param report: called with the name of each step that takes time
    :raises ArtifactError: the build failed; nothing of it is left but its log
    """
    found = cached(service, suite)
    if found:
        return found
    target = manifest_path(service)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = cache_dir() / "build"
    # the archive is written in the cache; the build itself happens beside it
    with locked(work / f"{service.product}-{service.release}-{service.name}.lock"):
        found = cached(service, suite)
        if found:
            return found
        scratch = work / f"{service.product}-{service.release}-{service.name}"
        shutil.rmtree(scratch, ignore_errors=True)  # of a build that was killed
        log = scratch.with_suffix(scratch.suffix + ".log")
        log.unlink(missing_ok=True)
        try:
            report(f"building {service.name} {service.version}")
            python = _install(service, suite, scratch, log, report)
            return _pack(service, suite, scratch, python)
        except LabError as err:
            raise ArtifactError(err.sentence, where=service.name, cure=err.cure) from err
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _install(service: Service, suite: str, scratch: Path, log: Path, report: Report) -> str:
    """Create the environment in a throw-away root and import-check it; return its Python."""
    chroot = Chroot.throwaway(ensure_image(suite, report).root, scratch)
    wheels = cache_dir() / "uv"
    wheels.mkdir(parents=True, exist_ok=True)
    uv, lock, store = "/mnt/uv", "/mnt/lock", "/mnt/cache"
    binds = {uv_program(): uv, service.lock_path: lock, wheels: store}
    env = {
        "UV_CACHE_DIR": store,
        "UV_LINK_MODE": "copy",
        "UV_PYTHON_DOWNLOADS": "never",
        # valid whatever time the files get, and the same in every build
        "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",
        # without the paths of this one compilation
        "CFLAGS": "-g0",
    }

    def step(what: str, *argv: str) -> str:
        what = f"{what} {service.name} {service.version}"
        return chroot.run(argv, what=what, binds=binds, env=env, log=log)

    python = f"{service.prefix}/bin/python"
    if service.tools:
        script = "apt-get -q update && apt-get -qy install --no-install-recommends " + shlex.join(
            service.tools
        )
        step("installing the compiler of", "sh", "-c", script)
    step("creating the environment of", uv, "venv", "-q", "--python", "/usr/bin/python3",
         service.prefix)  # fmt: skip
    step("installing", uv, "pip", "install", "-q", "--python", python, "--require-hashes",
         "--compile-bytecode", *service.formats, "--build-constraints", lock,
         "-r", lock)  # fmt: skip
    step("checking", uv, "pip", "check", "-q", "--python", python)
    version = step("asking the Python of", python, "-c",
                   "import platform; print(platform.python_version())").strip()  # fmt: skip
    if not version.startswith(f"{service.python}."):
        raise ArtifactError(
            f"the {suite} image has Python {version}, the release is locked for {service.python}",
            where=service.name,
            cure="Lock the release for this Python or build in another image",
        )
    _link(service, chroot)
    _check(service, chroot, log)
    _finish(service, chroot, log)
    return version


#: Arguments: where the WSGI application is, further modules, all imported with the check's
#: configuration there.
IMPORT_CHECK = """
import importlib, sys
wsgi, *names = sys.argv[1:]
sys.argv = ['check']
for name in ['pymysql', 'pyuwsgi', *names]:
    importlib.import_module(name)
if wsgi:
    module, _, maker = wsgi.partition(':')
    found = getattr(importlib.import_module(module), maker.removesuffix('()') or 'application')
    if not callable(found() if maker.endswith('()') else found):
        sys.exit(f'{wsgi} is not a WSGI application')
"""


def _link(service: Service, chroot: Chroot) -> None:
    """Make the links of a service; those below its environment are packed with it."""
    for name, target in service.links.items():
        # an absolute name is that of another place, as everywhere
        path = chroot.upper / str(Path(service.prefix, name)).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


def _finish(service: Service, chroot: Chroot, log: Path) -> None:
    """Run what completes the environment, with the configuration of the check."""
    for name, *args in service.finish:
        chroot.run(
            [f"{service.prefix}/bin/{name}", *args],
            what=f"finishing {service.name}",
            # the byte code of a configuration would be packed, and it is another one on a host
            env={**service.check.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            log=log,
        )


def _check(service: Service, chroot: Chroot, log: Path) -> None:
    """Bring an empty schema up to date (where it can be) and load the WSGI application.

    The application runs code when it is imported, so nothing less shows that it starts.
    """
    python = f"{service.prefix}/bin/python"
    if service.check.file:
        file = chroot.upper / service.check.file.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(service.check.text(), encoding="utf-8")
    database = service.database
    schema = database.sync if database and not service.check.without_schema else ()
    commands = [[f"{service.prefix}/bin/{name}", *args] for name, *args in schema]
    commands.append([python, "-B", "-c", IMPORT_CHECK, service.wsgi, *service.imports])
    # one call: /tmp, where the schema is, lives as long as the namespace of the call
    script = " && ".join(shlex.join(command) for command in commands)
    chroot.run(
        ["sh", "-c", script],
        what=f"starting the application of {service.name}",
        env=dict(service.check.environ),
        log=log,
    )
    if database is None:
        return
    site = next((chroot.upper / service.prefix.lstrip("/") / "lib").glob("python3*/site-packages"))
    if not (site / database.migrations).is_dir():
        raise ArtifactError(f"{database.migrations} is not in the environment",
                            where=service.name, cure="Correct database:migrations")  # fmt: skip


def _pack(service: Service, suite: str, scratch: Path, python: str) -> Manifest:
    """Archive the environment and write its manifest; the manifest makes it visible."""
    target = manifest_path(service)
    tree = scratch / "upper" / service.prefix.lstrip("/")
    partial = target.with_suffix(".partial")
    tar = ["tar", "-C", str(tree.parent), "--sort=name", f"--mtime={MTIME}", "--owner=0",
           "--group=0", "--numeric-owner", "--format=posix",
           "--pax-option=delete=atime,delete=ctime", "-cf", "-", tree.name]  # fmt: skip
    zstd = ["zstd", "-q", "-f", f"-{ZSTD_LEVEL}", "-T2", "-o", str(partial)]
    try:
        with subprocess.Popen(tar, stdout=subprocess.PIPE) as producer:
            packed = subprocess.run(zstd, stdin=producer.stdout, check=False)
        if producer.returncode or packed.returncode:
            raise ArtifactError("packing failed", where=str(partial), cure="Check the disk space")
        digest = sha256_of(partial)
        archive = target.with_name(f"{service.name}-{service.version}-{digest[:16]}.tar.zst")
        manifest = Manifest(
            product=service.product,
            release=service.release,
            name=service.name,
            role=service.role,
            version=service.version,
            python=python,
            suite=suite,
            wsgi=service.wsgi,
            database=service.database.to_json() if service.database else None,
            file=str(archive.relative_to(artifacts_dir())),
            sha256=digest,
            size=partial.stat().st_size,
            lock=service.lock_sha256(),
            recipe=recipe(service, suite),
            built=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        )
        partial.replace(archive)
        beside = target.with_suffix(".json.new")
        beside.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")
        beside.replace(target)
        return manifest
    finally:
        partial.unlink(missing_ok=True)
