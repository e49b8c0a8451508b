"""
Facts of a Linux host that health checks ask for.
"""

from __future__ import annotations

import socket


def resolves():
    """
    Tell whether every node of the cluster, this one included, resolves to the address the model
    gives it.

    Returns ``{"ok": bool, "sentence": str}``. The nodes come from the pillar's ``topology``;
    without one only the own name is looked up.

    CLI Example:

    .. code-block:: bash

        salt '*' linux_host.resolves
    """
    nodes = (__pillar__.get("topology") or {}).get("nodes") or {}
    wanted = {node: data["address"] for node, data in nodes.items()}
    wanted.setdefault(__opts__["id"], (__pillar__.get("host") or {}).get("address"))
    wrong = []
    for node, address in sorted(wanted.items()):
        try:
            found = sorted({info[4][0] for info in socket.getaddrinfo(node, None, socket.AF_INET)})
        except OSError as error:
            wrong.append(f"{node} does not resolve ({error.strerror})")
            continue
        if address and found != [address]:
            wrong.append(f"{node} resolves to {', '.join(found)} instead of {address}")
    if wrong:
        return {"ok": False, "sentence": "; ".join(wrong)}
    return {"ok": True, "sentence": f"all {len(wanted)} names resolve"}
