# Managed by Salt: local changes are overwritten.
"""Stands in for bcrypt in the manager: hashes in a process of its own.

The real one is built with PyO3, which refuses to be loaded by the interpreters that ceph-mgr runs
its modules in, and then no module of it works.
"""

import subprocess

_PROGRAM = (
    "import bcrypt, sys;"
    "words = sys.stdin.buffer.read().split(b'\\0');"
    "sys.stdout.buffer.write("
    "bcrypt.gensalt(int(words[1]), words[2]) if words[0] == b'salt' else"
    " bcrypt.hashpw(words[1], words[2]))"
)


def _run(*words):
    command = ["/usr/bin/python3", "-I", "-c", _PROGRAM]
    done = subprocess.run(command, input=b"\0".join(words), stdout=subprocess.PIPE, check=True)
    return done.stdout


def gensalt(rounds=12, prefix=b"2b"):
    """Return a new salt."""
    return _run(b"salt", str(rounds).encode(), prefix)


def hashpw(password, salt):
    """Return the hash of a password."""
    return _run(b"hash", password, salt)


def checkpw(password, hashed):
    """Whether a password has that hash."""
    return hashpw(password, hashed) == hashed
