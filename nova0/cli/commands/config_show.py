"""Show every option, its value, and where the value came from.

Example:
    $ nova0 config show
    OPTION                 VALUE           FROM
    DEFAULT.host           lab1            /etc/nova0/nova0.conf
    DEFAULT.state_path     /var/lib/nova0  default

Environment variables NOVA0_<GROUP>__<OPTION> (DEFAULT left out) win over files. What `nova0 up` stored
for this machine (port, address, driver) is handed to its processes that way and shown as "nova0 up".
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from nova0.cli import options, settings
    from nova0.cli.output import show_json, show_table

    settings.load(args)
    settings.declare_all()
    rows = options.everything()
    if args.json:
        show_json(
            [{"option": row.name, "value": row.value, "from": row.origin, "default": row.default} for row in rows]
        )
    else:
        show_table(["OPTION", "VALUE", "FROM"], [[row.name, row.value, row.origin] for row in rows])
    return 0
