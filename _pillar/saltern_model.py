"""
Serve the layered model as pillar.

.. code-block:: yaml

    ext_pillar:
      - saltern_model:
          path: /srv/saltern/model
          keystore: /srv/saltern/keys
          gpg_home: /etc/salt/gpgkeys

A pillar is whole or it is an error: an unknown node, a model that does not compile or a
secret that cannot be decrypted raises, and Salt refuses states on that minion. With
``on_error: deny`` the request itself fails, so the minion keeps its last good pillar.
"""

import logging

log = logging.getLogger(__name__)

__virtualname__ = "saltern_model"


def __virtual__():
    # Always there: Salt serves a pillar without our data when a module does not load.
    return __virtualname__


def ext_pillar(minion_id, pillar, path, keystore=None, gpg_home=None, on_error="raise", **options):
    """
    Return the pillar of one minion from the model tree.

    minion_id
        id of the minion, as Salt authenticated it

    pillar
        pillar so far; not used

    path
        model tree with ``classes/`` and ``nodes/``

    keystore
        directory of key files, ``<service.role>/<repository>/<file>``

    gpg_home
        GnuPG home with the key that opens the model's secrets

    on_error
        ``raise`` (default): Salt notes the error in the pillar and refuses states.
        ``deny``: the whole request fails

    options
        options of the engine; an unknown one is an error
    """
    if minion_id == __opts__.get("id") and minion_id.endswith("_master"):
        # an orchestration renders on the master itself, which is no node and needs no data
        return {}
    try:
        # imported here: an import error must be this function's error, see __virtual__
        from saltern.adapters.gpg import Gpg
        from saltern.errors import SalternError
        from saltern.model import serve
    except ImportError as err:
        log.error("saltern_model: the saltern package cannot be imported: %s", err)
        return _fail(on_error, "the saltern package is not installed in the master's Python")
    try:
        if on_error not in ("raise", "deny"):
            raise SalternError(f"on_error must be raise or deny, not {on_error!r}")
        if _is_master(serve, path, minion_id, options):
            return {}
        return serve.pillar(
            path,
            minion_id,
            decrypt=Gpg(gpg_home).decrypt if gpg_home else None,
            keystore=keystore,
            options=options,
        )
    except SalternError as err:
        sentence = " ".join(str(err).split())
        log.error("saltern_model: no pillar for %s: %s", minion_id, sentence)
    except Exception as err:  # a fault of ours: its text may hold values, so it stays here
        log.error("saltern_model: no pillar for %s", minion_id, exc_info=True)
        sentence = f"internal error ({type(err).__name__}), see the master's log"
    return _fail(on_error, sentence)


def _is_master(serve, path, minion_id, options):
    """
    Whether this is a master that runs an orchestration: Salt calls it ``<id>_master``. What it
    needs it reads itself; it is served nothing.
    """
    node_id, suffix, rest = minion_id.rpartition("_master")
    if rest or not suffix:
        return False
    try:
        roles = serve.top(path, node_id, options=options)
    except Exception:  # told when the id itself is looked up
        return False
    return any("salt.master" in applications for applications in roles.values())


def _fail(on_error, sentence):
    if on_error == "deny":
        # No mapping: Salt cannot merge it, and the minion gets no pillar at all.
        return ["saltern_model: " + sentence]
    raise RuntimeError("saltern_model: " + sentence)
