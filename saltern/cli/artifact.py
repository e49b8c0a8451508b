"""``saltern artifact``: lock, build, list, verify and pin what the services run."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from saltern.artifact import build as building
from saltern.artifact import catalogue, pins
from saltern.artifact.lock import write_lock
from saltern.errors import ArtifactError

MIB = 1024**2

argument_product = click.argument("product")
argument_release = click.argument("release")
argument_services = click.argument("services", nargs=-1)
option_suite = click.option(
    "--image",
    "suite",
    default=building.SUITE,
    show_default=True,
    help="Base image whose Python the environments are built with.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def artifact() -> None:
    """Build, verify and list release artifacts."""


@artifact.command()
@argument_product
@argument_release
@argument_services
def lock(product: str, release: str, services: tuple[str, ...]) -> None:
    """Resolve the services of a release anew and write their hash locks."""
    for service in catalogue.services(product, release, services):
        changes = write_lock(service)
        click.echo(f"{service.name} {service.version}: {len(changes)} pins changed")
        for name, (old, new) in changes.items():
            click.echo(f"  {name}: {old or 'new'} -> {new or 'gone'}")


@artifact.command()
@argument_product
@argument_release
@argument_services
@option_suite
def build(product: str, release: str, services: tuple[str, ...], suite: str) -> None:
    """Build the services of a release (all of them unless named) from their locks."""
    for manifest in building.ensure(
        product, release, services, suite=suite, report=lambda step: click.echo(step, err=True)
    ):
        path = building.artifacts_dir() / manifest.file
        click.echo(f"{manifest.name} {manifest.version} {manifest.sha256} {path}")


def _manifests(product: str | None) -> list[building.Manifest]:
    found = sorted(building.artifacts_dir().glob(f"{product or '*'}/*/*.json"))
    return [item for item in map(building.read_manifest, found) if item is not None]


@artifact.command(name="list")
@click.argument("product", required=False)
def list_(product: str | None) -> None:
    """List the artifacts in the cache, and whether they are those of the catalogue."""
    table = Table("release", "service", "version", "MiB", "sha256", "state", box=None)
    for item in _manifests(product):
        table.add_row(
            f"{item.product} {item.release}",
            item.name,
            item.version,
            f"{item.size / MIB:.1f}",
            item.sha256[:16],
            _state(item),
        )
    Console().print(table)


def _state(manifest: building.Manifest) -> str:
    """Return whether an artifact is what the catalogue would build now."""
    try:
        (service,) = catalogue.services(manifest.product, manifest.release, [manifest.name])
        return "current" if building.cached(service, manifest.suite) else "outdated"
    except ArtifactError:
        return "not in the catalogue"


@artifact.command()
@click.argument("product", required=False)
def verify(product: str | None) -> None:
    """Compare the artifacts in the cache with their manifests' checksums."""
    manifests = _manifests(product)
    wrong = [found for found in map(building.verify, manifests) if found]
    for sentence in wrong:
        click.echo(sentence, err=True)
    if wrong:
        raise ArtifactError(f"{len(wrong)} of {len(manifests)} artifacts are damaged",
                            cure="Delete them and run saltern artifact build")  # fmt: skip
    click.echo(f"{len(manifests)} artifacts verified")


@artifact.command()
@argument_product
@argument_release
@argument_services
@click.option("--cluster", required=True, help="Cluster whose class is written.")
@click.option(
    "--inventory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("."),
    help="Directory that has classes/ (default: this one).",
)
@click.option("--base-url", default=pins.BASE_URL, show_default=True, help="Where they are served.")
@option_suite
def pin(
    product: str,
    release: str,
    services: tuple[str, ...],
    cluster: str,
    inventory: Path,
    base_url: str,
    suite: str,
) -> None:
    """Write the class that pins built artifacts in a cluster's model."""
    manifests = []
    for service in catalogue.services(product, release, services):
        manifest = building.cached(service, suite)
        if manifest is None:
            raise ArtifactError(
                f"{service.name} {release} is not built",
                cure=f"Run saltern artifact build {product} {release} {service.name}",
            )
        manifests.append(manifest)
    changed = pins.write_class(inventory, cluster, manifests, base_url)
    click.echo(f"cluster.{cluster}.artifacts {'written' if changed else 'is up to date'}")
