"""Every table, for migrations and for tests that compare the schema with the code."""

from __future__ import annotations

from nova0.controller.db import (
    compute_tables,
    identity_tables,
    image_tables,
    network_tables,
    operation_tables,
)

ALL = [
    *compute_tables.TABLES,
    *operation_tables.TABLES,
    *network_tables.TABLES,
    *identity_tables.TABLES,
    *image_tables.TABLES,
]
