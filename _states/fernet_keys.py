"""
Keep key repositories: made once, rotated on request, handed to the hosts that need them
========================================================================================

Changes and comments name key numbers and fingerprints, never a key.

.. code-block:: yaml

    # on the node that owns the keys
    keystone-keys-fernet:
      fernet_keys.present:
        - name: /srv/saltern/keys/keystone.server/fernet
        - user: salt

    # on the nodes that use them; the keys come from the pillar
    keystone-server-fernet:
      fernet_keys.deployed:
        - name: /etc/keystone/fernet-keys
        - pillar: keystone:server:keys:fernet
        - user: keystone
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "fernet_keys"


def __virtual__():
    if "fernet_keys.facts" in __salt__:
        return __virtualname__
    return False, "the fernet_keys execution module is not available"


def _named(facts):
    """Return facts with text keys, as changes are shown."""
    return {str(number): facts[number] for number in sorted(facts)}


def present(name, user, group=None):
    """
    A key repository exists, with a staged and a primary key, readable by its owner only.

    name
        Directory of the repository.
    user, group
        Who owns it; the group defaults to the user's name.

    Keys that exist are never replaced; a file that is no key fails the state.
    """
    group = group or user
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} is there"}
    try:
        before = __salt__["fernet_keys.facts"](name)
        if 0 < len(before) < 2:
            raise CommandExecutionError(f"{name} has a single key; restore the repository")
        wrong = __salt__["fernet_keys.access"](name, user, group) if before else {}
        if before and not wrong:
            return ret
        if __opts__["test"]:
            changes = {"access": wrong} if before else {"keys": {"old": {}, "new": ["0", "1"]}}
            ret.update(result=None, changes=changes, comment=f"{name} would be set up")
            return ret
        after = __salt__["fernet_keys.create"](name, user, group)
        if wrong:
            ret["changes"]["access"] = wrong
        if after != before:
            ret["changes"]["keys"] = {"old": _named(before), "new": _named(after)}
        left = __salt__["fernet_keys.access"](name, user, group)
        if len(after) < 2 or left:
            raise CommandExecutionError(f"{name} is not as wanted after it was written: {left}")
        ret["comment"] = f"{name} was set up"
    except (CommandExecutionError, OSError) as err:
        ret.update(result=False, comment=str(err))
    return ret


def rotated(name, user, group=None, max_active_keys=3, min_age=3600):
    """
    The keys of a repository were rotated within ``min_age``; else they are rotated now.

    name
        Directory of the repository.
    user, group
        Who owns it; the group defaults to the user's name.
    max_active_keys
        How many keys stay, the staged one included. Tokens live as long as the key they were
        made with: ``max_active_keys >= token lifetime / rotation interval + 2``.
    min_age
        Seconds; younger keys are left, so applying twice rotates once.
    """
    group = group or user
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        age = __salt__["fernet_keys.rotation_age"](name)
        if age is None:
            raise CommandExecutionError(f"{name} holds no keys; create them first")
        if age < int(min_age):
            ret["comment"] = f"{name} was rotated {int(age)} s ago: left alone"
            return ret
        if __opts__["test"]:
            facts = _named(__salt__["fernet_keys.facts"](name))
            ret.update(result=None, comment=f"{name} would be rotated")
            ret["changes"] = {"keys": {"old": facts, "new": "rotated"}}
            return ret
        done = __salt__["fernet_keys.rotate"](name, user, group, max_active_keys)
        ret["changes"] = {"keys": {when: _named(facts) for when, facts in done.items()}}
        ret["comment"] = f"{name} was rotated"
    except (CommandExecutionError, OSError) as err:
        ret.update(result=False, comment=str(err))
    return ret


def deployed(name, pillar, user, group=None):
    """
    A key repository on this host is exactly the one in the pillar.

    name
        Directory of the repository.
    pillar
        Path in the pillar, ``:`` between the keys, of ``{number: key}``. The keys themselves are
        not an argument, so no rendered state ever holds one.
    user, group
        Who owns it; the group defaults to the user's name.

    New keys are written before stale ones are removed, so a running service always has the keys
    of the tokens it gets. No keys in the pillar fail the state: a service without keys, or with
    keys of its own, would refuse the tokens of the others.
    """
    group = group or user
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} is up to date"}
    try:
        after = __salt__["fernet_keys.wanted"](pillar)
        before = __salt__["fernet_keys.facts"](name)
        wrong = __salt__["fernet_keys.access"](name, user, group) if before else {}
        if before == after and not wrong:
            return ret
        changes = {"access": wrong} if wrong else {}
        if before != after:
            changes["keys"] = {"old": _named(before), "new": _named(after)}
        if __opts__["test"]:
            ret.update(result=None, changes=changes, comment=f"{name} would be updated")
            return ret
        if __salt__["fernet_keys.deploy"](name, pillar, user, group) != after:
            raise CommandExecutionError(f"{name} differs from the pillar after it was written")
        ret.update(changes=changes, comment=f"{name} was updated")
    except (CommandExecutionError, OSError) as err:
        ret.update(result=False, comment=str(err))
    return ret
