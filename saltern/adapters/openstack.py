"""From the master's configuration to the cloud that a sanity run is pointed at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saltern.adapters.gpg import Gpg
from saltern.adapters.master import Site
from saltern.errors import PreflightError
from saltern.model import serve
from saltern.rollout.load import load_members
from saltern.sanity.target import ROLE, Target, target


def sanity_target(opts: Mapping[str, Any], site: Site) -> Target:
    """Read the administrator and the members of a cluster from its model.

    The secrets are opened as the pillar's are: with the ``gpg_home`` of the ext_pillar. Nothing is
    read from a minion, and the credentials stay in this process.

    :param opts: ``__opts__`` of a runner
    :param site: the cluster and its model
    :raises PreflightError: no node carries ``openstack.resources``, or its pillar is incomplete
    :raises ModelError: the model does not compile
    :raises SecretError: a secret cannot be decrypted
    """
    node = load_members(site.model, site.cluster, ROLE, site.options)[0]
    home = _gpg_home(opts)
    pillar = serve.pillar(
        site.model, node, decrypt=Gpg(home).decrypt if home else None, options=site.options
    )
    return target(pillar)


def _gpg_home(opts: Mapping[str, Any]) -> str | None:
    for entry in opts.get("ext_pillar") or []:
        block = entry.get("saltern_model") if isinstance(entry, Mapping) else None
        if isinstance(block, Mapping):
            home = block.get("gpg_home")
            return str(home) if home else None
    raise PreflightError(
        "the master has no ext_pillar saltern_model",
        where="master configuration",
        cure="Install etc/master.d/20-saltern-model.conf",
    )
