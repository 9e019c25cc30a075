"""The smarthost backend in front of a real next hop that records, and misbehaves on request."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogLevel, globalLogPublisher
from zope.interface.verify import verifyObject

from submitd.interfaces import IRelayBackendFactory, Site
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.relay.smarthost import Smarthost, SmarthostFactory, SmarthostOptions
from submitd.testing import envelope, queued
from tests.support.loop import Loop
from tests.support.nexthop import CLOSE, CLOSE_AFTER, SILENCE, NextHop
from tests.support.pki import TestAuthority

HEADER = b"Subject: x\r\n\r\n"


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A reactor for the backend."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    """What is logged during the test."""
    seen: list[dict[str, Any]] = []
    observer: Any = seen.append
    globalLogPublisher.addObserver(observer)
    yield seen
    globalLogPublisher.removeObserver(observer)


class Relay:
    """Smarthosts for a test, stopped at its end."""

    def __init__(self, loop: Loop, directory: Path) -> None:
        self.loop = loop
        self.directory = directory
        self.backends: list[Smarthost] = []

    def build(self, port: int, **options: Any) -> Smarthost:
        """A backend for the next hop at *port*; in clear unless *options* say otherwise."""
        defaults: dict[str, Any] = {"host": "localhost", "port": port, "tls": "none"}
        table = SmarthostOptions(**(defaults | options))
        backend = SmarthostFactory().build(table, Site("us.example", self.loop.reactor))
        self.backends.append(backend)
        return backend

    def password(self, text: str = "secret\n", mode: int = 0o600) -> Path:
        """A password file."""
        path = self.directory / "relay.password"
        path.write_text(text)
        path.chmod(mode)
        return path

    def deliver(
        self, backend: Smarthost, *recipients: str, content: bytes = HEADER
    ) -> dict[Mailbox, DeliveryStatus]:
        """Deliver one message."""
        message = queued(content, envelope(*recipients))
        return dict(self.loop.wait(backend.deliver(message, message.envelope.recipients)))

    def status(self, backend: Smarthost) -> DeliveryStatus:
        """Deliver a message to one recipient; what became of it."""
        (status,) = self.deliver(backend).values()
        return status


@pytest.fixture
def relay(loop: Loop, tmp_path: Path) -> Iterator[Relay]:
    """Makes backends."""
    relay = Relay(loop, tmp_path)
    yield relay
    for backend in relay.backends:
        loop.wait(backend.stop())


# ---- options ----------------------------------------------------------------------------


def test_factory() -> None:
    """The factory has all that a plugin needs."""
    assert verifyObject(IRelayBackendFactory, SmarthostFactory())
    assert SmarthostFactory.name == "smarthost"


def test_default_time_limits() -> None:
    """Without options the limits are those that RFC 5321 §4.5.3.2 asks for, at least."""
    options = SmarthostOptions(host="smtp.example.net")
    assert options.command_s >= 300  # greeting, MAIL, RCPT; DATA has 120 of them
    assert options.content_s >= 180
    assert options.end_of_data_s >= 600


@pytest.mark.parametrize("level", ["none", "opportunistic"])
def test_no_login_without_verified_tls(relay: Relay, level: str) -> None:
    """A login together with a level that doesn't verify the peer is refused at the start."""
    with pytest.raises(ValueError, match="anybody could read the password"):
        relay.build(25, tls=level, username="org", password_file=relay.password())


def test_login_options_need_each_other(relay: Relay) -> None:
    """A user name without password, or the other way round, is refused at the start."""
    with pytest.raises(ValueError, match="need each other"):
        relay.build(465, tls="implicit", username="org")
    with pytest.raises(ValueError, match="need each other"):
        relay.build(465, tls="implicit", password_file=relay.password())


@pytest.mark.parametrize("text", ["", "\nsecret\n", "a\0b\n"])
def test_password_file_without_a_password(relay: Relay, text: str) -> None:
    """A file without a usable password in its first line is refused at the start."""
    with pytest.raises(ValueError, match="no password"):
        relay.build(465, tls="implicit", username="org", password_file=relay.password(text))


def test_password_file_that_cannot_be_read(relay: Relay, tmp_path: Path) -> None:
    """A missing file, or one that isn't text, is refused at the start, with its name."""
    with pytest.raises(ValueError, match="missing cannot be read"):
        relay.build(465, tls="implicit", username="org", password_file=tmp_path / "missing")
    relay.password().write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        relay.build(465, tls="implicit", username="org", password_file=tmp_path / "relay.password")


def test_password_file_open_to_everybody(relay: Relay, events: list[dict[str, Any]]) -> None:
    """A password file that others may read is used, with a warning."""
    relay.build(465, tls="implicit", username="org", password_file=relay.password(mode=0o644))
    (warning,) = (event for event in events if event["log_level"] is LogLevel.warn)
    assert warning["path"].endswith("relay.password")


