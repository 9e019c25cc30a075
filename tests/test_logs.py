"""submitd.logs: lines that people and machines can trust."""

import json
import logging
import os
from pathlib import Path

import pytest
from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure

from submitd.logs import FORMATS, Log, LogOptions, escaped, observer_factory

NOON_S = 1795258800.25  # 2026-11-21T11:00:00.250Z


def event(level: str = "info", **fields: object) -> LogEvent:
    """An event as twisted.logger hands it to observers."""
    return {
        "log_level": LogLevel.levelWithName(level),
        "log_namespace": "submitd.tests",
        "log_time": NOON_S,
        **fields,
    }


def written(tmp_path: Path, form: str, *events: LogEvent, level: str = "info") -> list[str]:
    """The lines that a Log of this format and level makes of *events*."""
    file = tmp_path / "log"
    log = Log(FORMATS[form], file, level)
    for item in events:
        log(item)
    return file.read_text("utf-8").splitlines() if file.exists() else []


def test_human_line(tmp_path: Path) -> None:
    """A line for people has the time in UTC, the level, the kind of line and the text."""
    [line] = written(
        tmp_path, "human", event(line="session", log_format="login {login}", login="alice")
    )
    assert line == "2026-11-21T11:00:00Z info session login alice"


def test_json_line(tmp_path: Path) -> None:
    """A line for machines is one JSON object with the event's own flat fields beside the text."""
    [line] = written(
        tmp_path,
        "json",
        event(
            line="delivery",
            log_format="to {recipients}",
            recipients=["a@example.org"],
            attempt=2,
            delay_s=0.5,
            _private=1,
            backend=object(),
        ),
    )
    assert json.loads(line) == {
        "time": "2026-11-21T11:00:00.250Z",
        "level": "info",
        "line": "delivery",
        "logger": "submitd.tests",
        "message": "to ['a@example.org']",
        "recipients": ["a@example.org"],
        "attempt": 2,
        "delay_s": 0.5,
    }


def test_fields_cannot_replace_our_own(tmp_path: Path) -> None:
    """A field that is called like one of the line's own does not take its place."""
    [line] = written(
        tmp_path,
        "json",
        event(log_format="text", time="never", message="forged") | {"level": "none"},
    )
    record = json.loads(line)
    assert (record["level"], record["message"]) == ("info", "text")
    assert record["time"].startswith("2026")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("evil", ["\n", "\r", "\x85", "\u2028", "\x1b[2J", "\0", "\udc80"])
def test_no_forged_lines(tmp_path: Path, form: str, evil: str) -> None:
    """Whatever a client sends, one event stays one line and holds no control characters."""
    [line] = written(
        tmp_path, form, event(log_format="from {name}", name=f"x{evil}2026-11-21T11:00:00Z info")
    )
    assert line.isprintable()


def test_escaped_keeps_what_can_be_read() -> None:
    """Letters of any script are left alone; what can't be seen is spelt out."""
    assert escaped("Grüße, 世界 \\o/") == "Grüße, 世界 \\o/"
    assert escaped("a\nb\u202ec") == "a\\nb\\u202ec"


@pytest.mark.parametrize("form", FORMATS)
def test_failures_come_with_their_traceback(tmp_path: Path, form: str) -> None:
    """A failure's traceback follows its line: indented for people, one field for machines."""
    try:
        raise ValueError("broken\nline")
    except ValueError:
        failure = Failure()
    lines = written(tmp_path, form, event("critical", log_format="fault", log_failure=failure))
    if form == "json":
        assert "ValueError: broken" in json.loads(lines[0])["traceback"]
        assert len(lines) == 1
    else:
        assert all(line.startswith("    ") for line in lines[1:])
        assert any("ValueError: broken" in line for line in lines[1:])


def test_level(tmp_path: Path) -> None:
    """Events below the configured level are not written."""
    events = [event(name, log_format=name) for name in ("debug", "info", "warn", "error")]
    lines = written(tmp_path, "human", *events, level="warn")
    assert [line.split()[1] for line in lines] == ["warn", "error"]


def test_noise_is_left_out(tmp_path: Path) -> None:
    """What Twisted says about itself shows from warnings on, or at level debug."""
    noise = [
        event(log_format="Starting factory {factory!r}", factory=1),
        event(log_namespace="twisted.application.app", log_format="starting up"),
        event(log_namespace="log_legacy", log_format="legacy"),
    ]
    warning = event("warn", log_namespace="twisted.internet", log_format="trouble")
    assert len(written(tmp_path, "human", *noise, warning)) == 1
    assert len(written(tmp_path, "json", *noise, warning, level="debug")) == 1 + 4


def test_an_event_that_cannot_be_formatted(tmp_path: Path) -> None:
    """An event whose text can't be made still gives a line that says so."""
    [line] = written(tmp_path, "human", event(log_format="{missing}"))
    assert "Unable to format event" in line


def test_log_file_follows_its_name(tmp_path: Path) -> None:
    """After logrotate has renamed the file, lines go to a new one within a second."""
    file = tmp_path / "log"
    log = Log(FORMATS["human"], file, "info")
    log(event(log_format="one"))
    file.rename(tmp_path / "log.1")
    log(event(log_format="two") | {"log_time": NOON_S + 1})
    assert "one" in (tmp_path / "log.1").read_text()
    assert "two" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_lost_lines_are_counted(tmp_path: Path) -> None:
    """Lines that could not be written are dropped without harm and counted afterwards."""
    file = tmp_path / "absent" / "log"
    log = Log(FORMATS["json"], file, "info")
    for _ in range(3):
        log(event(log_format="lost"))
    file.parent.mkdir()
    log(event(log_format="kept"))
    first, second = map(json.loads, file.read_text().splitlines())
    assert first["lost"] == 3
    assert second["message"] == "kept"


def test_factory_for_twistd(tmp_path: Path) -> None:
    """The observer that twistd gets takes what Logger publishes."""
    options = LogOptions(format="json", file=tmp_path / "log")
    publisher = LogPublisher(observer_factory(options)())
    Logger(namespace="submitd.tests", observer=publisher).info(
        "login {login}", line="session", login="alice"
    )
    record = json.loads((tmp_path / "log").read_text())
    assert record["login"] == "alice"
    handlers = [h for h in logging.getLogger().handlers if type(h).__module__ == "submitd.logs"]
    assert len(handlers) == 1
    logging.getLogger().removeHandler(handlers[0])


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"line": "session", "log_format": "session 1 from a"}, "session 1 from a"),
        ({"line": "delivery", "log_format": "1 to b"}, "delivery 1 to b"),
        ({"log_namespace": "submitd.service.X", "log_format": "serving"}, "serving"),
        ({"log_namespace": "acme.relay", "log_format": "hello"}, "acme.relay: hello"),
    ],
)
def test_who_speaks(tmp_path: Path, fields: dict[str, str], text: str) -> None:
    """A line for people says its kind once, and names whoever speaks that isn't submitd."""
    [line] = written(tmp_path, "human", event() | fields)
    assert line.partition(" info ")[2] == text
