"""One member of a RabbitMQ cluster: what it sees, what it has, whether it really carries messages.

Everything goes through ``rabbitmqctl``, with no secret on its command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import uuid

from salt.exceptions import CommandExecutionError

UNIT = "rabbitmq-server"
#: What the server reads when it starts; certificates are read again by themselves.
FILES = (
    "/etc/rabbitmq/rabbitmq.conf",
    "/etc/rabbitmq/rabbitmq-env.conf",
    "/etc/rabbitmq/inter_node_tls.config",
    "/etc/rabbitmq/enabled_plugins",
    "/etc/systemd/system/rabbitmq-server.service.d/rabbitmq.conf",
)
CA = "/etc/saltern/pki/ca.crt"
HOME = "/var/lib/rabbitmq"
MNESIA = f"{HOME}/mnesia"


def fresh():
    """Tell whether this member never ran: it has no database, so it looks for others to join.

    :returns: True or False

    CLI Example:

    .. code-block:: bash

        salt 'inf*' rabbitmq_cluster.fresh
    """
    try:
        with os.scandir(MNESIA) as entries:
            return not any(entry.is_dir() for entry in entries)
    except FileNotFoundError:
        return True


def peer_ready(host, timeout=5):
    """Tell whether another member is up and has its accounts.

    :param host: full name of the other member
    :param timeout: seconds
    :returns: True or False

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test rabbitmq_cluster.peer_ready inf01.demo-core.test
    """
    server = __pillar__.get("rabbitmq", {}).get("server", {})
    try:
        if not server.get("probe", {}).get("password"):
            with socket.create_connection((host, server.get("port", 5671)), timeout=timeout):
                return True
        with _connection(host, timeout):
            return True
    except (CommandExecutionError, OSError):
        return False


def status():
    """Return what this member sees of its cluster.

    :returns: ``{members, running, partitions, alarms}``: node names, sorted; partitions as
        ``{node: [nodes it lost]}``; alarms as text
    :raises CommandExecutionError: the member does not answer

    CLI Example:

    .. code-block:: bash

        salt 'inf*' rabbitmq_cluster.status
    """
    seen = json.loads(_ctl("cluster_status", "--formatter", "json"))
    return {
        "members": sorted(seen["disk_nodes"] + seen["ram_nodes"]),
        "running": sorted(seen["running_nodes"]),
        "partitions": seen["partitions"] or {},
        "alarms": [json.dumps(alarm, sort_keys=True) for alarm in seen["alarms"]],
    }


def facts():
    """Say what this member sees, in a shape that is there even when it is down.

    :returns: ``{up, members, running, partitions, stale}``; ``stale`` lists configuration files
        that are newer than the server's process

    CLI Example:

    .. code-block:: bash

        salt 'inf*' rabbitmq_cluster.facts
    """
    try:
        seen = status()
    except CommandExecutionError:
        return {"up": False, "members": [], "running": [], "partitions": {}, "stale": []}
    stale = __salt__["unit_age.newer"](UNIT, FILES)
    keep = {key: seen[key] for key in ("members", "running", "partitions")}
    return {"up": True, **keep, "stale": stale}


def restart(deadline=300):
    """Restart this member, if all quorum queues can spare it, and wait until it is back.

    :param deadline: seconds that the queues have to get their other members in line
    :returns: a sentence
    :raises CommandExecutionError: it cannot be spared, or does not come back

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test rabbitmq_cluster.restart
    """
    if len(status()["members"]) > 1:
        tool("rabbitmq-upgrade", "await_online_quorum_plus_one", "-t", str(deadline))
    done = _run(["systemctl", "restart", UNIT], timeout=900)
    if done.returncode:
        raise CommandExecutionError(f"{UNIT} did not start: see journalctl -u {UNIT}.")
    _ctl("await_startup", timeout=600)
    return "Restarted."


def healthy():
    """Check the cluster as this member sees it, and send a message through a quorum queue.

    :returns: ``{ok, sentence}``

    CLI Example:

    .. code-block:: bash

        salt 'inf*' rabbitmq_cluster.healthy
    """
    try:
        seen = status()
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    wanted = len(__pillar__.get("topology", {}).get("roles", {}).get("rabbitmq.server", [])) or 1
    down = sorted(set(seen["members"]) - set(seen["running"]))
    if down:
        return {"ok": False, "sentence": f"{', '.join(down)} not running."}
    if len(seen["members"]) != wanted:
        return {
            "ok": False,
            "sentence": f"{len(seen['members'])} of {wanted} members are in the cluster.",
        }
    if seen["partitions"]:
        return {"ok": False, "sentence": "The cluster is partitioned."}
    if seen["alarms"]:
        return {"ok": False, "sentence": f"Alarms: {'; '.join(seen['alarms'])}."}
    try:
        carried = roundtrip()
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    return {"ok": True, "sentence": f"{wanted} of {wanted} members run. {carried}"}


def roundtrip(timeout=15):
    """Publish a message over TLS to a quorum queue of this member and get it back.

    Uses the account in pillar ``rabbitmq:server:probe``.

    :param timeout: seconds for each step
    :returns: a sentence
    :raises CommandExecutionError: it did not come back

    CLI Example:

    .. code-block:: bash

        salt 'inf*' rabbitmq_cluster.roundtrip
    """
    server = __pillar__.get("rabbitmq", {}).get("server", {})
    if not server.get("probe", {}).get("password"):
        return "No account to send a message with (rabbitmq:server:probe)."
    host = __pillar__.get("host", {}).get("fqdn") or __grains__["id"]
    queue, message = f"probe.{host}", uuid.uuid4().hex
    with _connection(host, timeout, confirm_publish=True) as connection:
        channel = connection.channel()
        channel.queue_declare(
            queue,
            durable=True,
            auto_delete=False,
            arguments={"x-queue-type": "quorum", "x-expires": 600_000},
        )
        channel.queue_purge(queue)
        channel.basic_publish(_amqp().Message(message), routing_key=queue)
        got = channel.basic_get(queue, no_ack=True)
        channel.queue_delete(queue)
    if got is None or got.body != message:
        raise CommandExecutionError(f"The message sent through {host} did not come back.")
    return "A message went through a quorum queue."


def definitions():
    """Export users (with password hashes), virtual hosts, permissions and policies.

    For states; hashes are secrets too.

    :returns: RabbitMQ's own structure
    :raises CommandExecutionError: the member does not answer

    CLI Example:

    .. code-block:: bash

        salt inf01.demo-core.test rabbitmq_cluster.definitions
    """
    return json.loads(_ctl("export_definitions", "-", "--format", "json", timeout=120))


def import_definitions(data):
    """Import definitions; newer releases may still be at it when this returns.

    :param data: what :func:`definitions` returns, or parts of it
    :raises CommandExecutionError: RabbitMQ refuses

    CLI Example:

    .. code-block:: bash

        salt inf01.demo-core.test rabbitmq_cluster.import_definitions '{"policies": []}'
    """
    # A file, as newer tools read no standard input here; it holds password hashes.
    with tempfile.NamedTemporaryFile("w", dir=HOME, prefix=".import-", suffix=".json") as file:
        shutil.chown(file.name, "rabbitmq", "rabbitmq")
        json.dump(data, file)
        file.flush()
        _ctl("import_definitions", file.name, "--format", "json", timeout=120)


def delete_user(name):
    """Delete an account.

    :param name: its name
    :raises CommandExecutionError: there is none, or RabbitMQ refuses

    CLI Example:

    .. code-block:: bash

        salt inf01.demo-core.test rabbitmq_cluster.delete_user guest
    """
    _ctl("delete_user", name)


def _amqp():
    try:
        import amqp
    except ImportError as err:
        raise CommandExecutionError("python3-amqp is not installed for Salt's Python.") from err
    return amqp


@contextlib.contextmanager
def _connection(host, timeout, **options):
    """Log in over verified TLS with the probe's account."""
    amqp = _amqp()
    server = __pillar__["rabbitmq"]["server"]
    probe = server["probe"]
    try:
        with amqp.Connection(
            host=f"{host}:{server.get('port', 5671)}",
            userid=probe.get("user", "saltern-probe"),
            password=probe["password"],
            virtual_host=probe.get("vhost", "saltern-probe"),
            ssl={"ca_certs": CA, "server_hostname": host, "cert_reqs": ssl.CERT_REQUIRED},
            connect_timeout=timeout,
            read_timeout=timeout,
            write_timeout=timeout,
            **options,
        ) as connection:
            yield connection
    except (amqp.AMQPError, OSError) as err:
        raise CommandExecutionError(
            f"No message through {host} over TLS: {type(err).__name__} {err}"
        ) from err


def _ctl(*arguments, timeout=60):
    return tool("rabbitmqctl", "--silent", *arguments, timeout=timeout)


def tool(program, *arguments, timeout=600):
    """Run one of RabbitMQ's tools and return what it prints; other modules and states call it.

    :param program: ``rabbitmqctl``, ``rabbitmq-queues``, ``rabbitmq-upgrade``
    :param arguments: its words, without a secret
    :param timeout: seconds
    :raises CommandExecutionError: it fails, with its reason

    CLI Example:

    .. code-block:: bash

        salt 'inf*' rabbitmq_cluster.tool rabbitmq-diagnostics server_version
    """
    done = _run([program, *arguments], timeout=timeout)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("Error")), " ".join(lines[:1]))
        verb = next((word for word in arguments if not word.startswith("-")), "")
        raise CommandExecutionError(f"{program} {verb}: {reason[:300] or 'failed'}")
    return done.stdout


def _run(command, timeout=60):
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except FileNotFoundError as err:
        raise CommandExecutionError(
            f"{command[0]} is not installed: apply rabbitmq.server first."
        ) from err
    except subprocess.TimeoutExpired as err:
        raise CommandExecutionError(f"{command[0]} did not end in {timeout} s.") from err
