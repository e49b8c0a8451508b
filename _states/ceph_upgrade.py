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
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        due = [one for one in __salt__["ceph_upgrade.daemons"]() if one["due"]]
        units = [one["unit"] for one in due if __salt__["service.status"](one["unit"])]
        if not units:
            ret["comment"] = "No daemon of this host has its turn."
            return ret
        ret["changes"] = dict.fromkeys(units, "stopped")
        if __opts__["test"]:
            ret.update(result=None, comment=f"{', '.join(units)}: would be stopped.")
            return ret
        _note(sorted({*_noted(), *units}))
        failed = [unit for unit in units if not __salt__["service.stop"](unit)]
        ret["result"] = not failed
        ret["comment"] = (
            f"{', '.join(failed)} cannot be stopped." if failed else f"Stopped {', '.join(units)}."
        )
    except CommandExecutionError as err:
        ret.update(result=False, changes={}, comment=str(err))
    return ret


def started(name):
    """Start the daemons of this host that do not run, monitors first.

    name
        of the state
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        known = __salt__["ceph_upgrade.daemons"]()
        units = [one["unit"] for one in known if not __salt__["service.status"](one["unit"])]
        if not units:
            ret["comment"] = "Every daemon of this host runs."
            return ret
        ret["changes"] = dict.fromkeys(units, "started")
        if __opts__["test"]:
            ret.update(result=None, comment=f"{', '.join(units)}: would be started.")
            return ret
        failed = [unit for unit in units if not __salt__["service.start"](unit)]
        ret["result"] = not failed
        ret["comment"] = (
            f"{', '.join(failed)} cannot be started: journalctl -u {failed[0]}."
            if failed
            else f"Started {', '.join(units)}."
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
