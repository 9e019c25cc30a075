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

import attrs

from submitd.smtp import events, replies
from submitd.smtp.commands import AUTH_OCTETS, COMMANDS, Argument, Command
from submitd.smtp.errors import LocalProtocolError, RemoteProtocolError
from submitd.smtp.framing import (
    BARE_LINE_END,
    CRLF,
    ChunkReader,
    DataReader,
    LineBuffer,
    LineFault,
)
from submitd.smtp.grammar import parse_bdat, parse_mail, parse_rcpt
from submitd.smtp.incoming import Incoming
from submitd.smtp.leniencies import Leniency
from submitd.smtp.replies import Reply, reply
from submitd.smtp.sasl import MECHANISMS, Challenge, MalformedResponse, Mechanism
from submitd.smtp.settings import Settings
from submitd.smtp.states import TRANSITIONS, State, Verb


class Wait(enum.Enum):
    """Why there is no event."""

    NEED_DATA = enum.auto()
    """Nothing more can be done before more octets come."""
    PAUSED = enum.auto()
    """A verdict is awaited."""


NEED_DATA = Wait.NEED_DATA
PAUSED = Wait.PAUSED

STRANGER_BURST = 20
"""So many refused or junk commands, without a login, are read at one time."""

# What other protocols begin with, so that nothing else of theirs is read as commands.
_NOT_SMTP = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"CONNECT", b"PRI"})
_TLS_HANDSHAKE = b"\x16"  # RFC 8446 §5.1; SSL 2 had an octet above 127 there

_LOGGED_IN = frozenset({State.READY, State.MAIL, State.RCPT, State.DATA, State.BDAT, State.CHUNKS})
_WITH_ADDRESS = frozenset({Verb.MAIL, Verb.RCPT, Verb.VRFY})  # RFC 6531 §3.3, §3.7.4


