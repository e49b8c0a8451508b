"""A small cluster with all that the compiler does: roles, publish, secrets, topology."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.model.trees import write_tree

CLUSTER = "c1"
PGP = "-----BEGIN PGP MESSAGE-----\n\n{}\n-----END PGP MESSAGE-----"


def decrypt(block: str) -> str:
    """Open what :data:`PGP` closes."""
    return block.splitlines()[2]


def files() -> dict[str, Any]:
    """A fresh copy of the example; tests change what they are about."""
    return {
        "classes/service/db/server.yml": {
            "applications": ["db.server"],
            "parameters": {
                "db": {"server": {"enabled": True, "database": {"own": {"user": "own"}}}},
                "lifecycle": {"db.server": {"stage": "infrastructure"}},
            },
        },
        "classes/service/web/server.yml": {
            "applications": ["web.server"],
            "parameters": {
                "web": {"server": {"url": "db://web:${_secret:web_db}@vip", "port": 80}},
                "publish": {
                    "db.server": {
                        "database": {"web": {"user": "web", "password": "${_secret:web_db}"}},
                        "allowed": ["web"],
                    }
                },
                "lifecycle": {"web.server": {"stage": "control", "after": ["db.server"]}},
            },
        },
        "classes/system/web.yml": {"classes": ["service.web.server"]},
        "classes/cluster/c1/init.yml": {
            "classes": ["cluster.c1.secrets"],
            "parameters": {
                "_param": {
                    "cluster_name": "c1",
                    "cluster_domain": "c1.test",
                    "network_prefix": "10.1.1",
                },
                "cluster_nodes": {
                    "db": {"first_address": 10, "classes": ["cluster.c1.db"]},
                    "web": {"count": 2, "first_address": 20, "classes": ["cluster.c1.web"]},
                },
            },
        },
        "classes/cluster/c1/db.yml": {"classes": ["cluster.c1", "service.db.server"]},
        "classes/cluster/c1/web.yml": {"classes": ["cluster.c1", "system.web"]},
        "classes/cluster/c1/secrets.yml": {
            "parameters": {"_secret": {"web_db": PGP.format("s3cret")}}
        },
        **{
            f"nodes/c1/{name}.c1.test.yml": {
                "classes": [f"cluster.c1.{group}"],
                "parameters": {
                    "host": {"name": name, "address": "${_param:network_prefix}." + octet}
                },
            }
            for name, group, octet in (
                ("db01", "db", "10"),
                ("web01", "web", "20"),
                ("web02", "web", "21"),
            )
        },
    }


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write files to a directory of this test and return it."""
    return lambda content: write_tree(tmp_path / "model", content)
