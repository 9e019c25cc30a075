"""The client's side of SMTP (RFC 5321) as a pure object: bytes in, events and bytes out.

A driver owns the socket, TLS and the clock, and goes round and round like this::

    session.receive(data)                  # or receive_eof()
    while event := session.next_event():
        ...                                # begin(), content(), quit() ...
    transport.write(session.data_to_send())

The session greets by itself.  What comes then is the driver's choice: `starttls`,
`authenticate`, `begin`, `quit`.
"""

import enum
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence

from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.smtp import client_auth
from submitd.smtp.client_events import (
    Authenticated,
    ContentWanted,
    Ended,
    Event,
    Finished,
    Hello,
    InspectionWanted,
    Refused,
    StartTls,
)
from submitd.smtp.client_extensions import Offer, Unfit
from submitd.smtp.client_replies import RawReply, ReplyReader, Stage, delivery_status
from submitd.smtp.client_transaction import Transaction, Turn
from submitd.smtp.errors import LocalProtocolError, RemoteProtocolError
from submitd.smtp.stuffing import Chunk, DotStuffer

_OF_A_TRANSACTION = frozenset((Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA))


class _State(enum.Enum):
    GREETING = enum.auto()  # connected, or EHLO under way
    READY = enum.auto()
    BUSY = enum.auto()  # STARTTLS or AUTH under way
    HANDSHAKE = enum.auto()
    INSPECTION = enum.auto()
    ENVELOPE = enum.auto()
    CONTENT = enum.auto()
    END_OF_DATA = enum.auto()
    QUITTING = enum.auto()
    ENDED = enum.auto()


