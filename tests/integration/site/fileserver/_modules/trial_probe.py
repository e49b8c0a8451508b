"""Only on the file server: a minion has it once its modules were synced and reloaded."""

import os
import time


def answer():
    """
    Say that it is there, from the pillar as it is served now.

    CLI Example:

    .. code-block:: bash

        salt '*' trial_probe.answer
    """
    wanted = __pillar__.get("trial", {}).get("base", {}).get("greeting")
    return {"ok": wanted == "hello", "sentence": f"the pillar in memory says {wanted}"}


def once(name, until=""):
    """
    Note that it ran: a line more in a file of this node. What may not run twice is counted so.

    name
        Of the file.

    until
        Come back when this file is there, after a minute at the latest.

    CLI Example:

    .. code-block:: bash

        salt '*' trial_probe.once stepped until=/tmp/go
    """
    folder = os.path.join(__pillar__["trial"]["base"]["directory"], __grains__["id"])
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "a", encoding="utf-8") as stream:
        stream.write("ran\n")
    deadline = time.monotonic() + 60
    while until and not os.path.exists(until) and time.monotonic() < deadline:
        time.sleep(0.1)
    return True
