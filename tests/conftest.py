"""What all layers share: where the tree is, and which hosts this machine can run."""

from __future__ import annotations

import faulthandler
import os
import threading
from pathlib import Path

import hypothesis
import pytest

from tests.support import TREE

# no property is about time, and an example takes as long as a busy machine needs
# how much is drawn in vain, and how slowly, is up to chance and the machine
_UNJUDGED = [hypothesis.HealthCheck.filter_too_much, hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("saltern", deadline=None, suppress_health_check=_UNJUDGED)
hypothesis.settings.load_profile("saltern")

# seconds that an interpreter may take to end after its last test
_TO_END = 60


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """See that the run ends: one that hangs at its exit says where, and ends with its result."""
    faulthandler.dump_traceback_later(_TO_END)
    end = threading.Timer(_TO_END + 5, os._exit, [int(exitstatus)])
    end.daemon = True
    end.start()


@pytest.fixture(scope="session")
def tree() -> Path:
    """The root of the checkout."""
    return TREE
