"""
Processes of Cinder, as Cinder sees them
========================================

A process of Cinder that runs need not be one that works: it tells so by a beat that it writes to
the database, and one whose driver did not come up writes none. Here that is asked for, in Cinder's
own Python as its user. No password is an argument, a return or a log line.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "cinder_service"

#: What every process reads; what is its own comes after it.
COMMON = "/etc/cinder/cinder.conf"

#: There where the kernel has device-mapper, and logical volumes can be used.
DEVICE_MAPPER = "/dev/mapper/control"

# Reads {"config", "binary", "host"} from its standard input; runs in Cinder's Python.
_SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
want = json.load(sys.stdin)
from oslo_config import cfg
from oslo_db.exception import DBError
from cinder.common import config
from cinder import context, objects
from cinder.cmd import volume
conf = cfg.CONF
conf([], project='cinder', default_config_files=want['config'], default_config_dirs=[])
# whoever asks has retries of his own
conf.set_override('max_retries', 0, 'database')
objects.register_all()
own = want['host'] or conf.host
if want['binary'] == 'cinder-volume':
    hosts = []
    for name in conf.enabled_backends or []:
        if name:
            conf.register_opt(volume.host_opt, group=name)
            hosts.append(f"{want['host'] or conf[name].backend_host or conf.host}@{name}")
else:
    hosts = [own]
found = []
try:
    known = objects.ServiceList.get_all(context.get_admin_context(), {'binary': want['binary']})
except DBError as err:
    sys.exit(f'the database does not answer: {type(err).__name__}')
for host in hosts:
    one = next((one for one in known if one.host == host), None)
    found.append({'host': host} if one is None else {
        'host': host, 'up': bool(one.is_up), 'enabled': not one.disabled,
        'reason': one.disabled_reason})
print(json.dumps(found))
"""


def __virtual__():
    return __virtualname__


def state(binary, host=None, venv="/opt/openstack/current/cinder", config=None, user="cinder"):
    """
    Return what Cinder knows of one of its processes.

    binary
        Its name: ``cinder-scheduler``, ``cinder-volume``, ``cinder-backup``.
    host
        The host it runs on, as Cinder names it; default: this one, or the owner of a back end.
    venv
        Cinder's virtual environment; ``/usr`` for distribution packages.
    config
        Configuration files of the process, in the order in which they are read; default: those of
        the host.
    user
        Cinder's user.

    Returns a list of ``{"host": …, "up": bool, "enabled": bool, "reason": text or None}``: one
    entry, of cinder-volume one for each back end that is served here. An entry has the host alone
    where Cinder knows no such process. Raises ``CommandExecutionError`` when what is asked does not
    answer.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test cinder_service.state cinder-volume
    """
    files = list(config or [COMMON, f"/etc/cinder/{binary}.conf"])
    for file in files:
        if not __salt__["file.file_exists"](file):
            raise CommandExecutionError(f"there is no {file} here: {binary} is not installed")
    want = {"config": files, "binary": binary, "host": host}
    return __salt__["openstack_db.ask"](_SCRIPT, user, venv, want)


def up(binary, host=None, venv="/opt/openstack/current/cinder", config=None, user="cinder"):
    """
    Tell whether Cinder hears of one of its processes; a health check.

    binary, host, venv, config, user
        As for :py:func:`cinder_service.state <state>`.

    Returns ``{"ok": bool, "sentence": str}`` and never raises. One that is disabled is well:
    somebody wanted that, and the sentence says so. So is a cinder-volume that stands by.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test cinder_service.up cinder-scheduler
    """
    try:
        found = state(binary, host, venv, config, user)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    if not found:
        return {"ok": True, "sentence": f"{binary} stands by: no back end is served here."}
    said = [_judged(binary, one) for one in found]
    bad = [sentence for ok, sentence in said if not ok]
    return {"ok": not bad, "sentence": " ".join(bad or [sentence for _, sentence in said])}


def _judged(binary, one):
    """Return whether a process is well, and the sentence that says it."""
    where = f"{binary} on {one['host']}"
    if "up" not in one:
        return False, f"Cinder knows no {where}."
    if not one["up"]:
        return False, f"Cinder has not heard of {where} for too long."
    if not one["enabled"]:
        why = f": {one['reason']}" if one["reason"] else ""
        return True, f"{where} is up, and disabled{why}."
    return True, f"{where} is up."


def group(name):
    """
    Return what stands against a volume group being used for volumes, as a sentence, or None.

    name
        Name of the group.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test cinder_service.group cinder-volumes
    """
    if not __salt__["file.access"](DEVICE_MAPPER, "f"):
        return (
            f"this host's kernel has no device-mapper ({DEVICE_MAPPER} is missing),"
            " so logical volumes cannot be used here: take another engine"
        )
    done = __salt__["cmd.run_all"](
        ["vgs", "--noheadings", "--options", "vg_name", name],
        python_shell=False,
        ignore_retcode=True,
    )
    if done["retcode"]:
        return f"there is no volume group {name} on this host: make it with vgcreate"
    return None
