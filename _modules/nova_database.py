"""
Databases and cells of Nova
===========================

Compares what Nova's databases have with what its code and the model want: revisions of the schemas,
the cells that are registered, with their databases and message queues, and computes that belong to
no cell yet. It runs in Nova's own Python, as its user, with the configuration of the control plane;
the cells that are wanted come from a file beside it. So no password is an argument, a return or a
log line of Salt, or shown in the list of processes, where ``nova-manage`` would put it.
"""

from salt.exceptions import CommandExecutionError
from salt.utils.data import traverse_dict_and_list

__virtualname__ = "nova_database"

#: What the control plane's processes read.
CONFIG = ("/etc/nova/nova.conf", "/etc/nova/nova-control.conf")
#: Name -> database, transport, disabled: the cells that are wanted.
CELLS = "/etc/nova/cells.json"

# Reads {"config", "cells", "act"} from its standard input; runs in Nova's Python.
_SCRIPT = """
import json, logging, os, sys
logging.disable(logging.CRITICAL)
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
import nova.conf, nova.db
from nova import config, context, objects
from nova.db import migration
from nova.db.api import api as api_db
from nova.db.main import api as main_db
from nova.objects import host_mapping

want = json.load(sys.stdin)
config.parse_args(['nova-manage'], default_config_files=want['config'], configure_db=False)
for group in ('database', 'api_database'):
    # whoever asks has retries of his own
    nova.conf.CONF.set_override('max_retries', 0, group)
main_db.configure(nova.conf.CONF)
api_db.configure(nova.conf.CONF)
objects.register_all()
admin = context.get_admin_context()
with open(want['cells'], encoding='utf-8') as stream:
    wanted = json.load(stream)
found, ready, newer = [], True, []

def pending(kind, url):
    root = os.path.join(os.path.dirname(nova.db.__file__), kind, 'migrations')
    script = ScriptDirectory(root, version_locations=[os.path.join(root, 'versions')])
    try:
        with sqlalchemy.create_engine(url).connect() as connection:
            heads = set(MigrationContext.configure(connection).get_current_heads())
    except sqlalchemy.exc.SQLAlchemyError as err:
        sys.exit(f'the database does not answer: {getattr(err, "orig", None) or err.__class__}')
    for name in heads:
        try:
            script.get_revision(name)
        except CommandError:
            newer.append(name)
            return False
    return heads != set(script.get_heads())

if pending('api', nova.conf.CONF.api_database.connection):
    found.append('schema of the API')
    ready = want['act']
    if ready:
        migration.db_sync(None, 'api')
mapped = {}
if ready:
    mapped = {cell.name: cell for cell in objects.CellMappingList.get_all(admin)
              if not cell.is_cell0()}
    zero = [cell for cell in objects.CellMappingList.get_all(admin) if cell.is_cell0()]
    mapped.update({'cell0': cell for cell in zero})
for name, one in wanted.items():
    value = {'database_connection': one['database'], 'transport_url': one['transport'],
             'disabled': bool(one.get('disabled'))}
    cell = mapped.get(name)
    if cell is None:
        found.append(f'cell {name}')
        uuid = objects.CellMapping.CELL0_UUID if name == 'cell0' else None
        if want['act']:
            from oslo_utils import uuidutils
            cell = objects.CellMapping(admin, uuid=uuid or uuidutils.generate_uuid(),
                                       name=name, **value)
            cell.create()
    else:
        told = {'database_connection': 'database', 'transport_url': 'message queue',
                'disabled': 'state'}
        wrong = [key for key in value if getattr(cell, key) != value[key]]
        found += [f'{told[key]} of cell {name}' for key in wrong]
        if wrong and want['act']:
            for key in wrong:
                setattr(cell, key, value[key])
            cell.save()
    if pending('main', one['database']):
        found.append(f'schema of cell {name}')
        if want['act']:
            with context.target_cell(admin, cell) as inside:
                migration.db_sync(None, 'main', context=inside)
        continue
    if cell is None or name == 'cell0':
        continue
    with context.target_cell(admin, cell) as inside:
        hosts = {node.host for node in objects.ComputeNodeList.get_all_by_not_mapped(inside, 1)}
        hosts &= {service.host for service in
                  objects.ServiceList.get_by_binary(inside, 'nova-compute', include_disabled=True)}
    known = {host.host for host in objects.HostMappingList.get_by_cell_id(admin, cell.id)}
    new = sorted(hosts - known)
    found += [f'host {host}' for host in new]
    if hosts and want['act']:
        host_mapping.discover_hosts(admin, cell_uuid=cell.uuid)
strange = sorted(set(mapped) - set(wanted))
print(json.dumps({'missing': found, 'unknown': strange, 'newer': newer}))
"""


