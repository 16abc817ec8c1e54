"""What a configuration names: a built-in class, or one's own as package.module:Class or /path/of/a/file.py:Class."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


def load(name: str, package: str, base: type, more: dict[str, type] | None = None) -> type:
    """`more`: further classes by name. Raises ValueError that says what there is."""
    known = {**built_in(package), **(more or {})}
    if name.startswith("nova.") and short(name) in known:  # the field's own path of what is built in here
        name = short(name)
    if ":" in name or "." in name:
        found = by_path(name)
    else:
        if name not in known:
            names = ", ".join(sorted(n for n, c in known.items() if issubclass(c, base)))
            raise ValueError(f"scheduler: there is no {base.__name__.lower()} {name!r}; built in are {names}")
        found = known[name]
    if not issubclass(found, base):
        raise ValueError(f"scheduler: {name!r} is not a {base.__name__}")
    return found


def by_path(path: str) -> type:
    """package.module:Class, package.module.Class or /path/of/a/file.py:Class. Raises ValueError."""
    found = value_of(path)
    if not isinstance(found, type):
        raise ValueError(f"scheduler: {path!r} is not a class")
    return found


def value_of(path: str) -> Any:
    """As `by_path`, whatever stands there. Raises ValueError."""
    where, colon, name = path.rpartition(":" if ":" in path else ".")
    try:
        if colon == ":" and where.endswith(".py"):
            return getattr(_file(Path(where)), name)
        return getattr(importlib.import_module(where.replace(":", ".")), name)
    except Exception as error:  # whatever a user's own file does wrong
        raise ValueError(f"scheduler: {path!r} does not load: {error}") from error


@cache
def _file(path: Path) -> ModuleType:
    """A file of Python outside of any package, run once."""
    if not path.is_absolute():
        raise ImportError(f"{path}: write the whole path, from / on")
    spec = importlib.util.spec_from_file_location(f"nova0_scheduler_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
