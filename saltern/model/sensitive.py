"""What is a secret that somebody wrote in plain text: by the name of its key, by its shape.

Stricter than what :mod:`saltern.model.redact` hides: a finding must be a fault, and hiding too much
is none.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from saltern.model.redact import REFERENCE as REFERENCE
from saltern.model.redact import SECRET_NAME
from saltern.model.serve import PGP_MESSAGE

#: a string under such a key is a secret whatever it looks like
_PASSWORD = re.compile(r"(^|[_-])(password|passwd|passphrase)$")
#: a string under such a key is a secret when it looks generated, like one named in SECRET_NAME
_KEY_NAME = re.compile(
    r"(^|[_-])(passphrase|credential|(private|secret|auth|api|encryption|shared)[_-]key)$"
)
_PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")
_URL_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/:@]*:(?P<password>[^\s/@]+)@")
_RANDOM = re.compile(r"^[A-Za-z0-9+/=_.~!@#$%^&*-]{16,}$")
#: bits per character from which a string of letters and digits is no word
_ENTROPY = 3.0


def is_password_name(key: str) -> bool:
    """Return whether a string under this key is a secret, whatever it looks like."""
    return bool(_PASSWORD.search(key.lower()))


def is_secret_name(key: str) -> bool:
    """Return whether a key's name says that its value is a secret."""
    return bool(SECRET_NAME.search(key) or _KEY_NAME.search(key.lower()))


def is_protected(value: str) -> bool:
    """Return whether a string is ciphertext (or holds some), or refers to a secret store."""
    return bool(PGP_MESSAGE.search(value) or REFERENCE.match(value))


def is_random(value: str) -> bool:
    """Return whether a string looks generated: long, letters and digits, of high entropy.

    Source: Shannon entropy over the string's own characters.
    """
    if not _RANDOM.match(value) or value.startswith("/"):
        return False
    kinds = (any(map(test, value)) for test in (str.isdigit, str.islower, str.isupper))
    if sum(kinds) < 2:
        return False
    counts = Counter(value).values()
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts)
    return entropy >= _ENTROPY


def why_secret(key: str, value: str) -> str:
    """Say why a string is a secret in plain text; empty when it is none.

    :param key: name of the key it is at
    :param value: the string; it is in no answer
    """
    if not value or REFERENCE.match(value):
        return ""
    text = PGP_MESSAGE.sub("", value)
    if _PRIVATE_KEY.search(text):
        return "a private key is written in plain text"
    if _URL_PASSWORD.search(text):
        return "an address holds a password in plain text"
    if text != value:
        return ""
    if is_password_name(key):
        return "a secret is written in plain text"
    if is_secret_name(key) and is_random(value):
        return "looks like a secret in plain text"
    return ""


def strings(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (key path, string) for every string in plain data."""
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from strings(value, (*path, str(key)))
    elif isinstance(data, list):
        for n, value in enumerate(data):
            yield from strings(value, (*path, str(n)))
