"""Microversions of the compute API: which one a request asks for, and what the answer says of it.

MAXIMUM is a promise: every route offered answers as that version says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from nova0.controller.api.errors import ApiError


class Version(NamedTuple):
    """Compares as numbers do: 2.9 < 2.10."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


MINIMUM = Version(2, 1)
MAXIMUM = Version(2, 100)
_FORM = re.compile(r"([1-9][0-9]{0,5})\.([1-9][0-9]{0,5}|0)")
_HEADERS = "OpenStack-API-Version, X-OpenStack-Nova-API-Version"


def parse(text: str) -> Version:
    """ "2.37" -> Version(2, 37); ApiError 400 for anything else."""
    found = _FORM.fullmatch(text)
    if not found:
        shown = text[:80]
        raise ApiError(400, f"API Version String {shown} is of invalid format. Must be of format MajorNum.MinorNum.")
    return Version(int(found[1]), int(found[2]))


def asked(environ: Mapping[str, Any]) -> Version:
    """The version a request asks for; none means the minimum. ApiError 400 malformed, 406 out of range."""
    text = None
    for part in environ.get("HTTP_OPENSTACK_API_VERSION", "").split(","):
        words = part.split()
        if len(words) == 2 and words[0].lower() == "compute":
            text = words[1]
        elif len(words) == 1 and words[0].lower() == "compute":
            raise ApiError(400, "API Version String is missing after 'compute' in OpenStack-API-Version.")
    if text is None:
        text = environ.get("HTTP_X_OPENSTACK_NOVA_API_VERSION", "").strip() or None
    if text is None:
        return MINIMUM
    if text.lower() == "latest":
        return MAXIMUM
    version = parse(text)
    if not MINIMUM <= version <= MAXIMUM:
        raise ApiError(
            406,
            f"Version {version} is not supported by the API. Minimum is {MINIMUM} and maximum is {MAXIMUM}.",
        )
    return version


def headers(version: Version | None) -> list[tuple[str, str]]:
    """What the answer echoes; `version` None where the request's could not be read."""
    told = [("Vary", _HEADERS)]
    if version is not None:
        told += [("OpenStack-API-Version", f"compute {version}"), ("X-OpenStack-Nova-API-Version", str(version))]
    return told
