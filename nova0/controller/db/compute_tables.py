"""Tables of the compute service: servers and what belongs to them, flavors, key pairs, hosts, claims."""

from __future__ import annotations

from peewee import AutoField, BooleanField, CharField, FloatField, IntegerField, TextField

from nova0.controller.db.base_table import JsonField, Table, new_id, now


class FlavorRow(Table):
    """`deleted` rows stay: servers keep their own copy, but history keeps its names."""

    id = AutoField()
    flavor_id = CharField(index=True)
    name = CharField(index=True)
    vcpus = IntegerField()
    memory_mb = IntegerField()
    root_gb = IntegerField()
    ephemeral_gb = IntegerField(default=0)
    swap_mb = IntegerField(default=0)
    rxtx_factor = FloatField(default=1.0)
    is_public = BooleanField(default=True)
    disabled = BooleanField(default=False)
    description = TextField(null=True)
    extra_specs = JsonField(default=dict)
    projects = JsonField(default=list)  # those a private flavor is shown to
    created_at = FloatField(default=now)
    deleted_at = FloatField(null=True, index=True)

    class Meta:
        table_name = "flavor"


class KeypairRow(Table):
    id = AutoField()
    user_id = CharField(index=True)
    name = CharField()
    type = CharField(default="ssh")
    public_key = TextField()
    fingerprint = CharField()
    created_at = FloatField(default=now)

    class Meta:
        table_name = "keypair"
        indexes = ((("user_id", "name"), True),)


class InstanceRow(Table):
    """One server; kept after delete with `deleted_at` set. `flavor` and `image` are copies made at boot
    (objects.Flavor, objects.ImageRef as mappings): later changes of either do not reach a server."""

    id = AutoField()  # the number in instance-%08x
    uuid = CharField(unique=True, default=new_id)
    generation = IntegerField(default=1)
    name = CharField(index=True)
    hostname = CharField()
    description = TextField(null=True)
    project_id = CharField(index=True)
    user_id = CharField()
    vm_state = CharField(index=True)
    task_state = CharField(null=True)
    power_state = IntegerField(default=0)
    host = CharField(null=True, index=True)
    node = CharField(null=True)
    availability_zone = CharField(null=True)
    requested_zone = CharField(null=True)
    forced_host = CharField(null=True)  # zone:host, which skips the filters
    wanted_host = CharField(null=True)  # the host asked for; the filters have their say
    flavor = JsonField(of=dict)
    image = JsonField(null=True, of=dict)  # None: booted from a volume
    key_name = CharField(null=True)
    key_data = TextField(null=True)
    user_data = TextField(null=True)
    config_drive = BooleanField(default=False)
    metadata = JsonField(default=dict)
    system_metadata = JsonField(default=dict)  # image_* copies and our own notes
    tags = JsonField(default=list)
    scheduler_hints = JsonField(default=dict)
    requested_networks = JsonField(null=True)  # "auto" | "none" | [{uuid|port|fixed_ip}]
    security_groups = JsonField(default=list)  # names or ids asked for
    block_devices = JsonField(default=list)  # block_device_mapping_v2 as normalised
    disk_config = CharField(default="MANUAL")
    admin_password = CharField(null=True)
    access_ip_v4 = CharField(null=True)
    access_ip_v6 = CharField(null=True)
    locked_by = CharField(null=True)  # "owner" | "admin"
    locked_reason = TextField(null=True)
    launch_index = IntegerField(default=0)
    reservation_id = CharField(index=True)
    progress = IntegerField(default=0)
    host_leased_until = FloatField(null=True)  # a leave was granted to `host` (wall clock, for show and restart)
    root_device_name = CharField(default="/dev/vda")
    created_at = FloatField(default=now, index=True)
    updated_at = FloatField(null=True)
    launched_at = FloatField(null=True)
    terminated_at = FloatField(null=True)
    deleted_at = FloatField(null=True, index=True)

    class Meta:
        table_name = "instance"


class PastInstanceRow(Table):
    """What stays, for good, of a server whose row has aged out: enough to disown its guest on a host that was away
    for longer, and to report its usage. The columns are InstanceRow's, `flavor` without what usage does not show."""

    uuid = CharField(primary_key=True)
    generation = IntegerField()
    name = CharField()
    project_id = CharField(index=True)
    flavor = JsonField(of=dict)
    vm_state = CharField()
    launched_at = FloatField(null=True)  # None: it never ran
    terminated_at = FloatField(null=True)
    deleted_at = FloatField()

    class Meta:
        table_name = "past_instance"