class ServerSession:
    """One client's session.

    :param settings: what it shares with all others.
    :param release_by: until when a message may be held, as a date-time of RFC 3339, which
        EHLO says (RFC 4865 §4).
    :param implicit_tls: whether TLS comes before the first octet of SMTP (RFC 8314
        §3.3); then the greeting waits for `secured`.
    :ivar state: where it stands.
    :ivar errors: refused commands so far.
    :ivar failed_logins: refused logins so far.
    :ivar message_size_bytes: the largest message taken from now on; the driver may change it,
        as after a login that has a limit of its own (RFC 1870 §3).
    :ivar leniencies: how often each leniency was needed so far.
    """

    __slots__ = (
        "_awaited",
        "_begun",
        "_chunk",
        "_chunk_last",
        "_chunk_left",
        "_close_reason",
        "_exchange",
        "_greeting_due",
        "_junk",
        "_lines",
        "_mail",
        "_mechanism",
        "_message",
        "_out",
        "_recipients",
        "_release_by",
        "_settings",
        "_skip",
        "_skip_reply",
        "_talks_too_much",
        "_transactions",
        "errors",
        "failed_logins",
        "leniencies",
        "message_size_bytes",
        "state",
    )

    def __init__(self, settings: Settings, *, release_by: str, implicit_tls: bool) -> None:
        self._settings = settings
        self._release_by = release_by
        self._lines = LineBuffer(AUTH_OCTETS)
        self._out: list[bytes] = []
        self._awaited: State | None = None  # where a positive verdict leads
        self._close_reason: str | None = None
        self._mechanism = ""
        self._exchange: Mechanism | None = None
        self._mail = events.MailReceived(None)  # the last one accepted
        self._message: Incoming | None = None
        self._recipients = 0
        self._transactions = 0
        self._chunk = 0  # octets of the chunk: as announced,
        self._chunk_left = 0  # still to come,
        self._chunk_last = False
        self._skip = 0  # octets of a refused chunk still to come,
        self._skip_reply: Reply | None = None  # and what to say behind them
        self._junk = 0  # since the last message
        self._talks_too_much = False
        self.message_size_bytes = settings.message_size_bytes
        self.leniencies: dict[str, int] = {}
        self.errors = 0
        self.failed_logins = 0
        self._begun = False  # whether any octet has come
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
        if not self._begun and data:
            self._begun = True
            first = data[:1]
            if self.state is State.CLEAR and (first == _TLS_HANDSHAKE or not first.isascii()):
                self._not_smtp()

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
            if state is State.BDAT:
                chunk = self._read_chunk()
                if chunk is None:
                    continue
                return chunk
            if state is State.HANDSHAKE:
                return NEED_DATA
            if state is State.CLOSED:
                return self._report_close()
            if self._skip_reply is not None:
                if not self._skip_chunk(self._skip_reply):
                    return NEED_DATA
                continue
            if self._talks_too_much:
                self._talks_too_much = False
                return events.TalksTooMuch()
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
        if target is State.BDAT:
            # The reply to a chunk comes behind its octets, whether it is taken or not.
            if positive:
                binary = self._mail.body == "BINARYMIME"
                self._begin_message(ChunkReader(binary=binary), target)
            else:
                self._refuse_chunk(self._chunk_left, verdict)
            return
        self._out.append(verdict.encoded)
        if self._message is not None:  # its end has been judged
            self._message = None
            self.state = State.READY
            if positive:
                self._junk = 0
        if not positive:
            self._count(verdict)
        elif target is State.DATA:
            self._begin_message(DataReader(), target)
        else:
            self.state = target
            if target is State.RCPT:
                self._recipients += 1
            elif target is State.MAIL:
                self._recipients = 0
                self._transactions += 1

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
        octets = len(line) + len(CRLF)
        stripped = line.rstrip(b" \t")
        if len(stripped) < len(line):
            self._lenient(Leniency.TRAILING_SPACE)
            line = stripped
        word, _, rest = line.partition(b" ")
        command = COMMANDS.get(word) or COMMANDS.get(word.upper())
        if command is None:
            if word.upper() in _NOT_SMTP:
                self._not_smtp()
                return None
            unknown = replies.STARTTLS_FIRST if self.state is State.CLEAR else None
            self._refuse(unknown or replies.UNKNOWN_COMMAND)
            return None
        target = TRANSITIONS[self.state][command.verb]
        if isinstance(target, Reply):
            if command.verb is Verb.BDAT:
                self._bdat_refused(rest, target)
            else:
                self._refuse(target)
            return None
        if command.is_junk and not self._may_go_on():
            return None
        try:
            argument = self._check(command, octets, rest)
            event: events.Event | None = getattr(self, command.handler)(argument, target)
        except RemoteProtocolError as error:
            if error.reply is None:  # every error of the grammar carries one
                raise
            self._refuse(error.reply)
            return None
        return event

    def _check(self, command: Command, octets: int, rest: bytes) -> str:
        if octets > command.octets:
            raise RemoteProtocolError("line too long", replies.LINE_TOO_LONG)
        try:
            argument = rest.decode("utf-8" if command.verb in _WITH_ADDRESS else "ascii")
        except UnicodeDecodeError:
            raise RemoteProtocolError("not text", replies.BAD_CHARACTER) from None
        if not argument.isprintable():
            raise RemoteProtocolError("control character", replies.BAD_CHARACTER)
        if argument[:1] == " ":
            self._lenient(Leniency.EXTRA_SPACES)
            argument = argument.lstrip(" ")
        if argument:
            if command.argument is Argument.NONE:
                raise RemoteProtocolError("argument", replies.NO_ARGUMENT)
        elif command.argument is Argument.REQUIRED:
            raise RemoteProtocolError("no argument", command.missing)
        return argument

    def _may_go_on(self) -> bool:
        """Count a command that does nothing; False when it was one too many."""
        self._junk += 1
        self._watch_stranger()
        if self._junk <= self._settings.junk_commands_per_connection:
            return True
        self._close(replies.TOO_MUCH_JUNK, "too many commands without a message")
        return False

    def _watch_stranger(self) -> None:
        if (self._junk + self.errors) % STRANGER_BURST == 0 and not self.is_logged_in:
            self._talks_too_much = True

    def _not_smtp(self) -> None:
        self._lines.take_all()
        self._close(replies.NOT_SMTP, "not SMTP")

    def _lenient(self, leniency: Leniency) -> None:
        self.leniencies[leniency] = self.leniencies.get(leniency, 0) + 1

    def _look_at_path(self, argument: str, colon: int) -> None:
        """Note what the path of MAIL or RCPT was forgiven; *colon* stands before it."""
        first = argument[colon + 1]
        if first == "<":
            return
        if first == " ":
            self._lenient(Leniency.SPACE_AFTER_COLON)
            first = argument[colon + 1 :].lstrip(" ")[0]
        if first != "<":
            self._lenient(Leniency.MISSING_BRACKETS)

    def _refuse(self, refusal: Reply) -> None:
        self._out.append(refusal.encoded)
        self._count(refusal)

    def _count(self, refusal: Reply) -> None:
        if refusal.code < 500:
            return
        if refusal.code == 535:
            self.failed_logins += 1
            if self.failed_logins >= self._settings.failed_logins_per_connection:
                self._close(replies.TOO_MANY_FAILED_LOGINS, "too many failed logins")
                return
        self._count_error()

    def _count_error(self) -> None:
        self.errors += 1
        self._watch_stranger()
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
        self._say_hello(settings.ehlo_clear if clear else settings.ehlo_secured)
        self._start_over(target)
        return events.HelloReceived(name, extended=True)

    def _say_hello(self, hello: Reply) -> None:
        settings = self._settings
        own, *rest = hello.lines
        if self.message_size_bytes != settings.message_size_bytes:
            size = f"SIZE {self.message_size_bytes}"
            rest = [size if line.startswith("SIZE ") else line for line in rest]
            hello = attrs.evolve(hello, lines=(own, *rest))
        if settings.future_release_s:
            line = f"FUTURERELEASE {settings.future_release_s} {self._release_by}"
            hello = attrs.evolve(hello, lines=(own, line, *rest))
        self._out.append(hello.encoded)

    def _helo(self, name: str, target: State) -> events.Event:
        self._out.append(reply(250, None, self._settings.hostname).encoded)
        self._start_over(target)
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
        name, *rest = argument.split()
        if "  " in argument:
            self._lenient(Leniency.SPACES_IN_AUTH)
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

    def _mail_from(self, argument: str, target: State) -> events.Event | None:
        settings = self._settings
        if 0 < settings.messages_per_connection <= self._transactions:
            self._close(replies.TOO_MANY_MESSAGES, "too many messages")
            return None
        mail = parse_mail(argument, brackets=not settings.missing_angle_brackets)
        self._look_at_path(argument, len("FROM"))
        reverse_path = mail.reverse_path
        if reverse_path is not None and not reverse_path.is_fully_qualified:
            raise RemoteProtocolError("unqualified", replies.SENDER_NOT_QUALIFIED)
        if mail.size is not None and mail.size > self.message_size_bytes:
            raise RemoteProtocolError("declared size", replies.MESSAGE_TOO_BIG)
        held = mail.hold_for_s is not None or mail.hold_until_s is not None
        if held and not settings.future_release_s:
            raise RemoteProtocolError("not offered", replies.UNKNOWN_PARAMETER)
        self._mail = mail
        self._awaited = target
        return mail

    def _rcpt(self, argument: str, target: State) -> events.Event | None:
        settings = self._settings
        rcpt = parse_rcpt(
            argument,
            settings.hostname,
            utf8=self._mail.utf8,
            brackets=not settings.missing_angle_brackets,
        )
        self._look_at_path(argument, len("TO"))
        if not rcpt.mailbox.is_fully_qualified:
            raise RemoteProtocolError("unqualified", replies.RECIPIENT_NOT_QUALIFIED)
        if self._recipients >= settings.recipients_per_message:
            # RFC 5321 §4.5.3.1.10: those beyond come again later.  Who goes on to twice
            # as many does not listen, and that counts.
            self._recipients += 1
            self._refuse(replies.TOO_MANY_RECIPIENTS)
            if self._recipients > 2 * settings.recipients_per_message:
                self._count_error()
            return None
        self._awaited = target
        return rcpt

    def _data(self, _argument: str, target: State) -> events.Event:
        if self._mail.body == "BINARYMIME":  # RFC 3030 §3
            raise RemoteProtocolError("DATA of BINARYMIME", replies.BINARY_NEEDS_BDAT)
        self._awaited = target
        return events.DataRequested()

    def _rset(self, _argument: str, target: State) -> events.Event:
        self._out.append(replies.OK.encoded)
        self._start_over(target)
        return events.TransactionReset()

    def _start_over(self, state: State) -> None:
        self._message = None  # chunks may have begun one
        self.state = state

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

    def _begin_message(self, reader: DataReader | ChunkReader, state: State) -> None:
        self._message = Incoming(
            reader,
            limit=self.message_size_bytes,
            binary=self._mail.body == "BINARYMIME",
        )
        self.state = state

    def _read_content(self) -> events.Event | Wait:
        message = self._message
        if message is None or not isinstance(message.content, DataReader):
            raise LocalProtocolError("no message is being read after DATA")
        if not message.ended:
            if not len(self._lines):
                return NEED_DATA
            piece = message.read_data(message.content, self._lines)
            if piece:
                return events.ContentReceived(piece)
            if message.is_endless:
                self._close(replies.MESSAGE_TOO_BIG, "a message without end")
                return self._report_close()
        return self._end_of_data(message) if message.ended else NEED_DATA

    def _end_of_data(self, message: Incoming) -> events.Event:
        self._awaited = State.READY
        content = message.content
        if content.bare_line_ends:
            self._lenient(Leniency.BARE_LINE_END)
        refused = message.refusal(self._settings.bare_line_ends)
        return events.EndOfData(content.bare_line_ends, content.eight_bit, refused)

    # ---- chunks (RFC 3030) ---------------------------------------------------------

    def _bdat(self, argument: str, target: State) -> events.Event | None:
        octets, last = parse_bdat(argument)
        if not octets and not last and not self._may_go_on():
            return None
        message = self._message
        so_far = message.content.size if message is not None else 0
        if so_far + octets > self.message_size_bytes:
            self._refuse_chunk(octets, replies.MESSAGE_TOO_BIG)
            return self._drop_message()
        self._chunk = self._chunk_left = octets
        self._chunk_last = last
        if message is None:
            self._awaited = target
            return events.DataRequested()
        self.state = target
        return None

    def _bdat_refused(self, argument: bytes, refusal: Reply) -> None:
        """A refused BDAT still takes its octets: they must not be read as commands."""
        try:
            octets, _ = parse_bdat(argument.decode("ascii", "replace").strip(" "))
        except RemoteProtocolError:
            octets = 0  # not announced, so that nobody can tell which they are
        self._refuse_chunk(octets, refusal)

    def _refuse_chunk(self, octets: int, refusal: Reply) -> None:
        self._skip = octets
        self._skip_reply = refusal

    def _skip_chunk(self, refusal: Reply) -> bool:
        """Drop octets of a refused chunk; whether that was the last of them."""
        self._skip -= len(self._lines.take(self._skip))
        if self._skip:
            return False
        self._skip_reply = None
        self._refuse(refusal)
        return True

    def _drop_message(self) -> events.Event:
        """A failed chunk fails the message (RFC 3030 §2)."""
        self._start_over(State.READY)
        return events.TransactionReset()

    def _read_chunk(self) -> events.Event | Wait | None:
        """Read on in a chunk; None when it is whole and nothing else came of it."""
        message = self._message
        if message is None or not isinstance(message.content, ChunkReader):
            raise LocalProtocolError("no message is being read after BDAT")
        if message.ended:
            return self._end_of_data(message)
        octets = self._lines.take(self._chunk_left)
        self._chunk_left -= len(octets)
        done = self._chunk_left == 0
        if not octets and not done:
            return NEED_DATA
        piece = message.read_chunk(message.content, octets, last=done and self._chunk_last)
        if done and not self._chunk_last:
            self._out.append(reply(250, "2.0.0", f"{self._chunk} octets received").encoded)
            self.state = State.CHUNKS
        return events.ContentReceived(piece) if piece else None
