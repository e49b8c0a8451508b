"""
Serve the layered model as pillar.

.. code-block:: yaml

    ext_pillar:
      - saltern_model:
          store: /srv/saltern/store
          journal: sqlite:////srv/saltern/journal/journal.db
          keystore: /srv/saltern/keys
          gpg_home: /etc/salt/gpgkeys

Each node gets one whole revision: the one it is pinned to, else the deployed one of its cluster.
With ``path`` in place of ``store`` and ``journal`` the tree there is compiled as it is, which is
for a host without a master.

A pillar is whole or there is none. What may pass - a broken revision, a missing key, a locked
journal - denies the request: Salt's answer is an error and the minion keeps the pillar it has. A
minion that no revision knows gets an error in place of a pillar, and Salt refuses its states.
"""

import logging

log = logging.getLogger(__name__)

__virtualname__ = "saltern_model"


def __virtual__():
    # Always there: Salt serves a pillar without our data when a module does not load.
    return __virtualname__


def ext_pillar(minion_id, pillar, **settings):
    """
    Return the pillar of one minion.

    minion_id
        id of the minion, as Salt authenticated it

    pillar
        pillar so far; not used

    settings
        ``store``, ``journal``, ``path``, ``keystore``, ``gpg_home``, ``site_key`` and
        ``on_error``, see :class:`saltern.adapters.serving.Serving`; all others are options of
        the engine, and an unknown one is an error. ``on_error: raise`` notes an error in the
        pillar, so that Salt refuses states with the sentence, in place of denying the request
    """
    if minion_id == __opts__.get("id") and minion_id.endswith("_master"):
        # an orchestration renders on the master itself, which is no node and needs no data
        return {}
    on_error = settings.get("on_error", "deny")
    try:
        # imported here: an import error must be this function's error, see __virtual__
        from saltern.adapters.serving import Serving
        from saltern.errors import SalternError, UnknownNodeError
    except ImportError as err:
        log.error("saltern_model: the saltern package cannot be imported: %s", err)
        return _fail(on_error, "the saltern package is not installed in the master's Python")
    try:
        serving = Serving.build(settings)
        if __opts__.get("pillar_cache"):
            # it would keep what this refuses to give until it expires, errors included
            on_error = "deny"
            raise SalternError(
                "pillar_cache must be False", cure="Remove it and restart salt-master"
            )
        if serving.is_master(minion_id):
            return {}
        return serving.pillar(minion_id, str(__opts__.get("pillarenv") or ""))
    except UnknownNodeError as err:
        on_error, sentence = "raise", " ".join(str(err).split())
        log.error("saltern_model: no pillar for %s: %s", minion_id, sentence)
    except SalternError as err:
        sentence = " ".join(str(err).split())
        log.error("saltern_model: no pillar for %s: %s", minion_id, sentence)
    except Exception as err:  # a fault of ours: its text may hold values, so it stays here
        log.error("saltern_model: no pillar for %s", minion_id, exc_info=True)
        sentence = f"internal error ({type(err).__name__}), see the master's log"
    return _fail(on_error, sentence)


def _fail(on_error, sentence):
    # A host without a master has no request that could be denied, and nobody else's log.
    if on_error == "raise" or __opts__.get("__role") == "minion":
        raise RuntimeError("saltern_model: " + sentence)
    # No mapping: Salt cannot merge it, and the minion gets no pillar at all.
    return ["saltern_model: " + sentence]
