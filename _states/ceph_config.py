"""The configuration database of a Ceph cluster, and modules of its managers."""

from __future__ import annotations

import re
import time

from salt.exceptions import CommandExecutionError

#: Ceph keeps sizes as bytes.
_SIZES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def same_cluster(name):
    """Stop here when this host holds a part of another cluster, before anything is written.

    name
        fsid of the cluster that the model wants
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "Nothing of another cluster."}
    try:
        wrong = __salt__["ceph_monitor.foreign"](name)
    except CommandExecutionError as err:
        wrong = str(err)
    if wrong:
        ret.update(result=False, comment=wrong)
    return ret


def present(name, options):
    """Keep options in the cluster's configuration database; others stay.

    name
        who has them: ``global``, ``mon``, ``osd``, ``client.rgw`` …
    options
        ``{option: value}``; None removes an option
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name}: as wanted."}
    try:
        now = _options(name)
        wrong = _differences(now, options)
        if not wrong:
            return ret
        ret["changes"] = {key: {"old": now.get(key), "new": options[key]} for key in wrong}
        if __opts__["test"]:
            ret.update(result=None, comment=f"{name}: would set {', '.join(wrong)}.")
            return ret
        for key in wrong:
            if options[key] is None:
                _command("config rm", who=name, name=key)
            else:
                _command("config set", who=name, name=key, value=_text(options[key]))
        left = _differences(_options(name), options)
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, name, err, __opts__["test"])
    if left:
        ret.update(result=False, comment=f"{name}: read back different: {', '.join(left)}.")
        return ret
    ret["comment"] = f"{name}: set {', '.join(wrong)}."
    return ret


def modules(name, enabled=(), disabled=(), patience=60):
    """Keep modules of the managers switched on or off; others stay.

    name
        for the log
    enabled
        names of modules that run
    disabled
        names of modules that do not
    patience
        seconds that a manager which just started has to tell its modules
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "Modules: as wanted."}
    try:
        end = time.monotonic() + (0 if __opts__["test"] else patience)
        while True:
            always, now, known = _modules()
            unknown = sorted({*enabled} - known)
            if not unknown or time.monotonic() >= end:
                break
            time.sleep(1)
        stuck = sorted({*disabled} & always)
        if unknown or stuck:
            told = f"there is no {', '.join(unknown)}" if unknown else (
                f"{', '.join(stuck)} cannot be switched off")  # fmt: skip
            ret.update(result=False, comment=f"Modules: {told}.")
            return ret
        wanted = {module: "enable" for module in enabled if module not in now}
        wanted.update({module: "disable" for module in disabled if module in now})
        if not wanted:
            return ret
        ret["changes"] = {module: f"{verb}d" for module, verb in wanted.items()}
        if __opts__["test"]:
            ret.update(result=None, comment=f"Modules: would switch {', '.join(wanted)}.")
            return ret
        for module, verb in wanted.items():
            _command(f"mgr module {verb}", module=module)
        after = _modules()[1]
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, "Modules", err, __opts__["test"])
    wrong = [module for module in wanted if (module in after) != (module in enabled)]
    ret.update(result=not wrong)
    ret["comment"] = f"Modules: {'not ' if wrong else ''}switched {', '.join(wrong or wanted)}."
    return ret


def _modules():
    """Names of modules that always run, that run, and that there are."""
    found = _command("mgr module ls")
    always = {*found["always_on_modules"]}
    now = {*found["enabled_modules"], *always}
    return always, now, now | {item["name"] for item in found["disabled_modules"]}


def _options(name):
    return {
        item["name"]: item["value"]
        for item in _command("config dump")
        if item["section"] == name and not item["mask"]
    }


def _differences(now, options):
    return [
        key
        for key, value in sorted(options.items())
        if (key in now) != (value is not None)
        or (value is not None and _plain(now[key]) != _plain(_text(value)))
    ]


def _text(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _plain(text):
    """A value as it can be compared: sizes in bytes, numbers without needless digits."""
    size = re.fullmatch(r"([0-9]+)([KMGT])i?B?", text)
    if size:
        return str(int(size[1]) * _SIZES[size[2]])
    if re.fullmatch(r"[0-9]+\.[0-9]+", text):
        return text.rstrip("0").rstrip(".")
    return text


def _command(prefix, **arguments):
    return __salt__["ceph_cluster.command"](prefix, arguments=arguments)
