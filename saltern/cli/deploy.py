"""``saltern deploy CLUSTER``: hosts, master, orchestration, in one command."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from saltern.errors import SalternError
from saltern.lab.bringup import bring_up
from saltern.lab.cluster import ClusterLab, last_json
from saltern.lab.memory import MemorySampler
from saltern.lab.nspawn import NspawnProvider
from saltern.lab.progress import Progress, wide_console

GIB = 1024**3
#: Hosts whose journal is shown when a deployment fails.
SHOWN_HOSTS = 2


@dataclass(frozen=True)
class StageResult:
    """One stage as the orchestration reports it."""

    name: str
    result: bool | None
    seconds: float
    comment: str


def stage_results(output: str) -> list[StageResult] | None:
    """Return the stages of ``salt-run --out=json state.orch``, in their order.

    :param output: its standard output
    :returns: None when it is no orchestration's return (a model that does not render, say)
    """
    found = last_json(output)
    if isinstance(found, dict) and isinstance(found.get("data"), dict):
        found = found["data"]
    if not isinstance(found, dict) or not found:
        return None
    states = next(iter(found.values()))
    if not isinstance(states, dict) or not all(isinstance(s, dict) for s in states.values()):
        return None
    ordered = sorted(states.items(), key=lambda item: item[1].get("__run_num__", 0))
    return [
        StageResult(
            str(state.get("name") or key.split("_|-")[1]),
            state.get("result"),
            _seconds(state.get("duration", 0)),
            str(state.get("comment", "")),
        )
        for key, state in ordered
    ]


def _seconds(duration: Any) -> float:
    """Salt tells milliseconds, as a number or as text with the unit."""
    match = re.match(r"[\d.]+", str(duration))
    return float(match.group()) / 1000 if match else 0.0


def named_hosts(text: str, names: Mapping[str, str]) -> list[str]:
    """Return the hosts that ``text`` names, in the order it does.

    :param text: a failed stage's comment
    :param names: minion id -> short name
    """
    places: dict[str, int] = {}
    for node_id, name in names.items():
        match = re.search(rf"\b({re.escape(node_id)}|{re.escape(name)})\b", text)
        if match:
            places[name] = match.start()
    return sorted(places, key=lambda name: places[name])


def stages_table(results: list[StageResult]) -> Table:
    """Return the stages as a table."""
    words = {True: "done", False: "failed", None: "would change"}
    table = Table("stage", "seconds", "result", "comment", box=None, pad_edge=False)
    for row in results:
        table.add_row(row.name, f"{row.seconds:.1f}", words[row.result], row.comment)
    return table


def show_failure(lab: ClusterLab, text: str, console: Console) -> None:
    """Show the journals of the hosts that a failure names, and how to look further."""
    names = {node_id: str(fact["name"]) for node_id, fact in lab.facts.items()}
    for host in named_hosts(text, names)[:SHOWN_HOSTS]:
        console.rule(f"journal of {host}")
        console.print(lab.provider.journal(host, 30), markup=False)
        console.print(f"more:    saltern lab logs --lab {lab.cluster} {host} -n 500", markup=False)
        console.print(f"look in: saltern lab exec --lab {lab.cluster} {host}", markup=False)


def settings(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Read ``NAME=VALUE`` of the command line."""
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not (name and equals and text):
            raise click.BadParameter(f"{value!r} is not NAME=VALUE")
        found[name] = text
    return found


@click.command()
@click.option("--preview", is_flag=True, help="Predict only: state.orch deploy test=True.")
@click.option(
    "--set",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    callback=settings,
    help="Another value of a parameter of the cluster in this lab, as openstack_release=2024.1.",
)
@click.argument("cluster")
def deploy(cluster: str, preview: bool, params: dict[str, str]) -> None:
    """Bring up the lab of CLUSTER and deploy the cluster on it; again, to converge it anew."""
    progress = Progress()
    console = progress.console
    code = 1
    with MemorySampler(NspawnProvider(cluster)) as sampler:
        try:
            lab = bring_up(cluster, progress, params)
            code = _orchestrate(lab, progress, preview)
        except SalternError as err:
            console.print(f"saltern: {err}", markup=False, style="red")
            code = err.exit_code
        if lab_is_up := bool(sampler.provider.specs()):
            sampler.sample()
    console.print(progress.table())
    if lab_is_up:
        console.print(f"peak memory of the hosts: {sampler.peak / GIB:.2f} GiB")
        record: dict[str, Any] = {
            "seconds": round(progress.total(), 1),
            "peak_bytes": sampler.peak,
            "code": code,
        }
        record["steps"] = [[name, round(taken, 1)] for name, taken, _ in progress.steps]
        place = sampler.provider.directory / "deploy.json"
        place.write_text(json.dumps(record) + "\n", encoding="utf-8")
        console.print(f"look around: saltern lab exec --lab {cluster} cfg01 -- salt '*' test.ping")
        console.print(f"take it down: saltern lab down --lab {cluster}")
    sys.exit(code)


def _orchestrate(lab: ClusterLab, progress: Progress, preview: bool) -> int:
    argv = ["--out=json", "state.orch", "deploy"]
    if preview:
        argv.append("test=True")
    with progress.step("deployment"):
        code, output = lab.salt_run(argv, progress.note)
        results = stage_results(output)
        failed = results is None or any(row.result is False for row in results)
        if failed and not code:
            code = 1
        if code:
            progress.failed()
    if results is None:
        click.echo(output)
        return code
    wide_console().print(stages_table(results))
    if code:
        bad = next((row.comment for row in results if row.result is False), output)
        show_failure(lab, bad, progress.console)
    return code
