"""
Take each minion's top file from the layered model.

.. code-block:: yaml

    master_tops:
      saltern_model:
        store: /srv/saltern/store
        journal: sqlite:////srv/saltern/journal/journal.db

The settings are those of the ext_pillar; what only a pillar needs is ignored.

Returns ``{environment: [service.role, ...]}`` of the revision that the minion is served. Salt does
not compare the id that a minion asks for with its own; the minion's pillar, which travels with the
question, proves who it is. When it does not, or the model is broken, the only entry is an SLS that
does not exist, so a highstate fails instead of applying a part.
"""

import logging

log = logging.getLogger(__name__)

__virtualname__ = "saltern_model"

#: no formula has this name
FAILED = "__saltern_model_failed__"


def __virtual__():
    return __virtualname__


def top(**kwargs):
    """
    Return the applications of one minion, by environment.

    kwargs
        ``opts`` holds the options that the minion sent: its ``id`` and its ``pillar`` are used
    """
    environment = "base"
    try:
        from saltern.adapters.serving import Serving

        settings = __opts__["master_tops"]["saltern_model"]
        environment = settings.get("default_environment", environment)
        return Serving.build(settings).top(kwargs["opts"])
    except Exception as err:
        # Salt drops a top that raises and goes on with the others
        log.error("saltern_model: no top for a minion: %s", err)
        return {environment: [FAILED]}
