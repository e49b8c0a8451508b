"""``saltern lab``: hosts of a lab, brought up, looked at and taken down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
from rich.table import Table

from saltern.errors import LabError
from saltern.lab.image import SUITES, ensure_image
from saltern.lab.nspawn import NspawnProvider
from saltern.lab.paths import state_dir
from saltern.lab.progress import Progress, wide_console
from saltern.lab.provider import HostStatus

MIB = 1024**2


def labs() -> list[str]:
    """Return the names of the labs that have anything on this machine."""
    return sorted(path.name for path in (state_dir() / "labs").glob("[a-z]*") if path.is_dir())


def chosen(lab: str | None, host: str = "") -> str:
    """Return the lab a command is for: the one named, or the only one it can be.

    :param lab: name given by the user
    :param host: a host of the lab, if the command names one
    :raises LabError: several labs, or none, and no name
    """
    if lab:
        return lab
    found = labs()
    if len(found) > 1 and host:
        having = [name for name in found if host in NspawnProvider(name).specs()]
        found = having or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise LabError("there is no lab", cure="Bring one up with: saltern deploy CLUSTER")
    raise LabError(f"there are several labs: {', '.join(found)}", cure="Name one with --lab")


option_lab = click.option(
    "--lab", "--cluster", "lab", help="Lab name (a cluster's lab has the cluster's name)."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def lab() -> None:
    """Hosts of a lab: up, down, status, exec, logs, start, stop, remove, scratch."""


@lab.command()
@click.argument("cluster")
def up(cluster: str) -> None:
    """Bring up the hosts of CLUSTER and its Salt master, and deploy nothing on them."""
    from saltern.lab.bringup import bring_up

    progress = Progress()
    bring_up(cluster, progress)
    progress.console.print(progress.table())
    click.echo(f"look around: saltern lab exec --lab {cluster} cfg01 -- salt '*' test.ping")


@lab.command()
@option_lab
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(lab: str | None, as_json: bool) -> None:
    """Show the hosts of a lab, or of all labs."""
    rows = [(name, host) for name in ([lab] if lab else labs()) for host in _hosts(name)]
    if as_json:
        click.echo(json.dumps([{"lab": name, **vars(host)} for name, host in rows], indent=1))
        return
    table = Table("lab", "host", "address", "image", "state", "memory MiB", box=None)
    for name, host in rows:
        memory = str(host.memory // MIB)
        table.add_row(name, host.fqdn, host.address, host.image, host.state, memory)
    wide_console().print(table)
    if not rows:
        click.echo("no lab is up")


def _hosts(name: str) -> list[HostStatus]:
    return NspawnProvider(name).status()


@lab.command(
    name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@option_lab
@click.argument("host")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
def exec_(lab: str | None, host: str, argv: tuple[str, ...]) -> None:
    """Run a program on HOST as root; a shell when none is given.

    Example: saltern lab exec cfg01 -- salt '*' test.ping
    """
    words = argv[1:] if argv[:1] == ("--",) else argv
    command = NspawnProvider(chosen(lab, host)).command(host, words or ("bash", "--login"))
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606 - becomes the program: signals and exit code are its own


@lab.command()
@option_lab
@click.option("-n", "--lines", default=100, show_default=True, help="How many lines.")
@click.option("-u", "--unit", default="", help="Only this systemd unit.")
@click.argument("host")
def logs(lab: str | None, host: str, lines: int, unit: str) -> None:
    """Show the journal of HOST, also when it is stopped."""
    click.echo(NspawnProvider(chosen(lab, host)).journal(host, lines, unit), nl=False)


@lab.command()
@option_lab
@click.argument("hosts", nargs=-1)
def start(lab: str | None, hosts: tuple[str, ...]) -> None:
    """Start HOSTS (all of the lab when none is named); their disks are as they were."""
    provider = NspawnProvider(chosen(lab, hosts[0] if hosts else ""))
    if not hosts:
        provider.start_all()
    for host in hosts:
        provider.start(host)


@lab.command()
@option_lab
@click.option("--hard", is_flag=True, help="Cut the power: kill every process at once.")
@click.argument("hosts", nargs=-1)
def stop(lab: str | None, hosts: tuple[str, ...], hard: bool) -> None:
    """Stop HOSTS (all of the lab, at the same time, when none is named)."""
    provider = NspawnProvider(chosen(lab, hosts[0] if hosts else ""))
    if not hosts:
        provider.stop_all(hard)
    for host in hosts:
        provider.stop(host, hard)


@lab.command()
@option_lab
@click.argument("host")
def remove(lab: str | None, host: str) -> None:
    """Take HOST out of a lab for good, with its disk: one that left the model."""
    NspawnProvider(chosen(lab, host)).remove(host)
    click.echo(f"host {host} is gone")


@lab.command()
@option_lab
def provisioner(lab: str | None) -> None:
    """Start hosts from another image when the lab's master asks; ``up`` runs this by itself."""
    from saltern.lab.provisioner import serve

    serve(NspawnProvider(chosen(lab), report=click.echo))


@lab.command()
@option_lab
@click.option("--all", "everything", is_flag=True, help="Take down every lab of this machine.")
def down(lab: str | None, everything: bool) -> None:
    """Remove a lab and every trace of it; safe to run twice and after a crash."""
    found = labs()
    if not (lab or everything or found):
        click.echo("no lab is up")
        return
    for name in found if everything else [chosen(lab)]:
        NspawnProvider(name).down()
        click.echo(f"lab {name} is gone")


@lab.command()
@click.option("--image", default="bookworm", show_default=True, type=click.Choice(SUITES))
@click.option(
    "--pillar",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file that becomes the host's pillar.",
)
@click.argument("name")
def scratch(name: str, image: str, pillar: Path | None) -> None:
    """Boot one stand-alone host NAME with Salt, the offline repository and this checkout.

    Then: saltern lab exec --lab scratch-NAME NAME -- salt-call state.apply nginx.server
    """
    from saltern.lab.hosts import scratch as boot

    progress = Progress()
    with progress.step(f"scratch host {name}"):
        boot(name, image, report=progress.note, pillar=pillar)
    click.echo(f"look around:  saltern lab exec --lab scratch-{name} {name}")
    click.echo(f"take it down: saltern lab down --lab scratch-{name}")


@lab.command()
@click.option("--image", default="bookworm", show_default=True, type=click.Choice(SUITES))
@click.option("--guest", is_flag=True, help="The guest image that servers of a cloud boot instead.")
@click.option("--force", is_flag=True, help="With --guest: newest packages, built again.")
def image(image: str, guest: bool, force: bool) -> None:
    """Build the base image and the offline repository, or show where they are.

    With --guest: build the tiny image that servers in tests are started from, a raw disk of
    Debian's kernel and busybox, and show its path, size and checksum.
    """
    progress = Progress()
    if guest:
        from saltern.lab.guest import ensure_guest

        with progress.step("guest image"):
            made = ensure_guest(progress.note, force)
        for name, version in sorted(made.packages.items()):
            progress.note(f"{name} {version}")
        click.echo(f"{made.size // MIB} MiB\t{made.path}\n{made.checksum}")
        return
    if force:
        raise click.UsageError("--force goes with --guest: hosts may run on a base image")
    from saltern.lab.repo import ensure_repo

    with progress.step(f"base image {image}"):
        base = ensure_image(image, progress.note)
    with progress.step(f"offline repository {image}"):
        repo = ensure_repo(base, progress.note)
    for path in (base.root, repo):
        size = subprocess.run(["du", "-sh", path], capture_output=True, text=True, check=True)
        click.echo(size.stdout.strip())
