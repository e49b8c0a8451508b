"""What all layers share: where the tree is, and which hosts this machine can run."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

from tests.support import TREE

# no property is about time, and an example takes as long as a busy machine needs
hypothesis.settings.register_profile("saltern", deadline=None)
hypothesis.settings.load_profile("saltern")


@pytest.fixture(scope="session")
def tree() -> Path:
    """The root of the checkout."""
    return TREE
