"""Logging for every process: one line an event, with the request id, project, user and trace it belongs to.

Files are turned over by size while the process runs. No raw control character gets in, whoever chose the words, and
what libraries say at DEBUG (statements with their values, for one) is never written.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextvars import ContextVar
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any

from nova0 import trace

LOG = logging.getLogger(__name__)
request: ContextVar[dict[str, Any] | None] = ContextVar("nova0_request", default=None)
"""request_id, project_id, user_id and traceparent of what the current greenlet works for; set at the HTTP edge and
when a mesh call carries a context."""

FILE_MODE, FOLDER_MODE = 0o640, 0o750
MOST_BYTES, KEPT = 20 * 1024 * 1024, 4  # of one file, and older ones beside it
_UNDER_ERROR = "    "  # before each line of a traceback: nothing an error says can pass for a line of its own


def plain(text: str) -> str:
    """`text` in one line that does nothing to a terminal: what can't be printed stands as \\n, \\x1b, \\u202e ..."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class _Context(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        about = request.get() or {}
        words = [str(about[key]) for key in ("request_id", "project_id", "user_id") if about.get(key)]
        words += filter(None, [trace.shown(about.get(trace.KEY))])
        record.about = f"[{' '.join(words)}] " if words else ""
        return True


class _Formatter(logging.Formatter):
    """The one place where words become lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(about)s%(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        if record.args and "\n" in str(record.msg):  # a stack below a line, by our choice: no other newline counts
            first, _, below = text.partition("\n")
            return f"{plain(first)}\n{_indented(below)}"
        return plain(text)

    def formatException(self, error: Any) -> str:
        return _indented(super().formatException(error))

    def formatStack(self, stack_info: str) -> str:
        return _indented(stack_info)


def _indented(text: str) -> str:
    return "\n".join(_UNDER_ERROR + plain(line) for line in text.split("\n"))


class _File(RotatingFileHandler):
    """A file of this process's own, in which standard output and standard error end up, too.

    NAME.log becomes NAME.log.1 and so on when it is full; both descriptors follow to the new file.
    """

    def __init__(self, path: Path, most_bytes: int, kept: int) -> None:
        super().__init__(path, maxBytes=most_bytes, backupCount=kept, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> Any:
        stream = open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=opener)  # noqa: SIM115
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
        return stream

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        # What others wrote to standard error counts, so the file is asked and not a count of our own.
        if self.stream is None:
            return True
        return os.fstat(self.stream.fileno()).st_size >= self.maxBytes > 0

    def doRollover(self) -> None:
        try:
            super().doRollover()
        except OSError:  # a full or read-only disk: go on in the file there is
            if self.stream is None:
                self.stream = self._open()


def opener(path: str, flags: int) -> int:
    """For open(): makes the file with FILE_MODE, and corrects the mode of one that is there."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
    try:
        if os.fstat(descriptor).st_mode & 0o777 & ~FILE_MODE:
            os.fchmod(descriptor, FILE_MODE)
    except OSError:
        pass  # another user's file that we may write to
    return descriptor


def make_folder(folder: Path) -> None:
    """The folder of log files, and what lies in it, for their owner and group only. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    for place, mode in ((folder, FOLDER_MODE), *((path, FILE_MODE) for path in folder.glob("*.log*"))):
        try:
            if not place.is_symlink() and place.stat().st_mode & 0o777 & ~mode:
                place.chmod(mode)
        except OSError:
            continue  # gone meanwhile, or another user's


def turn_over(path: Path, most_bytes: int = MOST_BYTES) -> bool:
    """NAME.log becomes NAME.log.1 once it has `most_bytes`: for what writes a line now and then. True where it did."""
    if not path.exists() or path.stat().st_size < most_bytes:
        return False
    path.replace(path.with_name(path.name + ".1"))
    return True


def setup(
    level: str = "INFO", path: str | None = None, *, most_bytes: int = MOST_BYTES, kept: int = KEPT, of: str = ""
) -> None:
    """Log to `path`, turned over at `most_bytes` with `kept` old ones beside it, or to standard error. Called once at
    a process's entry.

    `level` is for nova0 and the logger `of`; libraries say what is INFO at least, for below that they write what
    they are given: passwords in statements, tokens in requests.
    """
    handler: logging.Handler
    if path:
        make_folder(Path(path).parent)
        handler = _File(Path(path), most_bytes, kept)
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Context())
    handler.setFormatter(_Formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for name in filter(None, ("nova0", of)):
        logging.getLogger(name).setLevel(level)
    root.setLevel(max(logging.getLogger("nova0").level, logging.INFO))
    logging.getLogger("peewee").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a line that can't be written is no reason for a traceback with its arguments
    sys.excepthook = _crashed
    threading.excepthook = lambda told: _crashed(told.exc_type, told.exc_value, told.exc_traceback)
    sys.unraisablehook = lambda told: _crashed(told.exc_type, told.exc_value, told.exc_traceback)
    if "gevent" in sys.modules:
        import gevent

        gevent.get_hub().print_exception = _in_greenlet


def _crashed(kind: Any, error: BaseException | None, where: TracebackType | None) -> None:
    if error is not None and issubclass(kind, Exception):
        LOG.critical("unexpected error", exc_info=(kind, error, where))


def _in_greenlet(context: Any, kind: Any, error: Any, where: Any) -> None:
    """Instead of gevent's own words, which show what the greenlet was called with."""
    if isinstance(error, BaseException):
        LOG.error("unexpected error in a greenlet", exc_info=(type(error), error, where))
    elif kind is not None:
        LOG.error("unexpected error in a greenlet: %s", getattr(kind, "__name__", kind))
