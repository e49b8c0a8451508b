"""Only on the file server: a minion has it once its modules were synced and reloaded."""


def answer():
    """
    Say that it is there, from the pillar as it is served now.

    CLI Example:

    .. code-block:: bash

        salt '*' trial_probe.answer
    """
    wanted = __pillar__.get("trial", {}).get("base", {}).get("greeting")
    return {"ok": wanted == "hello", "sentence": f"the pillar in memory says {wanted}"}
