"""The smarthost backend and the extensions of an envelope, in front of real next hops."""

import time
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import attrs
import pytest

from submitd.interfaces import Site
from submitd.mail.address import Mailbox
from submitd.mail.envelope import DeliverBy, Envelope
from submitd.mail.status import Action, DeliveryStatus
from submitd.relay.smarthost import SmarthostFactory, SmarthostOptions
from submitd.testing import MemoryContent, envelope, queued
from tests.contracts.relay_backend import BrokenContent, HalfBrokenContent, StoredContent
from tests.support.loop import Loop
from tests.support.nexthop import CLOSE, DEFAULT_EXTENSIONS, NextHop
from tests.support.pki import TestAuthority

CHUNKING = (*DEFAULT_EXTENSIONS, "CHUNKING", "BINARYMIME")
EIGHT_BIT = b"From: ann@example.org\r\n\r\n" + "Grüße\r\n".encode() * 5
SIGNED = (
    b'Content-Type: multipart/signed; boundary="b"\r\n\r\n--b\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n'
    b"--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"
)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A reactor for the backend."""
    loop = Loop()
    yield loop
    loop.close()


class Relay:
    """Delivers to a next hop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def deliver(
        self, hop: NextHop, what: Envelope, content: Any, again: Any = None, **options: Any
    ) -> list[DeliveryStatus]:
        """What becomes of a message at each recipient; *again* is then sent behind it."""
        options = {"tls": "none", "connections": 1} | options
        backend = SmarthostFactory().build(
            SmarthostOptions(host="localhost", port=hop.port, **options),
            Site("us.example", self._loop.reactor),
        )
        message = queued(content, what)
        outcome = self._loop.wait(backend.deliver(message, what.recipients))
        if again is not None:
            follows = queued(again)
            self._loop.wait(backend.deliver(follows, follows.envelope.recipients))
        self._loop.wait(backend.stop())
        return list(outcome.values())


@pytest.fixture
def relay(loop: Loop) -> Relay:
    """Delivers messages."""
    return Relay(loop)


# ---- content ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MemoryContent, StoredContent])
@pytest.mark.parametrize("octets", [0, 10, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("body", ["7BIT", "BINARYMIME"])
def test_chunks_arrive_to_the_octet(relay: Relay, kind: Any, octets: int, body: Any) -> None:
    """Content goes by BDAT as it is, without a line end added, in one write where it is short."""
    content = (b".\0\r\n\n.\r\n" * 30_000)[:octets] if body == "BINARYMIME" else b"." * octets
    with NextHop(extensions=CHUNKING) as hop:
        (status,) = relay.deliver(hop, envelope(body=body), kind(content), b"x\r\n")
        assert status.action is Action.RELAYED
        first, second = hop.messages
        by_data = body == "7BIT" and octets > 65_536
        assert first.content == content + (b"\r\n" if by_data else b"")
        assert second.content == b"x\r\n"
        assert len(hop.sessions) == 1
        verbs = [command.split()[0] for command in hop.sessions[0].commands]
        assert verbs[3] == ("DATA" if by_data else "BDAT")


def test_ignored_extension(relay: Relay) -> None:
    """CHUNKING is not used where the configuration says so."""
    with NextHop(extensions=CHUNKING) as hop:
        relay.deliver(hop, envelope(), b"x\r\n", ignore_extensions=("chunking",))
        assert "DATA" in hop.sessions[0].commands


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "BDAT"])
def test_next_message_after_a_refusal(relay: Relay, stage: str) -> None:
    """Whatever is refused of a message that was sent at once, the next one gets through."""
    with NextHop(extensions=CHUNKING, script={stage: ["550 5.7.1 no"]}) as hop:
        (status,) = relay.deliver(hop, envelope(), b"RSET\r\nQUIT\r\n", b"again\r\n")
        assert (status.action, status.status) == (Action.FAILED, "5.7.1")
        assert [message.content for message in hop.messages] == [b"again\r\n"]
        assert len(hop.sessions) == 1
        assert "RSET" in hop.sessions[0].commands


