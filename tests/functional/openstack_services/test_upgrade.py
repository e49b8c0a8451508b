"""Whether a service may be upgraded: its own check in the new code, and the release before.

The first half is about a service of the test's own (see ``test_schema_releases``) with a program
that answers as it is told; the second one about real code from the committed locks, on SQLite.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.functional.openstack_services import test_nova
from tests.functional.openstack_services.conftest import Minion
from tests.functional.openstack_services.test_schema_and_bootstrap import (
    configure,
    environment,
    found,
)
from tests.functional.openstack_services.test_schema_releases import (
    CONTRACT,
    MIGRATIONS,
    Service,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="programs run as a service's user")

venv, migrated, bare, nova = (
    test_nova.venv,
    test_nova.migrated,
    test_nova.bare,
    test_nova.nova,
)

FINE = """
+---------------------------------------------------+
| Upgrade Check Results                             |
+---------------------------------------------------+
| Check: Policy File JSON to YAML Migration         |
| Result: Success                                   |
| Details: None                                     |
+---------------------------------------------------+
"""
MIXED = """Modules with known eventlet monkey patching issues were imported
+---------------------------------------------------------------------+
| Upgrade Check Results                                               |
+---------------------------------------------------------------------+
| Check: Cells v2                                                     |
| Result: Success                                                     |
| Details: None                                                       |
+---------------------------------------------------------------------+
| Check: Older than N-1 computes                                      |
| Result: {result}                                                     |
| Details: Current Nova version does not support computes older than  |
|   Caracal but the minimum compute service level in your system      |
|   is 61: upgrade cmp07.                                             |
+---------------------------------------------------------------------+
| Check: hw_machine_type unset                                        |
| Result: Warning                                                     |
| Details: Instances found without hw_machine_type set.               |
+---------------------------------------------------------------------+
"""


class Upgrade:
    """The service of the test's own, as on a host, and a check that is told what to say."""

    def __init__(self, svc: Service, minion: Minion, top: Path) -> None:
        self.svc, self.minion, self.root = svc, minion, top / "releases"
        (self.root / "current").mkdir()
        (self.root / "current/svc").symlink_to(svc.old)
        self.new = svc.newer()
        self.says(FINE)

    def says(self, text: str, code: int = 0, error: str = "") -> None:
        program = self.new / "bin/svc-status"
        program.write_text(
            f"#!/bin/sh\nprintf %s {shlex.quote(text)}\nprintf %s {shlex.quote(error)} >&2\n"
            f"test \"$*\" = '--config-file {self.svc.config} upgrade check' || exit 99\n"
            f"exit {code}\n"
        )
        program.chmod(0o755)

    def check(self, **more: Any) -> dict[str, Any]:
        given = {"config": str(self.svc.config), "schemas": [{"migrations": MIGRATIONS}], **more}
        answer: dict[str, Any] = self.minion.call(
            "openstack_upgrade.check", "svc", {"release": "2031.1"}, user="root",
            root=str(self.root), **given,
        )  # fmt: skip
        return answer

    def asked(self, **more: Any) -> tuple[str, str, str]:
        """As a gate does: by ``health.check``."""
        given = {"config": str(self.svc.config), "schemas": [{"migrations": MIGRATIONS}], **more}
        kwargs = {"user": "root", "root": str(self.root), **given}
        item = {"call": "openstack_upgrade.check", "args": ["svc", {"release": "2031.1"}]}
        (answer,) = self.minion.call("health.check", [{**item, "kwargs": kwargs}])
        return answer["verdict"], answer["code"], answer["sentence"]


@pytest.fixture
def upgrade(tmp_path: Path, minion: Minion) -> Upgrade:
    svc = Service(tmp_path, minion)
    assert svc.synced(svc.old)["result"] is True
    return Upgrade(svc, minion, tmp_path)


def test_a_service_that_is_content_may_be_upgraded(upgrade: Upgrade) -> None:
    assert upgrade.asked() == ("ok", "ok", "svc-status of 2031.1 is content with 1 checks.")


def test_warnings_are_told_and_do_not_stop_it(upgrade: Upgrade) -> None:
    upgrade.says(MIXED.format(result="Success"), 1)
    verdict, code, sentence = upgrade.asked()
    assert (verdict, code) == ("warn", "upgrade-warned")
    assert sentence == (
        "svc-status of 2031.1 warns: hw_machine_type unset: Instances found without hw_machine_type"
        " set."
    )


def test_a_failure_stops_it_with_the_words_of_the_check(upgrade: Upgrade) -> None:
    upgrade.says(MIXED.format(result="Failure"), 2)
    verdict, code, sentence = upgrade.asked()
    assert (verdict, code) == ("fail", "upgrade-refused")
    assert sentence == (
        "svc-status of 2031.1 speaks against the upgrade: Older than N-1 computes: Current Nova"
        " version does not support computes older than Caracal but the minimum compute service"
        " level in your system is 61: upgrade cmp07."
    )


@pytest.mark.parametrize("code", [1, 2, 255])
def test_an_end_without_results_is_no_answer(upgrade: Upgrade, code: int) -> None:
    """An unknown option ends it with 2, a missing directory with 1."""
    secret = "mysql+pymysql://svc:hidden-password@db01/svc"
    upgrade.says("Error:\nTraceback", code, f"usage: it\nno {secret} answers")
    verdict, name, sentence = upgrade.asked()
    assert (verdict, name) == ("unknown", "not-asked")
    assert f"ended with exit code {code} and no results: usage: it; no mysql" in sentence
    assert "hidden-password" not in sentence


