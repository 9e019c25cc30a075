"""Drives a `ServerSession` over a Twisted transport: octets, TLS, time limits, back-pressure."""

import secrets
import time
from collections import Counter
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
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from submitd.interfaces import Eventual, ISubmissionFactory, Peer
from submitd.smtp import events, replies
from submitd.smtp.replies import Reply
from submitd.smtp.server import ServerSession, Settings
from submitd.smtp.states import State
from submitd.transport.options import LimitsOptions
from submitd.transport.tls import ServerTls, tls_info

READ_AHEAD_OCTETS = 65_536  # of pipelined commands, kept while a verdict is awaited
SWEEP_S = 1.0
_NEVER = float("inf")
_IN_TRANSACTION = frozenset(
    {State.AUTH, State.MAIL, State.RCPT, State.DATA, State.BDAT, State.CHUNKS}
)

_IN_MESSAGE = frozenset({State.DATA, State.BDAT, State.CHUNKS})


class Connections:
    """All open connections of all listeners: their number, their deadlines, their end.

    One call a second looks at every deadline: cheaper than a timer for each
    connection, which each octet received would have to move.

    :param reactor: the clock (`IReactorTime`).
    :param limits: `[limits]`.
    """

    def __init__(self, reactor: Any, limits: LimitsOptions) -> None:
        self._limits = limits
        self._open: set[SubmissionProtocol] = set()
        self._by_address: Counter[str] = Counter()
        self._drained: Deferred[None] | None = None
        self._sweep = LoopingCall(self._look_at_deadlines)
        self._sweep.clock = reactor
        self.reactor = reactor
        self.seconds: Callable[[], float] = reactor.seconds

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def start(self) -> None:
        """Begin to watch the deadlines."""
        self._sweep.start(SWEEP_S, now=False)

    def admit(self, connection: "SubmissionProtocol", address: str) -> bool:
        """Count a new connection; False when there are too many, or the server is stopping."""
        self._open.add(connection)
        self._by_address[address] += 1
        return (
            self._drained is None
            and len(self._open) <= self._limits.connections
            and self._by_address[address] <= self._limits.connections_per_address
        )

    def forget(self, connection: "SubmissionProtocol", address: str) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        if self._drained is not None and not self._open:
            self._end()

    def drain(self) -> Deferred[None]:
        """Admit no more; idle sessions get 421 at once, others when their message is done.

        What is left when `stop_s` is over is cut off.
        """
        if self._drained is None:
            self._drained = Deferred()
            self._stop_at = self.seconds() + self._limits.stop_s
            for connection in tuple(self._open):
                connection.finish()
            if not self._open:
                self._end()
        return self._drained

    def _end(self) -> None:
        if self._sweep.running:
            self._sweep.stop()
        if self._drained is not None and not self._drained.called:
            self._drained.callback(None)

    def _look_at_deadlines(self) -> None:
        now_s = self.seconds()
        cut_off = self._drained is not None and now_s >= self._stop_at
        for connection in tuple(self._open):
            if cut_off:
                connection.abort("server stopped")
            elif connection.deadline_s < now_s:
                connection.time_out()


@implementer(IHandshakeListener, IPushProducer)
class SubmissionProtocol(Protocol):
    """One connection.

    :ivar deadline_s: when it is to be ended, by the clock of `Connections`.
    """

    factory: "SubmissionListener"
    _log = Logger()

    def __init__(self, listener: "SubmissionListener", address: str, port: int) -> None:
        self.factory = listener
        self.deadline_s = _NEVER
        self._limits = listener.limits
        self._connections = listener.connections
        self._session = ServerSession(
            listener.settings,
            release_by=listener.release_by(),
            implicit_tls=listener.implicit_tls,
        )
        self._peer = Peer(secrets.token_hex(5), address, port, listener.name)
        self._submission = listener.submissions.submission(self._peer)
        self._running = False
        self._unread = False  # the client does not take what we wrote
        self._unstored = False  # storage is behind with the message
        self._reading = True
        self._finishing = False
        self._reason: str | None = None
        self._content_fault: Reply | None = None
        self._login_by_s = 0.0

    # ---- Twisted's side ----------------------------------------------------------

    def connectionMade(self) -> None:
        """A client has connected; with implicit TLS the handshake begins now."""
        now_s = self._connections.seconds()
        self._login_by_s = now_s + self._limits.login_s
        self.deadline_s = now_s + self._limits.handshake_s
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        if not self._connections.admit(self, self._peer.address):
            self._reason = "too many connections"
            if self._session.state is State.HANDSHAKE:
                self.abort(self._reason)  # nothing may be said in clear (RFC 8314 §3.3)
            else:
                transport.write(replies.TOO_MANY_CONNECTIONS.encoded)
                self._close()
            return
        transport.registerProducer(self, True)
        if self._session.state is not State.HANDSHAKE:
            self._run()

    def handshakeCompleted(self) -> None:
        """TLS is established."""
        transport: Any = self.transport
        self._submission.secured(tls_info(transport.getHandle()))
        self._session.secured()
        self._run()

    def dataReceived(self, data: bytes) -> None:
        """Octets, decrypted where TLS is in force."""
        if self._reason is not None:
            return
        self._session.receive_data(data)
        self._go_on()
        if self._session.buffered > READ_AHEAD_OCTETS:
            self._stop_reading()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._connections.forget(self, self._peer.address)
        self.deadline_s = _NEVER
        if self._reason is None:
            self._reason = "connection lost"
            if self._session.state is State.HANDSHAKE:
                self._reason = f"no TLS: {_describe(reason)}"
        self._submission.closed(self._reason)

    def pauseProducing(self) -> None:
        """The client takes our replies too slowly: read and do nothing more for now."""
        self._unread = True
        self._stop_reading()

    def resumeProducing(self) -> None:
        """The client has taken what was written."""
        self._unread = False
        self._go_on()

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

    def _go_on(self) -> None:
        if not (self._running or self._unread or self._unstored) and self._reason is None:
            self._run()

    def _run(self) -> None:
        """Take events until there are none, then send all replies in one write."""
        session = self._session
        handlers = _HANDLERS
        self._running = True
        while True:
            event = session.next_event()
            handler = handlers.get(type(event))
            if handler is None:
                break
            handler(self, event)
        self._running = False
        if self._finishing and self._is_idle() and session.state is not State.CLOSED:
            self._finishing = False
            session.close(replies.SHUTTING_DOWN, "server stopped")
            return self._run()
        self._flush()
        if self._reason is None:
            self._set_deadline()
            if self._unread or self._unstored:
                return
            if not self._reading and session.buffered < READ_AHEAD_OCTETS:
                self._start_reading()

    def _flush(self) -> None:
        data = self._session.data_to_send()
        if data:
            transport: Any = self.transport
            transport.write(data)
        if self._reason is not None:
            self._close()

    def _set_deadline(self) -> None:
        session = self._session
        if session.state is State.HANDSHAKE:
            return  # has its own, which no octet moves
        if session.is_paused or self._unstored:
            self.deadline_s = _NEVER  # it is we who are slow
        elif session.is_logged_in:
            in_data = session.state in _IN_MESSAGE
            allowed_s = self._limits.data_s if in_data else self._limits.command_s
            self.deadline_s = self._connections.seconds() + allowed_s
        else:
            self.deadline_s = self._login_by_s

    def _close(self) -> None:
        transport: Any = self.transport
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
            self._session.send(verdict)

    def _late(self, verdict: Reply) -> None:
        if self._reason is not None or not self._session.is_paused:
            return  # the client is gone, or was sent away, meanwhile
        self._session.send(verdict)
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
