"""
Pools of name servers, as Designate has them
============================================

Compares the pools of a file with those in Designate's database, in Designate's own Python as its
user, and lets ``designate-manage`` write what differs: through designate-central, which must run.
What a pool holds (tokens of name servers among it) is no argument, no return and no log line.
"""

__virtualname__ = "designate_pool"

CONFIG = "/etc/designate/designate.conf"

#: What a pool of a file says; a database knows more.
KEYS = (
    "name",
    "description",
    "attributes",
    "ns_records",
    "nameservers",
    "also_notifies",
    "targets",
)

# Reads {"config", "file", "keys"} from its standard input; runs in Designate's Python.
_SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
want = json.load(sys.stdin)
import yaml
from oslo_db.exception import DBError
import designate.conf
from designate import context, storage
from designate.objects.adapters import DesignateAdapter
conf = designate.conf.CONF
conf([], project='designate', default_config_files=[want['config']], default_config_dirs=[])
conf.set_override('max_retries', 0, 'storage:sqlalchemy')

def plain(value):
    # what counts: no order, no number where a database has text
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if one not in (None, [], {})}
    if isinstance(value, list):
        return sorted(map(plain, value), key=lambda one: json.dumps(one, sort_keys=True))
    return str(value)

def shown(pool):
    data = DesignateAdapter.render('YAML', pool)
    return plain({key: data.get(key) for key in want['keys']})

wanted = yaml.safe_load(open(want['file'])) or []
try:
    known = {pool.name: pool for pool in storage.get_storage().find_pools(
        context.DesignateContext.get_admin_context())}
except DBError as err:
    sys.exit(f'the database does not answer: {type(err).__name__}')
differ = []
for data in wanted:
    pool = known.get(data['name'])
    if pool is None or shown(pool) != plain(data):
        differ.append(data['name'])
print(json.dumps({'pending': sorted(differ),
                  'others': sorted(set(known) - {data['name'] for data in wanted})}))
"""


def __virtual__():
    return __virtualname__


def compare(file, venv="/opt/openstack/current/designate", config=CONFIG, user="designate"):
    """
    Return the names of pools that are not as a file says, and of those that it does not have.

    file
        The pools, as ``designate-manage`` reads them.
    venv
        Designate's virtual environment; ``/usr`` for distribution packages.
    config
        Designate's configuration file.
    user
        Designate's user.

    Returns ``{"pending": [...], "others": [...]}``. Raises ``CommandExecutionError`` when the
    database does not answer.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test designate_pool.compare /etc/designate/pools.yaml
    """
    want = {"config": config, "file": file, "keys": KEYS}
    return __salt__["openstack_db.ask"](_SCRIPT, user, venv, want)


def update(file, venv="/opt/openstack/current/designate", config=CONFIG, user="designate"):
    """
    Write the pools of a file to Designate; none is removed, as its zones would go with it.

    file, venv, config, user
        As for :py:func:`designate_pool.compare <compare>`.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test designate_pool.update /etc/designate/pools.yaml
    """
    program = f"{venv}/bin/designate-manage"
    argv = [program, "--config-file", config, "pool", "update", "--file", file]
    __salt__["openstack_db.run"](argv, user)
    return True
