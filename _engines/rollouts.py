"""
Go on with interrupted rollouts
===============================

After a restart of the master, or when the process that carried a rollout out was killed, this takes
the rollout up where it stopped, unless its plan says ``resume=False``. A rollout that is paused or
failed is left to people.

.. code-block:: yaml

    engines:
      - rollouts:
          interval: 10      # seconds between two looks
          grace: 30         # seconds that a rollout may rest without a process
"""

import logging
import time

from saltern.adapters.master import MonotonicClock, Site
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.resuming import Resumer, spawn
from saltern.adapters.rollouts import Rollouts
from saltern.errors import RolloutError, SalternError

log = logging.getLogger(__name__)

__virtualname__ = "rollouts"


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "rollouts are a master's"
    return __virtualname__


def _called(function, kwargs):
    if function not in __runners__:
        raise RolloutError(f"{function} is not a runner function of this master")
    return __runners__[function](**kwargs)


def start(interval=10, grace=30):
    """
    Look for interrupted rollouts for as long as the master runs.

    interval
        Seconds between two looks
    grace
        Seconds that a rollout may rest without a process before it is gone on with
    """
    told = ""
    resumer = None
    while True:
        try:
            if resumer is None:
                model = ModelSite(Site.of(__opts__, None, any_cluster=True))
                child = spawn(__opts__, _called)
                resumer = Resumer(Rollouts(model.journal), MonotonicClock(), child, float(grace))
            for rollout in resumer.look():
                log.warning("rollout %s has no process any more and is gone on with", rollout)
            told = ""
        except SalternError as err:
            # said once: a journal that is not there yet will not come sooner
            if str(err) != told:
                log.warning("rollouts are not looked for: %s", err)
            told = str(err)
        time.sleep(float(interval))
