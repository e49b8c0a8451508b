"""Answers as people read them, and the commands without a master."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from saltern.cli import cli
from saltern.errors import ReleaseError
from saltern.release import show
from saltern.release.lifecycle import load
from saltern.release.observe import request
from saltern.release.solve import solve
from tests.support import TREE

CATALOGUE = load()


def told(to: str, now: str, **options: str) -> str:
    asked = request(CATALOGUE, {}, to, now, **options)
    return show.text(CATALOGUE, asked, solve(CATALOGUE, asked))


def test_hops() -> None:
    assert told("rabbitmq=3.13", "rabbitmq=3.12,erlang=25").splitlines() == [
        "now: erlang 25, rabbitmq 3.12",
        "to:  rabbitmq 3.13",
        "",
        "HOP  WHAT        FROM  TO    WAY      WHY",
        "1    Erlang/OTP  25    26    rolling  RabbitMQ 3.13 needs Erlang/OTP 26",
        "2    RabbitMQ    3.12  3.13  rolling  wanted",
        "hop 2",
        "  before: All stable feature flags are enabled.",
    ]


def test_what_comes_along_and_what_it_costs() -> None:
    text = told(
        "distribution=trixie", "distribution=bookworm,mariadb=10.11,ceph=pacific", allow="mariadb"
    )
    assert "1    the distribution  bookworm  trixie  rolling  wanted" in text
    assert "     + MariaDB         10.11     11.8    stopped" in text
    assert "  MariaDB, stopped: all members are stopped, upgraded" in text


def test_a_refusal() -> None:
    lines = told(
        "distribution=trixie", "distribution=bookworm,mariadb=10.11,ovn=23.03"
    ).splitlines()
    assert lines[3].startswith("in the way:")
    assert lines[4].startswith("  OVN comes from the distribution, trixie has 25.03, and 23.03 is")
    assert lines[5] == "    https://docs.ovn.org/en/latest/intro/install/ovn-upgrades.html"
    assert lines[6] == "and after that:"
    assert lines[7].startswith("  MariaDB comes from the distribution")
    assert lines[9] == "what may be said:"


def test_one_line() -> None:
    def comment(to: str, now: str) -> str:
        asked = request(CATALOGUE, {}, to, now)
        return show.comment(CATALOGUE, solve(CATALOGUE, asked))

    assert comment("2025.1", "openstack=2025.1") == "There is nothing to do: all is as wanted."
    assert comment("ceph=squid", "ceph=reef") == "1 hop: Ceph squid."
    assert comment("ceph=squid", "ceph=pacific") == "2 hops: Ceph quincy, Ceph squid."
    assert comment("ceph=reef", "ceph=squid").startswith(
        "There is no such path: Ceph squid does not go back to reef (a cluster is"
    )


def test_the_matrix() -> None:
    text = show.matrix(CATALOGUE)
    assert all(f"\n{name} " in text for name in CATALOGUE.products)
    assert text.count("\nopenstack-python ") == 1
    one = show.matrix(CATALOGUE, "rabbitmq")
    assert "3.13     " in one
    assert "4.0, 4.1, 4.2" in one
    assert "3.12, before: All feature flags are enabled" in one
    assert "  RabbitMQ 3.13 needs Erlang/OTP 26\n" in one
    assert "bookworm has python 3.11, erlang 25" in show.matrix(CATALOGUE, "distribution")
    with pytest.raises(ReleaseError, match="no product 'x'"):
        show.matrix(CATALOGUE, "x")
    data = show.matrix_data(CATALOGUE, "rabbitmq")
    json.dumps(data)  # what salt-api has to send
    assert list(data["products"]) == ["rabbitmq"]
    assert {row["name"] for row in data["rules"]} >= {"rabbitmq-erlang"}


def test_the_commands() -> None:
    run = CliRunner()
    model = ["-i", str(TREE), "--cluster", "demo"]
    done = run.invoke(cli, ["release", "path", *model, "--to", "2026.1"])
    assert done.exit_code == 0, done.output
    assert "2    nova-compute  2025.1  2026.1  rolling  wanted" in done.output
    done = run.invoke(cli, ["release", "path", *model, "--to", "trixie", "--format", "json"])
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert (found["ok"], found["reasons"][0]["name"]) == (False, "rabbitmq")
    done = run.invoke(
        cli, ["release", "path", "--now", "openstack=2023.2", "--to", "2025.1", "--direct"]
    )
    assert done.exit_code == 1
    assert "2024.1 is missing between them" in done.output
    assert run.invoke(cli, ["release", "path", "--to", "2026.1"]).exit_code == 2
    done = run.invoke(cli, ["release", "path", *model, "--to", "2036.1"])
    assert isinstance(done.exception, ReleaseError)
    assert run.invoke(cli, ["release", "matrix", "ceph"]).output.startswith("Ceph: a cluster is")
    assert json.loads(run.invoke(cli, ["release", "matrix", "--format", "json"]).output)


@pytest.mark.parametrize(
    ("cluster", "to"),
    [
        ("demo-core", "openstack=2026.1"),
        ("demo-ceph", "ceph=reef"),
        ("iaas", "openstack=2026.1,ceph=umbrella"),
        ("caas", "kubernetes=1.37"),
    ],
)
def test_the_example_clusters_break_no_rule_and_have_a_way_on(cluster: str, to: str) -> None:
    done = CliRunner().invoke(
        cli, ["release", "path", "-i", str(TREE), "--cluster", cluster, "--to", to]
    )
    assert done.exit_code == 0, done.output
