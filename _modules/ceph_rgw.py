"""
Users of the object gateways of a Ceph cluster
==============================================

The monitors know no command for them, so ``radosgw-admin`` is run, as the gateway of this host, and
what it says is read as JSON. A key reaches it over its standard input: it is in no argument, answer
or log.
"""

import hashlib
import json
import os
import subprocess

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_rgw"

NAME, KEYRING = "client.rgw", "/var/lib/ceph/radosgw/ceph-rgw/keyring"
TIMEOUT = 120
# What it ends with when there is no such user.
_NONE = 2


def __virtual__():
    return __virtualname__


def _admin(*words, body="", accept=()):
    """Run ``radosgw-admin``; its answer, or None for an exit code that is one, too."""
    if not os.path.exists(KEYRING):
        raise CommandExecutionError("This host is no object gateway: apply ceph.rgw.")
    # the log is the gateway's own
    command = ["radosgw-admin", "--name", NAME, "--keyring", KEYRING, "--log-file=/dev/null"]
    try:
        done = subprocess.run(
            [*command, *words], input=body, capture_output=True, text=True, check=False,
            timeout=TIMEOUT,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as err:
        told = f"no answer in {TIMEOUT} s" if isinstance(err, subprocess.TimeoutExpired) else err
        raise CommandExecutionError(f"radosgw-admin: {told}.") from None
    if done.returncode in accept:
        return None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        told = lines[-1].strip().rstrip(".")[:300] if lines else f"code {done.returncode}"
        raise CommandExecutionError(f"radosgw-admin {' '.join(words[:2])}: {told}.")
    try:
        return json.loads(done.stdout) if done.stdout.strip() else {}
    except ValueError:
        raise CommandExecutionError(
            f"radosgw-admin {' '.join(words[:2])}: its answer is no JSON."
        ) from None


def fingerprint(secret):
    """
    Return what stands for a secret key where it is compared.

    secret
        The key

    CLI Example:

    .. code-block:: bash

        salt mon02.example.test ceph_rgw.fingerprint 0123456789abcdef
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def user(name):
    """
    Return a user of the gateways, None when there is none.

    Returns ``{"display_name", "keys": {access key: fingerprint}, "max_buckets", "quota_bytes",
    "quota_objects", "suspended", "privileged"}``; 0 is no quota. ``privileged`` is one with
    capabilities of an administrator. Raises CommandExecutionError when it cannot be told.

    name
        Its id

    CLI Example:

    .. code-block:: bash

        salt mon02.example.test ceph_rgw.user probe
    """
    found = _admin("metadata", "get", f"user:{name}", accept=(_NONE,))
    if found is None:
        return None
    data = found["data"]
    quota = data.get("user_quota") or {}
    limited = bool(quota.get("enabled"))
    return {
        "display_name": data.get("display_name", ""),
        "keys": {one["access_key"]: fingerprint(one["secret_key"]) for one in data.get("keys", [])},
        "max_buckets": int(data.get("max_buckets", 0)),
        "quota_bytes": max(0, int(quota.get("max_size", 0))) if limited else 0,
        "quota_objects": max(0, int(quota.get("max_objects", 0))) if limited else 0,
        "suspended": bool(data.get("suspended")),
        "privileged": bool(data.get("caps")) or _yes(data.get("system")) or _yes(data.get("admin")),
    }


def _yes(value):
    return value is True or str(value).lower() in ("true", "1")


def put_user(name, display_name, access_key, secret_key, max_buckets, quota_bytes, quota_objects):
    """
    Write a user: this key alone, these limits, and no capability.

    Raises CommandExecutionError when it is refused.

    name
        Its id
    display_name
        For people
    access_key, secret_key
        Its key
    max_buckets
        How many it may have
    quota_bytes, quota_objects
        What it may store in all; 0 is no quota

    CLI Example:

    .. code-block:: bash

        salt mon02.example.test state.apply ceph.rgw   # keys belong in the model
    """
    # the document with its version: a write in between is not overwritten unseen
    found = _admin("metadata", "get", f"user:{name}", accept=(_NONE,)) or {}
    data = found.setdefault("data", {})
    data.update(
        user_id=name,
        display_name=display_name,
        suspended=0,
        max_buckets=int(max_buckets),
        keys=[{"user": name, "access_key": access_key, "secret_key": secret_key}],
        subusers=[],
        swift_keys=[],
        caps=[],
        op_mask="read, write, delete",
        type="rgw",
        user_quota={
            "enabled": bool(quota_bytes or quota_objects),
            "check_on_raw": False,
            "max_size": int(quota_bytes) or -1,
            "max_objects": int(quota_objects) or -1,
        },
    )
    for word in ("system", "admin"):
        data.pop(word, None)
    found["key"] = f"user:{name}"
    _admin("metadata", "put", f"user:{name}", body=json.dumps(found))


def remove_user(name):
    """
    Remove a user that has no bucket any more.

    Raises CommandExecutionError when it has some, or when it is refused.

    name
        Its id

    CLI Example:

    .. code-block:: bash

        salt mon02.example.test ceph_rgw.remove_user probe
    """
    _admin("user", "rm", f"--uid={name}")
