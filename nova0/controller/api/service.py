"""One API of the cloud as a WSGI application: routing, then every check a route declares, then its answer.

Nothing of what a resource means may enter; nothing here touches the mesh.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import bottle
import msgspec

from nova0 import atomic_file, log, trace
from nova0.controller.api import authentication, bodies, connections, microversion, request_ids, turns, validation
from nova0.controller.api.errors import SHAPES, ApiError
from nova0.controller.api.microversion import MINIMUM, Version
from nova0.controller.api.request import Answer, Query, Request
from nova0.controller.api.resource import Route, at
from nova0.controller.db.store import StoreDamaged, StoreUnavailable
from nova0.controller.identity.attempts import TooMany
from nova0.controller.identity.tokens import Tokens
from nova0.controller.services import Services

LOG = logging.getLogger(__name__)
TARGET_MOST_BYTES = 8192  # path and query
QUERY_MOST_FIELDS = 256
DISK_FULL = (
    "The controller can write nothing down now: its disk is full. Nothing was changed; once its operator has mended "
    "that (free space there, or give state_path a larger disk) ask again."
)


class Service:
    """`name` is a key of errors.SHAPES; `mount` the path before every route (/v2.1, /identity/v3 ...).

    `versioned`: negotiates compute microversions. `legacy`: has none and drops unknown body fields.
    `project_in_path`: routes answer under /<project id>/ too.
    """

    def __init__(
        self,
        name: str,
        mount: str,
        routes: Iterable[Route],
        services: Services,
        tokens: Tokens,
        *,
        versioned: bool = False,
        legacy: bool = False,
        project_in_path: bool = False,
    ) -> None:
        self.name, self.mount, self.services, self.tokens = name, mount, services, tokens
        self.versioned, self.legacy, self.project_in_path = versioned, legacy, project_in_path
        self.shape = SHAPES[name]
        self.bottle = _Bottle(self._routing_error)
        variants: dict[tuple[str, str], list[Route]] = {}
        for one in routes:
            variants.setdefault((one.method, one.path), []).append(one)
        self._collections = {path.split("/")[1] for _, path in variants}
        for (method, path), several in variants.items():
            self.bottle.route(path, method, self._answering(several))

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request_id = request_ids.new()
        log.request.set({"request_id": request_id})
        told = request_ids.headers(self.name, request_id)
        environ["nova0.request_id"] = request_id
        self._read_path(environ)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            mine = {name.lower() for name, _ in told}
            return start_response(status, [h for h in headers if h[0].lower() not in mine] + told, exc_info)

        if len(environ["PATH_INFO"]) + len(environ.get("QUERY_STRING", "")) > TARGET_MOST_BYTES:
            error = ApiError(414, f"The path and the query may have {TARGET_MOST_BYTES} bytes together.")
            environ["nova0.unread"] = True
            return _plain(self._error(error), environ, start)
        if self.versioned:
            try:
                environ["nova0.version"] = microversion.asked(environ)
            except ApiError as error:
                told += microversion.headers(None)
                return _plain(self._error(error), environ, start)
            told += microversion.headers(environ["nova0.version"])
        return self.bottle(environ, start)

    def _read_path(self, environ: dict[str, Any]) -> None:
        """No slash at the end; a project id before the collection is taken out and kept."""
        path = "/" + environ["PATH_INFO"].strip("/")
        if self.name == "image" and path != "/" and environ["PATH_INFO"].endswith("/"):
            return  # there it means an empty id, which is no image
        first, _, rest = path[1:].partition("/")
        if self.project_in_path and first and first not in self._collections and rest:
            environ["nova0.path_project"] = first
            path = "/" + rest
        environ["PATH_INFO"] = path

    def _answering(self, variants: list[Route]) -> Callable[..., bottle.HTTPResponse]:
        def answer(**params: str) -> bottle.HTTPResponse:
            environ = bottle.request.environ
            try:
                return self._respond(variants, environ, params)
            except ApiError as error:
                return self._error(error)
            except TooMany as error:
                return self._error(authentication.too_many(error))
            except StoreDamaged as error:
                return self._error(ApiError(500, error.message))
            except StoreUnavailable as error:
                return self._error(ApiError(507 if error.full else 503, error.message))
            except OSError as error:
                if not atomic_file.is_full(error):
                    return self._unexpected()
                LOG.error("%s %s: the disk takes nothing: %s", environ["REQUEST_METHOD"], environ["PATH_INFO"], error)
                return self._error(ApiError(507, DISK_FULL))
            except Exception:  # noqa: BLE001 - the client gets JSON, the log the trace
                return self._unexpected()

        return answer

    def _respond(self, variants: list[Route], environ: dict[str, Any], params: dict[str, str]) -> bottle.HTTPResponse:
        version: Version = environ.get("nova0.version", MINIMUM)
        open_to_all = all(one.needs == "public" for one in variants)
        identity = None
        if not open_to_all:
            identity = authentication.identify(environ, self.tokens, self.services.public_url)
            connections.of(environ).known = True
        context = authentication.context_of(
            identity,
            environ["nova0.request_id"],
            request_ids.global_id(environ.get("HTTP_X_OPENSTACK_REQUEST_ID")),
            trace.received(environ.get("HTTP_TRACEPARENT")),
        )
        log.request.set(
            {
                "request_id": context.request_id,
                "project_id": context.project_id,
                "user_id": context.user_id,
                trace.KEY: context.traceparent,
            }
        )
        self._check_path_project(environ, context.project_id)
        offered = [one for one in variants if one.offered_at(version)]
        if not offered:
            raise ApiError(404, "The resource could not be found.")
        body = None
        if not offered[0].raw and environ["REQUEST_METHOD"] not in ("GET", "HEAD", "DELETE"):
            most = bodies.PUBLIC_MOST_BYTES if open_to_all else bodies.JSON_MOST_BYTES
            body = bodies.read_json(environ, offered[0].content_types, most)
        chosen, value = _choose(offered, body)
        authentication.authorize(chosen.needs, context, chosen.policy)
        value = self._checked_body(chosen, version, value)
        request = Request(
            context=context,
            services=self.services,
            query=self._checked_query(chosen, version, environ.get("QUERY_STRING", "")),
            prefix=self.services.public_url.rstrip("/") + self.mount,
            path=environ["PATH_INFO"],
            environ=environ,
            version=version,
            legacy=self.legacy,
            body=value,
            identity=identity,
        )
        try:
            return _made(chosen.function(request, **params), at(chosen.success, version) or 200)
        finally:
            if self.name == "identity" and chosen.method not in ("GET", "HEAD") and chosen.path != "/auth/tokens":
                self.tokens.forget()

    def _check_path_project(self, environ: dict[str, Any], project_id: str) -> None:
        named = environ.get("nova0.path_project")
        if named and named != project_id:
            raise ApiError(
                400,
                f"Malformed request URL: URL's project_id '{named}' doesn't match Context's project_id '{project_id}'",
            )

    def _checked_body(self, chosen: Route, version: Version, value: Any) -> Any:
        schema = at(chosen.body, version)
        if schema is None:
            return value
        if value is None and chosen.action is None:
            raise ApiError(400, "This request needs a JSON body.", kind="HTTPBadRequest")
        validation.check(schema, value, legacy=self.legacy)
        return value

    def _checked_query(self, chosen: Route, version: Version, text: str) -> Query:
        try:
            values = parse_qs(text, keep_blank_values=True, max_num_fields=QUERY_MOST_FIELDS, errors="strict")
        except (ValueError, UnicodeDecodeError) as error:
            raise ApiError(400, f"The query string can't be read: {error}") from None
        schema = at(chosen.query, version)
        if chosen.query_open:
            validation.check(schema, {key: values[key] for key in values if key in schema["properties"]})
            return Query(values)
        if chosen.query_strict is None or version < chosen.query_strict or self.legacy:
            values = {key: value for key, value in values.items() if key in schema["properties"]}
        validation.check(schema, values)
        return Query(values)

    def _error(self, error: ApiError) -> bottle.HTTPResponse:
        # A mapping of headers would lose a second one of a name; ours have one each.
        return bottle.HTTPResponse(
            msgspec.json.encode(self.shape(error)), error.code, {"Content-Type": "application/json"} | error.headers
        )

    def _unexpected(self) -> bottle.HTTPResponse:
        LOG.exception("unexpected error")
        return self._error(ApiError(500, "Unexpected API error; the controller's log has it under this request id."))

    def _routing_error(self, failed: bottle.HTTPError) -> bytes:
        """Bottle's own errors (no route, wrong verb) in the service's shape."""
        if failed.status_code == 405:
            error = ApiError(
                405, f"The method {bottle.request.environ['REQUEST_METHOD']} is not allowed for this resource."
            )
        elif failed.status_code == 404:
            error = ApiError(404, "The resource could not be found.")
        else:
            error = ApiError(failed.status_code, str(failed.body))
        failed.content_type = "application/json"
        return msgspec.json.encode(self.shape(error))


class _Bottle(bottle.Bottle):
    """Bottle with its HTML error pages replaced."""

    def __init__(self, worded: Callable[[bottle.HTTPError], bytes]) -> None:
        super().__init__()
        self._worded = worded

    def default_error_handler(self, res: bottle.HTTPError) -> bytes:
        return self._worded(res)


def _choose(offered: list[Route], body: Any) -> tuple[Route, Any]:
    """The variant for this body, and the value it acts on: for actions what stands under the action's key."""
    plain = [one for one in offered if one.action is None]
    if plain:
        return plain[0], body
    if not isinstance(body, dict) or len(body) != 1:
        raise ApiError(400, "Malformed request body: it must hold exactly one action.")
    [(name, value)] = body.items()
    for one in offered:
        if one.action == name:
            return one, value
    raise ApiError(400, f"There is no such action: {name}")


def _made(result: Any, success: int) -> bottle.HTTPResponse:
    if not isinstance(result, Answer):
        result = Answer(result)
    body, status, headers = result.body, result.status or success, dict(result.headers)
    if isinstance(body, (dict, list)):
        body = turns.encoded(body)
        headers.setdefault("Content-Type", "application/json")
    elif body is None:
        body = b""
        headers.setdefault("Content-Type", "application/json")  # bottle would say text/html
    if status == 204:
        headers.pop("Content-Type", None)
    if isinstance(body, bytes) and status != 204:
        headers.setdefault("Content-Length", str(len(body)))
    return bottle.HTTPResponse(body, status, headers)


def _plain(made: bottle.HTTPResponse, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """A response made before routing."""
    start(made.status_line, made.headerlist)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [made.body]
