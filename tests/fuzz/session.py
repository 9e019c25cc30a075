"""Fuzz target: a server's session, whatever the octets and however they are cut.

First octet: settings; second: how the stream is cut; then what the client says.  The
stream is played twice.  Once line by line and chunk by chunk, which shows that each
command has one reply.  Once cut as the second octet says and with late verdicts,
which must come to the same.
"""

import enum
import re
from collections.abc import Iterator

from submitd.mail.address import Mailbox
from submitd.smtp import events, replies
from submitd.smtp.replies import Reply, reply
from submitd.smtp.server import NEED_DATA, PAUSED, ServerSession
from submitd.smtp.settings import Settings
from submitd.smtp.states import State
from tests.fuzz.splits import pieces
from tests.fuzz.wire import WireReply, read_replies

_SMALL = Settings(
    hostname="mail.example.org",
    message_size_bytes=300,
    recipients_per_message=3,
    failed_logins_per_connection=3,
    errors_per_connection=12,
)
_LARGE = Settings(
    hostname="mail.example.org",
    message_size_bytes=1 << 20,
    recipients_per_message=100,
    failed_logins_per_connection=20,
    errors_per_connection=1000,
    messages_per_connection=2,
    future_release_s=86_400,
    bare_line_ends="reject",
)
_CHUNK = re.compile(rb"BDAT +([0-9]{1,20})(?: +LAST)? *\r\n", re.IGNORECASE)


class Play:
    """One session with its driver.

    :ivar told: the events, pieces of content joined.
    :ivar said: all octets sent.
    :ivar ended: whether the session is closed, or has gone over to a handshake.
    """

    def __init__(self, flags: int, *, late: bool) -> None:
        implicit = not flags & 1
        self.session = ServerSession(
            _LARGE if flags & 2 else _SMALL,
            release_by="2026-12-24T12:00:00Z",
            implicit_tls=implicit,
        )
        self.told: list[events.Event] = []
        self.said = b""
        self.ended = False
        self.tls = implicit
        self._late = late
        self._due: Reply | None = None
        if implicit:
            self.session.secured()
        elif flags & 4:
            self.session.receive_data(b"STARTTLS\r\n")
            self.run()
            self.secure()
        if flags & 8 and self.tls:
            self.session.receive_data(b"EHLO c.example\r\nAUTH PLAIN AGFsaWNlAHNlc2FtZQ==\r\n")
            self.run(everything=True)
        self.run()

    def secure(self) -> None:
        """The handshake after STARTTLS is done."""
        assert self.session.state is State.HANDSHAKE
        self.session.secured()
        self.tls, self.ended = True, False

    def receive(self, data: bytes) -> None:
        """Octets from the client."""
        self.session.receive_data(data)
        self.run()

    def run(self, *, everything: bool = False) -> None:
        """Go on as far as the octets and the verdicts reach."""
        session = self.session
        if self._due is not None:
            session.send(self._due)
            self._due = None
        while True:
            event = session.next_event()
            if event is NEED_DATA or event is PAUSED:
                break
            assert not self.ended, f"{event} behind the end"
            self._tell(event)
            verdict = self._verdict(event)
            if verdict is None:
                continue
            assert session.is_paused
            assert session.next_event() is PAUSED
            if self._late and not everything:
                self._due = verdict
                break
            session.send(verdict)
        self.said += session.data_to_send()
        _is_consistent(self)

    def finish(self) -> None:
        """Give the verdicts that are still due."""
        while self._due is not None:
            self.run()

    def whole(self) -> list[events.Event]:
        """The events but the content of an unfinished message, some of which is held back."""
        unfinished = self.told and isinstance(self.told[-1], events.ContentReceived)
        return self.told[:-1] if unfinished else self.told

    def _tell(self, event: object) -> None:
        last = self.told[-1] if self.told else None
        if isinstance(event, events.ContentReceived):
            assert event.data
            if isinstance(last, events.ContentReceived):
                self.told[-1] = events.ContentReceived(last.data + event.data)
                return
        self.told.append(event)  # type: ignore[arg-type]

    def _verdict(self, event: object) -> Reply | None:
        """Refusals go by what is asked, so that the same stream is always told the same."""
        match event:
            case events.LoginReceived(password=password):
                assert self.tls, "a password in clear"
                assert not self.session.is_logged_in
                return replies.LOGGED_IN if password == "sesame" else replies.BAD_CREDENTIALS
            case events.MailReceived(reverse_path=path):
                assert self.tls
                return _judged(path, replies.SENDER_OK)
            case events.RcptReceived(mailbox=mailbox):
                return _judged(mailbox, replies.RECIPIENT_OK)
            case events.DataRequested():
                return replies.START_MAIL_INPUT
            case events.EndOfData(eight_bit=eight_bit, refused=refused):
                busy = reply(451, "4.3.0", "Later") if eight_bit else None
                return refused or busy or reply(250, "2.0.0", "Queued as 1")
            case events.StartTlsAccepted() | events.SessionClosed():
                self.ended = True
        return None


