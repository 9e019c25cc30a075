"""What every relay backend promises (`submitd.interfaces.IRelayBackend`), as one suite.

Subclass `RelayBackendContract` with a fixture `hop` that gives a `Hop`:

    class TestMyBackend(RelayBackendContract):
        @pytest.fixture
        def hop(self):
            ...
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface.verify import verifyObject

from submitd.interfaces import IRelayBackend, QueuedMessage
from submitd.mail.address import Mailbox
from submitd.mail.status import Action, DeliveryStatus
from submitd.testing import MemoryContent, envelope, queued

HEADER = b"From: ann@example.org\r\nSubject: x\r\n\r\n"
CONTENTS = {
    "plain": HEADER + b"hello\r\n",
    "dots": HEADER + b".\r\n..\r\n.a\r\nb.\r\n\r\n.\r\n",
    "dot first": b".x: y\r\n\r\n.\r\n",
    "dot last": HEADER + b"no line end.",
    "no final newline": HEADER + b"no line end",
    "no body": HEADER,
    "no separator": b"Subject: x\r\n",
    "8-bit": HEADER + bytes(range(0x80, 0x100)) + b"\r\n",
    "long lines": HEADER + (b"x" * 998 + b"\r\n") * 50,
    "1 MiB": HEADER + b".line %d\r\n" % 7 * (1_048_576 // 9),
}


class Hop(Protocol):
    """A backend under test and what stands behind it.

    :ivar backend: a fresh backend; the suite stops it.
    :ivar keeps_content: False for a backend that hands nothing on; `received` is unused then.
    :ivar ends_last_line: whether a message without a final line end gets one on the
        way, as in SMTP.
    """

    backend: IRelayBackend
    keeps_content: bool
    ends_last_line: bool

    def wait(self, eventual: Any) -> Any:
        """The value of *eventual*; raises what it fails with."""

    def received(self) -> Sequence[tuple[str, bytes]]:
        """Recipient and content of all that arrived, without what the backend put on top."""


class StoredContent(MemoryContent):
    """Content that is never there at once."""

    def read(self, offset: int, octets: int) -> Any:
        """A Deferred of what was asked for."""
        return succeed(super().read(offset, octets))


class BrokenContent(MemoryContent):
    """Content that can't be read."""

    def read(self, offset: int, octets: int) -> Any:
        """Fails, as a bad disk does."""
        return fail(OSError(5, "Input/output error"))


class HalfBrokenContent(MemoryContent):
    """Content of which the second half can't be read."""

    def read(self, offset: int, octets: int) -> Any:
        """Octets of the first half, then a failure."""
        if offset + octets > len(self.data) // 2:
            return fail(OSError(5, "Input/output error"))
        return super().read(offset, octets)