class FaultRow(Table):
    """What went wrong with a server; the newest shows as `fault` while it is in ERROR."""

    id = AutoField()
    instance_uuid = CharField(index=True)
    code = IntegerField(default=500)
    message = TextField()
    details = TextField(default="")
    host = CharField(null=True)
    created_at = FloatField(default=now)

    class Meta:
        table_name = "instance_fault"


class ActionRow(Table):
    """One thing a user asked of a server."""

    id = AutoField()
    instance_uuid = CharField(index=True)
    action = CharField()
    request_id = CharField(index=True)
    user_id = CharField(null=True)
    project_id = CharField(null=True)
    message = TextField(null=True)  # "Error" when it failed
    start_time = FloatField(default=now)
    finish_time = FloatField(null=True)
    updated_at = FloatField(null=True)

    class Meta:
        table_name = "instance_action"


class ActionEventRow(Table):
    """One step of an action."""

    id = AutoField()
    action_id = IntegerField(index=True)
    event = CharField()
    start_time = FloatField(default=now)
    finish_time = FloatField(null=True)
    result = CharField(null=True)  # Success | Error
    host = CharField(null=True)
    details = TextField(null=True)
    traceback = TextField(null=True)

    class Meta:
        table_name = "instance_action_event"


class HostRow(Table):
    """A compute host and its service. Totals as last reported; used = sum of its claims."""

    id = AutoField()
    uuid = CharField(unique=True, default=new_id)  # hypervisor id from 2.53
    service_uuid = CharField(unique=True, default=new_id)
    host = CharField(unique=True)
    state = JsonField(of=dict)  # objects.HostState as a mapping
    vcpus = IntegerField()
    memory_mb = IntegerField()
    disk_gb = IntegerField()
    vcpus_used = IntegerField(default=0)
    memory_mb_used = IntegerField(default=0)
    disk_gb_used = IntegerField(default=0)
    servers = IntegerField(default=0)
    resources_used = JsonField(default=dict)  # custom resource class -> how many its claims hold
    disabled = BooleanField(default=False)
    disabled_reason = TextField(null=True)
    forced_down = BooleanField(default=False)
    fenced = BooleanField(default=False)
    created_at = FloatField(default=now)
    updated_at = FloatField(default=now)

    class Meta:
        table_name = "host"


class ClaimRow(Table):
    """What one server takes on one host; made and freed in one transaction with the host's sums."""

    id = AutoField()
    instance_uuid = CharField(unique=True)
    host = CharField(index=True)
    vcpus = IntegerField()
    memory_mb = IntegerField()
    disk_gb = IntegerField()
    created_at = FloatField(default=now)
    resources = JsonField(default=dict)  # custom resource class -> how many

    class Meta:
        table_name = "claim"


class AggregateRow(Table):
    id = AutoField()
    uuid = CharField(unique=True, default=new_id)
    name = CharField(unique=True)
    hosts = JsonField(default=list)
    metadata = JsonField(default=dict)
    created_at = FloatField(default=now)
    updated_at = FloatField(null=True)

    class Meta:
        table_name = "aggregate"


class ServerGroupRow(Table):
    id = AutoField()
    uuid = CharField(unique=True, default=new_id)
    name = CharField()
    project_id = CharField(index=True)
    user_id = CharField()
    policy = CharField()
    rules = JsonField(default=dict)
    members = JsonField(default=list)
    created_at = FloatField(default=now)

    class Meta:
        table_name = "server_group"


class QuotaRow(Table):
    """A limit that differs from the configured default; project_id "default" is the class."""

    id = AutoField()
    project_id = CharField()
    resource = CharField()
    hard_limit = IntegerField()

    class Meta:
        table_name = "quota"
        indexes = ((("project_id", "resource"), True),)


TABLES = [
    FlavorRow,
    KeypairRow,
    InstanceRow,
    PastInstanceRow,
    FaultRow,
    ActionRow,
    ActionEventRow,
    HostRow,
    ClaimRow,
    AggregateRow,
    ServerGroupRow,
    QuotaRow,
]
