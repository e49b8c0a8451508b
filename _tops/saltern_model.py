"""
Take each minion's top file from the layered model.

.. code-block:: yaml

    master_tops:
      saltern_model:
        path: /srv/saltern/model

The settings are those of the ext_pillar; what only a pillar needs is ignored.

Returns ``{environment: [service.role, ...]}``. When the model does not compile the only
entry is an SLS that does not exist, so a highstate fails instead of applying a part.
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
        ``opts`` holds the options that the minion sent; only its ``id`` is used
    """
    environment = "base"
    try:
        from saltern.model import serve

        config = dict(__opts__["master_tops"]["saltern_model"])
        # the ext_pillar's settings may be repeated here as they are
        for name in ("keystore", "gpg_home", "on_error"):
            config.pop(name, None)
        environment = config.get("default_environment", environment)
        return serve.top(config.pop("path"), kwargs["opts"]["id"], options=config)
    except Exception as err:
        # Salt drops a top that raises and goes on with the others
        log.error("saltern_model: no top for a minion: %s", err)
        return {environment: [FAILED]}
