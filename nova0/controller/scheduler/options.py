"""The scheduler's options, under the field's names; the names of older releases are read too."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

from nova0 import config


def _old(name: str, group: str = "DEFAULT") -> cfg.DeprecatedOpt:
    return cfg.DeprecatedOpt(name, group=group)


def _of(name: str, *more: cfg.DeprecatedOpt) -> dict[str, Any]:
    """Also read as the field writes it: in [filter_scheduler], and where it stood before."""
    return {"deprecated_opts": [_old(name, "filter_scheduler"), *more]}


def _multiplier(name: str, default: float, help: str, **more: Any) -> cfg.FloatOpt:
    option = f"{name}_weight_multiplier"
    return cfg.FloatOpt(option, default=default, help=help, **_of(option), **more)


config.declare(
    [
        cfg.StrOpt(
            "scheduler_driver",
            default="filter",
            help="Policy: filter, caching, chance, simple, multi, zone, least_cost, vsa, or a class of your own: "
            "package.module:Class or /path/of/a/file.py:Class.",
            deprecated_opts=[_old("scheduler_driver"), _old("driver", "scheduler")],
        ),
        cfg.StrOpt(
            "compute_scheduler_driver",
            default="filter",
            help="The multi policy's choice for servers.",
            deprecated_opts=[_old("compute_scheduler_driver")],
        ),
        cfg.StrOpt(
            "volume_scheduler_driver",
            default="simple",
            help="The multi policy's choice for volumes.",
            deprecated_opts=[_old("volume_scheduler_driver")],
        ),
        cfg.FloatOpt("caching_period_s", default=60.0, min=0, help="The caching policy reads hosts anew so often."),
        cfg.ListOpt(
            "least_cost_functions",
            default=["compute_fill_first_cost_fn"],
            help="The least_cost policy's functions: names, package.module:function or /path/of/a/file.py:function; "
            "one may stand twice.",
            deprecated_opts=[_old("least_cost_functions")],
        ),
        cfg.FloatOpt(
            "compute_fill_first_cost_fn_weight",
            default=-1.0,
            help="-1 spreads, 1 fills one host after the other.",
            deprecated_opts=[_old("compute_fill_first_cost_fn_weight")],
        ),
        cfg.FloatOpt(
            "noop_cost_fn_weight",
            default=1.0,
            help="Of a cost that is the same everywhere.",
            deprecated_opts=[_old("noop_cost_fn_weight")],
        ),
        cfg.FloatOpt(
            "retry_host_cost_fn_weight",
            default=1.0,
            help="Of having failed this request before.",
            deprecated_opts=[_old("retry_host_cost_fn_weight")],
        ),
        cfg.IntOpt("max_cores", default=16, min=1, help="The simple policy's most vCPUs in use on a host."),
        cfg.IntOpt("max_gigabytes", default=10000, min=1, help="The simple policy's most GB of volumes on a host."),
        cfg.IntOpt("max_networks", default=1000, min=1, help="The simple policy's most networks on a host."),
        cfg.ListOpt(
            "enabled_filters",
            default=[
                "ComputeFilter",
                "AvailabilityZoneFilter",
                "ComputeCapabilitiesFilter",
                "ImagePropertiesFilter",
                "TraitsFilter",
                "CoreFilter",
                "RamFilter",
                "DiskFilter",
                "CustomResourcesFilter",
                "DifferentHostFilter",
                "SameHostFilter",
                "ServerGroupAntiAffinityFilter",
                "ServerGroupAffinityFilter",
            ],
            help="Filters in order: names; of your own package.module:Class or /path/of/a/file.py:Class.",
            **_of("enabled_filters", _old("scheduler_default_filters")),
        ),
        cfg.ListOpt(
            "available_filters",
            default=[],
            help="Class paths of filters of your own that enabled_filters may then call by their class name.",
            **_of("available_filters", _old("scheduler_available_filters")),
        ),
        cfg.ListOpt(
            "weight_classes",
            default=["all"],
            help="Weighers: names of built-in ones, all (every built-in one); of your own package.module:Class or "
            "/path/of/a/file.py:Class.",
            **_of("weight_classes", _old("scheduler_weight_classes")),
        ),
        _multiplier("ram", 1.0, "Weight of free memory; negative packs."),
        _multiplier("cpu", 1.0, "Weight of free vCPUs; negative packs."),
        _multiplier("disk", 1.0, "Weight of free disk; negative packs."),
        _multiplier("io_ops", -1.0, "Weight of servers being built or moved on a host; positive packs."),
        _multiplier("pci", 1.0, "How strongly hosts with PCI devices are kept for servers that ask for them.", min=0),
        _multiplier("num_instances", 0.0, "Weight of a host's number of servers; positive packs."),
        _multiplier("hypervisor_version", 1.0, "Weight of a newer hypervisor; negative prefers older ones."),
        _multiplier("image_props", 0.0, "Weight of servers on a host whose images have the same properties."),
        _multiplier("build_failure", 1_000_000.0, "Push away from hosts whose last builds failed."),
        _multiplier("cross_cell_move", 1_000_000.0, "Pull of a server's own cell when it moves."),
        _multiplier("soft_affinity", 1000.0, "Pull of a soft-affinity group.", min=0),
        _multiplier("soft_anti_affinity", 1000.0, "Push of a soft-anti-affinity group.", min=0),
        cfg.ListOpt(
            "image_props_weight_setting",
            default=[],
            help="Image properties that ImagePropertiesWeigher compares, as name=weight; empty: all, each 1.",
            **_of("image_props_weight_setting"),
        ),
        cfg.IntOpt(
            "host_subset_size",
            default=1,
            min=1,
            help="Choose at random among this many of the best.",
            **_of("host_subset_size", _old("scheduler_host_subset_size")),
        ),
        cfg.BoolOpt(
            "shuffle_best_same_weighed_hosts",
            default=True,
            help="Equal hosts in random order, so that several controllers do not all pick the same one.",
            **_of("shuffle_best_same_weighed_hosts"),
        ),
        cfg.IntOpt(
            "max_attempts",
            default=3,
            min=1,
            help="Hosts tried for one boot before it ends in ERROR.",
            deprecated_opts=[_old("scheduler_max_attempts")],
        ),
        cfg.FloatOpt("cpu_allocation_ratio", default=4.0, min=0, help="vCPUs promised for each host CPU."),
        cfg.FloatOpt("ram_allocation_ratio", default=1.0, min=0, help="Memory promised for each MiB there is."),
        cfg.FloatOpt("disk_allocation_ratio", default=1.0, min=0, help="Disk promised for each GiB there is."),
        cfg.IntOpt(
            "max_io_ops_per_host",
            default=8,
            min=0,
            help="IoOpsFilter: fewer servers than this may be under construction on a host.",
            **_of("max_io_ops_per_host"),
        ),
        cfg.IntOpt(
            "max_instances_per_host",
            default=50,
            min=1,
            help="NumInstancesFilter: fewer servers than this on a host.",
            **_of("max_instances_per_host"),
        ),
        cfg.ListOpt(
            "isolated_images",
            default=[],
            help="IsolatedHostsFilter: ids of images that run on isolated hosts only.",
            **_of("isolated_images", _old("isolated_images")),
        ),
        cfg.ListOpt(
            "isolated_hosts",
            default=[],
            help="IsolatedHostsFilter: hosts kept for isolated images.",
            **_of("isolated_hosts", _old("isolated_hosts")),
        ),
        cfg.BoolOpt(
            "restrict_isolated_hosts_to_isolated_images",
            default=True,
            help="IsolatedHostsFilter: isolated hosts take nothing but isolated images.",
            **_of("restrict_isolated_hosts_to_isolated_images"),
        ),
        cfg.StrOpt(
            "aggregate_image_properties_isolation_namespace",
            default="",
            help="AggregateImagePropertiesIsolation looks only at properties that begin so; empty: at all.",
            **_of("aggregate_image_properties_isolation_namespace"),
        ),
        cfg.StrOpt(
            "aggregate_image_properties_isolation_separator",
            default=".",
            help="What ends that beginning.",
            **_of("aggregate_image_properties_isolation_separator"),
        ),
        cfg.ListOpt(
            "metrics_weight_setting",
            default=[],
            help="Metrics of hosts that count, as name=weight: cpu.percent, cpu.user.percent (kernel, idle and "
            "iowait, too; shares from 0 to 1), network.incoming.bytes.rate, network.outgoing.bytes.rate (a second). "
            "MetricsFilter wants all of them reported.",
            deprecated_opts=[_old("weight_setting", "metrics")],
        ),
        cfg.FloatOpt(
            "metrics_weight_multiplier",
            default=1.0,
            help="Weight of the sum of those metrics.",
            deprecated_opts=[_old("weight_multiplier", "metrics")],
        ),
        cfg.BoolOpt(
            "metrics_required",
            default=True,
            help="A host that lacks a metric that counts is an error; else it weighs metrics_weight_of_unavailable.",
            deprecated_opts=[_old("required", "metrics")],
        ),
        cfg.FloatOpt(
            "metrics_weight_of_unavailable",
            default=-10000.0,
            help="Weight of a host that lacks a metric that counts.",
            deprecated_opts=[_old("weight_of_unavailable", "metrics")],
        ),
        cfg.StrOpt("default_availability_zone", default="nova", help="Zone of hosts that no aggregate places."),
        cfg.FloatOpt("gathering_s", default=8.0, help="After its start a controller waits this long for hosts."),
    ],
    group="scheduler",
)
