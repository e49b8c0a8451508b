"""The site's own secret: what the master proves with, made once, never shown."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from saltern.errors import SecretError

NAME = "site.key"
#: of a key that is made here
_BYTES = 32

_keys: dict[tuple[str, int, int], bytes] = {}


def read(path: Path) -> bytes:
    """Return the site key.

    :param path: its file, 0600 and owned by the master's user
    :raises SecretError: it is missing, cannot be read, or others can read it
    """
    cure = "Run `saltern master prepare` as the master's user"
    try:
        status = path.stat()
        known = (str(path), status.st_ino, status.st_mtime_ns)
        if known not in _keys:
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise SecretError(
                    "the site key can be read by others", where=str(path), cure=f"chmod 600 {path}"
                )
            key = bytes.fromhex(path.read_text(encoding="ascii").strip())
            if len(key) < _BYTES:
                raise ValueError
            _keys.clear()
            _keys[known] = key
        return _keys[known]
    except FileNotFoundError:
        raise SecretError("the site key does not exist", where=str(path), cure=cure) from None
    except OSError as err:
        raise SecretError(
            f"the site key cannot be read: {err.strerror}", where=str(path), cure=cure
        ) from None
    except ValueError:
        raise SecretError(
            "the file holds no site key", where=str(path), cure=f"Remove it. {cure}"
        ) from None


def ensure(path: Path) -> bool:
    """Make the site key when there is none; return whether it was made.

    :param path: its file
    :raises SecretError: it cannot be written
    """
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    except OSError as err:
        raise SecretError(f"the site key cannot be made: {err.strerror}", where=str(path)) from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return True
