"""A cluster for a folder of tests: deployed from nothing, taken down at the end.

``SALTERN_KEEP_LAB=1`` leaves the lab up, and takes one that is up as it is (to write tests).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.hosts import why_no_hosts

KEEP = bool(os.environ.get("SALTERN_KEEP_LAB"))


def deployed(name: str) -> Iterator[Cluster]:
    """Yield a cluster that was deployed by the command that an operator runs.

    :param name: of the cluster, which is the lab's name too
    """
    reason = why_no_hosts()
    if reason:
        pytest.skip(reason)
    made = Cluster(name)
    if KEEP and made.provider.specs():
        yield made
        return
    made.provider.down()
    command = [str(Path(sys.executable).with_name("saltern")), "deploy", name]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    made.deploy_output = done.stdout
    try:
        if done.returncode:
            pytest.fail(f"{' '.join(command)}\n{done.stdout[-6000:]}", pytrace=False)
        yield made
    finally:
        if not KEEP:
            made.provider.down()


def arrange(items: list[pytest.Item], here: Path, order: Sequence[str]) -> None:
    """Mark a folder's tests as the lab's, and put its files in order.

    :param items: what pytest collected; changed in place
    :param here: the folder
    :param order: names of its files; what is not in it comes first
    """
    places = [n for n, item in enumerate(items) if here in item.path.parents]
    ours = [items[place] for place in places]
    for item in ours:
        item.add_marker(pytest.mark.lab)
    ours.sort(key=lambda item: order.index(item.path.stem) if item.path.stem in order else -1)
    for place, item in zip(places, ours, strict=True):
        items[place] = item
