"""Where log events go: one line each, for people or for machines.

What the server logs itself carries a `line` field: the kind of line, such as
`"session"`, `"message"` or `"delivery"`, with flat fields beside it.  Both formats
write a line with one system call the moment the event happens, so nothing that was
logged before a crash is lost, and both escape whatever could end or forge a line.
"""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from time import gmtime, strftime
from typing import Any, Literal

import attrs
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from zope.interface import implementer

from submitd.options import option

Format = Callable[[LogEvent, str, int], str]
"""Makes the text of a line from the event, the second as text, and the millisecond."""

_STANDARD_OUTPUT = 1
_STARTUP_NOISE = ("Starting factory {factory!r}", "Stopping factory {factory!r}")
_LEVELS = {level: number for number, level in enumerate(LogLevel.iterconstants())}


@attrs.frozen(kw_only=True)
class LogOptions:
    """`[log]`: what is written about sessions, messages and deliveries, and where to."""

    format: Literal["human", "json"] = option(
        "human: a line of text an event; json: one JSON object a line.", default="human"
    )
    file: Path | None = option(
        "Log file; without it, standard output. Opened anew when it was renamed or removed.",
        default=None,
    )
    level: Literal["debug", "info", "warn", "error"] = option(
        "The least important events written; debug adds what libraries say about themselves.",
        default="info",
    )


def escaped(text: str) -> str:
    """*text* with everything unprintable (line ends, controls, bidi marks) as an escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def message_of(event: LogEvent) -> str:
    """The text of *event*, its fields filled in; as it stands, unescaped."""
    form = event.get("log_format")
    if type(form) is str and "(" not in form:
        try:
            return form.format_map(event)
        except Exception:  # formatEvent says what is wrong with the event
            return formatEvent(event)
    return formatEvent(event)


def human(event: LogEvent, second: str, millisecond: int) -> str:
    """`2026-11-21T22:55:01Z info session ...`; a failure's traceback follows, indented.

    The text begins with the kind of line, or with who speaks when it isn't submitd.
    """
    text = message_of(event)
    source = event.get("line")
    if source is None:
        namespace = str(event.get("log_namespace", "-"))
        source = "" if namespace.startswith("submitd.") else f"{namespace}:"
    if not text.lower().startswith(source):
        text = f"{source} {text}"
    text = f"{second}Z {event['log_level'].name} {text}"
    failure = event.get("log_failure")
    if failure is None:
        return escaped(text)
    lines = [escaped(text), *map(escaped, failure.getTraceback().splitlines())]
    return "\n    ".join(lines)


def _is_flat(value: object) -> bool:
    if value is None or isinstance(value, str | int | float):
        return True
    return isinstance(value, list | tuple) and all(map(_is_flat, value))


def as_json(event: LogEvent, second: str, millisecond: int) -> str:
    """One JSON object: time, level, line, message, then the event's own flat fields.

    Fields that JSON has no flat form for are left out; `traceback` holds a failure's.
    """
    record: dict[str, Any] = {
        "time": f"{second}.{millisecond:03}Z",
        "level": event["log_level"].name,
        "line": event.get("line", "log"),
        "logger": event.get("log_namespace", "-"),
        "message": message_of(event),
    }
    failure = event.get("log_failure")
    if failure is not None:
        record["traceback"] = failure.getTraceback()
    for key, value in event.items():
        if not key.startswith(("log_", "_")) and key not in record and _is_flat(value):
            record[key] = value
    return json.dumps(record, separators=(",", ":"))


FORMATS: dict[str, Format] = {"human": human, "json": as_json}


@implementer(ILogObserver)
class Log:
    """Writes events as lines to a file or to standard output.

    A log file is looked at once a second while there is something to write: when it
    was renamed or removed (logrotate), the line goes to a new one under the old name.
    A line that can't be written is dropped, and counted by the next that can: a full
    disk must not take the mail service with it.

    :param form: makes the text of a line.
    :param file: path of the log file, or None for standard output.
    :param level: the least level that is written.
    """

    def __init__(self, form: Format, file: Path | None, level: str) -> None:
        self._form = form
        self._file = file
        self._least = _LEVELS[LogLevel.levelWithName(level)]
        self._debug = level == "debug"
        self._second = (-1, "")
        self._descriptor: int | None = None
        self._lost = 0

    def __call__(self, event: LogEvent) -> None:
        """Write one event, or drop it when it is below the level or noise."""
        level = event["log_level"]
        if _LEVELS[level] < self._least or (not self._debug and self._is_noise(event, level)):
            return
        time_s = event["log_time"]
        second = int(time_s)
        known, text = self._second
        if second != known:
            text = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
            self._second = (second, text)
            self._follow()
        millisecond = int((time_s - second) * 1000)
        line = self._form(event, text, millisecond)
        if self._lost:
            lost = {
                "log_level": LogLevel.warn,
                "log_namespace": __name__,
                "log_format": "{lost} lines before this one could not be written",
                "lost": self._lost,
            }
            line = f"{self._form(lost, text, millisecond)}\n{line}"
        self._write(f"{line}\n".encode("utf-8", "backslashreplace"))

    @staticmethod
    def _is_noise(event: LogEvent, level: object) -> bool:
        """Whether a library only talks about itself."""
        if level is not LogLevel.info and level is not LogLevel.debug:
            return False
        if event.get("log_format") in _STARTUP_NOISE:
            return True
        return str(event.get("log_namespace", "")).startswith(("twisted.", "log_legacy"))

    def _follow(self) -> None:
        """Let go of a log file that is no longer the one under its name."""
        if self._file is None or self._descriptor is None:
            return
        ours = os.fstat(self._descriptor)
        try:
            there = os.stat(self._file)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        try:
            fresh = self._open()
        except OSError:
            return  # the renamed file still takes lines: better there than nowhere
        os.close(self._descriptor)
        self._descriptor = fresh

    def _open(self) -> int:
        if self._file is None:
            return _STANDARD_OUTPUT
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._file, flags, 0o640)

    def _write(self, line: bytes) -> None:
        try:
            if self._descriptor is None:
                self._descriptor = self._open()
            while line:
                line = line[os.write(self._descriptor, line) :]
            self._lost = 0
        except OSError:
            self._lost += 1


class _StandardLibrary(logging.Handler):
    """Leads what libraries log through `logging` into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        level = LogLevel.error if record.levelno >= logging.ERROR else LogLevel.warn
        Logger(namespace=record.name).emit(level, "{text}", text=record.getMessage())


def observer_factory(options: LogOptions) -> Callable[[], ILogObserver]:
    """What twistd takes as its `logger`: a function that makes the observer.

    When called it also leads warnings of the standard library's `logging` in;
    those of the `warnings` module are led in by twistd.
    """

    def make() -> ILogObserver:
        root = logging.getLogger()
        if not any(isinstance(handler, _StandardLibrary) for handler in root.handlers):
            root.addHandler(_StandardLibrary(logging.WARNING))
        observer: ILogObserver = Log(FORMATS[options.format], options.file, options.level)
        return observer

    return make
