"""Staging a model, seeding keys and reading what Salt answered."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jinja2 import Environment

from saltern.cli import deploy
from saltern.errors import PreflightError
from saltern.lab import cluster, keys, nspawn, staging
from saltern.lab.provider import HostSpec
from saltern.model.cluster import CompiledNode

TREE = Path(__file__).resolve().parents[3]


def node(name: str, *roles: str, provider: str = "nspawn") -> CompiledNode:
    host = {"name": name, "fqdn": name, "address": "10.0.0.1", "provider": provider}
    return CompiledNode(name, {}, list(roles), [], "base", {}, host)


def test_mirror_touches_only_what_differs(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    (source / "sub").mkdir(parents=True)
    (source / "sub/same.yml").write_text("1")
    (source / "new.yml").write_text("2")
    assert staging.mirror(source, target)
    before = (target / "sub/same.yml").stat().st_mtime_ns
    (target / "old").mkdir()
    (target / "old/stale.yml").write_text("x")
    (target / "sub/secrets.yml").write_text("kept")
    (source / "new.yml").write_text("3")
    assert staging.mirror(source, target, keep=["sub/secrets.yml"])
    assert (target / "new.yml").read_text() == "3"
    assert (target / "sub/same.yml").stat().st_mtime_ns == before
    assert (target / "sub/secrets.yml").read_text() == "kept"
    assert not (target / "old").exists()
    assert not staging.mirror(source, target, keep=["sub/secrets.yml"])


def test_a_commit_is_made_only_of_changes(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("1")
    first = staging.commit(tmp_path, "one")
    assert staging.commit(tmp_path, "two") == first
    (tmp_path / "a.yml").write_text("2")
    assert staging.commit(tmp_path, "three") != first


def test_a_key_pair_is_made_once_and_private(tmp_path: Path) -> None:
    private, public = keys.ensure_pair(tmp_path / "pki", "ctl01.x")
    assert keys.ensure_pair(tmp_path / "pki", "ctl01.x") == (private, public)
    assert private.startswith(b"-----BEGIN RSA PRIVATE KEY-----")
    assert public.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert load_pem_private_key(private, None).key_size == keys.BITS  # type: ignore[union-attr]
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "pki/ctl01.x.pem").stat().st_mode) == 0o600


def test_keys_are_laid_down_on_both_sides(tmp_path: Path) -> None:
    root = tmp_path / "root"
    keys.seed_minion(root, (b"private", b"public"), b"master public")
    keys.seed_master(root, (b"mp", b"master public"), {"ctl01.x": b"public"})
    minion, master = root / "etc/salt/pki/minion", root / "etc/salt/pki/master"
    assert (minion / "minion_master.pub").read_bytes() == (master / "master.pub").read_bytes()
    assert (master / "minions/ctl01.x").read_bytes() == (minion / "minion.pub").read_bytes()
    assert stat.S_IMODE((minion / "minion.pem").stat().st_mode) == 0o400
    assert stat.S_IMODE(master.stat().st_mode) == 0o700


class Booted:
    """A provider whose hosts are there but for those that are new."""

    def __init__(self, top: Path, *new: str) -> None:
        self.directory, self.new = top / "lab", list(new)

    def root(self, name: str) -> Path:
        return self.directory / name

    def up(self, specs: object, prepare: object) -> list[str]:
        return self.new


def test_the_master_knows_a_host_that_joins_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [node("cfg01.x", "salt.master"), node("osd01.x"), node("osd04.x")]
    staged = staging.Staged(tmp_path, "", tmp_path, {one.id: one for one in nodes})
    lab = cluster.ClusterLab("demo", staged)
    monkeypatch.setattr(cluster, "run_beside", lambda name: None)
    monkeypatch.setattr(lab, "specs", list)
    monkeypatch.setattr(lab, "provider", Booted(tmp_path, "osd04"))
    lab.facts = {one.id: {"name": one.id.split(".")[0]} for one in nodes}
    lab.master = "cfg01"
    pki = lab.provider.root("cfg01") / "etc/salt/pki/master"
    for place in ("minions", "minions_pre"):
        (pki / place).mkdir(parents=True)
    (pki / "minions_pre/osd04.x").write_bytes(b"asked already")
    assert lab.up() == ["osd04"]
    public = (lab.provider.directory / "pki/osd04.x.pub").read_bytes()
    assert {path.name: path.read_bytes() for path in pki.glob("*/*")} == {"osd04.x": public}
    assert (pki / "minions/osd04.x").exists()


@pytest.mark.parametrize("masters", [["cfg01.x"], ["cfg01.x", "cfg02.x"]])
def test_the_minion_file_is_what_the_formula_writes(masters: list[str]) -> None:
    """A difference would restart every minion in the middle of its first deployment."""
    sls = (TREE / "formulas/salt/minion.sls").read_text()
    line = next(line for line in sls.splitlines() if "'master: " in line)
    template = line.split("contents: ", 1)[1]
    env = Environment(autoescape=False)
    env.filters["json"] = json.dumps
    rendered = yaml.safe_load(env.from_string(template).render(masters=masters)) + "\n"
    assert cluster.masters_line(masters) == rendered
    assert yaml.safe_load(rendered)["master"] in (masters, masters[0])


def test_the_seeded_fragment_is_the_one_in_etc(tmp_path: Path) -> None:
    cluster.seed_minion_config(tmp_path, "ctl01.x", ["cfg01.x"])
    seeded = (tmp_path / "etc/salt/minion.d/10-saltern.conf").read_text()
    assert seeded == (TREE / "etc/minion.d/10-saltern.conf").read_text()
    assert seeded == (TREE / "formulas/salt/files/minion-10-saltern.conf").read_text()
    assert (tmp_path / "etc/salt/minion_id").read_text() == "ctl01.x\n"


def test_one_master_is_wanted(tmp_path: Path) -> None:
    def staged(*nodes: CompiledNode) -> staging.Staged:
        return staging.Staged(tmp_path, "", tmp_path, {n.id: n for n in nodes})

    assert cluster.master_node(staged(node("a", "x.y"), node("b", "salt.master"))) == "b"
    with pytest.raises(PreflightError, match="not 0"):
        cluster.master_node(staged(node("a")))
    with pytest.raises(PreflightError, match="not 2"):
        cluster.master_node(staged(node("a", "salt.master"), node("b", "salt.master")))


def test_a_foreign_provider_is_refused_with_its_node() -> None:
    with pytest.raises(Exception, match=r"node b, key host:provider: .*'maas'"):
        staging.host_facts({"a": node("a"), "b": node("b", provider="maas")})


def test_hosts_file_names_every_host() -> None:
    text = nspawn.hosts_file(
        [HostSpec("b", "b.x", "10.0.0.2"), HostSpec("a", "a.x", "10.0.0.1/16")]
    )
    assert text.endswith("10.0.0.1 a.x a\n10.0.0.2 b.x b\n")


def test_json_after_salts_chatter() -> None:
    assert cluster.last_json('No minions matched\n[WARNING ] x\n{"a":\n 1}\n') == {"a": 1}
    assert cluster.last_json('["m1"]') == ["m1"]
    assert cluster.last_json("nothing") is None


def test_the_first_failed_state_is_told() -> None:
    states = {
        "file_|-b_|-/x_|-managed": {"result": False, "comment": "no disk", "__run_num__": 2},
        "pkg_|-a_|-y_|-installed": {"result": True, "comment": "", "__run_num__": 1},
    }
    assert cluster.state_problem(json.dumps({"local": states})) == "b (file.managed): no disk"
    assert cluster.state_problem('{"local": ["Rendering SLS failed"]}') == "Rendering SLS failed"
    assert cluster.state_problem("") == "Salt returned nothing"
    del states["file_|-b_|-/x_|-managed"]
    assert cluster.state_problem(json.dumps({"local": states})) == ""


def test_who_listens_to_the_master() -> None:
    text = "0 0 10.87.10.11:4505 10.87.10.21:48126 \n0 0 10.87.10.11:4505 10.87.10.11:5000\n\n"
    assert cluster.peer_addresses(text) == {"10.87.10.11", "10.87.10.21"}
    assert cluster.peer_addresses("") == set()


def orchestration() -> str:
    stages = {
        "rollout_|-deploy-foundation_|-foundation_|-stage": {
            "name": "foundation",
            "result": True,
            "duration": 1500.0,
            "comment": "7 hosts",
            "__run_num__": 1,
        },
        "rollout_|-deploy-control_|-control_|-stage": {
            "name": "control",
            "result": False,
            "duration": "250.5 ms",
            "comment": "ctl02.x: keystone-server-package failed after inf01",
            "__run_num__": 2,
        },
    }
    data = {"data": {"cfg01.x_master": stages}, "outputter": "highstate", "retcode": 1}
    return "No minions matched the target.\n" + json.dumps(data, indent=4)


def test_stages_of_an_orchestration() -> None:
    rows = deploy.stage_results(orchestration())
    assert rows is not None
    assert [(row.name, row.result, row.seconds) for row in rows] == [
        ("foundation", True, 1.5),
        ("control", False, 0.2505),
    ]
    unwrapped = json.dumps(json.loads(orchestration().split("\n", 1)[1])["data"])
    assert deploy.stage_results(unwrapped) == rows


@pytest.mark.parametrize("output", ["", "{}", '{"data": {"m": ["no such SLS"]}}', "[]"])
def test_what_is_no_orchestration(output: str) -> None:
    assert deploy.stage_results(output) is None


def test_hosts_of_a_failure_in_the_order_named() -> None:
    names = {"ctl01.x": "ctl01", "ctl02.x": "ctl02", "inf01.x": "inf01"}
    text = "ctl02.x: keystone-server-package failed after inf01"
    assert deploy.named_hosts(text, names) == ["ctl02", "inf01"]
    assert deploy.named_hosts("actl01b failed", names) == []
