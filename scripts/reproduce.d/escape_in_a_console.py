"""A guest writes escape sequences to its serial console; its owner looks at it by `nova0 log`."""

import contextlib
import io

from nova0.cli import cloud, main, servers, settings

BEFORE = "the terminal was cleared, its title set and its colours changed"
NEEDS = ()
WROTE = "login: \x1b]0;root@lab1\x07\x1b[2J\x1b[31mall is lost\x1b[0m\r\n"


def attack(world):
    settings.load = lambda args: None
    cloud.Cloud.named = classmethod(lambda cls: None)
    servers.find = lambda found, name: {"id": "1", "name": name}
    servers.console = lambda found, server, lines=None: WROTE
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        main.main(["log", "first"])
    shown = said.getvalue()
    return "\x1b" not in shown and "\x07" not in shown, f"printed: {shown!r}"
