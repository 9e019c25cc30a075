"""A bare `ServerSession` with stand-in verdicts, fed whole, octet by octet or split at random."""

import base64
import random
from collections.abc import Callable, Iterator

from submitd.mail.address import Mailbox
from submitd.smtp import events, replies
from submitd.smtp.replies import Reply, reply
from submitd.smtp.server import NEED_DATA, PAUSED, ServerSession, Wait
from submitd.smtp.settings import Settings
from tests.support.server import HOSTNAME, LOGIN, PASSWORD

Split = Callable[[bytes], Iterator[bytes]]

SETTINGS = Settings(
    hostname=HOSTNAME,
    message_size_bytes=100_000,
    recipients_per_message=100,
    failed_logins_per_connection=3,
    errors_per_connection=10,
    future_release_s=86_400,
)


def whole(data: bytes) -> Iterator[bytes]:
    """All in one piece."""
    yield data


def each_octet(data: bytes) -> Iterator[bytes]:
    """Octet by octet."""
    for value in data:
        yield bytes((value,))


def at_random(seed: int) -> Split:
    """Pieces of one to twenty octets; the same ones for the same seed."""

    def split(data: bytes) -> Iterator[bytes]:
        dice = random.Random(seed)
        while data:
            length = dice.randint(1, 20)
            yield data[:length]
            data = data[length:]

    return split


SPLITS = {
    "whole": whole,
    "each-octet": each_octet,
    "random-1": at_random(1),
    "random-2": at_random(2),
    "random-3": at_random(3),
}


class BareSession:
    """Plays `tests.support.dialogue.Side` with nothing but the session.

    :ivar events: all events but content, in order.
    :ivar pieces: how many pieces of content came.
    :ivar messages: the content of each message that came to its end.
    """

    def __init__(self, split: Split = whole, *, implicit: bool, settings: Settings = SETTINGS):
        self.session = ServerSession(
            settings, release_by="2026-12-24T12:00:00Z", implicit_tls=implicit
        )
        self.events: list[events.Event] = []
        self.messages: list[bytes] = []
        self.pieces = 0
        self._content = b""
        self._split = split
        self._output = b""
        self._closed = False
        self._tls_due = False
        if implicit:
            self.session.secured()
        self._run()

    def send(self, data: bytes) -> None:
        """See `Side`."""
        for piece in self._split(data):
            if self._closed:
                return
            self.session.receive_data(piece)
            self._run()

    def replies(self, data: bytes) -> list[str]:
        """Say *data*; the lines of all that is answered."""
        self.send(data)
        lines = self._output.decode("ascii").splitlines()
        self._output = b""
        return lines

    def line(self) -> str:
        """See `Side`."""
        line, end, self._output = self._output.partition(b"\r\n")
        assert end, "the server says nothing more"
        return line.decode("ascii")

    def start_tls(self) -> None:
        """See `Side`."""
        assert self._tls_due
        assert not self._output
        self._tls_due = False
        self.session.secured()
        self._run()

    def expect_end(self) -> None:
        """See `Side`."""
        assert self._closed, "the server has not closed"
        assert not self._output, self._output

    def log_in(self) -> "BareSession":
        """Go through EHLO and AUTH; self."""
        login = events.LoginReceived("PLAIN", LOGIN, PASSWORD, "")
        self.session.receive_data(b"EHLO client.example\r\nAUTH PLAIN\r\n")
        self._run()
        response = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode())
        self.session.receive_data(response + b"\r\n")
        self._run()
        assert login in self.events
        self._output = b""
        return self

    def _run(self) -> None:
        while not isinstance(event := self.session.next_event(), Wait):
            if isinstance(event, events.ContentReceived):
                self._content += event.data
                self.pieces += 1
                continue
            self.events.append(event)
            verdict = self._verdict(event)
            if verdict is not None:
                assert self.session.next_event() is PAUSED
                self.session.send(verdict)
        assert event is NEED_DATA
        self._output += self.session.data_to_send()

    def _verdict(self, event: events.Event) -> Reply | None:
        match event:
            case events.LoginReceived(login=login, password=password, authorization=authorization):
                good = (login, password) == (LOGIN, PASSWORD) and authorization in ("", LOGIN)
                return replies.LOGGED_IN if good else replies.BAD_CREDENTIALS
            case events.MailReceived(reverse_path=path):
                good = path in (None, Mailbox.parse(LOGIN))
                return replies.SENDER_OK if good else replies.SENDER_NOT_YOURS
            case events.RcptReceived():
                return replies.RECIPIENT_OK
            case events.DataRequested():
                self._content = b""
                return replies.START_MAIL_INPUT
            case events.EndOfData(refused=refused):
                if refused is None:
                    self.messages.append(self._content)
                return refused or reply(250, "2.0.0", "Queued as 1")
            case events.StartTlsAccepted():
                self._tls_due = True
            case events.SessionClosed():
                self._closed = True
        return None
