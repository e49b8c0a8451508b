"""
The model on the master: revisions, pins, and what differs between them
=======================================================================

A revision is a git commit of the model, compiled once and kept in the store. Each node is served
one whole revision: the one it is pinned to, else the deployed one of its cluster.

Configuration (master)::

    saltern:
      model: /srv/saltern/model
      revision: HEAD
      store: /srv/saltern/store
      journal: sqlite:////srv/saltern/journal/journal.db
"""

from saltern.adapters.master import MasterEvents, Site, who
from saltern.adapters.modelsite import ModelSite, pillar_settings, served_sentence, short
from saltern.adapters.runner import salt_runner
from saltern.errors import PreflightError

__virtualname__ = "model"
__func_alias__ = {"compile_": "compile"}


def __virtual__():
    return __virtualname__


def _site(cluster=None):
    return Site.of(__opts__, cluster, any_cluster=True)


def _by():
    return who(__opts__, globals().get("__user__", ""))


def _model(cluster=None):
    return ModelSite(_site(cluster))


def _nodes(nodes, cluster, model):
    """Minion ids from a list, or separated by commas; those of a cluster when none are named."""
    if isinstance(nodes, str):
        nodes = [node.strip() for node in nodes.split(",") if node.strip()]
    if nodes:
        return list(nodes)
    if not cluster:
        raise PreflightError("no node is named", cure="Give nodes=ID,ID or cluster=NAME")
    return model.journal.members(cluster)


def _told(tag, data, sentence):
    MasterEvents(__opts__, quiet=True).emit(f"model/{tag}", data)
    return {"result": True, "comment": sentence, **data}


def _compiled(tag, done):
    revision, info = done.revision, done.revision.info
    sentence = f"Revision {short(revision.id)} is compiled: {info.nodes} nodes"
    sentence += f", {', '.join(done.first)} served it first." if done.first else "."
    data = {"revision": revision.id, "nodes": info.nodes, "clusters": revision.clusters()}
    return _told(tag, {**data, "first": list(done.first)}, sentence)


@salt_runner
def receive(ref, remote="", by=""):
    """
    Compile what was pushed to the model; for a git hook, or a webhook through salt-api.

    A commit that does not compile is refused with the sentence and exit code 2; it is not stored
    and can never be served. Nothing that is served changes, except that a cluster without any
    deployed revision gets this one. Fires ``saltern/model/received``.

    ref
        Branch, tag or commit
    remote
        Remote of ``saltern:model`` to fetch it from; the branch that is checked out there follows
        when what came compiles. By default the ref is there already
    by
        Who pushed, for the history

    CLI Example:

    .. code-block:: bash

        salt-run model.receive main remote=origin
    """
    return _compiled("received", _model().receive(ref, remote, by or _by()))


@salt_runner
def compile_(ref=None, full=False):
    """
    Compile a revision into the store; nothing that is served changes, as with ``model.receive``.

    ref
        Branch, tag, commit or ``worktree``; default ``saltern:revision``
    full
        Compile every node, also when the store has the revision

    CLI Example:

    .. code-block:: bash

        salt-run model.compile v2.4
    """
    model = _model()
    wanted = ref or model.site.revision
    done = model.compile(wanted, _by(), f"first compile, of {wanted}", full=full)
    return _compiled("compiled", done)


@salt_runner
def gc(newest=10, test=False):
    """
    Remove compiled revisions that nobody needs; never one that is deployed or pinned.

    newest
        How many of the newest revisions stay nevertheless
    test
        Only say which would go

    CLI Example:

    .. code-block:: bash

        salt-run model.gc newest=20
    """
    gone = _model().gc(int(newest), dry_run=test)
    word = "would be removed" if test else "removed"
    return {"result": True, "comment": f"{len(gone)} revisions {word}.", "removed": gone}


@salt_runner
def pin(nodes=None, revision=None, cluster=None, reason=""):
    """
    Hold nodes at a revision, whatever their cluster is moved to.

    nodes
        Minion ids, a list or separated by commas; default all nodes of ``cluster``
    revision
        Git ref or id of a revision; compiled when it is not stored yet
    cluster
        Name of the cluster whose nodes are meant
    reason
        Why, for the history

    CLI Example:

    .. code-block:: bash

        salt-run model.pin ctl01.demo-core.test revision=v2.4 reason='canary of v2.4'
    """
    if not revision:
        raise PreflightError("no revision is named", cure="Give revision=REF")
    model = _model()
    wanted = _nodes(nodes, cluster, model)
    id_, changed = model.pin(wanted, str(revision), _by(), reason)
    sentence = f"{len(changed)} of {len(wanted)} nodes are pinned to {short(id_)} now."
    return _told("pinned", {"revision": id_, "changed": changed}, sentence)


@salt_runner
def unpin(nodes=None, cluster=None, reason=""):
    """
    Let nodes follow the deployed revision of their cluster again.

    nodes
        Minion ids, a list or separated by commas; default all nodes of ``cluster``
    cluster
        Name of the cluster whose nodes are meant
    reason
        Why, for the history

    CLI Example:

    .. code-block:: bash

        salt-run model.unpin cluster=demo-core reason='v2.4 is everywhere'
    """
    model = _model()
    changed = model.journal.unpin(_nodes(nodes, cluster, model), _by(), reason)
    return _told("unpinned", {"changed": changed}, f"{len(changed)} nodes follow their cluster.")


