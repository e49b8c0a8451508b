"""
The first administrator of a cloud
==================================

``keystone-manage bootstrap`` makes the domain, project, roles, administrator and catalogue that
every later API call needs. Here is what tells whether that has been done, by looking into
Keystone's database with Keystone's own Python, as its user. The password comes from the pillar
and travels by standard input and environment: it is no argument, return or log line.
"""

from collections.abc import Mapping

from salt.exceptions import CommandExecutionError

__virtualname__ = "keystone_bootstrap"

# Reads {"config", "username", "password", "project", "region"} from its standard input.
_SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
import sqlalchemy as sa
import keystone.conf
from keystone.common import password_hashing, sql

want = json.load(sys.stdin)
keystone.conf.configure()
sql.initialize()
conf = keystone.conf.CONF
conf([], project='keystone', default_config_files=[want['config']])
domain = conf.identity.default_domain_id
try:
    connection = sa.create_engine(conf.database.connection).connect()
except sa.exc.SQLAlchemyError as err:
    sys.exit(f'the database does not answer: {getattr(err, "orig", None) or err.__class__}')

def one(query, **values):
    return connection.execute(sa.text(query), values).scalar()

if not sa.inspect(connection).has_table('local_user'):
    print(json.dumps(['the schema and all in it']))
    sys.exit()
missing = []
user = one('SELECT user_id FROM local_user WHERE name=:n AND domain_id=:d',
           n=want['username'], d=domain)
project = one('SELECT id FROM project WHERE name=:n AND domain_id=:d',
              n=want['project'], d=domain)
role = one("SELECT id FROM role WHERE name='admin' AND domain_id='<<null>>'")
for what, found in (('project ' + want['project'], project), ('role admin', role),
                    ('user ' + want['username'], user)):
    if not found:
        missing.append(what)
if user:
    hashed = one('SELECT p.password_hash FROM password p JOIN local_user u'
                 ' ON p.local_user_id = u.id WHERE u.user_id=:u'
                 ' ORDER BY p.created_at_int DESC LIMIT 1', u=user)
    if not hashed or not password_hashing.check_password(want['password'], hashed):
        missing.append('password of ' + want['username'])
if user and role:
    if not one("SELECT 1 FROM assignment WHERE type='UserProject' AND actor_id=:u"
               ' AND target_id=:p AND role_id=:r', u=user, p=project, r=role):
        missing.append('role admin on project ' + want['project'])
    if not one("SELECT 1 FROM system_assignment WHERE actor_id=:u AND role_id=:r",
               u=user, r=role):
        missing.append('role admin on the system')
if not one('SELECT 1 FROM region WHERE id=:r', r=want['region']):
    missing.append('region ' + want['region'])
for interface in ('public', 'internal', 'admin'):
    if not one('SELECT 1 FROM endpoint e JOIN service s ON e.service_id = s.id'
               " WHERE s.type='identity' AND e.interface=:i AND e.region_id=:r",
               i=interface, r=want['region']):
        missing.append(interface + ' endpoint')
print(json.dumps(missing))
"""


def __virtual__():
    return __virtualname__


def missing(config, password_pillar, region, user="keystone", venv="/usr",
            username="admin", project="admin"):  # fmt: skip
    """
    Return what the bootstrap still has to make, in words; empty when it was done.

    config
        Configuration file of Keystone.
    password_pillar
        Path in the pillar, ``:`` between the keys, of the administrator's password.
    region
        Region of the identity endpoints.
    user, venv
        Keystone's user and virtual environment (``/usr`` for distribution packages).
    username, project
        Of the administrator.

    A password that is not the pillar's counts as missing: running the bootstrap again sets it.
    Raises ``CommandExecutionError`` when the database does not answer.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test keystone_bootstrap.missing /etc/keystone/keystone.conf \\
            keystone:server:bootstrap:password RegionOne venv=/opt/openstack/current/keystone
    """
    want = {"config": config, "username": username, "project": project, "region": region}
    want["password"] = _password(password_pillar)
    return __salt__["openstack_db.ask"](_SCRIPT, user, venv, want)


def run(config, password_pillar, region, url, user="keystone", venv="/usr",
        username="admin", project="admin"):  # fmt: skip
    """
    Run ``keystone-manage bootstrap``; what exists is kept, the password is set to the pillar's.

    config, password_pillar, region, user, venv, username, project
        As for :py:func:`keystone_bootstrap.missing <missing>`.
    url
        URLs of the identity endpoints: ``{"public":, "internal":, "admin":}``.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test keystone_bootstrap.run /etc/keystone/keystone.conf \\
            keystone:server:bootstrap:password RegionOne '{public: ..., ...}'
    """
    argv = [f"{venv}/bin/keystone-manage", "--config-file", config, "bootstrap"]
    argv += ["--bootstrap-username", username, "--bootstrap-project-name", project]
    argv += ["--bootstrap-service-name", "keystone", "--bootstrap-region-id", region]
    for interface in ("public", "internal", "admin"):
        argv += [f"--bootstrap-{interface}-url", url[interface]]
    secret = {"OS_BOOTSTRAP_PASSWORD": _password(password_pillar)}
    __salt__["openstack_db.run"](argv, user, env=secret)
    return True


def _password(path):
    data = __pillar__
    for part in path.split(":"):
        data = data.get(part) if isinstance(data, Mapping) else None
    if not isinstance(data, str) or not data:
        raise CommandExecutionError(f"the pillar has no password at {path}")
    return data
