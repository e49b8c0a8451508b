"""
Compare revisions of the model: what differs, what it would touch, what was at a time
=====================================================================================

Functions of ``model`` beside those of pins and revisions. ``A`` is what a cluster is served now
(``deployed``) unless a ref is named, ``B`` what a deployment would take (``saltern:revision``): so
without arguments ``model.diff`` and ``model.impact`` say what the next deployment changes.

Nothing here changes what is served, and no secret is shown: hashes are.
"""

from saltern.adapters.master import Site
from saltern.adapters.runner import salt_runner
from saltern.model import diffshow, impactshow, when

# Salt gives the functions of several files with one virtual name together
__virtualname__ = "model"


def __virtual__():
    return __virtualname__


def _nodes(nodes):
    if isinstance(nodes, str):
        nodes = [node.strip() for node in nodes.split(",") if node.strip()]
    return list(nodes) if nodes else None


@salt_runner
def diff(A=None, B=None, cluster=None, nodes=None, full=False, data=False):
    """
    Compare what the nodes of a cluster are served at two revisions.

    A
        Git ref or revision id; default ``deployed``
    B
        Git ref or revision id; default ``saltern:revision``
    cluster
        Name of the cluster; default ``saltern:cluster``
    nodes
        Only these minion ids, a list or separated by commas
    full
        Leave nothing out, however long
    data
        Return data in place of text

    CLI Example:

    .. code-block:: bash

        salt-run model.diff
        salt-run model.diff v2.3 v2.4 data=True --out=json
    """
    from saltern.adapters.modelcompare import difference

    found = difference(Site.of(__opts__, cluster), A, B, _nodes(nodes))
    return found.to_json() if data else diffshow.text(found, full=full)


@salt_runner
def impact(A=None, B=None, cluster=None, nodes=None, full=False, data=False):
    """
    Say what a change would touch: nodes, roles, formulas, files, restarts.

    The states of every node that differs are rendered before and after, with the formulas of each
    revision; no minion is asked.

    A
        Git ref or revision id; default ``deployed``
    B
        Git ref or revision id; default ``saltern:revision``
    cluster
        Name of the cluster; default ``saltern:cluster``
    nodes
        Only these minion ids, a list or separated by commas
    full
        Leave nothing out, however long
    data
        Return data in place of text

    CLI Example:

    .. code-block:: bash

        salt-run model.impact
        salt-run model.impact deployed v2.4 nodes=ctl01.demo-core.test
    """
    from saltern.adapters.modelcompare import touched

    found = touched(Site.of(__opts__, cluster), A, B, _nodes(nodes))
    return found.to_json() if data else impactshow.text(found, full=full)


@salt_runner
def at(time, node=None, cluster=None):
    """
    Tell what was served at a time, and which commit of the model's branch was current.

    time
        ISO 8601 (UTC without a zone), ``@SECONDS``, ``now``, ``yesterday``, or ``2 hours ago``
    node
        A minion id: the revision it was served
    cluster
        A cluster: its deployed revision; default all clusters

    CLI Example:

    .. code-block:: bash

        salt-run model.at '2 hours ago'
        salt-run model.at 2026-11-22T10:30 node=ctl01.demo-core.test
    """
    from saltern.adapters import modelcompare
    from saltern.adapters.modelsite import ModelSite

    moment = when.parse(str(time))
    found = modelcompare.moment(
        ModelSite(Site.of(__opts__, cluster, any_cluster=True)), moment, node, cluster
    )
    told = [
        f"{name}: {diffshow.short(revision) if revision else 'nothing was served'}"
        for name, revision in found.served.items()
    ]
    sentence = f"At {when.show(moment)}: {'; '.join(told) or 'no cluster was served'}."
    return {"result": True, "comment": sentence, "time": when.show(moment), **vars(found)}


@salt_runner
def graph(node, revision=None):
    """
    Draw the classes of a node: who includes whom, in which order they are merged.

    node
        Minion id
    revision
        Git ref, or ``worktree``; default ``saltern:revision``

    Returns an SVG document.

    CLI Example:

    .. code-block:: bash

        salt-run model.graph ctl01.demo-core.test --out=newline_values_only > ctl01.svg
    """
    from saltern.adapters.modelcompare import picture

    return picture(Site.of(__opts__, any_cluster=True), str(node), revision)


@salt_runner
def generate(answers, test=False):
    """
    Write the classes and nodes of a new cluster into the model, from a file of answers.

    A file that was edited by hand is never replaced; a second run changes nothing. Commit the
    result, then ``model.receive``.

    answers
        Path of the file on the master; ``saltern model generate --example core`` prints one
    test
        Only say which files would be written

    CLI Example:

    .. code-block:: bash

        salt-run model.generate /root/answers.yml test=True
    """
    from saltern.adapters.modelcompare import generated

    paths = generated(Site.of(__opts__, any_cluster=True), str(answers), test=test)
    word = "would be written" if test else "written"
    return {"result": True, "comment": f"{len(paths)} files {word}.", "files": paths}