@pytest.mark.parametrize("host", ["", "b\u00fccher.example", "a\r\nb"])
def test_bad_host(relay: Relay, host: str) -> None:
    """A host name must be ASCII."""
    with pytest.raises(ValueError, match="ASCII"):
        relay.build(25, host=host)


# ---- deliveries -------------------------------------------------------------------------


def test_login_over_tls_and_nothing_secret_in_the_log(
    relay: Relay, tmp_path: Path, events: list[dict[str, Any]]
) -> None:
    """Mail goes out over verified TLS with the login; the log tells how, not the password."""
    authority = TestAuthority(tmp_path)
    with NextHop("implicit", authority.issue("localhost"), {"org": "secret"}) as hop:
        backend = relay.build(
            hop.port,
            tls="implicit",
            username="org",
            password_file=relay.password("secret\nnot this\n"),
            ca_file=authority.file,
        )
        assert relay.status(backend).action is Action.RELAYED
        assert hop.messages[0].session.login == "org"
    (connected,) = (event for event in events if event.get("line") == "relay")
    assert connected["verified"] is True
    assert connected["security"].startswith("TLSv1.3 TLS_")
    assert "secret" not in repr(events).replace("_secret", "")


def test_refused_login_delays_and_is_loud(
    relay: Relay, tmp_path: Path, events: list[dict[str, Any]]
) -> None:
    """A wrong password of ours bounces nobody's mail, and is logged as an error."""
    authority = TestAuthority(tmp_path)
    with NextHop("implicit", authority.issue("localhost"), {"org": "changed"}) as hop:
        backend = relay.build(
            hop.port,
            tls="implicit",
            username="org",
            password_file=relay.password(),
            ca_file=authority.file,
        )
        status = relay.status(backend)
    assert (status.action, status.status) == (Action.DELAYED, "4.7.8")
    assert "535 5.7.8" in status.diagnostic
    assert [event["log_level"] for event in events if event.get("line") == "relay"] == [
        LogLevel.error
    ]


def test_connection_is_reused(relay: Relay) -> None:
    """Messages one after another share a connection, two writes each."""
    with NextHop() as hop:
        backend = relay.build(hop.port)
        for _ in range(5):
            assert relay.status(backend).action is Action.RELAYED
        assert len(hop.sessions) == 1
        assert len(hop.sessions[0].reads) == 1 + 5 * 2
        relay.loop.wait(backend.stop())
        assert hop.sessions[0].commands[-1] == "QUIT"


def test_bound_on_connections(relay: Relay) -> None:
    """Many deliveries at once take no more connections than allowed."""
    with NextHop() as hop:
        backend = relay.build(hop.port, connections=3, messages_per_connection=4)
        results = []
        for number in range(40):
            message = queued(HEADER + b"%d\r\n" % number)
            results.append(backend.deliver(message, message.envelope.recipients))
        for result in results:
            (status,) = relay.loop.wait(result).values()
            assert status.action is Action.RELAYED
        assert len(hop.messages) == 40
        sent = [session.commands.count("DATA") for session in hop.sessions]
        assert max(sent) == 4
        assert len(sent) <= 40 / 4 + 3


def test_next_hop_that_was_restarted(relay: Relay) -> None:
    """A kept connection that the next hop has closed costs no delay."""
    with NextHop() as hop:
        backend = relay.build(hop.port)
        assert relay.status(backend).action is Action.RELAYED
        hop.cut()
        assert relay.status(backend).action is Action.RELAYED
        assert len(hop.sessions) == 2


def test_next_hop_that_was_tired_of_waiting(relay: Relay) -> None:
    """A 421 in reply to the MAIL of a kept connection costs no delay either."""
    script = {"MAIL": [None, CLOSE_AFTER + "421 4.4.2 idle for too long"]}
    with NextHop(script=script) as hop:
        backend = relay.build(hop.port, connections=1)
        assert relay.status(backend).action is Action.RELAYED
        assert relay.status(backend).action is Action.RELAYED
        assert len(hop.sessions) == 2
        assert len(hop.messages) == 2


