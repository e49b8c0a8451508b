"""
Processes of Nova, as Nova sees them
====================================

A process of Nova that runs need not be one that works: it tells so by a beat that it writes to its
cell's database, itself or through the conductor. Here that is asked for, in Nova's own Python as
its user: on the control plane from the database, on a compute (which knows no database) from the
Compute API with the credentials of ``nova.conf``. No password is an argument, a return or a log
line.
"""

import os

from salt.exceptions import CommandExecutionError

__virtualname__ = "nova_service"

#: What every process reads, and what those of the control plane read too.
COMMON, CONTROL = "/etc/nova/nova.conf", "/etc/nova/nova-control.conf"

# Reads {"config", "database", "binary", "host"} from its standard input; runs in Nova's Python.
_SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
want = json.load(sys.stdin)

def from_database():
    from nova import config, context, exception, objects, servicegroup
    import nova.conf
    from nova.db.api import api as api_db
    from nova.db.main import api as main_db
    config.parse_args(['nova-manage'], default_config_files=want['config'], configure_db=False)
    for group in ('database', 'api_database'):
        # whoever asks has retries of his own
        nova.conf.CONF.set_override('max_retries', 0, group)
    main_db.configure(nova.conf.CONF)
    api_db.configure(nova.conf.CONF)
    objects.register_all()
    host = want['host'] or nova.conf.CONF.host
    admin = context.get_admin_context()
    for cell in objects.CellMappingList.get_all(admin):
        with context.target_cell(admin, cell) as inside:
            try:
                one = objects.Service.get_by_host_and_binary(inside, host, want['binary'])
            except exception.NotFound:
                continue
            if one is not None:
                up = servicegroup.API().service_is_up(one)
                return {'host': host, 'up': bool(up), 'enabled': not one.disabled,
                        'reason': one.disabled_reason}
    return {'host': host}

def from_api():
    from keystoneauth1 import exceptions
    from keystoneauth1 import loading
    from oslo_config import cfg
    conf = cfg.ConfigOpts()
    loading.register_auth_conf_options(conf, 'service_user')
    loading.register_session_conf_options(conf, 'service_user')
    conf.register_opts([cfg.StrOpt('host')])
    conf.register_opts([cfg.StrOpt('region_name')], group='service_user')
    conf([], default_config_files=want['config'], default_config_dirs=[])
    host = want['host'] or conf.host
    try:
        auth = loading.load_auth_from_conf_options(conf, 'service_user')
        session = loading.load_session_from_conf_options(conf, 'service_user', auth=auth)
        answer = session.get('/os-services', params={'host': host, 'binary': want['binary']},
                             endpoint_filter={'service_type': 'compute', 'interface': 'internal',
                                              'region_name': conf.service_user.region_name})
    except exceptions.ClientException as err:
        sys.exit(f'the Compute API does not answer: {err}')
    for one in answer.json()['services']:
        return {'host': host, 'up': one['state'] == 'up', 'enabled': one['status'] == 'enabled',
                'reason': one.get('disabled_reason')}
    return {'host': host}

def asked():
    if not want['database']:
        return from_api()
    from oslo_db.exception import DBError
    try:
        return from_database()
    except DBError as err:
        sys.exit(f'the database does not answer: {type(err).__name__}')

print(json.dumps(asked()))
"""


def __virtual__():
    return __virtualname__


def state(binary, host=None, venv="/opt/openstack/current/nova", config=None, user="nova"):
    """
    Return what Nova knows of one of its processes.

    binary
        Its name: ``nova-compute``, ``nova-conductor``, ``nova-scheduler``.
    host
        The host it runs on, as Nova names it; default: this one.
    venv
        Nova's virtual environment; ``/usr`` for distribution packages.
    config
        Configuration files; default: those of the host. With two of them the second names the
        databases, which are asked then instead of the API.
    user
        Nova's user.

    Returns ``{"host": …, "up": bool, "enabled": bool, "reason": text or None}``; the host alone
    where Nova knows no such process. Raises ``CommandExecutionError`` when what is asked does not
    answer.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_service.state nova-compute
    """
    if not config:
        config = [COMMON, CONTROL] if os.path.exists(CONTROL) else [COMMON]
    want = {"config": list(config), "database": len(config) > 1, "binary": binary, "host": host}
    return __salt__["openstack_db.ask"](_SCRIPT, user, venv, want)


def up(binary, host=None, venv="/opt/openstack/current/nova", config=None, user="nova"):
    """
    Tell whether Nova hears of one of its processes; a health check.

    binary, host, venv, config, user
        As for :py:func:`nova_service.state <state>`.

    Returns ``{"ok": bool, "sentence": str}`` and never raises. One that is disabled is well:
    somebody wanted that. The sentence says so.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_service.up nova-compute
    """
    try:
        found = state(binary, host, venv, config, user)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    where = f"{binary} on {found['host']}"
    if "up" not in found:
        return {"ok": False, "sentence": f"Nova knows no {where}."}
    if not found["up"]:
        return {"ok": False, "sentence": f"Nova has not heard of {where} for too long."}
    if not found["enabled"]:
        why = f": {found['reason']}" if found["reason"] else ""
        return {"ok": True, "sentence": f"{where} is up, and disabled{why}."}
    return {"ok": True, "sentence": f"{where} is up."}
