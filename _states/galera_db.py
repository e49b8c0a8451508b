"""Databases, users and grants of a Galera cluster, with test mode and read-back.

Everything goes through ``galera_sql`` (root, unix socket). A password reaches the server as its
hash; it is in no comment, change or log.
"""

from __future__ import annotations

import re

from salt.exceptions import CommandExecutionError

PLUGIN = "mysql_native_password"


def database_present(name, charset="utf8mb3", collation=None):
    """Keep a database with a default character set.

    name
        name of the database
    charset
        default character set of its tables
    collation
        default collation; ``<charset>_general_ci`` when left out
    """
    wanted = {"charset": charset, "collation": collation or f"{charset}_general_ci"}

    def look():
        rows = _sql(
            "SELECT DEFAULT_CHARACTER_SET_NAME AS charset, DEFAULT_COLLATION_NAME AS collation"
            " FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s",
            name,
        )
        return rows[0] if rows else None

    def act(now):
        verb = "ALTER" if now else "CREATE"
        _sql(
            f"{verb} DATABASE {_quote(name)} CHARACTER SET {_word(wanted['charset'])}"
            f" COLLATE {_word(wanted['collation'])}"
        )

    return _converge(name, f"Database {name}", wanted, look, act)


def user_present(name, password, host="%", require_ssl=True):
    """Keep an account with a password.

    name
        name of the user
    password
        clear text; the server gets and keeps its hash
    host
        host part of the account
    require_ssl
        the account may only log in over TLS
    """
    digest = __salt__["galera_sql.password_hash"](password)
    account = f"{name}@{host}"
    wanted = {"plugin": PLUGIN, "hash": digest, "tls": "ANY" if require_ssl else ""}

    def look():
        rows = _sql(
            "SELECT plugin, authentication_string AS hash, ssl_type AS tls"
            " FROM mysql.user WHERE User = %s AND Host = %s",
            name,
            host,
        )
        return rows[0] if rows else None

    def act(now):
        verb = "ALTER" if now else "CREATE"
        _sql(
            f"{verb} USER %s@%s IDENTIFIED VIA {PLUGIN} USING %s"
            f" REQUIRE {'SSL' if require_ssl else 'NONE'}",
            name,
            host,
            digest,
        )

    return _converge(account, f"User {account}", wanted, look, act, secret=("hash",))


def grants_present(name, database, host="%", privileges=("ALL",)):
    """Keep exactly these privileges of an account on one database.

    name
        name of the user
    database
        name of the database
    host
        host part of the account
    privileges
        list of privileges; ``ALL`` for everything
    """
    account = f"{name}@{host}"
    # _ and % are wildcards in a grant: escaped, or nova_api would also be novaXapi
    pattern = re.sub(r"([_%])", r"\\\1", database)
    scope = f"{_quote(pattern)}.*"
    wanted = {"privileges": _privileges(privileges)}

    def look():
        granted = set()
        for row in _sql("SHOW GRANTS FOR %s@%s", name, host):
            found = re.match(r"GRANT (.+?) ON (`.*`)\.\* TO ", next(iter(row.values())))
            if found and found.group(2) in (_quote(pattern), _quote(database)):
                granted |= set(_privileges(found.group(1).split(",")))
        return {"privileges": sorted(granted)} if granted else None

    def act(now):
        have, want = set((now or {}).get("privileges", ())), set(wanted["privileges"])
        extra = have if "ALL" in have else have - want
        if extra:
            _sql(f"REVOKE {', '.join(sorted(extra))} ON {scope} FROM %s@%s", name, host)
        _sql(f"GRANT {', '.join(wanted['privileges'])} ON {scope} TO %s@%s", name, host)

    return _converge(f"{account} on {database}", f"Grants of {account}", wanted, look, act)


def _converge(name, label, wanted, look, act, secret=()):
    test = __opts__["test"]
    return __salt__["readback.present"](name, label, wanted, look, act, test, secret)


def _sql(statement, *args):
    return __salt__["galera_sql.run"](statement, args, causal=True)


def _quote(name):
    return __salt__["galera_sql.identifier"](name)


def _word(text):
    """Let only what a character set's name is made of into a statement."""
    if not re.fullmatch(r"\w+", text):
        raise CommandExecutionError(f"{text!r} is no name of a character set or collation")
    return text


def _privileges(names):
    found = {str(name).strip().upper() for name in names}
    wrong = [name for name in found if not re.fullmatch(r"[A-Z ]+", name)]
    if wrong:
        raise CommandExecutionError(f"{wrong[0]!r} is no privilege")
    return ["ALL"] if found & {"ALL", "ALL PRIVILEGES"} else sorted(found)
