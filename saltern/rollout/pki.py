"""Carry the signing requests of hosts to their authority, and its answers back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saltern.errors import StageError
from saltern.rollout.ports import Bus, Call, Return


def certify(
    bus: Bus, nodes: Sequence[str], authority: str, *, test: bool = False
) -> tuple[dict[str, str], str]:
    """Have every waiting request signed and the certificates installed.

    :param bus: what reaches the hosts
    :param nodes: minion ids of the hosts that have, or ask for, a certificate
    :param authority: minion id of the host that signs
    :param test: only say who waits
    :returns: (what changed by host, one sentence)
    :raises StageError: a host or the authority did not answer, or a request was refused
    """
    asked = _good(bus.call(nodes, "pki_host.pending", timeout=60))
    waiting = {node: csr for node, csr in asked.items() if csr}
    if not waiting:
        return {}, f"{len(asked)} hosts have their certificates."
    if test:
        return (
            dict.fromkeys(waiting, "would be signed"),
            f"{len(waiting)} of {len(asked)} hosts wait for a certificate.",
        )
    signed = _good(bus.call([authority], "pki_ca.sign_all", (waiting,), timeout=120))[authority]
    refused = [str(signed[node]["error"]) for node in waiting if "error" in signed[node]]
    # one call each, all at once: a certificate is for its own host
    calls = [
        Call((node,), "pki_host.install", kwarg=signed[node], timeout=60)
        for node in waiting
        if "error" not in signed[node]
    ]
    for answers in bus.call_all(calls):
        _good(answers)
    if refused:
        raise StageError("; ".join(refused), where=authority)
    return (
        dict.fromkeys(waiting, "certificate signed"),
        f"{authority} signed the certificates of {len(waiting)} hosts.",
    )


def _good(answers: Mapping[str, Return]) -> dict[str, Any]:
    """Return the hosts' data; a host that did not answer well stops everything."""
    broken = [answer.sentence for _, answer in sorted(answers.items()) if not answer.ok]
    if broken:
        raise StageError("; ".join(broken))
    return {node: answer.data for node, answer in answers.items()}
