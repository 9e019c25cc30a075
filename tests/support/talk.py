"""A `ClientSession` and the next hop it talks with, both in the test's hand."""

import random
from collections.abc import Iterator
from typing import Any

from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import DeliveryStatus
from submitd.smtp.client import ClientSession
from submitd.smtp.client_events import Finished, Hello

ANN, BOB, CAT, DAN = (Mailbox(name, f"{name}.example") for name in ("ann", "bob", "cat", "dan"))
GREETING = b"220 hop.example ESMTP\r\n"
EHLO = (
    b"250-hop.example hello\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n"
    b"250-8BITMIME\r\n250-STARTTLS\r\n250 AUTH LOGIN PLAIN\r\n"
)
PLAIN_EHLO = b"250 hop.example\r\n"
NOW_S = 1_700_000_000.25


def envelope(sender: Mailbox | None, *mailboxes: Mailbox, body: Any = "7BIT") -> Envelope:
    """An envelope without anything unusual."""
    return Envelope(sender, tuple(Recipient(mailbox) for mailbox in mailboxes), body)


def offering(*keywords: str) -> bytes:
    """The reply to EHLO of a next hop with these extensions."""
    *lines, last = ("hop.example", *keywords)
    return "".join((*(f"250-{line}\r\n" for line in lines), f"250 {last}\r\n")).encode()


class Talk:
    """A session, and a peer that says things in whole, octet by octet, or in random pieces."""

    def __init__(self, split: str, ehlo: bytes = EHLO) -> None:
        self.session = ClientSession("us.example", "hop.example")
        self._split = split
        self._random = random.Random(1)
        self.events: list[Any] = []
        assert self.hear(GREETING) == b"EHLO us.example\r\n"
        assert self.hear(ehlo) == b""
        assert self.take() == [Hello()]

    def hear(self, data: bytes) -> bytes:
        """Let the peer say *data*; what the session has to send then."""
        for piece in self._pieces(data):
            self.session.receive(piece)
            while (event := self.session.next_event()) is not None:
                self.events.append(event)
        return self.session.data_to_send()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            most = {"whole": len(data), "octets": 1, "random": self._random.randint(1, 9)}
            yield data[: most[self._split]]
            data = data[most[self._split] :]

    def take(self) -> list[Any]:
        """The events since the last call."""
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
        events, self.events = self.events, []
        return events

    def begin(self, *recipients: Mailbox, body: Any = "7BIT", size: int = 100) -> bytes:
        """Begin a transaction; what is sent for it."""
        return self.begin_with(envelope(ANN, *recipients or (BOB,), body=body), size)

    def begin_with(self, what: Envelope, size: int = 100) -> bytes:
        """Begin a transaction for all recipients of an envelope; what is sent for it."""
        self.session.begin(what, what.recipients, size, NOW_S)
        return self.session.data_to_send()

    def send(self, *pieces: bytes) -> bytes:
        """Send content; what goes over the wire."""
        for piece in pieces:
            self.session.content(piece)
        self.session.end_of_content()
        return self.session.data_to_send()

    def finished(self) -> dict[Mailbox, DeliveryStatus]:
        """The outcome of the transaction that has just finished, alone."""
        (event,) = self.take()
        assert isinstance(event, Finished)
        return dict(event.outcome)


def words(outcome: dict[Mailbox, DeliveryStatus]) -> dict[str, tuple[str, str]]:
    """An outcome in a form that reads well: local part to action and status."""
    return {m.local_part: (s.action.value, s.status) for m, s in outcome.items()}
