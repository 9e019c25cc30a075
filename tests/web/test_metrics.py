"""Counters made from the lines of the log."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from submitd.web.metrics import Metrics
from tests.support.server import LOGIN, Server, free_ports

SESSION = {
    "line": "session",
    "listener": "implicit:465",
    "tls": "TLSv1.3",
    "login": "alice",
    "mechanism": "PLAIN",
    "reason": "quit",
}


def counted(*lines: dict[str, object]) -> dict[str, float]:
    """What is exposed after *lines*, without what is 0 and what the client library adds."""
    metrics = Metrics(lambda: 7)
    for line in lines:
        metrics(line)
    found = {}
    for line in generate_latest(metrics.registry).decode().splitlines():
        if not line.startswith("#") and "_created" not in line and "_bucket" not in line:
            name, _, value = line.rpartition(" ")
            if float(value):
                found[name.removeprefix("submitd_")] = float(value)
    return found


def test_sessions_and_logins() -> None:
    """A session counts by listener, TLS version and end, and its login by mechanism."""
    failed = {
        "line": "login",
        "mechanism": "LOGIN",
        "login": "mallory",
        "client": "192.0.2.1",
        "reason": "wrong password",
    }
    clear = {**SESSION, "listener": "starttls:587", "tls": None, "login": None}
    found = counted(SESSION, failed, {**clear, "reason": "no TLS: unknown ca"})
    assert found == {
        "connections": 7,
        'sessions_total{end="quit",listener="implicit",tls="TLSv1.3"}': 1,
        'sessions_total{end="no TLS",listener="starttls",tls="none"}': 1,
        'logins_total{mechanism="PLAIN",outcome="good"}': 1,
        'logins_total{mechanism="LOGIN",outcome="wrong password"}': 1,
    }


def test_messages_and_deliveries() -> None:
    """Messages count with their recipients and sizes, outcomes by action and class."""
    message = {"line": "message", "recipients": 3, "size": 5000}
    good = {
        "line": "delivery",
        "recipients_count": 2,
        "action": "relayed",
        "status": "2.0.0",
        "delay_s": 0.25,
    }
    bad = {**good, "recipients_count": 1, "action": "failed", "status": "5.1.1"}
    found = counted(message, good, bad, {"line": "refused", "status": "5.7.1"})
    assert found == {
        "connections": 7,
        "messages_total": 1,
        "recipients_total": 3,
        "message_octets_count": 1,
        "message_octets_sum": 5000,
        'deliveries_total{action="relayed",status_class="2.x.x"}': 2,
        'deliveries_total{action="failed",status_class="5.x.x"}': 1,
        "delivery_delay_seconds_count": 1,
        "delivery_delay_seconds_sum": 0.25,
        'refused_total{status="5.7.1"}': 1,
    }


def test_leniencies() -> None:
    """Each leniency counts as often as a session needed it, and once for a header block."""
    message = {
        "line": "message",
        "recipients": 1,
        "size": 9,
        "leniencies": "mbox-line, no-empty-line",
    }
    found = counted({**SESSION, "leniencies": "bare-line-end=3, space-after-colon=1"}, message)
    assert found['leniencies_total{leniency="mbox-line"}'] == 1
    assert found['leniencies_total{leniency="bare-line-end"}'] == 3
    assert found['leniencies_total{leniency="space-after-colon"}'] == 1


def test_other_lines_count_nothing() -> None:
    """An event without a line of its own, or of another kind, is passed over."""
    assert counted({}, {"line": "log"}, {"line": "report"}) == {"connections": 7}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Server, int]]:
    """A running server, and the port of its metrics."""
    (port,) = free_ports(1)
    tables = {"metrics": f"[metrics]\nport = {port}"}
    with Server.make(tmp_path / "site", 'backend = "discard"', tables).running() as server:
        yield server, port


def test_a_running_server_shows_them(served: tuple[Server, int]) -> None:
    """GET /metrics of a running server counts the message just sent, and names nobody."""
    server, port = served
    with server.smtp() as smtp:
        smtp.sendmail(LOGIN, ["bob@example.net"], f"From: {LOGIN}\r\n\r\ntext\r\n")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    assert "submitd_messages_total 1.0" in text
    assert 'submitd_deliveries_total{action="delivered",status_class="2.x.x"} 1.0' in text
    assert LOGIN not in text
