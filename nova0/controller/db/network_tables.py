"""Tables of the network service."""

from __future__ import annotations

from peewee import AutoField, BooleanField, CharField, CompositeKey, FloatField, IntegerField, TextField

from nova0.controller.db.base_table import JsonField, Table, new_id, now


class NetworkRow(Table):
    """`revision` grows with every change a host must hear of (ports, rules, subnets, places)."""

    id = CharField(primary_key=True, default=new_id)
    name = CharField(default="")
    description = TextField(default="")
    project_id = CharField(index=True)
    admin_state_up = BooleanField(default=True)
    shared = BooleanField(default=False)
    external = BooleanField(default=False)
    port_security_enabled = BooleanField(default=True)
    mtu = IntegerField(default=1450)
    vni = IntegerField(unique=True)
    gateway_mac = CharField()
    tags = JsonField(default=list)
    revision = IntegerField(default=1)
    created_at = FloatField(default=now)
    updated_at = FloatField(default=now)

    class Meta:
        table_name = "network"


class SubnetRow(Table):
    id = CharField(primary_key=True, default=new_id)
    name = CharField(default="")
    description = TextField(default="")
    network_id = CharField(index=True)
    project_id = CharField(index=True)
    ip_version = IntegerField(default=4)
    cidr = CharField()
    gateway_ip = CharField(null=True)
    enable_dhcp = BooleanField(default=True)
    allocation_pools = JsonField(default=list)  # [{"start", "end"}]
    dns_nameservers = JsonField(default=list)
    host_routes = JsonField(default=list)
    tags = JsonField(default=list)
    revision = IntegerField(default=1)
    created_at = FloatField(default=now)
    updated_at = FloatField(default=now)

    class Meta:
        table_name = "subnet"


class PortRow(Table):
    """`made_by_us` ports are deleted with their server; a user's own are only unbound."""

    id = CharField(primary_key=True, default=new_id)
    name = CharField(default="")
    description = TextField(default="")
    network_id = CharField(index=True)
    project_id = CharField(index=True)
    mac_address = CharField()
    admin_state_up = BooleanField(default=True)
    device_id = CharField(default="", index=True)
    device_owner = CharField(default="")
    host = CharField(null=True, index=True)
    status = CharField(default="DOWN")
    security_groups = JsonField(default=list)  # ids
    allowed_address_pairs = JsonField(default=list)
    port_security_enabled = BooleanField(default=True)
    vnic_type = CharField(default="normal")
    binding_profile = JsonField(default=dict)
    made_by_us = BooleanField(default=False)
    position = IntegerField(default=0)  # order of a server's ports
    tags = JsonField(default=list)
    revision = IntegerField(default=1)
    created_at = FloatField(default=now)
    updated_at = FloatField(default=now)

    class Meta:
        table_name = "port"
        indexes = ((("network_id", "mac_address"), True),)


class PortGroupRow(Table):
    """Which ports carry a security group, to be found by the group. Triggers of the store keep it equal to
    `PortRow.security_groups`: nobody else writes it."""

    group_id = CharField()
    port_id = CharField(index=True)

    class Meta:
        table_name = "port_group"
        primary_key = CompositeKey("group_id", "port_id")


class FixedAddressRow(Table):
    """An address in use; the unique index is what stops two ports from having it."""

    id = AutoField()
    subnet_id = CharField()
    ip_address = CharField()
    port_id = CharField(index=True)

    class Meta:
        table_name = "fixed_address"
        indexes = ((("subnet_id", "ip_address"), True),)


class SecurityGroupRow(Table):
    id = CharField(primary_key=True, default=new_id)
    name = CharField()
    description = TextField(default="")
    project_id = CharField(index=True)
    stateful = BooleanField(default=True)
    tags = JsonField(default=list)
    revision = IntegerField(default=1)
    created_at = FloatField(default=now)
    updated_at = FloatField(default=now)

    class Meta:
        table_name = "security_group"


class SecurityGroupRuleRow(Table):
    id = CharField(primary_key=True, default=new_id)
    security_group_id = CharField(index=True)
    project_id = CharField()
    description = TextField(default="")
    direction = CharField()
    ethertype = CharField(default="IPv4")
    protocol = CharField(null=True)
    port_range_min = IntegerField(null=True)
    port_range_max = IntegerField(null=True)
    remote_ip_prefix = CharField(null=True)
    remote_group_id = CharField(null=True)
    revision = IntegerField(default=1)
    created_at = FloatField(default=now)
    updated_at = FloatField(default=now)

    class Meta:
        table_name = "security_group_rule"


TABLES = [NetworkRow, SubnetRow, PortRow, PortGroupRow, FixedAddressRow, SecurityGroupRow, SecurityGroupRuleRow]
