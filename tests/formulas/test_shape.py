"""One shape for every formula, and a class, schema and lifecycle for every role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from tests.formulas.conftest import Pillars
from tests.support import TREE, formula_roles, service_roles
from tests.support.render import PLATFORMS

ROLES = formula_roles()
#: roles that the model knows before there is a formula
MODELLED = sorted(set(service_roles()) - set(ROLES))
#: shared templates, no role
SHARED = "saltern"
SERVICES = sorted(p.name for p in (TREE / "formulas").iterdir() if (p / "map.jinja").exists())
#: keys that say how a distribution packages the daemon: osmap.yaml sets them, not an operator
PLATFORM_FACTS = {"config_file", "home", "package", "packages", "program", "tls_group", "unit"}
STAGES = {"foundation", "infrastructure", "control", "resources"}
CHECKS = {"unit", "port", "http", "file", "call", "tls", "disk", "clock", "version"}


def service_class(service: str, role: str) -> dict[str, Any]:
    path = TREE / "classes/service" / service / f"{role}.yml"
    data: dict[str, Any] = yaml.safe_load(path.read_text())
    return data


@pytest.mark.parametrize("service", SERVICES)
def test_a_formula_has_its_files(service: str) -> None:
    formula = TREE / "formulas" / service
    for name in ("init.sls", "clean.sls", "map.jinja", "defaults.yaml", "osmap.yaml", "README.md"):
        assert (formula / name).is_file(), name
    assert {p.stem for p in (formula / "schemas").glob("*.yaml")} == {
        role for name, role in service_roles() if name == service
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_formula_knows_every_distribution(service: str) -> None:
    osmap = yaml.safe_load((TREE / "formulas" / service / "osmap.yaml").read_text())
    assert set(osmap) == set(PLATFORMS)


@pytest.mark.parametrize("service", SERVICES)
def test_the_readme_names_every_role_and_key(service: str) -> None:
    readme = (TREE / "formulas" / service / "README.md").read_text()
    for name, role in ROLES:
        if name != service:
            continue
        assert f"{service}.{role}" in readme
        schema = yaml.safe_load((TREE / f"formulas/{service}/schemas/{role}.yaml").read_text())
        missing = {key for key in schema.get("properties", {}) if key not in readme}
        assert not missing - PLATFORM_FACTS, role


@pytest.mark.parametrize(("service", "role"), ROLES)
def test_a_role_is_complete(service: str, role: str) -> None:
    assert (TREE / f"formulas/{service}/{role}.sls").is_file()
    assert (TREE / f"formulas/{service}/schemas/{role}.yaml").is_file()
    data = service_class(service, role)
    assert f"{service}.{role}" in data["applications"]
    assert role in data["parameters"][service]


@pytest.mark.parametrize(("service", "role"), ROLES)
def test_a_role_declares_its_lifecycle(service: str, role: str) -> None:
    lifecycle = service_class(service, role)["parameters"]["lifecycle"][f"{service}.{role}"]
    assert lifecycle["stage"] in STAGES
    assert lifecycle["start"] in {"together", "first_then_rest", "serial"}
    known = {f"{s}.{r}" for s, r in ROLES}
    after = {e["role"] if isinstance(e, dict) else e for e in lifecycle["after"]}
    assert after <= known
    assert lifecycle["health"], "a stage ends with its validation"
    for check in lifecycle["health"]:
        assert len(CHECKS & set(check)) == 1, check


@pytest.mark.parametrize(("service", "role"), MODELLED)
def test_a_role_without_formula_is_a_whole_model(service: str, role: str) -> None:
    """Class, schema, lifecycle; it says itself that nothing carries it out."""
    formula = TREE / "formulas" / service
    if service not in {name for name, _ in ROLES}:
        assert {path.name for path in formula.iterdir()} == {"README.md", "schemas"}
    assert f"`{service}.{role}`" in (formula / "README.md").read_text()
    data = service_class(service, role)
    assert data["applications"] == [f"{service}.{role}"]
    assert data["parameters"][service][role]["enabled"] is True
    lifecycle = data["parameters"]["lifecycle"][f"{service}.{role}"]
    assert lifecycle["executable"] is False
    assert lifecycle["stage"] in STAGES
    assert lifecycle["health"]
    known = {f"{s}.{r}" for s, r in (*ROLES, *MODELLED)}
    assert {e["role"] if isinstance(e, dict) else e for e in lifecycle["after"]} <= known
    schema = yaml.safe_load((formula / f"schemas/{role}.yaml").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == f"{service}:{role}"
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(("service", "role"), ROLES)
def test_the_schema_is_strict_and_fits_the_compiled_pillar(
    service: str, role: str, pillars: Pillars
) -> None:
    schema = yaml.safe_load((TREE / f"formulas/{service}/schemas/{role}.yaml").read_text())
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    nodes = [
        pillar for pillar in pillars.values()
        if f"{service}.{role}" in pillar["__reclass__"]["applications"]
    ]  # fmt: skip
    assert nodes
    for pillar in nodes:
        validator(schema).validate(pillar[service][role])
    with pytest.raises(jsonschema.ValidationError):
        validator(schema).validate({**nodes[0][service][role], "no_such_key": True})


def literals(data: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the keys that tell of a secret and hold something else than a reference to one."""
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        if key == "_secret_spec":
            continue
        telling = any(word in str(key) for word in ("password", "secret", "cookie"))
        if telling and isinstance(value, str) and not value.startswith("${_secret:"):
            yield ":".join((*path, str(key)))
        yield from literals(value, (*path, str(key)))


def test_no_secret_is_written_in_a_class() -> None:
    """They are references; a literal would be clear text in git."""
    found = {
        f"{path.relative_to(TREE)} {key}"
        for path in (TREE / "classes").rglob("*.yml")
        if path.name != "secrets.yml"
        for key in literals(yaml.safe_load(path.read_text()))
    }
    assert not found
