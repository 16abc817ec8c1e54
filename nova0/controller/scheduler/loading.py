"""Classes by the name a configuration gives them: of a built-in one, or package.module:Class of one's own."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache


def load(name: str, package: str, base: type, more: dict[str, type] | None = None) -> type:
    """`more`: further classes by name. Raises ValueError that says what there is."""
    if ":" in name or "." in name:
        found = by_path(name)
    else:
        known = {**built_in(package), **(more or {})}
        if name not in known:
            names = ", ".join(sorted(n for n, c in known.items() if issubclass(c, base)))
            raise ValueError(f"scheduler: there is no {base.__name__.lower()} {name!r}; built in are {names}")
        found = known[name]
    if not issubclass(found, base):
        raise ValueError(f"scheduler: {name!r} is not a {base.__name__}")
    return found


def by_path(path: str) -> type:
    """package.module:Class or package.module.Class. Raises ValueError."""
    module_name, _, class_name = path.replace(":", ".").rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"scheduler: {path!r} does not load: {error}") from error
    if not isinstance(found, type):
        raise ValueError(f"scheduler: {path!r} is not a class")
    return found


def short(name: str) -> str:
    """The class's own name, for traces."""
    return name.replace(":", ".").rpartition(".")[2]


@cache
def built_in(package: str) -> dict[str, type]:
    """Class name -> class, for every class defined in the modules of a package."""
    found = {}
    root = importlib.import_module(package)
    for module in pkgutil.iter_modules(root.__path__):
        loaded = importlib.import_module(f"{package}.{module.name}")
        for name, value in vars(loaded).items():
            if isinstance(value, type) and value.__module__ == loaded.__name__ and not name.startswith("_"):
                found[name] = value
    return found
