"""Phases of an upgrade by packages: what has its turn is stopped, started, and looked at."""

from __future__ import annotations

import json
import os

from salt.exceptions import CommandExecutionError

# Units that `stopped` stopped and `current` did not see anew yet; a boot starts all of them anew.
NOTE = "/run/saltern-ceph-upgrade.json"


def stopped(name):
    """Stop the daemons of this host whose turn has come; others run on.

    name
        of the state
    """
    return _turned(
        name, "stop", "stopped", lambda one, runs: one["due"] and runs,
        "No daemon of this host has its turn.",
    )  # fmt: skip


def started(name):
    """Start the daemons of this host that do not run, monitors first.

    name
        of the state
    """
    return _turned(
        name, "start", "started", lambda one, runs: not runs, "Every daemon of this host runs."
    )


def _turned(name, act, done, wants, idle):
    """Stop or start the daemons that want it, in the order of an upgrade."""
    ret = {"name": name, "changes": {}, "result": True, "comment": idle}
    try:
        known, runs = __salt__["ceph_upgrade.daemons"](), __salt__["service.status"]
        units = [one["unit"] for one in known if wants(one, runs(one["unit"]))]
        if not units:
            return ret
        ret["changes"] = dict.fromkeys(units, done)
        if __opts__["test"]:
            ret.update(result=None, comment=f"{', '.join(units)}: would be {done}.")
            return ret
        if act == "stop":
            _note(sorted({*_noted(), *units}))
        failed = [unit for unit in units if not __salt__[f"service.{act}"](unit)]
        ret["result"] = not failed
        ret["comment"] = (
            f"{', '.join(failed)} cannot be {done}: journalctl -u {failed[0]}."
            if failed
            else f"{done.capitalize()} {', '.join(units)}."
        )
    except CommandExecutionError as err:
        ret.update(result=False, changes={}, comment=str(err))
    return ret


def current(name):
    """Succeed when every daemon of this host runs, and those that were stopped are replaced.

    name
        of the state
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        known, noted = __salt__["ceph_upgrade.daemons"](), _noted()
        wrong = []
        for one in known:
            who = f"{one['kind']}.{one['name']}"
            if not __salt__["service.status"](one["unit"]):
                wrong.append(f"{who} does not run")
            elif one["due"] and one["unit"] in noted:
                wrong.append(f"{who} runs {one['running']}, not {one['wanted']}")
        ret["result"] = not wrong
        ret["comment"] = f"{'; '.join(wrong) or 'Every daemon of this host is as it should be'}."
        if noted and not wrong and not __opts__["test"]:
            os.unlink(NOTE)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret


def _noted():
    try:
        with open(NOTE, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return []


def _note(units):
    with open(f"{NOTE}.new", "w", encoding="utf-8") as stream:
        json.dump(units, stream)
    os.replace(f"{NOTE}.new", NOTE)