def __virtual__():
    return __virtualname__


def status(venv="/opt/openstack/current/nova", config=CONFIG, cells=CELLS, user="nova"):
    """
    Compare Nova's databases with its code and with the cells that are wanted.

    venv
        Nova's virtual environment; ``/usr`` for distribution packages.
    config
        Configuration files of the control plane, in the order in which they are read.
    cells
        JSON file with the cells: ``{name: {"database": URL, "transport": URL, "disabled": bool}}``.
    user
        Nova's user.

    Returns ``{"missing": [...], "unknown": [...]}``: in words, what is not there or differs
    (``schema of the API``, ``cell cell1``, ``message queue of cell cell1``,
    ``host cmp01.example.test``), and the names of cells that are registered and not wanted; these
    are left alone. A schema to which a newer release on this host has added lacks nothing. Raises
    ``CommandExecutionError`` when a database does not answer, or is of another newer release.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test nova_database.status
    """
    return _run(venv, config, cells, user, act=False)


def current(venv="/opt/openstack/current/nova", config=CONFIG, cells=CELLS, user="nova"):
    """
    Return whether databases and cells are as they should be; a health check.

    venv, config, cells, user
        As for :py:func:`nova_database.status <status>`.

    A compute that waits for its registration is not counted: it may have come this moment.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test nova_database.current
    """
    try:
        found = status(venv, config, cells, user)["missing"]
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    left = [what for what in found if not what.startswith("host ")]
    if left:
        return {"ok": False, "sentence": f"Nova's databases lack: {', '.join(left)}."}
    return {"ok": True, "sentence": "Nova's schemas are those of its code, its cells registered."}


def register(venv="/opt/openstack/current/nova", config=CONFIG, cells=CELLS, user="nova"):
    """
    Migrate the schemas, write the mappings of the cells, and register the computes that wait.

    venv, config, cells, user
        As for :py:func:`nova_database.status <status>`.

    Returns what :py:func:`nova_database.status <status>` said before. What is right is not touched;
    nothing is removed.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test nova_database.register
    """
    return _run(venv, config, cells, user, act=True)


def finish(user="nova"):
    """
    Move what the release before wrote in its own way; no process of it runs any more. The end of an
    upgrade, see :py:func:`openstack_db.finish <openstack_db.finish>`. Runs again without harm.

    user
        Nova's user.

    Returns a sentence. Raises ``CommandExecutionError`` when a command fails, or the databases are
    not as the code wants them afterwards.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test nova_database.finish
    """
    # as it is: what pillar.get says within a job is masked
    source = traverse_dict_and_list(__pillar__, "nova:common:source", {})
    venv = f"/opt/openstack/{source['release']}/nova"
    files = [option for file in CONFIG for option in ("--config-file", file)]
    commands = source.get("upgrade", {}).get("contract", [])
    __salt__["openstack_db.sync"]([[one[0], *files, *one[1:]] for one in commands], user, venv=venv)
    found = current(venv, user=user)
    if not found["ok"]:
        raise CommandExecutionError(found["sentence"].rstrip("."))
    return "Nova's data are those of its release"


def _run(venv, config, cells, user, act):
    want = {"config": list(config), "cells": cells, "act": act}
    found = __salt__["openstack_db.ask"](_SCRIPT, user, venv, want)
    if found.pop("newer"):
        # well only where a newer release beside this one has added to them
        for kind, section in (("api", "api_database"), ("main", "database")):
            where = {"venv": venv, "section": section}
            __salt__["openstack_db.status"](config[-1], f"nova/db/{kind}/migrations", user, **where)
    return found
