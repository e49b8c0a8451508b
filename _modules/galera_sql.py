"""SQL on the local MariaDB server, as root over its unix socket: no password, no network.

With PyMySQL when Salt's Python has it, else with the ``mariadb`` client, which gets the statement
on its standard input so that nothing shows in the process list.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess

from salt.exceptions import CommandExecutionError

try:
    import pymysql
    import pymysql.cursors
except ImportError:
    pymysql = None

SOCKET = "/run/mysqld/mysqld.sock"


def run(statement, args=(), causal=False, timeout=10):
    """Run one statement and return its rows.

    :param statement: SQL with ``%s`` for each argument
    :param args: text or numbers for the placeholders
    :param causal: first wait until everything committed in the cluster before is applied here
    :param timeout: seconds for the connection and for each answer
    :returns: list of ``{column: value}``; empty for a statement without rows
    :raises CommandExecutionError: the server does not answer or refuses the statement

    CLI Example:

    .. code-block:: bash

        salt '*' galera_sql.run 'SELECT @@version'
    """
    args = tuple(args)
    if pymysql is None:
        return _client(statement, args, causal, timeout)
    try:
        connection = pymysql.connect(
            unix_socket=SOCKET,
            user="root",
            connect_timeout=timeout,
            read_timeout=timeout,
            write_timeout=timeout,
            autocommit=True,
            cursorclass=pymysql.cursors.DictCursor,
        )
        try:
            with connection.cursor() as cursor:
                if causal:
                    cursor.execute("SET SESSION wsrep_sync_wait = 15")
                cursor.execute(statement, args or None)
                return [_text(row) for row in cursor.fetchall() or ()]
        finally:
            connection.close()
    except (pymysql.MySQLError, OSError) as err:
        raise CommandExecutionError(f"MariaDB over {SOCKET}: {_reason(err)}") from err


def password_hash(password):
    """Return what the server stores of a password (plugin ``mysql_native_password``).

    :param password: clear text
    :returns: ``*`` and 40 hexadecimal digits: SHA-1 of the SHA-1

    CLI Example:

    .. code-block:: bash

        salt '*' galera_sql.password_hash not-a-real-one
    """
    # The algorithm is the server's, not a choice.
    once = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(once, usedforsecurity=False).hexdigest().upper()


def identifier(name):
    """Quote a database, table or column name.

    :param name: the bare name
    :returns: the name in backticks

    CLI Example:

    .. code-block:: bash

        salt '*' galera_sql.identifier keystone
    """
    return "`" + name.replace("`", "``") + "`"


def _client(statement, args, causal, timeout):
    """Run through the command line client: one result set, tab separated, with a heading."""
    client = shutil.which("mariadb") or shutil.which("mysql")
    if client is None:
        raise CommandExecutionError(
            "Neither PyMySQL nor the mariadb client is there: install python3-pymysql."
        )
    text = statement % tuple(_literal(arg) for arg in args) if args else statement
    if causal:
        text = "SET SESSION wsrep_sync_wait = 15; " + text
    try:
        done = subprocess.run(
            [client, "--no-defaults", "--batch", "--user=root", f"--socket={SOCKET}"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as err:
        raise CommandExecutionError(f"MariaDB over {SOCKET}: no answer in {timeout} s") from err
    if done.returncode:
        raise CommandExecutionError(f"MariaDB over {SOCKET}: {done.stderr.strip()[-300:]}")
    lines = done.stdout.splitlines()
    if not lines:
        return []
    columns = lines[0].split("\t")
    return [
        dict(zip(columns, map(_unescape, line.split("\t")), strict=False)) for line in lines[1:]
    ]


def _literal(value):
    if isinstance(value, int):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def _unescape(field):
    for escape, char in (("\\t", "\t"), ("\\n", "\n"), ("\\0", "\0"), ("\\\\", "\\")):
        field = field.replace(escape, char)
    return field


def _text(row):
    return {
        key: value.decode(errors="replace") if isinstance(value, bytes) else value
        for key, value in row.items()
    }


def _reason(err):
    """Return the server's message without the statement."""
    return str(err.args[-1] if err.args else err)
