"""
Questions to Nova and Placement, as Nova's own user
===================================================

Asked in Nova's own Python with the credentials of ``nova.conf``, which a hypervisor has too. No
password is an argument, a return or a log line.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "nova_api"

_CONFIG = "/etc/nova/nova.conf"
#: Newest microversions that every release from 2023.1 on has.
_VERSIONS = {"compute": "2.93", "placement": "1.39"}

# Reads {"config", "versions", "requests": [[service, method, path, parameters, body], …]} from its
# standard input and answers with [[status, body], …]; runs in Nova's Python.
_SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
from keystoneauth1 import exceptions, loading
from oslo_config import cfg
want = json.load(sys.stdin)
conf = cfg.ConfigOpts()
loading.register_auth_conf_options(conf, 'service_user')
loading.register_session_conf_options(conf, 'service_user')
conf.register_opts([cfg.StrOpt('region_name')], group='service_user')
conf([], default_config_files=[want['config']], default_config_dirs=[])
auth = loading.load_auth_from_conf_options(conf, 'service_user')
session = loading.load_session_from_conf_options(conf, 'service_user', auth=auth)
answers = []
for service, method, path, params, body in want['requests']:
    endpoint = {'service_type': service, 'interface': 'internal',
                'region_name': conf.service_user.region_name}
    try:
        answer = session.request(path, method, params=params, json=body, raise_exc=False,
                                 endpoint_filter=endpoint, microversion=want['versions'][service])
    except exceptions.ClientException as err:
        sys.exit(f'the {service} API does not answer: {type(err).__name__}')
    try:
        data = answer.json()
    except ValueError:
        data = None
    answers.append([answer.status_code, data])
print(json.dumps(answers))
"""


def __virtual__():
    return __virtualname__


def _venv():
    source = ((__pillar__.get("nova") or {}).get("common") or {}).get("source") or {}
    return "/usr" if source.get("engine") == "pkg" else "/opt/openstack/current/nova"


def _refusal(body):
    """The sentence in an error; each service wraps it in its own way."""
    if not isinstance(body, dict):
        return ""
    errors = body.get("errors")
    told = errors[0] if errors else next(iter(body.values()), {})
    words = (told.get("detail") or told.get("message") or "") if isinstance(told, dict) else ""
    return " ".join(str(words).split())[:300]


def ask(requests, service="compute"):
    """
    Ask an API several things, one after the other, and return the answers.

    requests
        ``[[method, path, parameters or None, body or None], …]``; the last two may be missing.
    service
        ``compute`` or ``placement``.

    Raises CommandExecutionError when the API does not answer, and for an answer that is an error,
    with its words; what follows has been asked all the same.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_api.ask '[["GET", "/os-services"]]'
    """
    asked = [[service, *one, None, None][:5] for one in requests]
    want = {"config": _CONFIG, "versions": _VERSIONS, "requests": asked}
    answers = __salt__["openstack_db.ask"](_SCRIPT, "nova", _venv(), want)
    for (_, method, path, *_), (status, body) in zip(asked, answers, strict=True):
        if status >= 400:
            raise CommandExecutionError(f"{method} {path}: {status} {_refusal(body)}".rstrip())
    return [body if body is not None else {} for _, body in answers]


def pages(path, key, params=None):
    """
    Return all entries of a list that comes in parts.

    path, key
        Of the list: ``/servers/detail``, ``servers``
    params
        Of the question, beside ``limit`` and ``marker``

    Raises CommandExecutionError as :py:func:`nova_api.ask <ask>` does.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_api.pages /servers/detail servers '{"all_tenants": 1}'
    """
    found, part, size = [], None, 500
    while part is None or len(part) == size:
        more = {"marker": found[-1]["id"]} if found else {}
        wanted = {**(params or {}), "limit": size, **more}
        part = ask([["GET", path, wanted]])[0][key]
        found += part
    return found
