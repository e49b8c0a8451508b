"""A catalogue and a cache of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from saltern.artifact import catalogue
from saltern.artifact.catalogue import Service

CATALOGUE = """
product: cloud
releases:
  '1':
    python: '3.11'
    cutoff: 2025-04-10
    requirements: [pymysql, setuptools<81]
    cutoffs: {late: 2025-06-01}
    services:
      api: {version: 1.2.3}
  '2':
    python: '3.12'
    cutoff: 2026-04-10
    constraints: [sql<2]
    sdists: [speedy]
    tools: [gcc]
    services:
      api:
        version: 2.0.0
        requirements: [other]
        wsgi: api.made:application()
        imports: [api.more]
        check: {environ: {API_MODE: threads}}
        links: {$site/api/settings.py: /etc/api/settings.py}
        upgrade: {contract: [[api-manage, db, tidy]]}
services:
  api:
    role: api.server
    dist: cloud-api
    requirements: [extra]
    sdists: [oldie]
    cutoffs: {cloud-api: 2025-09-01}
    wsgi: api.wsgi
    imports: [api.driver]
    check:
      file: /etc/api/api.conf
      data: {database: {connection: 'sqlite://'}, api: {paste: $prefix/etc/paste.ini}}
    database: {migrations: api/migrations, section: database, sync: [[api-manage, db, sync]]}
    upgrade: {expand: [[api-manage, db, sync]]}
"""
LOCK = "# made\ncloud-api==1.2.3 \\\n    --hash=sha256:00\nextra[tls]==4.5\n    # via cloud-api\n"


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directory of a small catalogue with a lock; the cache lies beside it."""
    folder = tmp_path / "releases"
    (folder / "cloud" / "1").mkdir(parents=True)
    (folder / "cloud.yaml").write_text(CATALOGUE)
    (folder / "cloud" / "1" / "api.lock").write_text(LOCK)
    monkeypatch.setattr(catalogue, "releases_dir", lambda: folder)
    monkeypatch.setenv("SALTERN_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def service(releases: Path) -> Service:
    """The one service of the small catalogue."""
    (found,) = catalogue.services("cloud", "1")
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[Service], Path]:
    """Make what an installation leaves behind; return the scratch directory of the build."""

    def make(service: Service) -> Path:
        scratch = tmp_path / "scratch"
        environment = scratch / "upper" / service.prefix.lstrip("/")
        (environment / "bin").mkdir(parents=True)
        (environment / "bin" / "python3").symlink_to("/usr/bin/python3")
        (environment / "module.py").write_text("answer = 42\n")
        return scratch

    return make
