"""
What Octavia can do, as its API says
====================================

The API answers though a driver did not come up: it leaves that one out, which its log alone tells.
Each of its processes loads the drivers for itself. Here the API of a host is asked for the drivers
that it has, in Octavia's own Python, with the credentials of ``octavia.conf``. No password is an
argument, a return or a log line.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "octavia_service"

CONFIG = "/etc/octavia/octavia.conf"

#: Each request is answered by one of several processes, whichever is free.
TIMES = 8

# Reads {"config", "url", "times"} from its standard input; runs in Octavia's Python.
_SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
from keystoneauth1 import exceptions, loading
from oslo_config import cfg
want = json.load(sys.stdin)
conf = cfg.ConfigOpts()
loading.register_auth_conf_options(conf, 'service_auth')
loading.register_session_conf_options(conf, 'service_auth')
conf([], default_config_files=[want['config']], default_config_dirs=[])
found = []
try:
    auth = loading.load_auth_from_conf_options(conf, 'service_auth')
    session = loading.load_session_from_conf_options(conf, 'service_auth', auth=auth)
    for _ in range(want['times']):
        answer = session.get(want['url'] + '/v2/lbaas/providers')
        found.append(sorted(one['name'] for one in answer.json()['providers']))
except exceptions.ClientException as err:
    sys.exit(f'the Load Balancer API does not answer: {err}')
print(json.dumps(found))
"""


def __virtual__():
    return __virtualname__


def providers(
    url, times=TIMES, venv="/opt/openstack/current/octavia", config=CONFIG, user="octavia"
):
    """
    Return the drivers that the API has, as each of some requests was answered: a list of lists.

    url
        The API, as ``https://ctl01.example.test:9876``.
    times
        How many requests.
    venv
        Octavia's virtual environment; ``/usr`` for distribution packages.
    config
        Octavia's configuration file.
    user
        Octavia's user.

    Raises ``CommandExecutionError`` when the API or Keystone does not answer.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test octavia_service.providers https://ctl01.example.test:9876
    """
    want = {"config": config, "url": url.rstrip("/"), "times": times}
    return __salt__["openstack_db.ask"](_SCRIPT, user, venv, want)


def provides(
    provider,
    url,
    times=TIMES,
    venv="/opt/openstack/current/octavia",
    config=CONFIG,
    user="octavia",
):
    """
    Tell whether the API has a driver in all of its answers; a health check.

    provider
        Name of the driver, such as ``ovn``.
    url, times, venv, config, user
        As for :py:func:`octavia_service.providers <providers>`.

    Returns ``{"ok": bool, "sentence": str}`` and never raises.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test octavia_service.provides ovn https://ctl01.example.test:9876
    """
    try:
        found = providers(url, times, venv, config, user)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    lacking = sum(provider not in names for names in found)
    if not lacking:
        return {"ok": True, "sentence": f"Octavia at {url} has the driver {provider}."}
    return {
        "ok": False,
        "sentence": f"Octavia at {url} lacks the driver {provider} in {lacking} of {len(found)}"
        " answers: it did not come up, and the log of octavia-api says why.",
    }
