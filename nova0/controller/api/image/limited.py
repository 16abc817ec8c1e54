"""A quota that is exceeded, in this service's own form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nova0.controller.api.errors import ApiError
from nova0.controller.quota import images


@contextmanager
def limited() -> Iterator[None]:
    """What does not fit is answered with 413, as the field's own image service does."""
    try:
        yield
    except images.OverLimit as error:
        raise ApiError(413, str(error)) from None
