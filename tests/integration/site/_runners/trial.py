"""The form and the sanity of the trial cluster: what such runner functions are called with."""

import json
import os


def _path(name):
    return os.path.join(__opts__["trial_directory"], name)


def form(cluster, nodes, test=False):
    """
    Make one cluster of the members, once.

    CLI Example:

    .. code-block:: bash

        salt-run trial.form trial '[app01.trial.test]'
    """
    if os.path.exists(_path("refuse-form")):
        return {"result": False, "changes": {}, "comment": "two members have different data"}
    if os.path.exists(_path("formed")):
        return {"result": True, "changes": {}, "comment": "is formed"}
    if test:
        return {"result": None, "changes": {"members": len(nodes)}, "comment": "would be formed"}
    with open(_path("formed"), "w", encoding="utf-8") as stream:
        json.dump({"cluster": cluster, "nodes": nodes}, stream)
    return {"result": True, "changes": {"members": len(nodes)}, "comment": "was formed"}


def wrong(kind):
    """
    Fail in the way that is asked for.

    CLI Example:

    .. code-block:: bash

        salt-run trial.wrong nothing
    """
    if kind == "value":
        raise ValueError("a value")
    if kind == "type":
        raise TypeError("a type")
    if kind == "context":
        __context__["retcode"] = 3
        return {"comment": "only orchestrations see it"}
    return {
        "nothing": False,
        "result": {"result": False},
        "retcode": {"retcode": 4},
    }[kind]
