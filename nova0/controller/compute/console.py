"""The end of a server's serial log, asked of its host; not in a transaction: it waits for the host."""

from __future__ import annotations

from nova0.controller.compute import instances, preconditions
from nova0.controller.compute.refusals import NotBuilt, NotFound, Refused
from nova0.controller.context import RequestContext
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.services import Services
from nova0.mesh.errors import MeshError
from nova0.objects.errors import InstanceNotFound, NotSupported

MOST_BYTES = 100 * 1024  # as much as the field answers at once


class HostDoesNotAnswer(Refused):
    status = 503


def output(services: Services, uuid: str, context: RequestContext, lines: int | None) -> str:
    """The last `lines` (None: all that is kept). Raises NotFound, Conflict, NotBuilt, HostDoesNotAnswer."""

    def ready() -> InstanceRow:
        row = instances.get(uuid, context)
        preconditions.check("consoles", row, context)
        return row

    row = services.store.read(ready)
    try:
        log = services.guests.console_log(str(row.host), uuid, MOST_BYTES)
    except InstanceNotFound:
        raise NotFound(f"Unable to get console: {row.host} has no guest of instance {uuid}") from None
    except NotSupported as error:
        raise NotBuilt(f"The driver of {row.host} keeps no console log: {error.message}") from None
    except MeshError as error:
        raise HostDoesNotAnswer(f"{row.host} does not answer for the console log now: {error.message}") from None
    text = log.decode("utf-8", "replace")
    # XML 1.0 and many terminals can't carry most control characters; the field strips them too.
    text = "".join(letter for letter in text if letter >= " " or letter in "\n\r\t\x1b")
    if lines is None or lines < 0:
        return text
    return "\n".join(text.split("\n")[-lines - (1 if text.endswith("\n") else 0) :]) if lines else ""
