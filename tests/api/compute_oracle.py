"""TEST ONLY: answers held against the response schemas tempest ships, those of the microversion that was asked."""

import functools
import importlib
import pkgutil

import jsonschema
from tempest.lib.api_schema.response import compute as schemas


@functools.cache
def _versions():
    found = [name for _, name, _ in pkgutil.iter_modules(schemas.__path__) if name.startswith("v2_")]
    # v2_84 is a folder without __init__, which the walk leaves out
    return sorted({int(name[3:]) for name in found} | {84})


@functools.cache
def schema(resource: str, name: str, version: str):
    """The newest schema not above `version`, or AssertionError where tempest has none."""
    minor = int(version.split(".")[1])
    for since in reversed([one for one in _versions() if one <= minor]):
        try:
            module = importlib.import_module(f"{schemas.__name__}.v2_{since}.{resource}")
        except ModuleNotFoundError:
            continue
        if hasattr(module, name):
            return getattr(module, name)
    raise AssertionError(f"tempest has no schema {resource}.{name} at {version}")


def check(resource: str, name: str, version: str, answer):
    """Status and body are as the schema says; returns the body (None without one)."""
    wanted = schema(resource, name, version)
    assert answer.status_code in wanted["status_code"], f"{answer.status_code}: {answer.text}"
    if "response_body" in wanted:
        body = answer.json()
        checker = jsonschema.FormatChecker()
        jsonschema.Draft4Validator(wanted["response_body"], format_checker=checker).validate(body)
        return body
    return answer.json() if answer.content else None
