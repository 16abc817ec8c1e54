"""Why the compute books refuse: the field's errors by name, each with its HTTP code; the text is for the person
who asked. Raised inside transactions too, where they undo everything."""

from __future__ import annotations

from nova0.controller.api.errors import ApiError


class Refused(ApiError):
    """Root; `status` is the HTTP status the API answers with."""

    status = 400

    def __init__(self, message: str) -> None:
        super().__init__(self.status, message)


class BadRequest(Refused):
    """The request names something that does not exist or does not fit."""


class Forbidden(Refused):
    """Not for this caller, or over a quota."""

    status = 403


class NotFound(Refused):
    """No such object, or not visible to this caller."""

    status = 404


class Conflict(Refused):
    """The object's present state does not allow it."""

    status = 409


class Gone(Refused):
    """The field has removed it."""

    status = 410


class NotBuilt(Refused):
    """nova0 does not do this."""

    status = 501
