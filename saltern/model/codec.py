"""Node data as bytes: msgpack, with the YAML types that msgpack has no word for."""

from __future__ import annotations

import datetime
import gc
import threading
from typing import Any

import msgpack
import msgspec

from saltern.errors import ModelError

# codes of our extension types; they are part of the stored format
_DATE, _DATETIME, _SET, _INT, _TUPLE = 1, 2, 3, 4, 5


class collector_at_rest:
    """Keep Python from searching for cycles while only trees are made: there are none."""

    def __enter__(self) -> None:
        self._enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *error: object) -> None:
        if self._enabled:
            gc.enable()


def pack(data: Any, where: str) -> bytes:
    """Return data as bytes; equal data in equal order gives equal bytes.

    :param data: dicts, lists, scalars, and what YAML 1.1 makes beside them: dates, sets, bytes,
        tuples, integers of any size
    :param where: what is packed, for the error
    :raises ModelError: something that cannot be stored and read back exactly, with its key
    """
    try:
        packed: bytes = _kept.packer.pack(data)
    except (TypeError, ValueError, OverflowError):
        raise ModelError(f"{_culprit(data)} cannot be stored", where=where) from None
    return packed


def pack_tables(data: Any, where: str) -> bytes:
    """Return what this package made itself as bytes, as :func:`pack` does but quicker.

    :param data: dicts, lists, texts, bytes, numbers, None; nothing else, and it is not checked
    :param where: as in :func:`pack`
    :raises ModelError: it cannot be stored
    """
    try:
        return _writer.encode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        return pack(data, where)


def unpack(raw: bytes) -> Any:
    """Return fresh data.

    :raises ValueError: the bytes are not what :func:`pack` wrote
    """
    try:
        return _reader.decode(raw)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        return _unpack_any(raw)


def _unpack_any(raw: bytes) -> Any:
    """What the quick reader takes for wrong: halves of surrogate pairs, or indeed wrong bytes."""
    try:
        return msgpack.unpackb(
            raw, ext_hook=_read, strict_map_key=False, unicode_errors="surrogatepass"
        )
    except (msgpack.exceptions.UnpackException, TypeError, OverflowError) as err:
        raise ValueError(f"not msgpack: {type(err).__name__}") from None


class _Kept(threading.local):
    """A packer per thread: making one costs more than packing a small value."""

    def __init__(self) -> None:
        self.packer = _packer()


def _packer() -> msgpack.Packer:
    # strict: a tuple is not silently made a list
    return msgpack.Packer(default=_write, strict_types=True, unicode_errors="surrogatepass")


def _write(value: Any) -> msgpack.ExtType:
    kind = type(value)
    if kind is datetime.datetime:
        return msgpack.ExtType(_DATETIME, value.isoformat().encode())
    if kind is datetime.date:
        return msgpack.ExtType(_DATE, value.isoformat().encode())
    if kind is set:
        # a set has no order; its bytes must
        return msgpack.ExtType(_SET, _packer().pack(sorted(map(_packer().pack, value))))
    if kind is int:
        return msgpack.ExtType(
            _INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        )
    if kind is tuple:
        return msgpack.ExtType(_TUPLE, _packer().pack(list(value)))
    raise TypeError(kind.__name__)


def _read(code: int, given: bytes | memoryview) -> Any:
    raw = bytes(given)
    if code == _DATE:
        return datetime.date.fromisoformat(raw.decode())
    if code == _DATETIME:
        return datetime.datetime.fromisoformat(raw.decode())
    if code == _SET:
        return {unpack(item) for item in unpack(raw)}
    if code == _INT:
        return int.from_bytes(raw, "big", signed=True)
    if code == _TUPLE:
        return tuple(unpack(raw))
    raise ValueError(f"unknown type {code}")


def _culprit(data: Any, path: tuple[str, ...] = (), depth: int = 0) -> str:
    """Name the key and the kind of the value that does not pack; never the value."""
    if depth > 500:
        return f"key {':'.join(path[:8])}: so deep a nesting"
    items: Any = ()
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list):
        items = enumerate(data)
    for key, value in items:
        try:
            _packer().pack(key)
            _packer().pack(value)
        except (TypeError, ValueError, OverflowError):
            return _culprit(value, (*path, str(key)), depth + 1)
    return f"key {':'.join(path) or '(top)'}: a value of type {type(data).__name__}"


_kept = _Kept()
_writer = msgspec.msgpack.Encoder()
#: reads in two thirds of the time that the msgpack package takes; it cannot pack what we pack
_reader = msgspec.msgpack.Decoder(ext_hook=_read)
