"""Virtual hosts, accounts, permissions and policies of a RabbitMQ cluster.

One export tells what is there, one import writes what differs, another export reads it back: each
call of the command line tool costs seconds. Passwords reach RabbitMQ as salted hashes, and are in
no comment, change, log or command line.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

from salt.exceptions import CommandExecutionError

#: How often to read back: newer releases import in the background.
READS = 5
ALGORITHM = "rabbit_password_hashing_sha256"


def may_start(name, first, peers=(), timeout=600):
    """Hold a member back that never ran until there is a cluster to join.

    A member that finds nobody begins a cluster of its own, so only the first one may find nobody.

    name
        for the log
    first
        full name of the member that may begin
    peers
        full names of the other members; an empty list means that there are none
    timeout
        seconds to wait for one of them
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "It ran before."}
    if not peers or first not in peers:
        ret["comment"] = "It may begin."
    elif __salt__["rabbitmq_cluster.fresh"]():
        if __opts__["test"]:
            ret["comment"] = "Would wait for another member to be up."
            return ret
        end = time.monotonic() + timeout
        while not any(__salt__["rabbitmq_cluster.peer_ready"](peer) for peer in peers):
            if time.monotonic() > end:
                ret["result"] = False
                ret["comment"] = (
                    f"No other member was up within {timeout} s, and only {first} may begin the"
                    f" cluster. Apply rabbitmq.server to {first}."
                )
                return ret
            time.sleep(2)
        ret["comment"] = "Another member is up: it joins."
    return ret


def definitions(name, vhosts=None, users=None, policies=None, absent_users=()):
    """Keep what the cluster needs; anything else that is there stays.

    name
        for the log
    vhosts
        ``{name: {default_queue_type: quorum}}``
    users
        ``{name: {password, tags: [], permissions: {vhost: {configure, write, read}}}}``; a
        permission that is left out is ``.*``
    policies
        ``{name: {vhost: /, pattern, definition: {}, apply_to: queues, priority: 0}}``
    absent_users
        names of accounts that must not exist
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "As wanted."}
    wanted = {"vhosts": vhosts or {}, "users": users or {}, "policies": policies or {}}
    try:
        missing, changes = _compare(_read(), wanted, absent_users)
    except CommandExecutionError as err:
        if __opts__["test"]:
            ret.update(result=None, comment=f"Cannot be told yet. {err}")
        else:
            ret.update(result=False, comment=str(err))
        return ret
    if not changes:
        return ret
    ret["changes"] = changes
    if __opts__["test"]:
        ret.update(result=None, comment=f"Would write {', '.join(sorted(changes))}.")
        return ret
    try:
        if any(missing.values()):
            __salt__["rabbitmq_cluster.import_definitions"](missing)
        for user, what in changes.items():
            if what == "deleted":
                __salt__["rabbitmq_cluster.delete_user"](user.removeprefix("user "))
        for _ in range(READS):
            left = _compare(_read(), wanted, absent_users)[1]
            if not left:
                break
            time.sleep(2)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
        return ret
    if left:
        ret.update(result=False, comment=f"Read back different: {', '.join(sorted(left))}.")
        return ret
    ret["comment"] = f"Wrote {', '.join(sorted(changes))}."
    return ret


def _read():
    return __salt__["rabbitmq_cluster.definitions"]()


def _compare(found, wanted, absent_users):
    """Return what to import, and the changes by name of the thing."""
    missing = {"vhosts": [], "users": [], "permissions": [], "policies": []}
    changes = {}

    def note(kind, label, now, item):
        if now != item:
            missing[kind].append(item)
            changes[label] = "created" if now is None else "altered"

    have = {item["name"]: item for item in found.get("vhosts", [])}
    for name, spec in sorted(wanted["vhosts"].items()):
        kind = (spec or {}).get("default_queue_type", "quorum")
        now = have.get(name)
        metadata = (now or {}).get("metadata") or {}
        there = now is not None and metadata.get("default_queue_type") == kind
        # a virtual host keeps its other metadata
        item = {"name": name, "metadata": {**metadata, "default_queue_type": kind}}
        note("vhosts", f"vhost {name}", item if there else now and {}, item)
    have = {item["name"]: item for item in found.get("users", [])}
    granted = {(item["user"], item["vhost"]): item for item in found.get("permissions", [])}
    for name, spec in sorted(wanted["users"].items()):
        now = have.get(name)
        kept = (now or {}).get("password_hash", "")
        digest = kept if _matches(spec["password"], kept) else _hash(name, spec["password"])
        item = {
            "name": name,
            "password_hash": digest,
            "hashing_algorithm": ALGORITHM,
            "tags": sorted(spec.get("tags", [])),
        }
        same = now and {**{key: now.get(key) for key in item}, "tags": sorted(now.get("tags", []))}
        note("users", f"user {name}", same or None, item)
        for vhost, rights in sorted(spec.get("permissions", {}).items()):
            keys = ("configure", "write", "read")
            item = {"user": name, "vhost": vhost}
            item.update({key: (rights or {}).get(key, ".*") for key in keys})
            label = f"permissions of {name} on {vhost}"
            note("permissions", label, granted.get((name, vhost)), item)
    for name in absent_users:
        if name in have:
            changes[f"user {name}"] = "deleted"
    have = {(item["vhost"], item["name"]): item for item in found.get("policies", [])}
    for name, spec in sorted(wanted["policies"].items()):
        item = {
            "vhost": spec.get("vhost", "/"),
            "name": name,
            "pattern": spec["pattern"],
            "apply-to": spec.get("apply_to", "queues"),
            "definition": spec["definition"],
            "priority": spec.get("priority", 0),
        }
        note("policies", f"policy {name}", have.get((item["vhost"], name)), item)
    return missing, changes


def _hash(name, password):
    """Return what RabbitMQ keeps of a password; every member that writes it writes the same."""
    return _salted(hashlib.sha256(f"{name}\0{password}".encode()).digest()[:4], password)


def _salted(salt, password):
    """Base64 of the salt and of SHA-256 over salt and password (``rabbit_password.erl``)."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _matches(password, digest):
    try:
        salt = base64.b64decode(digest, validate=True)[:4]
    except ValueError:
        return False
    return hmac.compare_digest(_salted(salt, password), digest)