def _judged(mailbox: Mailbox | None, positive: Reply) -> Reply:
    local_part = mailbox.local_part if mailbox is not None else ""
    if local_part.startswith("4"):
        return reply(450, "4.2.0", "Not now")
    return replies.SENDER_NOT_YOURS if local_part.startswith("5") else positive


def _is_consistent(play: Play) -> None:
    session = play.session
    if not play.tls:
        assert session.state in (State.CLEAR, State.HANDSHAKE, State.CLOSED)
        assert not session.is_logged_in
    if session.state is State.CLOSED:
        assert play.ended
    assert session.errors >= session.failed_logins >= 0


def target(data: bytes) -> None:
    """See the module."""
    head, stream = data[:2].ljust(2, b"\0"), data[2:]
    flags, pattern = head
    careful = Play(flags, late=False)
    _one_reply_each(careful, stream)
    said = read_replies(careful.said)
    _have_status_codes(said)
    other = Play(flags, late=bool(flags & 16))
    for piece in pieces(stream, pattern):
        if other.ended:
            break
        other.receive(piece)
    other.finish()
    if _meets_starttls(careful) or _meets_starttls(other):
        return  # what is behind STARTTLS depends on when it comes
    assert other.said == careful.said, (other.said, careful.said)
    assert other.whole() == careful.whole()
    assert other.session.state is careful.session.state
    assert other.session.errors == careful.session.errors


def _meets_starttls(play: Play) -> bool:
    """Whether STARTTLS came first in the stream with nothing behind it, or too much."""
    return any(isinstance(event, events.StartTlsAccepted) for event in play.told) or (
        replies.DATA_BEHIND_STARTTLS.encoded in play.said
    )


def _one_reply_each(play: Play, stream: bytes) -> None:
    """Feed as a client that waits, and count: a line has one reply, a chunk has its command's."""
    owed = False  # the reply to a BDAT whose octets have not all come
    for kind, piece in _units(play, stream):
        before = len(play.said)
        play.receive(piece)
        said = read_replies(play.said[before:])
        new = len(said) - (len(said) > 1 and said[-1].code == 421)
        if kind is _Kind.CONTENT:
            assert new <= 1, said
        elif kind is _Kind.CHUNK:
            assert new <= owed, said
            owed = not new
        elif not piece.endswith(b"\n"):
            assert new == 0 or play.ended, f"{said} within {piece!r}"
        elif new == 0:
            assert _CHUNK.fullmatch(piece), f"no reply to {piece!r}"
            owed = True
        else:
            assert new == 1, f"{said} to {piece!r}"
        if play.ended:
            return


class _Kind(enum.Enum):
    LINE = enum.auto()
    CHUNK = enum.auto()
    CONTENT = enum.auto()


def _units(play: Play, stream: bytes) -> Iterator[tuple[_Kind, bytes]]:
    """Cut at line ends, and at the ends of the chunks that the lines announce."""
    start = 0
    while start < len(stream):
        state = play.session.state
        end = stream.find(b"\n", start) + 1 or len(stream)
        line = stream[start:end]
        start = end
        yield (_Kind.CONTENT if state is State.DATA else _Kind.LINE), line
        announced = _CHUNK.fullmatch(line)
        if announced and state not in (State.DATA, State.AUTH):
            octets = int(announced[1])
            if octets and start < len(stream):
                yield _Kind.CHUNK, stream[start : start + octets]
                start += octets


def _have_status_codes(said: list[WireReply]) -> None:
    """RFC 2034 §4: all 2yz, 4yz and 5yz but the greeting and the replies to EHLO and HELO."""
    for each in said:
        if each.enhanced is None and each.code not in (334, 354):
            first = each.lines[0]
            assert each.code in (220, 250), each
            assert first.split(b" ")[0] == b"mail.example.org", each