class ClientSession:
    """One connection to a next hop.

    :param hostname: our name, for EHLO.
    :param next_hop: its name, for the statuses.
    :param ignored: EHLO keywords in capitals that count as not offered.

    :ivar extensions: EHLO keywords in capitals, each with its parameters as one
        text; empty after HELO, and forgotten at STARTTLS.
    :ivar verified: whether TLS is active with a verified peer.
    """

    def __init__(
        self,
        hostname: str,
        next_hop: str,
        *,
        verified: bool = False,
        ignored: Container[str] = (),
    ) -> None:
        self.extensions: Mapping[str, str] = {}
        self.verified = verified
        self._ignored = ignored
        self._authenticated = False
        self._hostname = hostname
        self._next_hop = next_hop
        self._reader = ReplyReader()
        self._state = _State.GREETING
        self._events: deque[Event] = deque()
        self._out: list[bytes] = []
        # A reply counts only for a command that has been given to the driver: one
        # that comes before is nobody's.
        self._queued: list[tuple[Stage, int]] = []
        self._awaited: deque[tuple[Stage, int]] = deque([(Stage.GREETING, 0)])
        self._responses: list[bytes] = []  # what is left to say in AUTH
        self._transaction: Transaction | None = None
        self._must_reset = False
        self._framing: DotStuffer | Chunk = DotStuffer()
        self._on_reply: Mapping[Stage, Callable[[RawReply], None]] = {
            Stage.GREETING: self._greeted,
            Stage.EHLO: self._ehlo_answered,
            Stage.HELO: self._helo_answered,
            Stage.STARTTLS: self._starttls_answered,
            Stage.AUTH: self._auth_answered,
            Stage.RSET: self._rset_answered,
            Stage.QUIT: self._quit_answered,
        }

    # ---- for the driver ---------------------------------------------------------------

    @property
    def waiting_for(self) -> Stage | None:
        """What the next hop owes us; None when it's our turn."""
        if self._awaited:
            return self._awaited[0][0]
        if self._queued:
            return self._queued[0][0]
        if self._state is _State.CONTENT:
            return Stage.CONTENT
        return Stage.HANDSHAKE if self._state is _State.HANDSHAKE else None

    @property
    def is_ready(self) -> bool:
        """Whether `begin`, `quit` and the like may be called now."""
        return self._state is _State.READY

    @property
    def has_ended(self) -> bool:
        """Whether nothing can come of this session any more."""
        return self._state is _State.ENDED

    def next_event(self) -> Event | None:
        """What happened next, or None when more bytes must come first."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """What is to be written now; empties the session's buffer."""
        if self._queued:
            self._awaited.extend(self._queued)
            self._queued.clear()
        data = b"".join(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> bool:
        """Take in bytes from the next hop; what it does wrong becomes an `Ended`.

        :returns: whether anything came of them: a part of a reply is nothing yet.
        """
        self._reader.feed(data)
        progress = False
        try:
            while self._state is not _State.ENDED:
                raw = self._reader.next_reply()
                if raw is None:
                    break
                progress = True
                self._answered(raw)
        except RemoteProtocolError as fault:
            self.fail("4.5.0", f"protocol fault of the next hop: {fault}")
            progress = True
        return progress

    def receive_eof(self) -> None:
        """The next hop closed the connection."""
        if self._state is _State.QUITTING:
            self._end(None)
        elif waiting := self.waiting_for:
            self.fail("4.4.2", f"connection closed while waiting for {waiting.value}")
        else:
            self.fail("4.4.2", "connection closed by the next hop")

    def fail(self, status: str, reason: str) -> None:
        """End the session for *reason*, found here or by the driver: a time limit, a TLS fault.

        Recipients without a final word are delayed with *status* (`"4.x.y"`).
        """
        if self._state is not _State.ENDED:
            self._end(DeliveryStatus(Action.DELAYED, status, reason, self._next_hop))

    # ---- commands ---------------------------------------------------------------------

    def starttls(self) -> None:
        """Ask for TLS: `StartTls` or `Refused` follows."""
        self._go(_State.READY, _State.BUSY)
        self._say(b"STARTTLS", Stage.STARTTLS)

    def secured(self, *, verified: bool) -> None:
        """The handshake is done: forget all that was said before, greet anew (RFC 3207 §4.2).

        :param verified: whether the certificate was checked and is the next hop's.
        """
        self._go(_State.HANDSHAKE, _State.GREETING)
        self.verified = verified
        self.extensions = {}
        self._authenticated = False
        self._say(b"EHLO " + self._hostname.encode("ascii"), Stage.EHLO)

    def authenticate(self, username: str, password: str) -> None:
        """Log in: `Authenticated` or `Refused` follows.

        :raises LocalProtocolError: when the peer isn't verified; nothing is sent.
        """
        if not self.verified:
            raise LocalProtocolError("no credential goes to a peer that isn't verified")
        mechanism = client_auth.choose(set(self.extensions.get("AUTH", "").upper().split()))
        if mechanism is None:
            reason = "the next hop offers no AUTH mechanism that is supported (PLAIN, LOGIN)"
            status = DeliveryStatus(Action.DELAYED, "4.7.4", reason, self._next_hop)
            self._events.append(Refused(Stage.AUTH, status))
            return
        self._go(_State.READY, _State.BUSY)
        first, *self._responses = client_auth.exchange(mechanism, username, password)
        self._say(first, Stage.AUTH)

    def begin(
        self, envelope: Envelope, recipients: Sequence[Recipient], size: int, now_s: float
    ) -> None:
        """Send an envelope: `InspectionWanted`, `ContentWanted` or `Finished` follows.

        :param recipients: those of the envelope that are meant; at least one.
        :param size: octets of the content.
        :param now_s: POSIX time in seconds.
        """
        self._require(_State.READY)
        transaction = self._transaction = Transaction(
            envelope,
            recipients,
            size,
            offer=Offer(self._next_hop, self.extensions, self.verified, self._authenticated),
            reset=self._must_reset,
            now_s=now_s,
        )
        if not transaction.steps:
            self._finish()
        elif transaction.body != envelope.body or transaction.ascii_header:
            self._state = _State.INSPECTION
            self._events.append(InspectionWanted(transaction.body, transaction.ascii_header))
        else:
            self._start(transaction)

    def inspected(self, unfit: Unfit | None) -> None:
        """The content was looked into: `ContentWanted` or `Finished` follows.

        :param unfit: why it can't be sent; or None, and then `content` will be given
            what it has become.
        """
        self._require(_State.INSPECTION)
        assert self._transaction is not None
        if unfit is None:
            self._start(self._transaction)
        else:
            self._transaction.settle(self._transaction.unfit(unfit))
            self._finish()

    def _start(self, transaction: Transaction) -> None:
        self._must_reset = True
        self._next_steps(transaction)
        if transaction.at_once:
            self._want_content(transaction)
        else:
            self._state = _State.ENVELOPE

    def _want_content(self, transaction: Transaction) -> None:
        self._state = _State.CONTENT
        self._framing = Chunk(transaction.size) if transaction.chunked else DotStuffer()
        self._events.append(ContentWanted())

    def content(self, data: bytes) -> None:
        """Send a piece of content: as stored, CRLF line ends, not dot-stuffed.

        :raises LocalProtocolError: when a chunk can't hold it.
        """
        self._require(_State.CONTENT)
        self._out.append(self._framing.stuff(data))

    def end_of_content(self) -> None:
        """All of the content was given: `Finished` follows.

        :raises LocalProtocolError: when a chunk isn't full.
        """
        self._require(_State.CONTENT)
        self._out.append(self._framing.end())
        self._state = _State.END_OF_DATA
        self._queued.append((Stage.END_OF_DATA, 0))

    def quit(self) -> None:
        """End in an orderly way: `Ended` follows."""
        self._go(_State.READY, _State.QUITTING)
        self._say(b"QUIT", Stage.QUIT)

    def _go(self, state: _State, new: _State) -> None:
        self._require(state)
        self._state = new

    def _require(self, state: _State) -> None:
        if self._state is not state:
            raise LocalProtocolError(f"{self._state.name} is not {state.name}")

    def _say(self, line: bytes, stage: Stage, number: int = 0) -> None:
        self._out.append(line + b"\r\n")
        self._queued.append((stage, number))

    def _next_steps(self, transaction: Transaction) -> None:
        """Say what is next of the envelope: all of it if the next hop takes that (RFC 2920)."""
        while transaction.steps:
            self._say(*transaction.steps.popleft())
            if "PIPELINING" not in self.extensions:
                return

    # ---- replies ----------------------------------------------------------------------

    def _answered(self, raw: RawReply) -> None:
        if raw[0] == 421 and self._state is not _State.QUITTING:  # RFC 5321 §3.8: at any time
            stage = self._awaited[0][0] if self._awaited else Stage.QUIT
            self._end(delivery_status(raw, stage, self._next_hop))
        elif self._awaited:
            stage, number = self._awaited.popleft()
            if stage in _OF_A_TRANSACTION:
                self._of_transaction(raw, stage, number)
            else:
                self._on_reply[stage](raw)
        elif self._state is _State.CONTENT and raw[0] >= 400:
            # Refused in the middle of it: no end of data follows, so it can't be taken.
            self._end(delivery_status(raw, Stage.CONTENT, self._next_hop))
        else:
            raise RemoteProtocolError("a reply that no command asked for")

    def _greeted(self, raw: RawReply) -> None:
        if raw[0] == 220:
            self._say(b"EHLO " + self._hostname.encode("ascii"), Stage.EHLO)
        else:
            self._end(delivery_status(raw, Stage.GREETING, self._next_hop))

    def _ehlo_answered(self, raw: RawReply) -> None:
        code, lines = raw
        if code == 250:
            # RFC 5321 §4.1.1.1: the first line is the name, the others are keywords.
            words = (line[4:].decode("ascii", "replace").partition(" ") for line in lines[1:])
            offered = {keyword.upper(): rest for keyword, _, rest in words}
            self.extensions = {k: offered[k] for k in offered if k not in self._ignored}
            self._ready()
        elif code >= 500:
            self._say(b"HELO " + self._hostname.encode("ascii"), Stage.HELO)
        else:
            self._end(delivery_status(raw, Stage.EHLO, self._next_hop))

    def _helo_answered(self, raw: RawReply) -> None:
        if raw[0] == 250:
            self._ready()
        else:
            self._end(delivery_status(raw, Stage.HELO, self._next_hop))

    def _ready(self) -> None:
        self._state = _State.READY
        self._events.append(Hello())

    def _starttls_answered(self, raw: RawReply) -> None:
        if raw[0] != 220:
            self._state = _State.READY
            status = delivery_status(raw, Stage.STARTTLS, self._next_hop)
            self._events.append(Refused(Stage.STARTTLS, status))
            return
        if not self._reader.is_empty:
            # Whoever wrote it could do so before TLS; it would be taken for a reply
            # that came under TLS.
            raise RemoteProtocolError("more data behind the reply to STARTTLS")
        self._state = _State.HANDSHAKE
        self._events.append(StartTls())

    def _auth_answered(self, raw: RawReply) -> None:
        if raw[0] == 334:
            # "*" cancels an exchange that asks for more than the mechanism has.
            self._say(self._responses.pop(0) if self._responses else b"*", Stage.AUTH)
            return
        self._responses = []
        self._state = _State.READY
        if raw[0] == 235:
            self._authenticated = True
            self._events.append(Authenticated())
        else:
            status = delivery_status(raw, Stage.AUTH, self._next_hop)
            self._events.append(Refused(Stage.AUTH, status))

    def _rset_answered(self, raw: RawReply) -> None:
        assert self._transaction is not None
        if raw[0] == 250:
            self._next_steps(self._transaction)
        else:
            self._end(delivery_status(raw, Stage.RSET, self._next_hop))

    def _of_transaction(self, raw: RawReply, stage: Stage, number: int) -> None:
        transaction = self._transaction
        assert transaction is not None
        sent = transaction.at_once and self._framing.begun
        turn = transaction.answered(raw, stage, number, sent=sent)
        if turn is Turn.GO_ON:
            self._next_steps(transaction)
        elif turn is Turn.CONTENT:
            if self._state is not _State.CONTENT:
                self._want_content(transaction)
        elif turn is Turn.LONE_DOT:  # RFC 2920 §3.1
            self._state = _State.END_OF_DATA
            self._say(b".", Stage.END_OF_DATA)
        else:
            # After a chunk that was refused nobody can be sure of the state (RFC 3030 §2).
            if stage is Stage.END_OF_DATA and (raw[0] < 300 or not transaction.chunked):
                self._must_reset = False
            self._finish()

    def _quit_answered(self, _raw: RawReply) -> None:
        self._end(None)

    # ---- ends -------------------------------------------------------------------------

    def _finish(self) -> None:
        assert self._transaction is not None
        self._state = _State.READY
        self._events.append(Finished(self._transaction.outcome, self._transaction.begun))
        self._transaction = None

    def _end(self, status: DeliveryStatus | None) -> None:
        # What invites the driver to go on is void, if it has not been read yet.
        self._events = deque(
            event
            for event in self._events
            if isinstance(event, Finished)
            or (isinstance(event, Refused) and event.stage is Stage.AUTH)
        )
        if self._transaction is not None:
            assert status is not None
            self._transaction.settle(status)
            self._finish()
        self._state = _State.ENDED
        self._out.clear()
        self._queued.clear()
        self._awaited.clear()
        self._events.append(Ended(status))
