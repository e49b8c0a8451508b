"""
The pillar first, then the function, in one job
===============================================

A wave of a rollout moves the pins of its nodes and applies roles. With this executor in front of
``direct_call`` the minion takes its pillar anew before the function runs, as a job of its own would
let it; one job less for each node is a tenth of a wave's time.

The function stays the job's function, so a second ``state.apply`` is still refused while one runs.
"""

#: Seconds that the refresh may take; the states ask for their pillar themselves all the same.
LIMIT = 60

__virtualname__ = "fresh_pillar"


def __virtual__():
    return __virtualname__


def execute(opts, data, func, args, kwargs):
    """
    Let the minion take its pillar anew, wait for it, and leave the function to the next executor.

    opts
        The minion's options

    data
        The job as it was published

    func
        The function of the job

    args
        Its arguments, a list

    kwargs
        Its keyword arguments, a dictionary

    Source: Salt, ``salt/minion.py`` (the first executor that returns something ends the row).
    """
    __salt__["saltutil.refresh_pillar"](wait=True, timeout=LIMIT)
