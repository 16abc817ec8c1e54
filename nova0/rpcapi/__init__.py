"""One signature-only class per agent: what it answers and hears, time-out class, who may call, who may answer.

Both wings import these; nothing here does anything.
"""

from __future__ import annotations

import importlib
import pkgutil

from nova0.mesh.surface import Surface


def surfaces() -> list[type[Surface]]:
    """Every surface of this package. Who calls it knows from then on which roles answer their topics."""
    found: dict[str, type[Surface]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Surface) and value.topic:
                found[value.topic] = value
    return [found[topic] for topic in sorted(found)]
