"""What is packed is read back the same, whichever of the two readers reads it."""

from __future__ import annotations

import datetime
from typing import Any

import msgpack
import pytest

from saltern.errors import ModelError
from saltern.model import codec

VALUES: list[Any] = [
    {5: "five", True: "yes", None: "nothing", 1.5: "half", b"x": "bytes", (1, 2): "pair"},
    {datetime.date(2026, 1, 1): [datetime.datetime(2026, 1, 1, 12, 30), datetime.date.max]},
    [True, 1, 1.0, False, 0, 0.0, None, "", "1", b"1"],
    [2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**200],
    [{"a"}, set(), (), (1, (2, "x"))],
    ["half a pair \ud800", "whole \U0001f512", {"\udfff": 1}],
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_read_back_the_same(value: Any) -> None:
    read = codec.unpack(codec.pack(value, "test"))
    assert repr(read) == repr(value) or read == value
    assert [*map(type, read)] == [*map(type, value)]


def test_deep_nesting_is_read_by_either_reader() -> None:
    value: Any = "leaf"
    for _ in range(500):
        value = [value]
    assert codec.unpack(codec.pack(value, "test")) == value


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x81\x01", b"\x01\x02", b"\xc7\x01\x09x"])
def test_other_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        codec.unpack(raw)


@pytest.mark.parametrize(
    "table",
    [
        {"nodes": {"a.example": [0, 70000, -1, 2**40, b"\x00" * 16]}, "names": ["", "é"]},
        {"lists": [[], [None, "x"]], "share": 0.5, "surrogate": "\ud800"},
    ],
)
def test_tables_are_packed_as_everything_else(table: dict[str, Any]) -> None:
    assert codec.pack_tables(table, "test") == codec.pack(table, "test")
    assert msgpack.unpackb(codec.pack_tables(table, "x"), unicode_errors="surrogatepass") == table


def test_what_cannot_be_packed_names_its_key() -> None:
    with pytest.raises(ModelError, match=r"key a:b: a value of type object"):
        codec.pack({"a": {"b": object()}}, "node n1")
