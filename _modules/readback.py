"""
Compare, act, read back: how states keep something
==================================================

States that keep one thing of a cluster (a user, a pool) differ in how they look and act. The rest
is here: what test mode predicts, that a second run changes nothing, that what was written is read
back. States call it; nothing here is of use on a command line.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "readback"


def __virtual__():
    return __virtualname__


def present(name, label, wanted, look, act, test, secret=()):
    """
    Keep something as it is wanted; return what a state returns.

    name
        Of the state
    label
        What it is, the begin of its comment: ``Pool images``
    wanted
        ``{part: value}``
    look
        Function that returns the same of what is there, None when there is nothing
    act
        Function that is given what is there, and makes it as it is wanted
    test
        Whether it only predicts
    secret
        Parts whose values are never shown

    What ``look`` and ``act`` raise as CommandExecutionError is a failure with its sentence.

    CLI Example: none, two arguments are functions of a state.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{label}: as wanted."}
    try:
        now = look()
    except CommandExecutionError as err:
        return unknown(ret, label, err, test)
    if now == wanted:
        return ret
    known = now or {}
    ret["changes"] = {
        part: ("set" if now is None else "changed")
        if part in secret
        else {"old": known.get(part), "new": value}
        for part, value in wanted.items()
        if known.get(part) != value
    } or {name: {"old": None, "new": "present"}}
    verb = "created" if now is None else "altered"
    if test:
        ret.update(result=None, comment=f"{label}: would be {verb}.")
        return ret
    try:
        act(now)
        after = look()
    except CommandExecutionError as err:
        return unknown(ret, label, err, test)
    if after != wanted:
        wrong = [part for part in wanted if (after or {}).get(part) != wanted[part]]
        told = f"written, but read back with a different {', '.join(wrong) or 'name'}."
        ret.update(result=False, comment=f"{label}: {told}")
        return ret
    ret["comment"] = f"{label}: {verb}."
    return ret


def absent(name, label, look, act, test):
    """
    Keep something away; return what a state returns.

    name
        Of the state
    label
        What it is, the begin of its comment
    look
        Function that returns what is there, None when there is nothing
    act
        Function that removes it
    test
        Whether it only predicts

    CLI Example: none, two arguments are functions of a state.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{label}: is not there."}
    try:
        if look() is None:
            return ret
        if test:
            ret.update(result=None, changes={name: "removed"}, comment=f"{label}: would go.")
            return ret
        act()
        gone = look() is None
    except CommandExecutionError as err:
        return unknown(ret, label, err, test)
    ret.update(result=gone, changes={name: "removed"} if gone else {})
    ret["comment"] = f"{label}: {'removed' if gone else 'is still there'}."
    return ret


def unknown(ret, label, err, test):
    """
    Turn what a state returns into a failure; in test mode it is only not known yet, as what the
    state asks may be there after a real run.

    ret
        What it would return
    label
        The begin of its comment
    err
        Why
    test
        Whether it only predicts

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test readback.unknown '{name: x}' 'Pool x' 'No quorum.' False
    """
    told = f"cannot be told yet. {err}" if test else str(err)
    return {
        **ret, "result": None if test else False, "changes": {}, "comment": f"{label}: {told}",
    }  # fmt: skip
