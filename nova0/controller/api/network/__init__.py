"""Network v2.0. RESOURCES: the files of this API; each holds the routes of one resource."""

from nova0.controller.api.network import (
    extensions,
    networks,
    ports,
    quotas,
    security_group_rules,
    security_groups,
    subnets,
    tags,
)

RESOURCES = [extensions, networks, subnets, ports, security_groups, security_group_rules, quotas, tags]