@salt_runner
def pins(cluster=None):
    """
    List the pinned nodes: revision, since when, by whom and why.

    cluster
        Only nodes of this cluster

    CLI Example:

    .. code-block:: bash

        salt-run model.pins
    """
    return {
        pin.node: {
            "revision": pin.revision,
            "cluster": pin.cluster,
            "since": pin.at.isoformat(timespec="seconds"),
            "by": pin.by,
            "reason": pin.reason,
        }
        for pin in _model().journal.pins(cluster)
    }


@salt_runner
def status(cluster=None, node=None):
    """
    Tell what is served: the deployed revision of each cluster, its nodes and their pins.

    cluster
        Only this cluster
    node
        One node: its revision, and whether it gets its pillar. When it does not, the sentence
        says why, and the exit code is 2

    CLI Example:

    .. code-block:: bash

        salt-run model.status
        salt-run model.status node=ctl01.demo-core.test
    """
    model = _model()
    if not node:
        return model.status(cluster)
    sentence, fault = served_sentence(pillar_settings(__opts__), node)
    if fault:
        return {"result": False, "comment": sentence, "node": node, "retcode": 2}
    return {"result": True, "comment": sentence, **model.status(node=node)}


@salt_runner
def history(cluster=None, node=None, limit=50):
    """
    List the latest changes of what is served, the latest first.

    cluster
        Only deployments of this cluster, and pins of its nodes
    node
        Only this node
    limit
        How many at most

    CLI Example:

    .. code-block:: bash

        salt-run model.history limit=10
    """
    return [
        {**vars(change), "at": change.at.isoformat(timespec="seconds")}
        for change in _model().journal.history(node, cluster, int(limit))
    ]


@salt_runner
def lint(cluster=None, revision=None, rules=None, strict=False):
    """
    Check the model by named rules; ``docs/reference/lint.md`` has them with their cures.

    cluster
        Only this cluster (name, or several separated by commas); default all
    revision
        Git ref, or ``worktree``; default ``saltern:revision``
    rules
        Only these rules, a list or separated by commas
    strict
        Warnings count as errors

    Exit code 0: clean, or warnings only. 1: errors. 2: the model does not compile.

    CLI Example:

    .. code-block:: bash

        salt-run model.lint cluster=demo-core rules=schema,plaintext-secret
    """
    from saltern.adapters.modeltools import lint_report

    report = lint_report(_site(), _listed(cluster), revision, _listed(rules))
    code = report.exit_code(strict=bool(strict))
    told = [f"{finding.severity}: {finding}" for finding in report.findings]
    sentence = f"{len(told)} findings, {len(report.errors)} of them errors."
    return {"result": not code, "comment": sentence, "retcode": code, "told": told} | (
        report.to_json()
    )


@salt_runner
def explain(node, key, revision=None):
    """
    Tell which lines of the model make a key of a node what it is, in merge order.

    Secrets are shown as ``(secret)`` and ``(encrypted)``.

    node
        Minion id
    key
        ``a:b:c``
    revision
        Git ref, or ``worktree``; default ``saltern:revision``

    CLI Example:

    .. code-block:: bash

        salt-run model.explain ctl01.demo-core.test keystone:server:url
    """
    from saltern.adapters.modeltools import explained

    found = explained(_site(), str(node), str(key), revision)
    return {"result": found.found, "comment": found.sentence, **found.to_json()}


@salt_runner
def schema(role=None, node=None, cluster=None, revision=None):
    """
    Return the JSON schema of a role, or check the data of a node or cluster by the schemas.

    role
        ``service.role``
    node
        Check the roles of this node
    cluster
        Check the roles of all nodes of this cluster
    revision
        Git ref, or ``worktree``; default ``saltern:revision``

    CLI Example:

    .. code-block:: bash

        salt-run model.schema keystone.server
        salt-run model.schema node=ctl01.demo-core.test
    """
    from saltern.adapters.modeltools import schema_of, schema_report

    if (role is not None) + (node is not None) + (cluster is not None) != 1:
        raise PreflightError("one of role, node and cluster has to be named")
    if role is not None:
        return schema_of(_site(), str(role))
    report = schema_report(_site(), node, cluster, revision)
    code = report.exit_code()
    sentence = f"{len(report.findings)} findings."
    return {"result": not code, "comment": sentence, "retcode": code, **report.to_json()}


@salt_runner
def secrets_check(cluster=None, revision=None):
    """
    Check that every secret of a cluster has a value, opens with the master's key, and is used.

    cluster
        Name of the cluster; default ``saltern:cluster``
    revision
        Git ref, or ``worktree``; default ``saltern:revision``

    CLI Example:

    .. code-block:: bash

        salt-run model.secrets_check demo-core
    """
    from saltern.adapters.modeltools import secret_faults

    site = Site.of(__opts__, cluster)
    home = pillar_settings(__opts__).get("gpg_home")
    told = [str(fault) for fault in secret_faults(site, site.cluster, home, revision)]
    sentence = f"{len(told)} findings about the secrets of {site.cluster}."
    return {"result": not told, "comment": sentence, "findings": told}


def _listed(names):
    """A list from a list or a text with commas; None when there is nothing in it."""
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",") if name.strip()]
    return list(names) if names else None
