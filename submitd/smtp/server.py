"""The server's side of a session, sans-I/O (RFC 5321, 6409, 3207, 4954).

A driver feeds octets in, takes events out and gives each verdict as a Reply:

    session.receive_data(data)
    while (event := session.next_event()) not in (NEED_DATA, PAUSED):
        ...                          # for those that want a verdict, session.send(reply)
    transport.write(session.data_to_send())

While a verdict is awaited the session is paused and reads nothing more, so that
pipelined commands cannot be answered out of order (RFC 2920).  The replies of all
commands that were read together leave together.
"""

import binascii
import enum
from typing import Literal

import attrs

from submitd.smtp import events, replies
from submitd.smtp.commands import AUTH_OCTETS, COMMANDS, Argument, Command
from submitd.smtp.errors import LocalProtocolError, RemoteProtocolError
from submitd.smtp.framing import BARE_LINE_END, CRLF, DataReader, LineBuffer, LineFault
from submitd.smtp.grammar import parse_mail, parse_rcpt
from submitd.smtp.replies import Reply, reply
from submitd.smtp.sasl import MECHANISMS, Challenge, MalformedResponse, Mechanism
from submitd.smtp.states import TRANSITIONS, State, Verb


class Wait(enum.Enum):
    """Why there is no event."""

    NEED_DATA = enum.auto()
    """Nothing more can be done before more octets come."""
    PAUSED = enum.auto()
    """A verdict is awaited."""


NEED_DATA = Wait.NEED_DATA
PAUSED = Wait.PAUSED

_LOGGED_IN = frozenset({State.READY, State.MAIL, State.RCPT, State.DATA})


def _greeting(settings: "Settings") -> Reply:
    return reply(220, None, f"{settings.hostname} ESMTP submitd")


def _extensions(settings: "Settings") -> tuple[str, ...]:
    return (
        settings.hostname,
        "PIPELINING",
        f"SIZE {settings.message_size_bytes}",
        "8BITMIME",
        "ENHANCEDSTATUSCODES",
    )


def _ehlo_clear(settings: "Settings") -> Reply:
    return reply(250, None, *_extensions(settings), "STARTTLS")


def _ehlo_secured(settings: "Settings") -> Reply:
    return reply(250, None, *_extensions(settings), f"AUTH {' '.join(settings.mechanisms)}")


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """What all sessions of a server have in common.

    :ivar hostname: our name in the greeting and in the replies to EHLO and HELO.
    :ivar message_size_bytes: largest message, announced as SIZE (RFC 1870).
    :ivar recipients_per_message: most recipients of one message.
    :ivar failed_logins_per_connection: failed logins after which the session ends.
    :ivar errors_per_connection: refused commands after which the session ends.
    :ivar bare_line_ends: what a bare CR or LF in a message leads to.
    :ivar mechanisms: names of the SASL mechanisms offered, the preferred one first.
    """

    hostname: str
    message_size_bytes: int
    recipients_per_message: int
    failed_logins_per_connection: int
    errors_per_connection: int
    bare_line_ends: Literal["normalise", "reject"] = "normalise"
    mechanisms: tuple[str, ...] = tuple(MECHANISMS)
    # Made once for all sessions.
    greeting: Reply = attrs.field(init=False, default=attrs.Factory(_greeting, takes_self=True))
    ehlo_clear: Reply = attrs.field(init=False, default=attrs.Factory(_ehlo_clear, takes_self=True))
    ehlo_secured: Reply = attrs.field(
        init=False, default=attrs.Factory(_ehlo_secured, takes_self=True)
    )


