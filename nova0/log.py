"""Logging for every process: one line an event, with the request id, project, user and trace it belongs to."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

from nova0 import trace

request: ContextVar[dict[str, Any] | None] = ContextVar("nova0_request", default=None)
"""request_id, project_id, user_id and traceparent of what the current greenlet works for; set at the HTTP edge and
when a mesh call carries a context."""


class _Context(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        about = request.get() or {}
        words = [str(about[key]) for key in ("request_id", "project_id", "user_id") if about.get(key)]
        words += filter(None, [trace.shown(about.get(trace.KEY))])
        record.about = f"[{' '.join(words)}] " if words else ""
        return True


def setup(level: str = "INFO", path: str | None = None) -> None:
    """Log to `path`, or to standard error. Called once at a process's entry."""
    handler: logging.Handler = logging.FileHandler(path) if path else logging.StreamHandler(sys.stderr)
    handler.addFilter(_Context())
    handler.setFormatter(
        logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(about)s%(message)s", "%Y-%m-%d %H:%M:%S")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
