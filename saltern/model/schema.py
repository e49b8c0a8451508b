"""The JSON schemas of roles: found beside their formulas, checked without showing a secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from saltern.errors import ModelError
from saltern.model.inventory import Inventory
from saltern.model.redact import is_secret_name, write_only
from saltern.model.sensitive import is_protected
from saltern.model.serve import PGP_MESSAGE

#: libyaml parses ten times faster; both are safe loaders
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: checks that make no sense on ciphertext
_ON_TEXT = ("pattern", "minLength", "maxLength", "format", "enum", "const")
_EXTRA = ("additionalProperties", "unevaluatedProperties")


@dataclass(frozen=True)
class Violation:
    """One thing that does not fit: key path below the role, a sentence, and whether the key
    itself is unknown."""

    path: tuple[str, ...]
    sentence: str
    unknown: bool = False


def formulas_path(inventory: Inventory, given: str | Path | None = None) -> Path:
    """Return the directory of formulas to check against.

    :param inventory: the model tree
    :param given: directory named by the caller
    :returns: ``given``, else ``formulas`` beside the model's classes, else those of this
        distribution
    :raises ModelError: there is none
    """
    if given is not None:
        return Path(given)
    package = Path(__file__).parents[1]
    candidates = [
        inventory.path / "formulas",
        # the wheel carries them in the package; in a checkout they are beside it
        package / "tree" / "formulas",
        package.parent / "formulas",
    ]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise ModelError("no formulas to check the model against", cure="Name them with --formulas")


def role_schema(formulas: Path, role: str) -> dict[str, Any] | None:
    """Return the JSON schema of ``pillar[service][role]``, or None when the role has none.

    :param formulas: directory of formulas
    :param role: ``service.role``
    :raises ModelError: the schema is broken
    """
    service, _, name = role.partition(".")
    path = formulas / service / "schemas" / f"{name}.yaml"
    if not path.is_file():
        return None
    return _load_schema(str(path), path.stat().st_mtime_ns)


def existing_schema(formulas: Path, role: str) -> dict[str, Any]:
    """Return the JSON schema of a role.

    :raises ModelError: it has none, or it is broken
    """
    found = role_schema(formulas, role)
    if found is None:
        raise ModelError(
            f"role {role} has no schema",
            where=str(formulas),
            cure="Write formulas/<service>/schemas/<role>.yaml",
        )
    return found


@lru_cache(maxsize=1024)
def _load_schema(path: str, _stamp: int) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
        loaded = yaml.load(text, Loader=_Loader)  # noqa: S506
        jsonschema.validators.validator_for(
            loaded, default=jsonschema.Draft202012Validator
        ).check_schema(loaded)
    except (OSError, yaml.YAMLError, jsonschema.SchemaError) as err:
        raise ModelError(f"broken schema: {str(err).splitlines()[0]}", where=path) from None
    schema: dict[str, Any] = loaded
    return schema


def violations(data: Any, schema: Mapping[str, Any]) -> Iterator[Violation]:
    """Yield all that does not fit a role's schema.

    Values of fields that are ``writeOnly`` are never told, and ciphertext is not measured
    against lengths and patterns.

    :param data: ``pillar[service][role]``
    :param schema: the role's JSON schema
    """
    validator = jsonschema.validators.validator_for(
        schema, default=jsonschema.Draft202012Validator
    )(schema)
    for error in _telling(validator.iter_errors(data)):
        encrypted = isinstance(error.instance, str) and PGP_MESSAGE.search(error.instance)
        if encrypted and error.validator in _ON_TEXT:
            continue
        path = tuple(str(part) for part in error.absolute_path)
        extra = list(_unknown(error))
        if extra:
            for key, sentence in extra:
                yield Violation((*path, key), sentence, unknown=True)
        else:
            yield Violation(path, _say(error), unknown=error.validator in _EXTRA)


def plain_secrets(data: Any, schema: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield key paths of what a schema marks ``writeOnly`` and that is written in plain text.

    A reference to a secret store (``sdb://…``) is as good as ciphertext.
    """
    seen = set()
    for path, value in write_only(data, schema):
        if path not in seen and isinstance(value, str) and not is_protected(value):
            seen.add(path)
            yield path


def _telling(errors: Iterable[jsonschema.ValidationError]) -> Iterator[jsonschema.ValidationError]:
    """Leave out "fits none of the shapes" where another error of that key says why."""
    found = list(errors)
    told = {tuple(e.absolute_path) for e in found if e.validator not in ("oneOf", "anyOf")}
    for error in found:
        if error.validator not in ("oneOf", "anyOf") or tuple(error.absolute_path) not in told:
            yield error


def _unknown(error: jsonschema.ValidationError) -> Iterator[tuple[str, str]]:
    """Yield (key, sentence) of each key that is not among the allowed ones."""
    node = error.schema
    if error.validator not in _EXTRA or error.validator_value is not False:
        return
    if not isinstance(node, dict) or not isinstance(error.instance, dict):
        return
    if error.validator == "unevaluatedProperties":
        return  # which keys some other part has evaluated is not told here
    known = [str(key) for key in node.get("properties", {})]
    for key in error.instance:
        name = str(key)
        if name in known or any(re.search(p, name) for p in node.get("patternProperties", {})):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        yield name, f"unknown key {name}{hint}"


def _say(error: jsonschema.ValidationError) -> str:
    """Say what a schema's error is about, in one sentence without a secret value."""
    kind = error.validator
    key = str(error.absolute_path[-1]) if error.absolute_path else ""
    hidden = is_secret_name(key) or (
        isinstance(error.schema, dict) and error.schema.get("writeOnly")
    )
    if kind == "type":
        return f"must be {_either(error.validator_value)}, is {_type(error.instance)}"
    if kind in ("required", *_EXTRA, "dependentRequired"):
        return str(error.message)  # names keys only
    if kind in ("oneOf", "anyOf"):
        return "fits none of the allowed shapes"
    value = error.instance
    shown = ""
    if not hidden and isinstance(value, str | int | float) and len(str(value)) < 80:
        shown = f"{value!r} "
    if kind == "enum":
        allowed: Any = error.validator_value
        return f"{shown}is not one of {', '.join(map(str, allowed))}"
    return f"{shown}does not satisfy {kind}: {error.validator_value}"


def _either(wanted: Any) -> str:
    return " or ".join(wanted) if isinstance(wanted, list) else str(wanted)


def _type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")
