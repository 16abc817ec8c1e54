"""Options: declared where they are used, read from one file, shown by `nova0 config show` with their origin.

A module declares its options with `declare(group, [...])` at import; a process calls `load` once.
Files, later ones winning: /etc/nova0/nova0.conf, $XDG_CONFIG_HOME/nova0/nova0.conf (non-root),
those given by --config-file. Environment: NOVA0_<GROUP>__<OPTION> (group DEFAULT left out).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_config.sources import _environment

CONF = cfg.ConfigOpts()


def state_home() -> Path:
    """Where state lives unless `state_path` says otherwise: /var/lib/nova0 for root, else under XDG."""
    if os.geteuid() == 0:
        return Path("/var/lib/nova0")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "nova0"


def declare(options: Iterable[cfg.Opt], group: str = "DEFAULT") -> None:
    """Make options known; doing so twice with the same definition is fine."""
    CONF.register_opts(list(options), group=None if group == "DEFAULT" else group)


declare(
    [
        cfg.StrOpt(
            "state_path", default=str(state_home()), help="Directory of everything nova0 keeps on this machine."
        ),
        cfg.StrOpt("host", help="Name of this machine in the cluster. Default: its host name, short form."),
        cfg.StrOpt("my_ip", help="Address other machines reach this one at. Default: that of the default route."),
        cfg.StrOpt("log_level", default="INFO", help="DEBUG, INFO, WARNING or ERROR."),
        cfg.StrOpt(
            "log_file",
            help="Log to this file instead of standard error. Each process that `nova0 up` starts has its own: "
            "STATE_PATH/log/NAME.log.",
        ),
        cfg.IntOpt(
            "max_logfile_size_mb", default=20, min=1, help="A log file is turned over when it has this many MiB."
        ),
        cfg.IntOpt("max_logfile_count", default=4, min=1, help="So many older log files are kept beside it."),
        cfg.StrOpt("compute_driver", default="auto", help="libvirt, fake, or auto: libvirt where it works."),
    ]
)


def default_files() -> list[str]:
    """Configuration files that exist, in reading order."""
    places = [Path("/etc/nova0/nova0.conf")]
    if os.geteuid() != 0:
        places.append(Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nova0/nova0.conf")
    return [str(path) for path in places if path.is_file()]


class _Environment(_environment.EnvironmentConfigurationSource):
    """The field's environment source under our own prefix."""

    @staticmethod
    def get_name(group_name: str | None, option_name: str) -> str:
        group = "" if group_name in (None, "DEFAULT") else f"{group_name.upper()}__"
        return f"NOVA0_{group}{option_name.upper()}"


def load(files: list[str] | None = None, overrides: dict[str, Any] | None = None) -> cfg.ConfigOpts:
    """Read files (default: `default_files`) and environment. `overrides` are what the command line said,
    keyed "option" or "group.option". Raises oslo_config.cfg.Error subclasses naming file and option."""
    CONF(args=[], project="nova0", default_config_files=default_files() if files is None else files)
    CONF._env_driver = _Environment()
    for name, value in (overrides or {}).items():
        if value is not None:
            group, _, option = name.rpartition(".")
            CONF.set_override(option, value, group=group or None)
    return CONF
