"""From a name to a cluster whose minions answer: the steps that ``lab up`` and ``deploy`` share."""

from __future__ import annotations

from collections.abc import Mapping

from saltern.errors import PreflightError
from saltern.lab import names
from saltern.lab.cluster import ClusterLab
from saltern.lab.image import ensure_image
from saltern.lab.preflight import machine_problems
from saltern.lab.progress import Progress
from saltern.lab.repo import ensure_repo
from saltern.lab.staging import pin, stage


def refuse(problems: list[str]) -> None:
    """Raise one PreflightError for all ``problems``; do nothing when there are none."""
    if problems:
        raise PreflightError("; ".join(problems))


def bring_up(
    cluster: str, progress: Progress, params: Mapping[str, str] | None = None
) -> ClusterLab:
    """Bring up the hosts of a cluster with its Salt master; what is up already is refreshed.

    :param cluster: name of the cluster, which is also the lab's
    :param progress: shows the steps
    :param params: parameters of the cluster that are different in this lab
    :raises PreflightError: something is missing; nothing was started
    :raises SalternError: a step failed
    """
    names.check_lab_name(cluster)
    with progress.step("preflight"):
        refuse(machine_problems(0))
    with progress.step("model"):
        staged = stage(cluster, progress.note, params)
        lab = ClusterLab(cluster, staged, progress.note)
        refuse(lab.preflight())
    images = sorted({fact["image"] for fact in lab.facts.values()})
    for image in images:
        with progress.step(f"base image {image}"):
            base = ensure_image(image, progress.note)
        with progress.step(f"offline repository {image}"):
            ensure_repo(base, progress.note)
    with progress.step("artifacts"):
        lab.staged = pin(cluster, staged, progress.note)
    with progress.step(f"{len(lab.facts)} hosts"):
        new = lab.up()
        progress.note(f"{len(new)} new, {len(lab.facts) - len(new)} were there")
    with progress.step("Salt master"):
        lab.configure_master()
    with progress.step("minions"):
        lab.start_minions()
        lab.wait_minions()
    return lab
