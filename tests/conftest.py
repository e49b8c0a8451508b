"""What all layers share: where the tree is, and which hosts this machine can run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import TREE


@pytest.fixture(scope="session")
def tree() -> Path:
    """The root of the checkout."""
    return TREE
