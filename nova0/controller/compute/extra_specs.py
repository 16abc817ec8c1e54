"""Extra specs the field knows, checked from microversion 2.86. Names outside these namespaces are anyone's own."""

from __future__ import annotations

import re

from nova0.controller.compute.refusals import BadRequest

_BOOL = re.compile(r"(?i)(true|false|1|0|yes|no|on|off|t|f|y|n)")
_INT = re.compile(r"-?[0-9]+")
_ANY = re.compile(r".*", re.DOTALL)


def _one_of(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(word) for word in words))


_KNOWN: dict[str, re.Pattern[str]] = {  # of the whole name, and of the whole value
    r"hide_hypervisor_id": _BOOL,
    r"hw:boot_menu": _BOOL,
    r"hw:cpu_cores": _INT,
    r"hw:cpu_sockets": _INT,
    r"hw:cpu_threads": _INT,
    r"hw:cpu_max_(cores|sockets|threads)": _INT,
    r"hw:cpu_policy": _one_of("dedicated", "shared", "mixed"),
    r"hw:cpu_thread_policy": _one_of("prefer", "isolate", "require"),
    r"hw:cpu_dedicated_mask": _ANY,
    r"hw:cpu_realtime": _BOOL,
    r"hw:cpu_realtime_mask": _ANY,
    r"hw:emulator_threads_policy": _one_of("isolate", "share"),
    r"hw:hide_hypervisor_id": _BOOL,
    r"hw:input_bus": _one_of("usb", "virtio"),
    r"hw:locked_memory": _BOOL,
    r"hw:maxphysaddr_(bits|mode)": _ANY,
    r"hw:mem_encryption(_model)?": _ANY,
    r"hw:mem_page_size": re.compile(r"(large|small|any|[0-9]+([kKMGT]i?(b|bit|B)?)?)"),
    r"hw:numa_nodes": re.compile(r"[1-9][0-9]*"),
    r"hw:numa_(cpus|mem)\.[0-9]+": _ANY,
    r"hw:pci_numa_affinity_policy": _one_of("required", "preferred", "legacy", "socket"),
    r"hw:pmu": _BOOL,
    r"hw:serial_port_count": _INT,
    r"hw:sound_model": _ANY,
    r"hw:tpm_(model|version|secret_security)": _ANY,
    r"hw:usb_model": _ANY,
    r"hw:redirected_usb_ports": _INT,
    r"hw:vif_multiqueue_enabled": _BOOL,
    r"hw:viommu_model": _ANY,
    r"hw:virtio_packed_ring": _BOOL,
    r"hw:watchdog_action": _one_of("none", "pause", "poweroff", "reset", "disabled"),
    r"hw:locked_memory_\w+": _ANY,
    r"hw_rng:allowed": _BOOL,
    r"hw_rng:rate_(bytes|period)": _INT,
    r"hw_video:ram_max_mb": _INT,
    r"os:monitors": _INT,
    r"os:resolution": re.compile(r"[0-9]+x[0-9]+"),
    r"os:secure_boot": _one_of("disabled", "required", "optional"),
    r"pci_passthrough:alias": _ANY,
    r"quota:cpu_(shares|period|quota|limit|reservation|shares_share)": _ANY,
    r"quota:(disk|vif|memory)_\w+": _ANY,
    r"accel:device_profile": _ANY,
    r"resources[0-9]*:[A-Z0-9_]+": _INT,
    r"trait\w*:[A-Z0-9_]+": _one_of("required", "forbidden"),
    r"group_policy": _one_of("isolate", "none"),
    r"vmware:\w+": _ANY,
    r"powervm:\w+": _ANY,
}
_RULES = [(re.compile(name, re.ASCII), value) for name, value in _KNOWN.items()]
_NAMESPACES = {"hw", "hw_rng", "hw_video", "os", "pci_passthrough", "quota", "accel", "vmware", "powervm"}


def check(specs: dict[str, str]) -> None:
    """Raises BadRequest for an unknown name in a known namespace, or a value its name does not take."""
    for name, value in specs.items():
        for pattern, values in _RULES:
            if pattern.fullmatch(name):
                if not values.fullmatch(value):
                    raise BadRequest(f"Validation failed; extra spec '{name}' does not take the value '{value}'.")
                break
        else:
            if name.split(":", 1)[0] in _NAMESPACES and ":" in name:
                raise BadRequest(f"Validation failed; extra spec '{name}' does not appear to be a valid extra spec.")
