"""Options as a command needs them: files, environment, and what `nova0 up` stored for this machine."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import pkgutil
from pathlib import Path
from typing import Any


def load(args: argparse.Namespace, overrides: dict[str, Any] | None = None) -> Any:
    """Read the configuration for one command; returns nova0.config.CONF."""
    from oslo_config import cfg

    from nova0 import config
    from nova0.cli.failure import Failure

    try:
        return config.load([args.config_file] if args.config_file else None, overrides)
    except cfg.ConfigFilesNotFoundError as error:
        raise Failure(f"no configuration file {', '.join(error.config_files)}: check --config-file") from error
    except cfg.ConfigFileParseError as error:
        raise Failure(f"cannot read the configuration: {error}: correct that file") from error


def state_path(args: argparse.Namespace) -> Path:
    """Where this machine's nova0 keeps its state."""
    return Path(load(args).state_path)


# Where options are declared that a controller or a host reads; so that all are listed wherever asked from.
_DECLARED_IN = ("nova0.controller", "nova0.host", "nova0.agents")


def declare_all() -> list[str]:
    """Import every module that declares options. Returns the modules that could not be imported, with why."""
    missing = []
    for package_name in _DECLARED_IN:
        package = importlib.import_module(package_name)
        for found in pkgutil.walk_packages(package.__path__, f"{package_name}."):
            path = _source(found)
            if path is None or "declare(" not in path.read_text(errors="replace"):
                continue
            try:
                importlib.import_module(found.name)
            except ImportError as error:  # an extra that is not installed: its options can't matter here
                missing.append(f"{found.name}: {error}")
    return missing


def _source(found: pkgutil.ModuleInfo) -> Path | None:
    spec = found.module_finder.find_spec(found.name, None)  # type: ignore[call-arg]
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
