"""What all layers share: where the tree is, and which hosts this machine can run."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

from tests.support import TREE

# no property is about time, and an example takes as long as a busy machine needs
# how much is drawn in vain, and how slowly, is up to chance and the machine
_UNJUDGED = [hypothesis.HealthCheck.filter_too_much, hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("saltern", deadline=None, suppress_health_check=_UNJUDGED)
hypothesis.settings.load_profile("saltern")


@pytest.fixture(scope="session")
def tree() -> Path:
    """The root of the checkout."""
    return TREE
