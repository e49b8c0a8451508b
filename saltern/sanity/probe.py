"""Issue tokens at a bounded rate for a while, and tell how long none could be had.

    python -m saltern.sanity.probe --seconds 60 --interval 0.5 --cloud admin

Credentials come from clouds.yaml or from the usual ``OS_*`` variables, never from the command
line. Every attempt is a new connection through the virtual address. Prints one JSON object and
exits 0 even when attempts failed: judging is the caller's part.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click
import keystoneauth1.exceptions
import keystoneauth1.session
import openstack.config
import openstack.exceptions

from saltern.errors import PreflightError, SalternError
from saltern.sanity.client import sentence

#: Seconds after which an attempt counts as failed.
ATTEMPT = 3.0


@dataclass
class Outcome:
    """What a probe saw; all times are seconds since it began.

    :param successes: when each token was there
    :param failures: when each attempt had failed
    """

    seconds: float = 0.0
    successes: list[float] = field(default_factory=list)
    failures: list[float] = field(default_factory=list)
    last_error: str = ""

    @property
    def longest_gap(self) -> float:
        """Longest time without a new token, the begin and the end of the probe included."""
        marks = [0.0, *self.successes, max([self.seconds, *self.successes])]
        return max(after - before for before, after in itertools.pairwise(marks))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "requests": len(self.successes) + len(self.failures),
            "failures": len(self.failures),
            "longest_gap": round(self.longest_gap, 2),
            "seconds": round(self.seconds, 2),
            "first_failure": round(self.failures[0], 2) if self.failures else None,
            "last_failure": round(self.failures[-1], 2) if self.failures else None,
            "last_error": self.last_error,
        }


def probe(
    issue: Callable[[], object],
    seconds: float,
    interval: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Outcome:
    """Call ``issue`` every ``interval`` seconds (or as soon as the last call ended) and keep time.

    :param issue: gets a token or raises
    :param seconds: how long to go on
    :param interval: seconds between two beginnings
    :param clock: monotonic seconds
    :param sleep: waits
    """
    outcome = Outcome()
    begin = clock()
    while (start := clock() - begin) < seconds:
        try:
            issue()
            outcome.successes.append(clock() - begin)
        except (
            keystoneauth1.exceptions.ClientException,
            openstack.exceptions.SDKException,
            OSError,
        ) as err:
            outcome.failures.append(clock() - begin)
            outcome.last_error = sentence(err)
        sleep(max(0.0, min(start + interval, seconds) - (clock() - begin)))
    outcome.seconds = clock() - begin
    return outcome


def issuer(url: str | None, cloud: str | None, clouds_file: str | None) -> Callable[[], object]:
    """Return a function that gets a new token over a new connection.

    :param url: Keystone URL instead of the configured one
    :param cloud: entry of clouds.yaml; None: the ``OS_*`` variables
    :param clouds_file: another clouds.yaml
    :raises PreflightError: no such cloud, or incomplete credentials
    """
    changed: dict[str, Any] = {"auth": {"auth_url": url}} if url else {}
    try:
        config = openstack.config.OpenStackConfig(
            config_files=[clouds_file] if clouds_file else None
        )
        region = config.get_one(cloud=cloud, **changed)
        auth = region.get_auth()
    except (openstack.exceptions.ConfigException, keystoneauth1.exceptions.ClientException) as err:
        raise PreflightError(
            f"there are no usable credentials: {sentence(err)}",
            cure="Name an entry of clouds.yaml with --cloud, or set the OS_* variables",
        ) from None
    if auth is None:
        raise PreflightError("there are no credentials", cure="Name an entry of clouds.yaml")
    verify, _ = region.get_requests_verify_args()

    def issue() -> object:
        auth.invalidate()  # else the plugin hands out the token that it has
        session = keystoneauth1.session.Session(verify=verify, timeout=ATTEMPT)
        try:
            return auth.get_token(session)
        finally:
            session.session.close()

    return issue


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", help="Keystone URL (…/v3) instead of the configured one.")
@click.option("--cloud", envvar="OS_CLOUD", help="Entry of clouds.yaml.")
@click.option("--clouds-file", help="Another clouds.yaml.")
@click.option("--seconds", type=float, default=30.0, show_default=True, help="How long.")
@click.option("--interval", type=float, default=0.5, show_default=True, help="Seconds per attempt.")
def main(
    url: str | None, cloud: str | None, clouds_file: str | None, seconds: float, interval: float
) -> None:
    """Issue tokens for a while and print how long none could be had, as JSON."""
    outcome = probe(issuer(url, cloud, clouds_file), seconds, interval)
    click.echo(json.dumps(outcome.to_json()))


def cli(argv: Sequence[str] | None = None) -> int:
    """Run the command; an expected error is one sentence on stderr and its exit code."""
    try:
        main.main(args=argv, prog_name="saltern.sanity.probe", standalone_mode=False)
    except SalternError as err:
        click.echo(str(err), err=True)
        return err.exit_code
    except click.ClickException as err:
        err.show()
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(cli())