@pytest.mark.parametrize("stage", ["MAIL", "BDAT"])
def test_closed_within_a_chunk(relay: Relay, stage: str) -> None:
    """A connection that breaks delays the message."""
    with NextHop(extensions=CHUNKING, script={stage: CLOSE}) as hop:
        (status,) = relay.deliver(hop, envelope(), b"x\r\n")
        assert status.action is Action.DELAYED


@pytest.mark.parametrize("kind", [BrokenContent, HalfBrokenContent])
@pytest.mark.parametrize("extensions", [CHUNKING, ()])
@pytest.mark.parametrize("octets", [100, 200_000])
def test_content_that_cannot_be_read(relay: Relay, kind: Any, extensions: Any, octets: int) -> None:
    """Before, within or instead of a conversion: it is delayed, and nothing of it is kept."""
    with NextHop(extensions=extensions) as hop:
        content = kind(b"\xff" * octets)
        (status,) = relay.deliver(hop, envelope(body="8BITMIME"), content, b"x\r\n")
        assert (status.action, status.status) == (Action.DELAYED, "4.3.0")
        assert [message.content.rstrip() for message in hop.messages] == [b"x"]


@pytest.mark.parametrize("kind", [MemoryContent, StoredContent])
@pytest.mark.parametrize("times", [1, 5000])
def test_eight_bit_content_is_converted(relay: Relay, kind: Any, times: int) -> None:
    """A next hop without 8BITMIME gets ASCII that says the same."""
    with NextHop(extensions=("PIPELINING", "SIZE")) as hop:
        content = EIGHT_BIT + "Ä und Ö\r\n".encode() * times
        (status,) = relay.deliver(hop, envelope(body="8BITMIME"), kind(content), b"x\r\n")
        assert status.action is Action.RELAYED
        converted, plain = hop.messages
    assert converted.content.isascii()
    assert converted.mail == "FROM:<ann@example.org>"
    decoded = message_from_bytes(converted.content).get_payload(decode=True)
    assert decoded == content.partition(b"\r\n\r\n")[2]
    assert plain.mail == "FROM:<ann@example.org> SIZE=3"


def test_signed_content_bounces(relay: Relay) -> None:
    """What must not be converted fails, and the connection serves the next message."""
    with NextHop(extensions=()) as hop:
        what = envelope("bob@example.net", "cat@example.net", body="8BITMIME")
        statuses = relay.deliver(hop, what, SIGNED, b"x\r\n")
        assert [(s.action, s.status) for s in statuses] == [(Action.FAILED, "5.6.3")] * 2
        assert "signed" in statuses[0].diagnostic
        assert len(hop.messages) == len(hop.sessions) == 1
        assert hop.sessions[0].commands[1] == "MAIL FROM:<ann@example.org>"


# ---- addresses --------------------------------------------------------------------------


@pytest.mark.parametrize(("subject", "expected"), [("plain", "relayed"), ("Grüße", "failed 5.6.9")])
def test_internationalised_message_without_smtputf8(
    relay: Relay, subject: str, expected: str
) -> None:
    """It goes where the header is ASCII after all, and else fails."""
    what = attrs.evolve(envelope(body="8BITMIME"), utf8=True)
    with NextHop() as hop:
        (status,) = relay.deliver(hop, what, f"Subject: {subject}\r\n\r\nÄ\r\n".encode())
        assert f"{status.action.value} {status.status}".startswith(expected)
        assert all("SMTPUTF8" not in message.mail for message in hop.messages)


def test_internationalised_message_with_smtputf8(relay: Relay) -> None:
    """Where SMTPUTF8 is offered everything goes as it is."""
    with NextHop(extensions=(*DEFAULT_EXTENSIONS, "SMTPUTF8")) as hop:
        recipient = str(Mailbox("josé", "bücher.example"))
        what = attrs.evolve(envelope(recipient, body="8BITMIME"), utf8=True)
        relay.deliver(hop, what, "Subject: Grüße\r\n\r\n".encode())
        (message,) = hop.messages
    assert message.recipients == [f"TO:<{recipient}>"]
    assert message.mail.endswith(" SMTPUTF8")


