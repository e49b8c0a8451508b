"""Waiting for what a cloud was asked to do, no longer than the time that is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import openstack.exceptions

from saltern.sanity.client import CheckError, Context

#: Seconds between two looks.
PAUSE = 1.0


def wait(context: Context, what: str, look: Callable[[], Any]) -> Any:
    """Look until there is something to see.

    :param what: for the sentence when the time is over: ``the volume is not available``
    :param look: returns it, or something that is false
    :raises CheckError: the check's time is over
    """
    while not (found := look()):
        try:
            context.session.deadline.left()
        except CheckError as err:
            raise CheckError(f"{what} ({err})") from None
        time.sleep(PAUSE)
    return found


def status(context: Context, what: str, get: Callable[[], Any], wanted: str) -> Any:
    """Wait until an object has a status; one that is in error is waited for no longer.

    :param what: for the sentence: ``the volume``
    :param get: returns it as it is now
    :param wanted: the status, in capitals
    :raises CheckError: it is in error, or the time of ``context`` is over
    """

    def look() -> Any:
        found = get()
        status = str(found.status).upper()
        if status == wanted:
            return found
        if status.startswith("ERROR") or status.endswith("FAILED"):
            fault = getattr(found, "fault", None) or {}
            why = fault.get("message") or getattr(found, "status_reason", "") or "no reason told"
            raise CheckError(f"{what} is {status}: {why}")
        return None

    return wait(context, f"{what} is not {wanted}", look)


def gone(context: Context, what: str, get: Callable[[], Any]) -> None:
    """Wait until an object is not found any more.

    :raises CheckError: the time of ``context`` is over
    """

    def look() -> bool:
        try:
            get()
        except openstack.exceptions.NotFoundException:
            return True
        return False

    wait(context, f"{what} is still there", look)
