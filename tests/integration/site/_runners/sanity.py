"""The users of the trial cluster: content, unless a switch says otherwise."""

import os


def run(cluster=None):
    """
    Answer as the suite's own function of that name does.

    CLI Example:

    .. code-block:: bash

        salt-run sanity.run trial
    """
    if os.path.exists(os.path.join(__opts__["trial_directory"], "ill")):
        return {"result": False, "comment": f"no token of {cluster}", "retcode": 1}
    return {"result": True, "comment": f"{cluster} works"}
