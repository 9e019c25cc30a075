"""Drives a `ServerSession` over a Twisted transport: octets, TLS, time limits, back-pressure."""

import secrets
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IProtocolFactory,
    IPushProducer,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from submitd.interfaces import Eventual, ISubmissionFactory, Peer
from submitd.smtp import events, replies
from submitd.smtp.replies import Reply
from submitd.smtp.server import ServerSession
from submitd.smtp.settings import Settings
from submitd.smtp.states import State
from submitd.transport.connections import NEVER_S, Connections
from submitd.transport.options import LimitsOptions
from submitd.transport.tls import ServerTls, tls_info

READ_AHEAD_OCTETS = 65_536  # of pipelined commands, kept while a verdict is awaited
_IN_TRANSACTION = frozenset(
    {State.AUTH, State.MAIL, State.RCPT, State.DATA, State.BDAT, State.CHUNKS}
)

_IN_MESSAGE = frozenset({State.DATA, State.BDAT, State.CHUNKS})


@implementer(IHandshakeListener, IPushProducer)
class SubmissionProtocol(Protocol):
    """One connection.

    :ivar deadline_s: when it is to be ended, by the clock of `Connections`.
    :ivar is_held: the client waits, by way of punishment, until `let_go`.
    """

    factory: "SubmissionListener"
    _log = Logger()

    def __init__(self, listener: "SubmissionListener", address: str, port: int) -> None:
        self.factory = listener
        self.deadline_s = NEVER_S
        self._address = address
        self._port = port
        self._limits = listener.limits
        self._connections = listener.connections
        self._admitted = False
        self._running = False
        self.is_held = False
        self._unread = False  # the client does not take what we wrote
        self._unstored = False  # storage is behind with the message
        self._reading = True
        self._finishing = False
        self._reason: str | None = None
        self._content_fault: Reply | None = None
        self._is_stranger = True
        self._in_message = False
        self._octets = 0  # since the deadline was set last

    # ---- Twisted's side ----------------------------------------------------------

    def connectionMade(self) -> None:
        """A client has connected; with implicit TLS the handshake begins now."""
        listener = self.factory
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        refusal = self._connections.admit(self, self._address)
        if refusal is not None:
            self._turn_away(refusal)
            return
        self._admitted = True
        now_s = self._connections.seconds()
        self._login_by_s = now_s + self._limits.login_s
        self.deadline_s = now_s + self._limits.handshake_s
        self._peer = Peer(secrets.token_hex(5), self._address, self._port, listener.name)
        self._submission = listener.submissions.submission(self._peer)
        self._session = ServerSession(
            listener.settings,
            release_by=listener.release_by(),
            implicit_tls=listener.implicit_tls,
        )
        transport.registerProducer(self, True)
        if not listener.implicit_tls:
            self._run()

    def _turn_away(self, refusal: Reply) -> None:
        """One too many: nothing is made for it, and it has no line in the log of its own."""
        self._reason = "turned away"
        transport: Any = self.transport
        if self.factory.implicit_tls:
            transport.abortConnection()  # nothing may be said in clear (RFC 8314 §3.3)
        else:
            transport.write(refusal.encoded)
            self._close()

    def handshakeCompleted(self) -> None:
        """TLS is established."""
        if self._reason is not None:
            return
        transport: Any = self.transport
        self._submission.secured(tls_info(transport.getHandle()))
        self._session.secured()
        self._run()

    def dataReceived(self, data: bytes) -> None:
        """Octets, decrypted where TLS is in force."""
        if self._reason is not None:
            return
        self._octets += len(data)
        self._session.receive_data(data)
        self._go_on()
        if self._session.buffered > READ_AHEAD_OCTETS:
            self._stop_reading()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._connections.forget(self)
        self.deadline_s = NEVER_S
        if not self._admitted:
            return
        if self._reason is None:
            self._reason = "connection lost"
            if self._session.state is State.HANDSHAKE:
                self._reason = f"no TLS: {_describe(reason)}"
        self._submission.closed(self._reason, self._session.leniencies)

    def pauseProducing(self) -> None:
        """The client takes our replies too slowly: read and do nothing more for now."""
        self._unread = True
        self._stop_reading()

    def resumeProducing(self) -> None:
        """The client has taken what was written."""
        self._unread = False
        self._go_on(answered=True)

    def stopProducing(self) -> None:
        """The transport is going; `connectionLost` follows."""

    # ---- what Connections asks for -----------------------------------------------

    def time_out(self) -> None:
        """The deadline has passed."""
        if self._reason is not None or self._session.state is State.HANDSHAKE:
            self.abort("time-out")
            return
        self._session.close(replies.TIMEOUT, "time-out")
        self._run()

    def let_go(self) -> None:
        """The client has waited: read on."""
        self.is_held = False
        self._go_on()

    def finish(self) -> None:
        """The server is stopping: end the session once its message is done."""
        self._finishing = True
        if self._reason is not None:
            return  # it has had its last reply
        if self._session.state is State.HANDSHAKE:
            self.abort("server stopped")
        elif self._is_idle():
            self._session.close(replies.SHUTTING_DOWN, "server stopped")
            self._run()

    def abort(self, reason: str) -> None:
        """Cut the connection."""
        if self._reason is None:
            self._reason = reason
        transport: Any = self.transport
        transport.abortConnection()

    # ---- the session -------------------------------------------------------------

    def _is_idle(self) -> bool:
        return not self._session.is_paused and self._session.state not in _IN_TRANSACTION

    def _go_on(self, answered: bool = False) -> None:
        waits = self._running or self._unread or self._unstored or self.is_held
        if not waits and self._reason is None:
            self._run(answered)

    def _run(self, answered: bool = False) -> None:
        """Take events until there are none, then send all replies in one write.

        :param answered: whether the client has got a reply just now.
        """
        session = self._session
        handlers = _HANDLERS
        self._running = True
        while True:
            event = session.next_event()
            handler = handlers.get(type(event))
            if handler is None:
                break
            handler(self, event)
            if self.is_held:
                break
        self._running = False
        if self._finishing and self._is_idle() and session.state is not State.CLOSED:
            self._finishing = False
            session.close(replies.SHUTTING_DOWN, "server stopped")
            return self._run()
        answered |= self._flush()
        if self._reason is None:
            self._set_deadline(answered)
            if self._unread or self._unstored or self.is_held:
                return
            if not self._reading and session.buffered < READ_AHEAD_OCTETS:
                self._start_reading()

    def _flush(self) -> bool:
        """Send what there is; whether there was anything."""
        data = self._session.data_to_send()
        if data:
            transport: Any = self.transport
            transport.write(data)
        if self._reason is not None:
            self._close()
        return bool(data)

    def _set_deadline(self, answered: bool) -> None:
        session = self._session
        octets, self._octets = self._octets, 0
        if session.state is State.HANDSHAKE:
            return  # has its own, which no octet moves
        if session.is_paused or self._unstored:
            self.deadline_s = NEVER_S  # it is we who are slow
        elif not session.is_logged_in:
            self.deadline_s = self._login_by_s
        else:
            if self._is_stranger:
                self._is_stranger = False
                self._connections.logged_in(self)
            self._set_user_deadline(session.state in _IN_MESSAGE, octets, answered)

    def _set_user_deadline(self, in_message: bool, octets: int, answered: bool) -> None:
        limits = self._limits
        now_s = self._connections.seconds()
        was_in_message, self._in_message = self._in_message, in_message
        if in_message:
            # Each octet buys a little time, up to `data_s`: silence and a trickle end alike.
            latest_s = now_s + limits.data_s
            rate = limits.data_rate_bytes_s
            if rate and was_in_message and self.deadline_s != NEVER_S:
                latest_s = min(latest_s, self.deadline_s + octets / rate)
            self.deadline_s = latest_s
        elif answered or was_in_message or self.deadline_s == NEVER_S:
            # Not moved by a part of a command: a line must end in time, however it comes.
            self.deadline_s = now_s + limits.command_s

    def _close(self) -> None:
        transport: Any = self.transport
        if self._admitted:
            transport.unregisterProducer()
        # A peer that never takes the last reply, nor answers close_notify, is cut off.
        self.deadline_s = self._connections.seconds() + self._limits.close_s
        if not self._reading:
            self._start_reading()  # or its close_notify would not be seen
        transport.loseConnection()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            transport: Any = self.transport
            transport.pauseProducing()

    def _start_reading(self) -> None:
        self._reading = True
        transport: Any = self.transport
        transport.resumeProducing()

    # ---- verdicts ----------------------------------------------------------------

    def _take(self, verdict: Eventual[Reply]) -> None:
        if isinstance(verdict, Deferred):
            verdict.addErrback(self._bug)
            verdict.addCallback(self._late)
        else:
            self._give(verdict)

    def _give(self, verdict: Reply) -> None:
        self._session.send(verdict)
        if verdict is replies.LOGGED_IN and self._submission.message_size_bytes is not None:
            self._session.message_size_bytes = self._submission.message_size_bytes

    def _late(self, verdict: Reply) -> None:
        if self._reason is not None or not self._session.is_paused:
            return  # the client is gone, or was sent away, meanwhile
        self._give(verdict)
        self._go_on()

    def _bug(self, failure: Failure) -> Reply:
        self._log.failure(
            "session {session}: a fault of ours", failure, session=self._peer.session_id
        )
        return replies.LOCAL_ERROR

    def _guarded(self, ask: Callable[[], Eventual[Reply]]) -> None:
        try:
            verdict = ask()
        except Exception:
            verdict = self._bug(Failure())
        self._take(verdict)

    def _login_received(self, event: events.LoginReceived) -> None:
        self._guarded(
            lambda: self._submission.authenticate(
                event.mechanism, event.login, event.password, event.authorization
            )
        )

    def _mail_received(self, event: events.MailReceived) -> None:
        self._guarded(lambda: self._submission.mail(event))

    def _rcpt_received(self, event: events.RcptReceived) -> None:
        self._guarded(lambda: self._submission.rcpt(event))

    def _data_requested(self, _event: events.DataRequested) -> None:
        self._content_fault = None
        self._guarded(self._submission.data)

    def _end_of_data(self, event: events.EndOfData) -> None:
        refused = event.refused or self._content_fault
        self._guarded(
            lambda: self._submission.end_of_data(event.bare_line_ends, event.eight_bit, refused)
        )

    # ---- for information ---------------------------------------------------------

    def _inform(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:
            self._bug(Failure())

    def _content_received(self, event: events.ContentReceived) -> None:
        if self._content_fault is not None:
            return
        try:
            pause = self._submission.content(event.data)
        except Exception:
            self._content_fault = self._bug(Failure())
            return
        if pause is not None:
            self._stop_reading()
            self._unstored = True
            pause.addBoth(self._stored)

    def _stored(self, _result: object) -> None:
        # What went wrong with the message is told at its end.
        self._unstored = False
        self._go_on()

    def _hello_received(self, event: events.HelloReceived) -> None:
        self._inform(lambda: self._submission.hello(event.name, event.extended))

    def _transaction_reset(self, _event: events.TransactionReset) -> None:
        self._inform(self._submission.reset)

    def _starttls_accepted(self, _event: events.StartTlsAccepted) -> None:
        self.deadline_s = self._connections.seconds() + self._limits.handshake_s
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.write(self._session.data_to_send())
        # Not `transport.startTLS`: that brings the TLS layer which delays each write.
        layer: Any = TLSMemoryBIOProtocol(self.factory.layers, self, False)
        transport.protocol = layer
        layer.makeConnection(transport)
        self.transport = layer
        layer.registerProducer(self, True)

    def _talks_too_much(self, _event: events.TalksTooMuch) -> None:
        self.is_held = True
        self._stop_reading()

    def _session_closed(self, event: events.SessionClosed) -> None:
        self._reason = event.reason


_HANDLERS: dict[type, Callable[[SubmissionProtocol, Any], None]] = {
    events.LoginReceived: SubmissionProtocol._login_received,
    events.MailReceived: SubmissionProtocol._mail_received,
    events.RcptReceived: SubmissionProtocol._rcpt_received,
    events.DataRequested: SubmissionProtocol._data_requested,
    events.EndOfData: SubmissionProtocol._end_of_data,
    events.ContentReceived: SubmissionProtocol._content_received,
    events.HelloReceived: SubmissionProtocol._hello_received,
    events.TransactionReset: SubmissionProtocol._transaction_reset,
    events.StartTlsAccepted: SubmissionProtocol._starttls_accepted,
    events.TalksTooMuch: SubmissionProtocol._talks_too_much,
    events.SessionClosed: SubmissionProtocol._session_closed,
}


class SubmissionListener(Factory):
    """What one listener's connections have in common.

    :param name: for logs, `"implicit:465"`.
    :param implicit_tls: TLS from the first octet, or STARTTLS.
    :param submissions: makes what stands behind each session.
    :ivar layers: makes the TLS layer of a connection.
    """

    noisy = False

    def __init__(
        self,
        name: str,
        *,
        implicit_tls: bool,
        settings: Settings,
        limits: LimitsOptions,
        tls: ServerTls,
        connections: Connections,
        submissions: ISubmissionFactory,
    ) -> None:
        self.name = name
        self.implicit_tls = implicit_tls
        self.settings = settings
        self.limits = limits
        self.connections = connections
        self.submissions = submissions
        self.layers = _TlsLayers(tls, False, self, connections.reactor)

    def release_by(self) -> str:
        """Until when a message may be held that comes now: a date-time (RFC 3339 §5.6)."""
        until_s = self.connections.seconds() + self.settings.future_release_s
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until_s))

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """A connection from *addr*."""
        host: str = getattr(addr, "host", "unknown")
        # A client of an IPv6 socket that came by IPv4 (RFC 4291 §2.5.5.2).
        return SubmissionProtocol(self, host.removeprefix("::ffff:"), getattr(addr, "port", 0))


class _TlsLayers(TLSMemoryBIOFactory):
    # Its default protocol delays each write by a turn of the reactor, to join small
    # ones; ours are joined already.
    protocol = TLSMemoryBIOProtocol
    noisy = False


def wrap(listener: SubmissionListener) -> IProtocolFactory:
    """The factory to listen with: *listener*, behind TLS where that is implicit."""
    return listener.layers if listener.implicit_tls else listener


def _describe(reason: Failure) -> str:
    """Why a handshake failed, in OpenSSL's words where it has some."""
    value = reason.value
    if value is not None and value.args and isinstance(value.args[0], list):
        return ", ".join(str(part[-1]) for part in value.args[0]) or type(value).__name__
    return str(value) or type(value).__name__
