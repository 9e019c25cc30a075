"""The smarthost backend in front of a real Postfix: what it offers is used as it understands it."""

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from submitd.interfaces import Site
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import DeliveryStatus
from submitd.relay.smarthost import SmarthostFactory, SmarthostOptions
from submitd.testing import queued
from tests.support import postfix
from tests.support.loop import Loop
from tests.support.nexthop import DEFAULT_EXTENSIONS, Message, NextHop
from tests.support.postfix import Postfix

ANN, BOB = Mailbox("ann", "example.org"), Mailbox("bob", "example.net")
BAD = Mailbox("bad", "example.net")
JOSE = Mailbox("josé", "bücher.example")


@attrs.frozen
class Chain:
    """The backend, Postfix, and what comes out behind it."""

    postfix: Postfix
    hop: NextHop

    def deliver(self, *messages: tuple[Envelope, Any], **options: Any) -> list[DeliveryStatus]:
        """Hand all messages on over one connection; what became of their recipients."""
        loop = Loop()
        table = SmarthostOptions(
            host="127.0.0.1", port=self.postfix.port, tls="none", connections=1, **options
        )
        backend = SmarthostFactory().build(table, Site("us.example", loop.reactor))
        results = [backend.deliver(queued(text, what), what.recipients) for what, text in messages]
        outcomes = [loop.wait(result) for result in results]
        loop.wait(backend.stop())
        loop.close()
        return [status for outcome in outcomes for status in outcome.values()]

    def came_out(self, marker: bytes) -> Message:
        """The message with *marker* in it."""
        while True:
            for message in self.hop.messages:
                if marker in message.content:
                    return message
            self.hop.wait_for(len(self.hop.messages) + 1)


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    """A Postfix that refuses one recipient, and relays to a next hop that records."""
    extensions = (*DEFAULT_EXTENSIONS, "SMTPUTF8", "DSN")
    with postfix.directory() as directory, NextHop(extensions=extensions) as hop:
        settings = {
            "relayhost": f"[127.0.0.1]:{hop.port}",
            "smtpd_relay_restrictions": f"check_recipient_access inline:{{{BAD}=REJECT}},"
            " permit_mynetworks, reject",
        }
        with Postfix.make(directory, settings).running() as running:
            yield Chain(running, hop)


@pytest.mark.parametrize("options", [{}, {"ignore_extensions": ("CHUNKING",)}])
def test_everything_that_postfix_offers(chain: Chain, options: Any) -> None:
    """Postfix takes BDAT, SMTPUTF8, 8BITMIME and DSN together, and passes them on."""
    marker = f"marker {options}".encode()
    what = Envelope(
        ANN,
        (Recipient(JOSE, frozenset({"FAILURE"}), "rfc822;x@example.org"),),
        body="8BITMIME",
        utf8=True,
        ret="HDRS",
        envelope_id="x+2By",
    )
    text = b"From: ann@example.org\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n\r\n.\r\n" + marker + b"\r\n"
    (status,) = chain.deliver((what, text), **options)
    assert (status.action.value, status.dsn_passed_on) == ("relayed", True)
    message = chain.came_out(marker)
    assert b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n" in message.content
    assert message.content.endswith(b"\r\n\r\n.\r\n" + marker + b"\r\n")
    assert message.recipients[0].startswith(f"TO:<{JOSE}> ORCPT=rfc822;x@example.org NOTIFY=FAIL")
    for parameter in ("BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=x+2By"):
        assert parameter in message.mail


def test_content_of_a_refused_envelope_is_no_command(chain: Chain) -> None:
    """Content that was sent along in vain is skipped, and the next message gets through."""
    script = b"RSET\r\nMAIL FROM:<eve@example.org>\r\nRCPT TO:<eve@example.net>\r\nDATA\r\n"
    refused = Envelope(ANN, (Recipient(BAD),))
    partly = Envelope(ANN, (Recipient(BAD), Recipient(BOB)))
    text = b"Subject: x\r\n\r\n"
    statuses = chain.deliver(
        (refused, script + b"eve\r\n.\r\n"), (partly, text + b"partly\r\n"), (refused, script)
    )
    assert [status.action.value for status in statuses] == ["failed", "failed", "relayed", "failed"]
    assert chain.came_out(b"partly").recipients[0].startswith(f"TO:<{BOB}>")
    assert not any(b"eve" in message.content for message in chain.hop.messages)