class ServerSession:
    """One client's session.

    :param settings: what it shares with all others.
    :param implicit_tls: whether TLS comes before the first octet of SMTP (RFC 8314
        §3.3); then the greeting waits for `secured`.
    :ivar state: where it stands.
    :ivar errors: refused commands so far.
    :ivar failed_logins: refused logins so far.
    """

    __slots__ = (
        "_awaited",
        "_close_reason",
        "_ended",
        "_exchange",
        "_greeting_due",
        "_lines",
        "_mechanism",
        "_out",
        "_reader",
        "_recipients",
        "_settings",
        "_too_big",
        "errors",
        "failed_logins",
        "state",
    )

    def __init__(self, settings: Settings, *, implicit_tls: bool) -> None:
        self._settings = settings
        self._lines = LineBuffer(AUTH_OCTETS)
        self._out: list[bytes] = []
        self._awaited: State | None = None  # where a positive verdict leads
        self._close_reason: str | None = None
        self._mechanism = ""
        self._exchange: Mechanism | None = None
        self._reader: DataReader | None = None
        self._recipients = 0
        self._too_big = False
        self.errors = 0
        self.failed_logins = 0
        self._ended = False
        self._greeting_due = implicit_tls
        if implicit_tls:
            self.state = State.HANDSHAKE
        else:
            self.state = State.CLEAR
            self._out.append(settings.greeting.encoded)

    # ---- the driver's side -------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Take octets as they came."""
        if self.state is State.HANDSHAKE:
            raise LocalProtocolError("octets of the handshake are not the session's")
        self._lines.append(data)

    def data_to_send(self) -> bytes:
        """Remove and return all octets that wait to be sent."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    @property
    def buffered(self) -> int:
        """How many octets were received and not yet read."""
        return len(self._lines)

    @property
    def is_paused(self) -> bool:
        """Whether a verdict is awaited."""
        return self._awaited is not None

    @property
    def is_logged_in(self) -> bool:
        """Whether a login has succeeded."""
        return self.state in _LOGGED_IN

    def secured(self) -> None:
        """TLS is established; all that was known is forgotten (RFC 3207 §4.2).

        :raises LocalProtocolError: when no handshake was due.
        """
        if self.state is not State.HANDSHAKE:
            raise LocalProtocolError(f"no handshake is due in state {self.state.value}")
        if self._greeting_due:
            self._greeting_due = False
            self._out.append(self._settings.greeting.encoded)
        self.state = State.SECURED

    def next_event(self) -> events.Event | Wait:
        """What the client wants next, or why there is nothing."""
        if self._awaited is not None:
            return PAUSED
        while True:
            state = self.state
            if state is State.DATA:
                return self._read_content()
            if state is State.HANDSHAKE:
                return NEED_DATA
            if state is State.CLOSED:
                return self._report_close()
            line = self._lines.take_line()
            if line is None:
                return NEED_DATA
            event = self._take_line(line)
            if event is not None:
                return event

    def send(self, verdict: Reply) -> None:
        """Give the verdict on the last event that wanted one.

        :raises LocalProtocolError: when none is awaited.
        """
        target = self._awaited
        if target is None:
            raise LocalProtocolError("no verdict is awaited")
        self._awaited = None
        positive = verdict.code < 400
        if target is State.DATA and positive:
            self._reader = DataReader()
            self._too_big = False
        elif self.state is State.DATA:  # the end of the message has been judged
            self._reader = None
            self.state = State.READY
        self._out.append(verdict.encoded)
        if positive:
            self.state = target
            if target is State.RCPT:
                self._recipients += 1
            elif target is State.MAIL:
                self._recipients = 0
        else:
            self._count(verdict)

    def close(self, last: Reply, reason: str) -> None:
        """End the session from our side, with a last reply (421) unless within a handshake."""
        if self.state is State.HANDSHAKE or self.state is State.CLOSED:
            return
        self._awaited = None
        self._close(last, reason)

    # ---- lines -------------------------------------------------------------------

    def _take_line(self, line: bytes | LineFault) -> events.Event | None:
        if isinstance(line, LineFault):
            bare = line is BARE_LINE_END
            if self.state is State.AUTH:
                too_long = replies.AUTH_LINE_TOO_LONG
                self._end_exchange(replies.BARE_LINE_END if bare else too_long)
                return None
            self._refuse(replies.BARE_LINE_END if bare else replies.LINE_TOO_LONG)
            return None
        if self.state is State.AUTH:
            return self._auth_response(line)
        word, _, rest = line.partition(b" ")
        command = COMMANDS.get(word) or COMMANDS.get(word.upper())
        if command is None:
            unknown = replies.STARTTLS_FIRST if self.state is State.CLEAR else None
            self._refuse(unknown or replies.UNKNOWN_COMMAND)
            return None
        target = TRANSITIONS[self.state][command.verb]
        if isinstance(target, Reply):
            self._refuse(target)
            return None
        try:
            argument = self._check(command, line, rest)
            event: events.Event | None = getattr(self, command.handler)(argument, target)
        except RemoteProtocolError as error:
            if error.reply is None:  # every error of the grammar carries one
                raise
            self._refuse(error.reply)
            return None
        return event

    def _check(self, command: Command, line: bytes, rest: bytes) -> str:
        if len(line) + len(CRLF) > command.octets:
            raise RemoteProtocolError("line too long", replies.LINE_TOO_LONG)
        try:
            argument = rest.decode("ascii")
        except UnicodeDecodeError:
            address = command.verb is Verb.MAIL or command.verb is Verb.RCPT
            bad = replies.NON_ASCII_ADDRESS if address else replies.BAD_CHARACTER
            raise RemoteProtocolError("not ASCII", bad) from None
        if not argument.isprintable():
            raise RemoteProtocolError("control character", replies.BAD_CHARACTER)
        argument = argument.strip(" ")
        if argument:
            if command.argument is Argument.NONE:
                raise RemoteProtocolError("argument", replies.NO_ARGUMENT)
        elif command.argument is Argument.REQUIRED:
            raise RemoteProtocolError("no argument", command.missing)
        return argument

    def _refuse(self, refusal: Reply) -> None:
        self._out.append(refusal.encoded)
        self._count(refusal)

    def _count(self, refusal: Reply) -> None:
        if refusal.code < 500:
            return
        self.errors += 1
        if refusal.code == 535:
            self.failed_logins += 1
            if self.failed_logins >= self._settings.failed_logins_per_connection:
                self._close(replies.TOO_MANY_FAILED_LOGINS, "too many failed logins")
                return
        if self.errors >= self._settings.errors_per_connection:
            self._close(replies.TOO_MANY_ERRORS, "too many errors")

    def _close(self, last: Reply, reason: str) -> None:
        self._out.append(last.encoded)
        self._close_reason = reason
        self.state = State.CLOSED

    def _report_close(self) -> events.Event | Wait:
        reason, self._close_reason = self._close_reason, None
        return NEED_DATA if reason is None else events.SessionClosed(reason)

    # ---- commands: each takes its argument and the state it leads to --------------

    def _ehlo(self, name: str, target: State) -> events.Event:
        settings = self._settings
        clear = self.state is State.CLEAR
        self._out.append((settings.ehlo_clear if clear else settings.ehlo_secured).encoded)
        self.state = target
        return events.HelloReceived(name, extended=True)

    def _helo(self, name: str, target: State) -> events.Event:
        self._out.append(reply(250, None, self._settings.hostname).encoded)
        self.state = target
        return events.HelloReceived(name, extended=False)

    def _starttls(self, _argument: str, target: State) -> events.Event | None:
        if len(self._lines):
            # Somebody in between could have put it there, to be run as if it had
            # come through TLS (RFC 3207 §6; CVE-2011-0411).
            self._lines.take_all()
            self._close(replies.DATA_BEHIND_STARTTLS, "data behind STARTTLS")
            return None
        self._out.append(replies.READY_FOR_TLS.encoded)
        self.state = target
        return events.StartTlsAccepted()

    def _auth(self, argument: str, _target: State) -> events.Event | None:
        # Windows Mail and others send two spaces after the mechanism's name.
        name, *rest = argument.split()
        name = name.upper()
        if name not in self._settings.mechanisms:
            raise RemoteProtocolError("unknown mechanism", replies.UNKNOWN_MECHANISM)
        if len(rest) > 1:
            raise RemoteProtocolError("two initial responses", replies.BAD_BASE64)
        self._mechanism = name
        self._exchange = MECHANISMS[name]()
        self.state = State.AUTH
        if not rest:
            return self._respond(None)
        # RFC 4954 §4: "=" is an initial response of no octets.
        return self._auth_response(b"" if rest[0] == "=" else rest[0].encode("ascii"))

    def _auth_response(self, line: bytes) -> events.Event | None:
        if line == b"*":
            self._end_exchange(replies.AUTH_CANCELLED)
            return None
        try:
            response = binascii.a2b_base64(line, strict_mode=True)
        except binascii.Error:
            self._end_exchange(replies.BAD_BASE64)
            return None
        return self._respond(response)

    def _respond(self, response: bytes | None) -> events.Event | None:
        exchange = self._exchange
        if exchange is None:
            raise LocalProtocolError("no exchange is under way")
        try:
            step = exchange.respond(response)
        except MalformedResponse:
            self._end_exchange(replies.BAD_AUTH_RESPONSE)
            return None
        if isinstance(step, Challenge):
            challenge = binascii.b2a_base64(step.data, newline=False)
            self._out.append(b"334 " + challenge + CRLF)
            return None
        self._exchange = None
        self.state = State.GREETED
        self._awaited = State.READY
        return events.LoginReceived(self._mechanism, step.login, step.password, step.authorization)

    def _end_exchange(self, refusal: Reply) -> None:
        self._exchange = None
        self.state = State.GREETED
        self._refuse(refusal)

    def _mail(self, argument: str, target: State) -> events.Event:
        arguments = parse_mail(argument)
        reverse_path = arguments.reverse_path
        if reverse_path is not None and not reverse_path.is_fully_qualified:
            raise RemoteProtocolError("unqualified", replies.SENDER_NOT_QUALIFIED)
        size = arguments.size
        if size is not None and size > self._settings.message_size_bytes:
            raise RemoteProtocolError("declared size", replies.MESSAGE_TOO_BIG)
        self._awaited = target
        return events.MailReceived(reverse_path, arguments.body, size)

    def _rcpt(self, argument: str, target: State) -> events.Event | None:
        mailbox = parse_rcpt(argument, self._settings.hostname)
        if not mailbox.is_fully_qualified:
            raise RemoteProtocolError("unqualified", replies.RECIPIENT_NOT_QUALIFIED)
        if self._recipients >= self._settings.recipients_per_message:
            self._refuse(replies.TOO_MANY_RECIPIENTS)
            return None
        self._awaited = target
        return events.RcptReceived(mailbox)

    def _data(self, _argument: str, target: State) -> events.Event:
        self._awaited = target
        return events.DataRequested()

    def _rset(self, _argument: str, target: State) -> events.Event:
        self._out.append(replies.OK.encoded)
        self.state = target
        return events.TransactionReset()

    def _noop(self, _argument: str, _target: State) -> None:
        self._out.append(replies.OK.encoded)

    def _vrfy(self, _argument: str, _target: State) -> None:
        self._out.append(replies.CANNOT_VERIFY.encoded)

    def _expn(self, _argument: str, _target: State) -> None:
        self._refuse(replies.NOT_IMPLEMENTED)

    def _help(self, _argument: str, _target: State) -> None:
        self._out.append(replies.HELP.encoded)

    def _quit(self, _argument: str, _target: State) -> None:
        self._close(replies.BYE, "quit")

    # ---- message -----------------------------------------------------------------

    def _read_content(self) -> events.Event | Wait:
        reader = self._reader
        if reader is None:
            raise LocalProtocolError("no message is being read")
        if self._ended:
            return self._end_of_data(reader)
        if not len(self._lines):
            return NEED_DATA
        content, rest = reader.feed(self._lines.take_all())
        if rest is not None:
            self._lines.append(rest)
            self._ended = True
        if reader.size > self._settings.message_size_bytes:
            self._too_big = True  # the rest is read and dropped: DATA has no other end
        elif content:
            return events.ContentReceived(content)
        return self._end_of_data(reader) if self._ended else NEED_DATA

    def _end_of_data(self, reader: DataReader) -> events.Event:
        self._ended = False
        self._awaited = State.READY
        refused: Reply | None = None
        if self._too_big:
            refused = replies.MESSAGE_TOO_BIG
        elif reader.has_nul:
            refused = replies.NUL_IN_MESSAGE
        elif reader.bare_line_ends and self._settings.bare_line_ends == "reject":
            refused = replies.BARE_LINE_END_IN_MESSAGE
        return events.EndOfData(reader.bare_line_ends, reader.eight_bit, refused)
