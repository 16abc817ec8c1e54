"""Errors that hosts and controllers tell each other. Each message names host, step and remedy."""

from __future__ import annotations

from nova0.mesh.errors import MeshError, wire_error


@wire_error
class Stale(MeshError):
    """A call for an older generation of an instance than this host has seen: it must not act on it."""


@wire_error
class InstanceNotFound(MeshError):
    """No such instance here."""


@wire_error
class NoSpace(MeshError):
    """The host lacks disk or memory for it."""


@wire_error
class ImageUnusable(MeshError):
    """The image could not be fetched, its checksum differs, or the host cannot read its format."""


@wire_error
class LeaveRefused(MeshError):
    """The controller does not (or no longer) want this instance started on this host."""


@wire_error
class ControllerUnavailable(MeshError):
    """The controller can write nothing down now (its disk is full); nothing was done there: ask again later."""


@wire_error
class NotSupported(MeshError):
    """The driver of this host cannot do that."""


@wire_error
class DriverError(MeshError):
    """The hypervisor refused or failed; the message carries its own words."""


@wire_error
class NetworkError(MeshError):
    """A bridge, tap, rule or DHCP server could not be made."""


@wire_error
class NoValidHost(MeshError):
    """The scheduler found no host; the message says what each filter left."""
