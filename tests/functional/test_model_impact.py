"""What a change would touch, with the states rendered by Salt itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from saltern.adapters import render
from saltern.adapters.formulas import differ, formulas_at
from saltern.adapters.git import ModelRepo
from saltern.cli import cli
from saltern.errors import ModelError
from tests.model.trees import write_tree
from tests.support.commits import commit
from tests.unit.model.conftest import files

FORMULAS = {
    "web/server.sls": """
{%- set server = pillar.web.server %}
web-config:
  file.managed:
    - name: /etc/web.conf
    - source: salt://web/files/web.conf.jinja
    - template: jinja
    - context: {port: {{ server.port }}}
web-plain:
  file.managed:
    - name: /etc/plain
    - source: salt://web/files/plain
web-folder:
  file.recurse:
    - name: /etc/web.d
    - source: salt://web/files/d
web-user:
  user.present:
    - name: web
    - password_pillar: web:server:url
web-service:
  service.running:
    - name: web
    - watch:
      - file: web-config
""",
    "web/files/web.conf.jinja": "{{ port }} {{ grains.oscodename }} {{ pillar.web.extra }}\n",
    "web/files/plain": "plain\n",
    "web/files/d/a": "a\n",
    "db/server.sls": "db-dir:\n  file.directory:\n    - name: /var/db\n",
}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """The small cluster with formulas, committed."""
    content = files()
    content["classes/service/web/server.yml"]["parameters"]["web"]["extra"] = "x"
    top = write_tree(tmp_path / "model", content)
    for name, text in FORMULAS.items():
        path = top / "formulas" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    commit(top, "first")
    return top


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def run(repo: Path, *arguments: str) -> Result:
    store = str(repo.parent / "store")
    return CliRunner().invoke(
        cli, ["model", "impact", *arguments, "-i", str(repo), "--store", store]
    )


def touched(result: Result) -> set[str]:
    data = json.loads(result.output)
    return {
        f"{touch['kind']} {touch['name']}"
        for node_ in data["nodes"]
        for role in node_["roles"]
        for touch in role["touches"]
    }


def test_the_command_renders_before_and_after(repo: Path) -> None:
    assert run(repo, "--exit-code").exit_code == 0
    replaced(repo / "classes/service/web/server.yml", "port: 80", "port: 81")
    result = run(repo, "--exit-code")
    assert result.exit_code == 1, result.output
    assert "  web01-02\n    web.server\n      ~ /etc/web.conf  (content)\n" in result.output
    assert "      ! restart web  (by /etc/web.conf)\n" in result.output
    assert "/etc/plain" not in result.output


def test_a_secret_that_a_state_looks_up_itself(repo: Path) -> None:
    content = files()
    content["classes/service/web/server.yml"]["parameters"]["web"]["extra"] = "x"
    content["classes/cluster/c1/secrets.yml"]["parameters"]["_secret"]["web_db"] = (
        "-----BEGIN PGP MESSAGE-----\n\nother\n-----END PGP MESSAGE-----"
    )
    write_tree(repo, content)
    result = run(repo, "--format", "json", "--node", "web01.c1.test")
    assert touched(result) == {"changed web"}
    (touch,) = json.loads(result.output)["nodes"][0]["roles"][0]["touches"]
    assert touch["what"] == ["password_pillar"]


def test_the_formulas_of_each_commit_are_rendered(repo: Path) -> None:
    replaced(repo / "formulas/web/files/plain", "plain", "other")
    replaced(repo / "formulas/web/files/d/a", "a", "b")
    commit(repo, "second")
    result = run(repo, "HEAD~1", "HEAD", "--format", "json")
    assert touched(result) == {"changed /etc/plain", "changed /etc/web.d"}
    same = run(repo, "HEAD~1", "HEAD", "--format", "json", "--formulas", str(repo / "formulas"))
    assert touched(same) == set()


def test_a_role_that_does_not_render_hides_no_other(repo: Path) -> None:
    replaced(
        repo / "classes/cluster/c1/web.yml", "- system.web", "- system.web\n- service.db.server"
    )
    replaced(repo / "formulas/db/server.sls", "db-dir:", "{% if %}")
    result = run(repo, "--format", "json", "--node", "web01.c1.test")
    (one,) = json.loads(result.output)["nodes"]
    errors = {role["role"]: role["error"] for role in one["roles"] if role["error"]}
    assert set(errors) == {"db.server"}
    assert "could not be rendered" not in errors["db.server"]
    text = run(repo, "--node", "web01.c1.test").output
    assert "    db.server\n      cannot be rendered: " in text


def test_what_salt_complains_of_shows_no_data(tmp_path: Path) -> None:
    top = tmp_path / "formulas"
    (top / "web").mkdir(parents=True)
    (top / "web/server.sls").write_text("a:\n  x.y:\n    - z: {{ pillar.password }}\n   - b\n")
    pillar = {"host": {"name": "n1"}, "password": "plain-1"}
    request = render.Request("n1.example.com", pillar, ("web.server",))
    (done,) = render.render([request], top)
    assert "web.server" in done.errors["web.server"]
    assert "plain-1" not in json.dumps(vars(done))


def test_not_rendered_when_asked(repo: Path) -> None:
    replaced(repo / "classes/service/web/server.yml", "port: 80", "port: 81")
    output = run(repo, "--no-render").output
    assert "states were not rendered: asked for with --no-render" in output
    assert "web01-02\n    data of web.server differs\n" in output


def test_no_salt_is_said(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "find_spec", lambda name: None)
    replaced(repo / "classes/service/web/server.yml", "port: 80", "port: 81")
    assert "Salt is not installed here" in run(repo).output


def test_formulas_of_a_revision(repo: Path, tmp_path: Path) -> None:
    first = ModelRepo(repo).resolve("HEAD")
    (repo / "formulas/new").write_text("x")
    second = commit(repo, "second")
    with formulas_at(repo, first) as one, formulas_at(repo, second) as two:
        assert differ(one, two)
        assert not (one / "new").exists()
        with formulas_at(repo, second) as three:
            assert two != three
            assert not differ(two, three)
    with formulas_at(repo, ModelRepo(repo).resolve("worktree")) as here:
        assert here == repo / "formulas"
    with formulas_at(repo, first, tmp_path) as given:
        assert given == tmp_path


def test_a_process_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.sys, "executable", "/bin/false")
    with pytest.raises(ModelError, match="the formulas could not be rendered: no message"):
        render.render([render.Request("n1", {}, ("a.b",))], tmp_path)


def test_many_nodes_are_rendered_in_order_and_counted(tmp_path: Path) -> None:
    top = tmp_path / "formulas"
    (top / "web").mkdir(parents=True)
    (top / "web/server.sls").write_text("web:\n  file.directory:\n    - name: /{{ pillar.n }}\n")
    requests = [
        render.Request(f"n{n}.example.com", {"host": {"name": f"n{n}"}, "n": n}, ("web.server",))
        for n in range(9)
    ]
    counted: list[None] = []
    done = render.render(requests, top, workers=2, progress=lambda: counted.append(None))
    assert [one.node for one in done] == [request.node for request in requests]
    assert [one.states[0]["name"] for one in done] == [f"/{n}" for n in range(9)]
    assert len(counted) == 9


def test_a_node_without_host_data_and_a_role_without_formula(tmp_path: Path) -> None:
    (tmp_path / "formulas").mkdir()
    (done,) = render.render_here(
        [render.Request("n1.example.com", {}, ("a.b",))], tmp_path / "formulas", tmp_path / "cache"
    )
    assert done.errors == {"": "the node has no host data"}
    assert done.unknown == ("a.b",)
