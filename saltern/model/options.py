"""What may be set about a compile: a closed list, unknown names are errors."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from saltern.errors import ModelError
from saltern.model import mapping
from saltern.model.mapping import ClassMapping

_MARKS = "the marks of references, keys and queries are fixed"
_COMMAND = "it belongs to the command line of reclass"

#: options of reclass that mean nothing here: name -> (the one value that is let pass, why)
_FIXED: dict[str, tuple[Any, str]] = {
    "delimiter": (":", _MARKS),
    "dict_key_override_prefix": ("~", _MARKS),
    "dict_key_constant_prefix": ("=", _MARKS),
    "escape_character": ("\\", _MARKS),
    "reference_sentinels": (["${", "}"], _MARKS),
    "export_sentinels": (["$[", "]"], _MARKS),
    "storage_type": ("yaml_fs", "a model is a directory, or a revision of a git repository"),
    "propagate_pillar_data_to_reclass": (False, "a node's data depends on the model alone"),
    "no_refs": (False, _COMMAND),
    "output": ("yaml", _COMMAND),
    "pretty_print": (True, _COMMAND),
}
_RENAMED = {
    "nodes_uri": "nodes_path",
    "classes_uri": "classes_path",
    "inventory_base_uri": "path",
}


@dataclass(frozen=True)
class Options:
    """Settings of the merge engine; names and defaults follow Python reclass.

    ``compat`` is ours: ``strict`` (default) refuses what reclass swallows silently (duplicate
    keys, unknown top-level keys, boolean or null keys, ``environment`` in a class, references
    that nothing resolves); ``reclass`` swallows it too. ``allow_adapter_env_override`` lists
    the environments that a caller may ask for in place of a node's own: what the fork lets
    through unseen comes from the minion. ``placeholders`` is ours too, for those who look at a
    checkout whose secrets are generated elsewhere: a generated class that does not exist counts
    as empty, a secret without value has a stand-in. A master never sets it, so nothing that was
    compiled with it can be served.

    Source: the options of kapicorp-reclass 2.0 (``reclass/settings.py``, ``defaults.py``) and
    ``allow_adapter_env_override`` of the salt-formulas fork.
    """

    compat: str = "strict"
    placeholders: bool = False
    nodes_path: str = "nodes"
    classes_path: str = "classes"
    default_environment: str = "base"
    allow_adapter_env_override: tuple[str, ...] = ()
    compose_node_name: bool = False
    automatic_parameters: bool = True
    class_mappings: tuple[str, ...] = ()
    class_mappings_match_path: bool = False
    ignore_class_notfound: bool = False
    ignore_class_notfound_regexp: tuple[str, ...] = (".*",)
    ignore_class_notfound_warning: bool = True
    ignore_overwritten_missing_references: bool = True
    inventory_ignore_failed_node: bool = False
    inventory_ignore_failed_render: bool = False
    group_errors: bool = True
    strict_constant_parameters: bool = True
    allow_none_override: bool = False
    allow_scalar_over_dict: bool = False
    allow_scalar_over_list: bool = False
    allow_list_over_scalar: bool = False
    allow_dict_over_scalar: bool = False

    @functools.cached_property
    def mappings(self) -> tuple[ClassMapping, ...]:
        """``class_mappings``, parsed.

        :raises ModelError: a line that cannot be read
        """
        return tuple(mapping.parse(line) for line in self.class_mappings)

    @property
    def strict(self) -> bool:
        """True when what reclass swallows is an error."""
        return self.compat == "strict"

    @classmethod
    def build(cls, values: Mapping[str, Any]) -> Options:
        """Check option names and types.

        :param values: option name to value, as read from a configuration file
        :raises ModelError: an unknown option, or a value of the wrong type
        """
        known = {field.name: field for field in fields(cls)}
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name in _FIXED:
                _refuse_other(name, value)
            elif name in known:
                checked[name] = _checked(name, value, type(known[name].default))
            else:
                cure = f"Use one of: {', '.join(sorted(known))}"
                if name in _RENAMED:
                    cure = f"Its name here is {_RENAMED[name]}"
                raise ModelError(f"unknown model option {name!r}", cure=cure)
        options = cls(**checked)
        if options.compat not in ("strict", "reclass"):
            raise ModelError(f"model option compat must be strict or reclass, not {options.compat}")
        _ = options.mappings
        return options


def _checked(name: str, value: Any, wanted: type) -> Any:
    if name == "allow_adapter_env_override" and isinstance(value, bool):
        if value:
            raise ModelError(
                f"model option {name} must list environments: a minion names its own pillarenv",
                cure=f"Write {name}: [dev, …], or false",
            )
        return ()
    if wanted is not tuple:
        if not isinstance(value, wanted):
            raise ModelError(f"model option {name} must be {wanted.__name__}, not {value!r}")
        return value
    entries = (value,) if isinstance(value, str) else value
    if not isinstance(entries, list | tuple) or not all(isinstance(e, str) for e in entries):
        raise ModelError(f"model option {name} must be a list of strings, not {value!r}")
    if name == "ignore_class_notfound_regexp":
        for pattern in entries:
            try:
                re.compile(pattern)
            except re.error as err:
                raise ModelError(f"model option {name}: {pattern!r}: {err}") from None
    return tuple(entries)


def _refuse_other(name: str, value: Any) -> None:
    only, reason = _FIXED[name]
    if (list(value) if isinstance(value, tuple) else value) != only:
        raise ModelError(f"model option {name} can only be {only!r}: {reason}", cure="Leave it out")
