"""Runs in Nova's Python: leaves a server that waits for a conductor that is gone, and one whose
burial in cell0 was cut short. Arguments: their ids, then Nova's configuration files."""

import sys

from nova import config, context, objects
from nova.network import model

waiting, half, *files = sys.argv[1:]
config.parse_args(["test"], default_config_files=files)
objects.register_all()
admin = context.get_admin_context()

flavor = objects.Flavor(
    admin, flavorid="small", name="small", memory_mb=64, vcpus=1, root_gb=1, ephemeral_gb=0,
    swap=0, rxtx_factor=1.0, is_public=True, disabled=False, extra_specs={}, vcpu_weight=0,
    description=None,
)  # fmt: skip
flavor.create()


def server(uuid, **more):
    """A server as the API describes it to a conductor."""
    return objects.Instance(
        admin, uuid=uuid, project_id="p", user_id="u", display_name="lost", image_ref="i",
        vm_state="building", task_state="scheduling", launch_index=0, host=None,
        flavor=flavor, old_flavor=None, new_flavor=None, memory_mb=64, vcpus=1, root_gb=1,
        ephemeral_gb=0, hidden=False, locked=False, metadata={}, system_metadata={},
        security_groups=objects.SecurityGroupList(objects=[]), numa_topology=None,
        info_cache=objects.InstanceInfoCache(instance_uuid=uuid, network_info=model.NetworkInfo()),
        pci_requests=objects.InstancePCIRequests(requests=[]), display_description="",
        resources=None,
        **more,
    )  # fmt: skip


one = server(waiting, created_at=None, updated_at=None, deleted=False, deleted_at=None)
objects.RequestSpec(
    admin, instance_uuid=waiting, flavor=flavor, num_instances=1, project_id="p", user_id="u",
    availability_zone=None, image=None, numa_topology=None, pci_requests=None, ignore_hosts=None,
    force_hosts=None, force_nodes=None, retry=None, limits=None, instance_group=None,
    scheduler_hints={}, is_bfv=False, requested_destination=None,
    security_groups=objects.SecurityGroupList(objects=[]),
).create()  # fmt: skip
disk = objects.BlockDeviceMapping(
    source_type="image", destination_type="local", image_id="i", boot_index=0,
    device_type="disk", delete_on_termination=True, volume_size=None, device_name=None,
)  # fmt: skip
objects.InstanceMapping(admin, instance_uuid=waiting, project_id="p", user_id="u").create()
objects.BuildRequest(
    admin, instance=one, instance_uuid=waiting, project_id="p", tags=objects.TagList(objects=[]),
    block_device_mappings=objects.BlockDeviceMappingList(objects=[disk]),
).create()  # fmt: skip

cell0 = objects.CellMapping.get_by_uuid(admin, objects.CellMapping.CELL0_UUID)
with context.target_cell(admin, cell0) as inside:
    two = server(half)
    two._context = inside
    two.create()
