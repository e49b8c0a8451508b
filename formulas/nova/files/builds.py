# Managed by Salt: local changes are overwritten.
"""Servers whose build was lost with the conductor that had it fail, so that their users are told.

A conductor takes a build off the queue before it works on it: when its host dies in between, nobody
has it any more, and the server says BUILD for ever. One that says so for longer than the limit
becomes one that could not be scheduled: in error, with a fault, in cell0 or where it is already.
What a hypervisor has is the hypervisor's business (instance_build_timeout).

It is asked every minute, and there is hardly ever one: two rows are looked for first, and all of
Nova is loaded (seconds of a core) only when there is one.

Usage: python nova-builds SECONDS --config-file FILE [--config-file FILE …]
Source: Nova, ``nova/conductor/manager.py`` (``schedule_and_build_instances``, ``_bury_in_cell0``).
"""

import datetime
import sys

import sqlalchemy

SENTENCE = (
    "The build was lost with the conductor that had it. Delete the server and start it again."
)

#: A row that says BUILD for longer than it may, in the API's database and in that of a cell.
WAITING = {
    "api_database": "SELECT 1 FROM build_requests WHERE created_at < :before LIMIT 1",
    "database": "SELECT 1 FROM instances WHERE deleted = 0 AND vm_state = 'building'"
    " AND host IS NULL AND created_at < :before LIMIT 1",
}


def waiting(connections, limit):
    """Whether a database has a build that is too old: its URL by the section that names it."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    before = now - datetime.timedelta(seconds=limit)
    for section, url in connections.items():
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
        with engine.connect() as connection:
            query = sqlalchemy.text(WAITING[section]).bindparams(before=before)
            if connection.execute(query).first():
                return True
    return False


def connections(arguments):
    """The URL of each database that Nova's own files name."""
    from oslo_config import cfg

    conf = cfg.ConfigOpts()
    for section in WAITING:
        conf.register_opt(cfg.StrOpt("connection", required=True), group=section)
    conf(arguments, project="nova")
    return {section: conf[section].connection for section in WAITING}


def disks(admin, request):
    """The disks of a request as a conductor gets them: new, and of a context.

    Those that were read from the API's database are neither, and Nova cannot write them to a cell.
    """
    from nova import objects

    found = []
    for disk in request.block_device_mappings:
        said = {name: getattr(disk, name) for name in disk.fields if disk.obj_attr_is_set(name)}
        found.append(objects.BlockDeviceMapping(admin, **said))
    return objects.BlockDeviceMappingList(objects=found)


def buried(admin, limit):
    """Servers that no cell has yet."""
    from nova import exception, objects
    from nova.conductor import manager
    from oslo_utils import timeutils

    found = [
        request
        for request in objects.BuildRequestList.get_all(admin)
        if timeutils.is_older_than(request.created_at, limit)
    ]
    conductor = manager.ComputeTaskManager() if found else None
    for request in found:
        try:
            spec = objects.RequestSpec.get_by_instance_uuid(admin, request.instance_uuid)
        except exception.RequestSpecNotFound:
            continue
        conductor._bury_in_cell0(
            admin,
            spec,
            exception.NovaException(SENTENCE),
            build_requests=[request],
            block_device_mapping=disks(admin, request),
            tags=request.tags,
        )
        yield request.instance_uuid


def failed(admin, limit):
    """Servers that a cell has and no hypervisor; in cell0 those whose burial was cut short."""
    from nova import context, exception, objects
    from nova.compute import utils, vm_states
    from oslo_utils import timeutils

    for cell in objects.CellMappingList.get_all(admin):
        with context.target_cell(admin, cell) as inside:
            building = objects.InstanceList.get_by_filters(
                inside, {"vm_state": vm_states.BUILDING, "deleted": False}, expected_attrs=[]
            )
            for one in building:
                if one.host is None and timeutils.is_older_than(one.created_at, limit):
                    utils.add_instance_fault_from_exc(
                        inside, one, exception.NovaException(SENTENCE)
                    )
                    one.vm_state, one.task_state = vm_states.ERROR, None
                    one.save()
                    yield one.uuid


def main():
    limit, arguments = int(sys.argv[1]), sys.argv[2:]
    if not waiting(connections(arguments), limit):
        return
    from nova import config, context, objects

    config.parse_args(["nova-builds", *arguments])
    objects.register_all()
    admin = context.get_admin_context()
    # the second one looks after what the first one began, here or on another controller
    for work in (buried, failed):
        for server in work(admin, limit):
            print(f"server {server}: {SENTENCE}", flush=True)


if __name__ == "__main__":
    main()
