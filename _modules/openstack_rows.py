"""
Rows of an OpenStack service's database
=======================================

Reads what a service's processes write of themselves, with the connection of its configuration, in
its own Python as its user, but without loading the service: that costs seconds of a core, and this
is asked on each host after each step of a rollout. No password is an argument, a return or a log
line.
"""

__virtualname__ = "openstack_rows"

# Reads {"config", "section", "options", "table", "columns", "where"}; runs in the service's Python.
_SCRIPT = """
import datetime, json, socket, sys
import sqlalchemy
from oslo_config import cfg
want = json.load(sys.stdin)
conf = cfg.ConfigOpts()
conf.register_opt(cfg.StrOpt('connection'), group=want['section'])
conf.register_opt(cfg.StrOpt('host', default=socket.gethostname()))
conf([], default_config_files=want['config'], default_config_dirs=[])
options = {'host': conf.host}
for name, section in want['options']:
    for group in conf.list_all_sections() if section == '*' else [section]:
        conf.register_opt(cfg.Opt(name), group=group or None)
        options[f'{group}.{name}' if group else name] = (conf[group] if group else conf)[name]
kinds = {'text': sqlalchemy.String, 'number': sqlalchemy.Integer, 'flag': sqlalchemy.Boolean,
         'age': sqlalchemy.DateTime}
table = sqlalchemy.table(
    want['table'],
    *[sqlalchemy.column(name, kinds[kind]()) for name, kind in want['columns'].items()])
query = sqlalchemy.select(table).where(*[table.c[n] == v for n, v in want['where'].items()])
try:
    engine = sqlalchemy.create_engine(conf[want['section']].connection)
    with engine.connect() as connection:
        found = [dict(row._mapping) for row in connection.execute(query)]
except sqlalchemy.exc.SQLAlchemyError as err:
    sys.exit(f'the database does not answer: {type(err).__name__}')
now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
for row in found:
    for name, value in row.items():
        if isinstance(value, datetime.datetime):
            row[name] = round((now - value).total_seconds(), 1)
print(json.dumps({'options': options, 'rows': found}))
"""


def __virtual__():
    return __virtualname__


def read(config, table, columns, where, user, venv="/usr", section="database", options=()):
    """
    Read rows of a service's database, and options of its configuration.

    config
        Configuration files of the service, in the order in which they are read.
    table
        Name of the table.
    columns
        What is read, by name: ``text``, ``number``, ``flag``, or ``age`` for a time, which is
        returned as seconds from then to now.
    where
        Columns that have this value.
    user
        The service's user.
    venv
        The service's virtual environment; ``/usr`` for distribution packages.
    section
        Section of the configuration with ``connection``.
    options
        Options that are read, too: ``[name, section]``, the section empty for ``DEFAULT`` and ``*``
        for each one that is written.

    Returns ``{"options": {"host": …, name or section.name: text or None}, "rows": [{column:
    value}]}``; the host is the option of that name, or what the system calls this one.
    Raises ``CommandExecutionError`` when the database does not answer.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_rows.read '[/etc/cinder/cinder.conf]' services \\
            '{host: text, updated_at: age}' '{binary: cinder-scheduler}' cinder
    """
    want = {
        "config": list(config),
        "section": section,
        "options": list(options),
        "table": table,
        "columns": columns,
        "where": where,
    }
    return __salt__["openstack_db.ask"](_SCRIPT, user, venv, want)