# ---- everything at once -----------------------------------------------------------------


@pytest.mark.parametrize("offered", [True, False])
def test_every_parameter(relay: Relay, offered: bool) -> None:
    """All parameters together are taken by a next hop that has them all, and none by others."""
    extensions = (*CHUNKING, "DSN", "SMTPUTF8", "DELIVERBY 60", "MT-PRIORITY")
    what = envelope(body="8BITMIME")
    recipient = attrs.evolve(what.recipients[0], notify=frozenset({"SUCCESS"}))
    what = attrs.evolve(
        what,
        recipients=(recipient,),
        utf8=True,
        ret="FULL",
        envelope_id="x",
        deliver_by=DeliverBy(time.time() + 1000, "N"),
        priority=3,
    )
    with NextHop(extensions=extensions if offered else ()) as hop:
        (status,) = relay.deliver(hop, what, EIGHT_BIT)
        assert status.action is Action.RELAYED
        assert status.dsn_passed_on is offered
        assert len(hop.messages[0].mail.split()) == (8 if offered else 1)


# ---- REQUIRETLS -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "names", "offered", "expected"),
    [
        ("implicit", ("localhost",), True, "relayed 2.0.0"),
        ("starttls", ("localhost",), True, "relayed 2.0.0"),
        ("starttls", ("localhost",), False, "failed 5.7.30"),
        ("opportunistic", ("localhost",), True, "relayed 2.0.0"),
        ("opportunistic", ("other.example",), True, "failed 5.7.10"),
        ("none", ("localhost",), True, "failed 5.7.10"),
    ],
)
def test_require_tls(
    relay: Relay, tmp_path: Path, level: Any, names: Any, offered: bool, expected: str
) -> None:
    """Such a message goes over TLS with the next hop's own certificate, if it promises as much."""
    authority = TestAuthority(tmp_path)
    server = {"implicit": "implicit", "none": "none"}.get(level, "starttls")
    extensions = (*DEFAULT_EXTENSIONS, *(["REQUIRETLS"] if offered else []))
    with NextHop(server, authority.issue(*names), extensions=extensions) as hop:
        what = attrs.evolve(envelope(), require_tls=True)
        (status,) = relay.deliver(hop, what, b"x\r\n", b"y\r\n", tls=level, ca_file=authority.file)
        assert f"{status.action.value} {status.status}" == expected
        secret = [message for message in hop.messages if message.content == b"x\r\n"]
        assert len(secret) == (status.action is Action.RELAYED)
        assert all("REQUIRETLS" in message.mail for message in secret)
        # Others are not held up by it.
        assert hop.messages[-1].content == b"y\r\n"


@pytest.mark.parametrize("level", ["implicit", "starttls"])
def test_tls_required_no_opens_nothing(relay: Relay, tmp_path: Path, level: Any) -> None:
    """`TLS-Required: No` doesn't waive what the configuration demands of the smarthost."""
    identity = TestAuthority(tmp_path).issue("other.example")
    (tmp_path / "password").write_text("secret")
    with NextHop(level, identity, {"org": "secret"}) as hop:
        what = attrs.evolve(envelope(), tls_optional=True)
        (status,) = relay.deliver(
            hop, what, b"x", tls=level, username="org", password_file=tmp_path / "password"
        )
        assert (status.action, status.status) == (Action.DELAYED, "4.7.5")
        assert b"".join(hop.sessions[0].reads).count(b"AUTH") == 0


def test_nobody_is_vouched_for(relay: Relay, tmp_path: Path) -> None:
    """After a login MAIL has AUTH=<>, which the next hop takes."""
    authority = TestAuthority(tmp_path)
    (tmp_path / "password").write_text("secret")
    with NextHop("implicit", authority.issue("localhost"), {"org": "secret"}) as hop:
        relay.deliver(
            hop,
            envelope(),
            b"x\r\n",
            tls="implicit",
            ca_file=authority.file,
            username="org",
            password_file=tmp_path / "password",
        )
        assert hop.messages[0].mail.endswith(" AUTH=<>")
