"""The network's books as the conductor, the compute API and the hosts' agents use them.

Every function runs inside a store closure; changes raise the revisions of the networks concerned.
"""

from __future__ import annotations

from nova0.controller.network.groups import default_group
from nova0.controller.network.requested import validate_request
from nova0.controller.network.revision import touch
from nova0.controller.network.server_ports import activate, allocate, bind, heard_by, release, rows_of
from nova0.controller.network.views import (
    carried_by,
    is_large,
    pieces_for,
    ports_of,
    ports_of_each,
    view,
    views_for,
)

__all__ = [
    "activate",
    "allocate",
    "bind",
    "carried_by",
    "default_group",
    "heard_by",
    "is_large",
    "pieces_for",
    "ports_of",
    "ports_of_each",
    "release",
    "rows_of",
    "touch",
    "validate_request",
    "view",
    "views_for",
]
