"""The other side of the comparison: ``ansible-playbook`` on the same files, eight hosts at a time.

It is measured as it comes from PyPI, and once more with what its manual has for speed: as many
forks as a batch has hosts, pipelining, no facts. The interpreter need not be found in either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.bench import venvs

VERSION = "2.19.14" if sys.version_info >= (3, 11) else "2.17.14"


def program() -> Path:
    """``ansible-playbook`` in a virtual environment of its own, made on first use."""
    return venvs.made("ansible", [f"ansible-core=={VERSION}"]) / "bin/ansible-playbook"


def playbook(work: Path, *, tuned: bool, size: int) -> list[dict[str, Any]]:
    """One file that is as it should be already, asked for before and afterwards."""
    path = f"{work}/{{{{ inventory_hostname_short }}}}"

    def question(name: str) -> dict[str, Any]:
        return {
            "name": name,
            "ansible.builtin.stat": {"path": path, "get_checksum": False},
            "register": "found",
            "failed_when": "not found.stat.exists or found.stat.mode != '0644'",
        }

    return [
        {
            "hosts": "all",
            "connection": "local",
            "gather_facts": not tuned,
            "serial": size,
            # a batch with a failed host is the last one, as with a budget of 0
            "any_errors_fatal": True,
            "tasks": [
                question("gate"),
                {
                    "name": "apply",
                    "ansible.builtin.copy": {"dest": path, "content": "hello\n", "mode": "0644"},
                },
                question("verify"),
            ],
        }
    ]


def run(
    folder: Path, work: Path, nodes: Sequence[str], size: int, *, tuned: bool
) -> dict[str, Any]:
    """Run the playbook; return its seconds and what it says of the hosts.

    :param folder: for its files, made here
    :param work: where the hosts have their files
    :param size: hosts at a time
    :param tuned: for speed; else as it comes
    :raises SystemExit: a host failed, was not reached, or was changed
    """
    folder.mkdir(parents=True, exist_ok=True)
    variables = {"ansible_python_interpreter": str(program().with_name("python"))}
    hosts = {"all": {"hosts": dict.fromkeys(nodes), "vars": variables}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (folder / "play.yml").write_text(yaml.safe_dump(playbook(work, tuned=tuned, size=size)))
    (folder / "ansible.cfg").write_text("")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "remote"),
        "ANSIBLE_NOCOLOR": "1",
    }
    if tuned:
        environment |= {"ANSIBLE_FORKS": str(size), "ANSIBLE_PIPELINING": "1"}
    begin = time.monotonic()
    done = subprocess.run(
        [str(program()), "-i", str(folder / "hosts.yml"), str(folder / "play.yml")],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begin
    recap = done.stdout.rpartition("PLAY RECAP")[2]
    good = sum(
        "changed=0" in line and "unreachable=0" in line and "failed=0" in line
        for line in recap.splitlines()
    )
    if done.returncode or good != len(nodes):
        raise SystemExit(
            f"ansible-playbook: {good} of {len(nodes)} hosts: {(done.stdout + done.stderr)[-2000:]}"
        )
    waves = -(-len(nodes) // size)
    return {
        "tuned": tuned,
        "nodes": len(nodes),
        "waves": waves,
        "seconds": round(seconds, 2),
        "seconds_a_wave": round(seconds / waves, 2),
    }


if __name__ == "__main__":
    print(json.dumps({"program": str(program()), "version": VERSION}))