@pytest.mark.parametrize(
    ("stage", "reply", "action", "status"),
    [
        ("greeting", "554 5.7.1 no", Action.DELAYED, "4.7.1"),
        ("greeting", "421 4.3.2 busy", Action.DELAYED, "4.3.2"),
        ("MAIL", "553 5.7.1 no", Action.FAILED, "5.7.1"),
        ("MAIL", "451 4.7.1 later", Action.DELAYED, "4.7.1"),
        ("MAIL", "530 5.7.0 log in", Action.DELAYED, "4.7.0"),
        ("RCPT", "550 5.1.1 unknown", Action.FAILED, "5.1.1"),
        ("RCPT", "450 4.2.1 greylisted", Action.DELAYED, "4.2.1"),
        ("DATA", "554 5.3.4 too big", Action.FAILED, "5.3.4"),
        (".", "550 5.7.1 spam", Action.FAILED, "5.7.1"),
        (".", "452 4.3.1 full", Action.DELAYED, "4.3.1"),
        (".", CLOSE, Action.DELAYED, "4.4.2"),
        (".", "nonsense", Action.DELAYED, "4.5.0"),
    ],
)
def test_what_replies_mean(
    relay: Relay, stage: str, reply: str, action: Action, status: str
) -> None:
    """A refusal at each stage has its outcome, and the next message goes out."""
    with NextHop(script={stage: [reply]}) as hop:
        backend = relay.build(hop.port)
        outcome = relay.status(backend)
        assert (outcome.action, outcome.status) == (action, status)
        assert outcome.next_hop == "localhost"
        assert relay.status(backend).action is Action.RELAYED
        assert len(hop.messages) == 1


def test_an_address_that_is_a_bug_of_ours(relay: Relay) -> None:
    """A message that can't be sent for a fault of ours is delayed, and holds up no other."""
    with NextHop() as hop:
        backend = relay.build(hop.port)
        evil = Envelope(None, (Recipient(Mailbox("x>\r\nRCPT TO:<y", "example.net")),))
        message = queued(HEADER, evil)
        (status,) = relay.loop.wait(backend.deliver(message, evil.recipients)).values()
        assert (status.action, status.status) == (Action.DELAYED, "4.3.0")
        assert relay.status(backend).action is Action.RELAYED
        assert all("TO:<y" not in command for command in hop.sessions[0].commands)


def test_more_recipients_than_a_transaction_takes(relay: Relay) -> None:
    """A message for many is sent in several transactions, and everybody gets it once."""
    addresses = [f"user{number}@example.net" for number in range(250)]
    with NextHop() as hop:
        backend = relay.build(hop.port, connections=2)
        outcome = relay.deliver(backend, *addresses)
        assert [str(mailbox) for mailbox in outcome] == addresses
        assert {status.action for status in outcome.values()} == {Action.RELAYED}
        assert sorted(len(message.recipients) for message in hop.messages) == [50, 100, 100]
        seen = [recipient for message in hop.messages for recipient in message.recipients]
        assert sorted(seen) == sorted(f"TO:<{address}>" for address in addresses)


@pytest.mark.parametrize("broken", [CLOSE, SILENCE, "not TLS"])
def test_opportunistic_tls_with_a_broken_handshake(
    relay: Relay, tmp_path: Path, events: list[dict[str, Any]], broken: str
) -> None:
    """Opportunistic TLS falls back to a new connection in clear, and the log says so."""
    identity = TestAuthority(tmp_path).issue("localhost")
    with NextHop("starttls", identity, script={"handshake": broken}) as hop:
        backend = relay.build(hop.port, tls="opportunistic", handshake_s=1)
        assert relay.status(backend).action is Action.RELAYED
        assert len(hop.sessions) == 2
        assert hop.messages[0].session.tls_version is None
    warning, connected = (event for event in events if event.get("line") == "relay")
    assert warning["log_level"] is LogLevel.warn
    assert "TLS handshake" in warning["diagnostic"]
    assert connected["security"] == "in clear"


def test_required_tls_with_a_broken_handshake(relay: Relay, tmp_path: Path) -> None:
    """Required TLS never falls back."""
    identity = TestAuthority(tmp_path).issue("localhost")
    with NextHop("starttls", identity, script={"handshake": CLOSE}) as hop:
        backend = relay.build(hop.port, tls="starttls")
        status = relay.status(backend)
        assert (status.action, status.status) == (Action.DELAYED, "4.7.5")
        assert len(hop.sessions) == 1
        assert hop.messages == []


def test_idle_connections_are_closed(relay: Relay) -> None:
    """A connection without work ends with QUIT after its time."""
    with NextHop() as hop:
        backend = relay.build(hop.port, idle_s=1)
        assert relay.status(backend).action is Action.RELAYED
        relay.loop.until(hop.sessions[0].closed.is_set)
        assert hop.sessions[0].commands[-1] == "QUIT"


def test_stopping_gives_up_a_connection_under_construction(relay: Relay) -> None:
    """Stopping doesn't wait for a next hop that doesn't answer; the message is delayed."""
    with NextHop(script={"greeting": SILENCE}) as hop:
        backend = relay.build(hop.port)
        message = queued(HEADER)
        result = backend.deliver(message, message.envelope.recipients)
        relay.loop.until(lambda: len(hop.sessions) == 1)
        relay.loop.wait(backend.stop())
        (status,) = relay.loop.wait(result).values()
        assert status.action is Action.DELAYED


def test_no_name(relay: Relay) -> None:
    """A name that doesn't exist delays."""
    backend = relay.build(25, host="no-such-host.invalid")
    status = relay.status(backend)
    assert (status.action, status.status) == (Action.DELAYED, "4.4.3")