def test_what_was_not_fetched_is_not_asked(upgrade: Upgrade) -> None:
    upgrade.new.rename(upgrade.new.with_name("elsewhere"))
    assert upgrade.asked()[:2] == ("unknown", "not-asked")


def test_packages_have_nothing_beside_them_to_ask(minion: Minion) -> None:
    source = {"engine": "pkg", "release": "2031.1"}
    assert minion.call("openstack_upgrade.check", "svc", source, "/etc/svc.conf")["ok"] is True


def test_an_upgrade_that_was_never_finished_comes_first(upgrade: Upgrade) -> None:
    svc = upgrade.svc
    # the release before the present one left its branch, as 2030.1 was not contracted
    with sqlite3.connect(svc.file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'start'"
                           " WHERE version_num = 'contract1'")  # fmt: skip
    verdict, code, sentence = upgrade.asked()
    assert (verdict, code) == ("fail", "schema-differs"), sentence
    with sqlite3.connect(svc.file) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.execute("INSERT INTO alembic_version VALUES ('expand1')")
    verdict, code, sentence = upgrade.asked()
    assert verdict == "fail", sentence


def test_an_upgrade_that_was_begun_goes_on(upgrade: Upgrade) -> None:
    upgrade.svc.synced(upgrade.new)
    assert upgrade.check()["ok"] is True
    # and where the host has the new code already, nobody asks for the old release
    (upgrade.root / "current/svc").unlink()
    (upgrade.root / "current/svc").symlink_to(upgrade.new)
    assert upgrade.check()["ok"] is True


def test_a_schema_of_a_third_release_is_refused(upgrade: Upgrade) -> None:
    upgrade.svc.synced(upgrade.new)
    third = upgrade.root / "2032.1/svc"
    third.parent.mkdir()
    third.mkdir()
    item = upgrade.minion.call(
        "openstack_upgrade.check", "svc", {"release": "2032.1"}, str(upgrade.svc.config),
        schemas=[{"migrations": MIGRATIONS}], user="root", root=str(upgrade.root),
    )  # fmt: skip
    assert (item["verdict"], item["code"]) == ("fail", "schema-differs")
    assert item["sentence"] == (
        "the schema of svc was expanded by 2031.1: 2030.1 is followed by that one"
    )
    upgrade.svc.call("contract", upgrade.new, commands=CONTRACT)
    assert upgrade.check()["code"] == "not-asked"


def real(minion: Minion, top: Path, service: str, config: list[str], **more: Any) -> dict[str, Any]:
    """Ask a real service: its code is both the release that runs and the one that comes."""
    code, root = environment(service), top / "real"
    (root / "current").mkdir(parents=True)
    (root / "current" / service).symlink_to(code)
    new = root / "2031.1" / service / "bin"
    new.mkdir(parents=True)
    (new / f"{service}-status").symlink_to(code / f"bin/{service}-status")
    answer: dict[str, Any] = minion.call(
        "openstack_upgrade.check", service, {"release": "2031.1"}, config,
        user="root", root=str(root), **more,
    )  # fmt: skip
    return answer


@pytest.mark.parametrize("service", ["keystone", "glance", "placement"])
def test_real_services_answer(minion: Minion, tmp_path: Path, service: str) -> None:
    config = configure(service, tmp_path / service)
    database = found(service).database
    assert database
    for program, *words in database.sync:
        argv = [environment(service) / "bin" / program, "--config-file", config, *words]
        subprocess.run(argv, check=True, capture_output=True)
    schemas = [{"migrations": database.migrations, "section": database.section}]
    answer = real(minion, tmp_path, service, [str(config)], schemas=schemas)
    if service == "keystone" and not os.path.isdir("/etc/keystone/fernet-keys"):
        # it looks for its keys before it reads its configuration, and ends as if it warned
        assert (answer["verdict"], answer["code"]) == ("unknown", "not-asked")
        assert "ended with exit code 1 and no results: /etc/keystone" in answer["sentence"]
        return
    assert answer["verdict"] == "ok", answer
    assert "is content with" in answer["sentence"]


def test_data_that_nova_did_not_move_are_seen_and_left_alone(
    minion: Minion, nova: test_nova.Nova, tmp_path: Path
) -> None:
    config = nova.where["config"]
    online = [["nova-manage", "db", "online_data_migrations", "--max-count", "50"]]
    call = ("openstack_upgrade.unmoved", online, str(nova.venv), config, "root")
    assert minion.call(*call) == {}
    # as Rocky left it
    nova.change("cell1", "INSERT INTO compute_nodes (id, vcpus, memory_mb, local_gb, vcpus_used,"
                " memory_mb_used, local_gb_used, hypervisor_type, hypervisor_version, cpu_info,"
                " deleted, cpu_allocation_ratio)"
                " VALUES (7, 1, 1, 1, 0, 0, 0, 'QEMU', 1, '', 0, 0.0)"
                )  # fmt: skip
    before = nova.ask("cell1", "SELECT * FROM compute_nodes")
    told = minion.call(*call)
    assert list(told.values()) == [["migrate_empty_ratio"]]
    assert nova.ask("cell1", "SELECT * FROM compute_nodes") == before
    schemas = [
        {"migrations": "nova/db/api/migrations", "section": "api_database", "config": config[1]},
        {"migrations": "nova/db/main/migrations", "config": config[1]},
    ]
    answer = real(minion, tmp_path, "nova", config, schemas=schemas, online=online)
    assert (answer["verdict"], answer["code"]) == ("fail", "upgrade-unfinished"), answer
    assert "first (migrate_empty_ratio)" in answer["sentence"]
