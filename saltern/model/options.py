"""What may be set about a compile: a closed list, unknown names are errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from saltern.errors import ModelError


@dataclass(frozen=True)
class Options:
    """Settings of the merge engine; names and defaults follow Python reclass.

    ``compat`` is ours: ``strict`` (default) refuses what reclass swallows silently (duplicate
    keys, unknown top-level keys, boolean or null keys, ``environment`` in a class);
    ``reclass`` swallows it too.

    Source: the options of kapicorp-reclass 2.0 (``reclass/defaults.py``).
    """

    compat: str = "strict"
    nodes_path: str = "nodes"
    classes_path: str = "classes"
    default_environment: str = "base"
    compose_node_name: bool = False
    ignore_class_notfound: bool = False
    ignore_class_notfound_regexp: tuple[str, ...] = (".*",)
    ignore_overwritten_missing_references: bool = True
    strict_constant_parameters: bool = True
    allow_none_override: bool = False
    allow_scalar_over_dict: bool = False
    allow_scalar_over_list: bool = False
    allow_list_over_scalar: bool = False
    allow_dict_over_scalar: bool = False

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
            if name not in known:
                raise ModelError(
                    f"unknown model option {name!r}",
                    cure=f"Use one of: {', '.join(sorted(known))}",
                )
            wanted = type(known[name].default)
            if wanted is tuple:
                value = (value,) if isinstance(value, str) else tuple(value)
                for pattern in value:
                    try:
                        re.compile(pattern)
                    except re.error as err:
                        raise ModelError(f"model option {name}: {pattern!r}: {err}") from None
            elif not isinstance(value, wanted):
                raise ModelError(f"model option {name} must be {wanted.__name__}, not {value!r}")
            checked[name] = value
        options = cls(**checked)
        if options.compat not in ("strict", "reclass"):
            raise ModelError(f"model option compat must be strict or reclass, not {options.compat}")
        return options
