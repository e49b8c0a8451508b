"""No clear text of a generated secret where it does not belong."""

from __future__ import annotations

import json

import pytest

from tests.support.cluster import PYTHON, Cluster

#: decrypts on the master, so that the key stays there; prints name -> clear text
DECRYPT = """
import json, subprocess, sys, yaml
path = sys.argv[1]
secrets = yaml.safe_load(open(path))["parameters"]["_secret"]
clear = {}
for name, text in secrets.items():
    run = subprocess.run(["gpg", "--homedir", "/etc/salt/gpgkeys", "--batch", "-qd"],
                         input=text, capture_output=True, text=True, check=True)
    clear[name] = run.stdout
print(json.dumps(clear))
"""
#: searches files, journal and command lines of a host for the values given on standard input;
#: below the directories after "guarded", only what others than the owner can read counts
SEARCH = """
import json, os, subprocess, sys
values = {name: text.encode() for name, text in json.load(sys.stdin).items()}
found = []
def look(label, data):
    found.extend(f"{name} in {label}" for name, value in values.items() if value in data)
guarded = False
for top in sys.argv[1:]:
    if top == "guarded":
        guarded = True
        continue
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                if guarded and not os.stat(path).st_mode & 0o077:
                    continue
                try:
                    with open(path, "rb") as stream:
                        look(path, stream.read())
                except OSError:
                    pass
look("journal", subprocess.run(["journalctl", "--no-pager", "-q", "-o", "cat"],
                               capture_output=True, check=True).stdout)
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            look(f"command line of {pid}", stream.read())
    except OSError:
        pass
print(json.dumps(sorted(found)))
"""
#: logs, and the master's job cache; a minion's cache holds the states that it was last given,
#: for root alone
PLACES = ("/var/log", "/var/cache/salt/master", "/run/log", "/tmp", "guarded", "/var/cache/salt")


@pytest.fixture(scope="module")
def clear_text(cluster: Cluster) -> dict[str, str]:
    """Name -> clear text of every secret of the cluster, long enough to be searched for."""
    path = f"/srv/saltern/model/classes/cluster/{cluster.name}/secrets.yml"
    done = cluster.run(cluster.master, "runuser", "-u", "salt", "--", PYTHON, "-c", DECRYPT, path)
    secrets: dict[str, str] = json.loads(done.stdout)
    assert len(secrets) >= 5
    return secrets


def test_no_secret_is_in_logs_caches_or_command_lines(
    cluster: Cluster, clear_text: dict[str, str]
) -> None:
    for host in cluster.hosts:
        text = json.dumps(clear_text)
        done = cluster.run(host, "/usr/bin/python3", "-c", SEARCH, *PLACES, text=text)
        assert json.loads(done.stdout) == [], host


def test_no_secret_was_printed(cluster: Cluster, clear_text: dict[str, str]) -> None:
    _, _, orchestrated = cluster.salt_run("state.orch", "deploy", "test=True")
    _, _, sanity = cluster.salt_run("sanity.run", f"cluster={cluster.name}")
    shown = json.dumps(cluster.salt("pillar.items"))
    for name, value in clear_text.items():
        assert value not in cluster.deploy_output, name
        assert value not in orchestrated, name
        assert value not in sanity, name
        assert value not in shown, name


def test_the_model_on_the_master_is_ciphertext(
    cluster: Cluster, clear_text: dict[str, str]
) -> None:
    done = cluster.run(
        cluster.master, "/usr/bin/python3", "-c", SEARCH, "/srv/saltern/model",
        text=json.dumps(clear_text),
    )  # fmt: skip
    assert json.loads(done.stdout) == []