class RelayBackendContract:
    """The promises; subclasses say which backend must keep them."""

    @pytest.fixture
    def hop(self) -> Hop:
        """The backend: for subclasses to give."""
        raise NotImplementedError

    def deliver(self, hop: Hop, message: QueuedMessage) -> Mapping[Mailbox, DeliveryStatus]:
        """Deliver to all recipients, which must share a next hop, and check the outcome's form."""
        recipients = message.envelope.recipients
        assert len({hop.backend.next_hop(recipient) for recipient in recipients}) == 1
        outcome: Mapping[Mailbox, DeliveryStatus] = hop.wait(
            hop.backend.deliver(message, recipients)
        )
        assert set(outcome) == {recipient.mailbox for recipient in recipients}
        assert len(outcome) == len({recipient.mailbox for recipient in recipients})
        return outcome

    def check(self, hop: Hop, expected: Sequence[tuple[str, bytes]]) -> None:
        """What arrived is what was sent, in any order."""
        if not hop.keeps_content:
            return
        if hop.ends_last_line:
            expected = [
                (recipient, content if content.endswith(b"\r\n") else content + b"\r\n")
                for recipient, content in expected
            ]
        assert sorted(hop.received()) == sorted(expected)

    def test_interface(self, hop: Hop) -> None:
        """The backend has all that its interface names."""
        assert verifyObject(IRelayBackend, hop.backend)
        hop.wait(hop.backend.stop())

    @pytest.mark.parametrize("name", CONTENTS)
    def test_content_arrives(self, hop: Hop, name: str) -> None:
        """Content arrives to the octet."""
        message = queued(CONTENTS[name], envelope(body="8BITMIME"))
        (status,) = self.deliver(hop, message).values()
        assert status.action in (Action.DELIVERED, Action.RELAYED)
        assert status.status.startswith("2.")
        hop.wait(hop.backend.stop())
        self.check(hop, [("bob@example.net", CONTENTS[name])])

    @pytest.mark.parametrize("name", ["plain", "dots", "no final newline", "1 MiB"])
    def test_content_from_storage_arrives(self, hop: Hop, name: str) -> None:
        """Content arrives to the octet when it is not there at once."""
        message = queued(StoredContent(CONTENTS[name]))
        (status,) = self.deliver(hop, message).values()
        assert status.action in (Action.DELIVERED, Action.RELAYED)
        hop.wait(hop.backend.stop())
        self.check(hop, [("bob@example.net", CONTENTS[name])])

    def test_each_recipient_is_answered(self, hop: Hop) -> None:
        """The outcome names each recipient, and each gets the message."""
        addresses = [f"user{number}@example.net" for number in range(50)]
        outcome = self.deliver(hop, queued(CONTENTS["plain"], envelope(*addresses)))
        assert all(status.is_final for status in outcome.values())
        hop.wait(hop.backend.stop())
        self.check(hop, [(address, CONTENTS["plain"]) for address in addresses])

    def test_only_the_recipients_asked_for(self, hop: Hop) -> None:
        """Recipients of the envelope that the call does not name get nothing."""
        message = queued(CONTENTS["plain"], envelope("a@example.net", "b@example.net"))
        second = message.envelope.recipients[1]
        outcome = hop.wait(hop.backend.deliver(message, [second]))
        assert list(outcome) == [second.mailbox]
        hop.wait(hop.backend.stop())
        self.check(hop, [("b@example.net", CONTENTS["plain"])])

    def test_null_reverse_path(self, hop: Hop) -> None:
        """Reports, which have the null reverse-path, are delivered as well."""
        (status,) = self.deliver(hop, queued(CONTENTS["plain"], envelope(sender=None))).values()
        assert status.action in (Action.DELIVERED, Action.RELAYED)
        hop.wait(hop.backend.stop())
        self.check(hop, [("bob@example.net", CONTENTS["plain"])])

    def test_several_at_once(self, hop: Hop) -> None:
        """Deliveries that are under way together don't disturb each other."""
        contents = [HEADER + b"%d\r\n" % number for number in range(25)]
        results: list[Deferred[Any]] = []
        for number, content in enumerate(contents):
            message = queued(content, queue_id=f"Q{number:07d}")
            results.append(hop.backend.deliver(message, message.envelope.recipients))
        for result in results:
            (status,) = hop.wait(result).values()
            assert status.action in (Action.DELIVERED, Action.RELAYED)
        hop.wait(hop.backend.stop())
        self.check(hop, [("bob@example.net", content) for content in contents])

    @pytest.mark.parametrize("kind", [BrokenContent, HalfBrokenContent])
    def test_unreadable_content_is_delayed(self, hop: Hop, kind: type[MemoryContent]) -> None:
        """A message that can't be read is delayed, nothing of it arrives, and the next one does."""
        if hop.keeps_content:
            broken = queued(kind(CONTENTS["1 MiB"]), queue_id="Q0000001")
            (status,) = self.deliver(hop, broken).values()
            assert status.action is Action.DELAYED
            assert status.status.startswith("4.")
        (status,) = self.deliver(hop, queued(CONTENTS["plain"], queue_id="Q0000002")).values()
        assert status.action in (Action.DELIVERED, Action.RELAYED)
        hop.wait(hop.backend.stop())
        self.check(hop, [("bob@example.net", CONTENTS["plain"])])

    def test_stop_waits_for_what_is_under_way(self, hop: Hop) -> None:
        """When `stop` has fired, what was under way has ended with an outcome."""
        message = queued(CONTENTS["1 MiB"])
        result = hop.backend.deliver(message, message.envelope.recipients)
        hop.wait(hop.backend.stop())
        (status,) = hop.wait(result).values()
        if status.is_final:
            self.check(hop, [("bob@example.net", CONTENTS["1 MiB"])])
        else:
            self.check(hop, [])
