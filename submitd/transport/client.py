"""Connections to next hops: sockets, TLS and time limits around `ClientSession`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from submitd.interfaces import TlsInfo
from submitd.mail.envelope import BodyType, Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.message.conversion import Converter, Edit, Inspector, Unconvertible
from submitd.smtp.client import ClientSession
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
from submitd.smtp.client_extensions import Unfit
from submitd.smtp.client_replies import Stage, as_text
from submitd.transport.client_content import ContentInspection, ContentSender
from submitd.transport.client_tls import Handshake
from submitd.transport.next_hop import Destination, Unreachable


def connect(
    endpoint: IStreamClientEndpoint,
    destination: Destination,
    clock: IReactorTime,
    on_lost: Callable[["ClientConnection"], None],
) -> "Deferred[ClientConnection]":
    """Connect, do TLS and log in.

    :param on_lost: called once when a connection that was handed out is gone.
    :returns: through the Deferred, a connection that is ready for `deliver`; it fails
        with `Unreachable`.  Cancelling it gives up, by the same failure.
    """
    connection = ClientConnection(destination, clock, on_lost)
    connection.connect(endpoint)
    return connection.opened


@implementer(IHandshakeListener)
class _OverTls(Protocol):
    """What stands on top of TLS: hands everything to its connection."""

    def __init__(
        self,
        completed: Callable[[], None],
        received: Callable[[bytes], None],
        lost: Callable[[Failure], None],
    ) -> None:
        self._completed = completed
        self._received = received
        self._lost = lost

    def handshakeCompleted(self) -> None:
        self._completed()

    def dataReceived(self, data: bytes) -> None:
        self._received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost(reason)


class ClientConnection(Protocol):
    """One connection to a next hop; made by `connect`.

    :ivar opened: fires with the connection itself once it is ready.
    :ivar tls: what was agreed on, or None in clear.
    :ivar verified: whether the certificate was checked and is the next hop's.
    :ivar deliveries: messages handed to it so far.
    """

    _log = Logger()

    def __init__(
        self,
        destination: Destination,
        clock: IReactorTime,
        on_lost: Callable[["ClientConnection"], None],
    ) -> None:
        self.opened: Deferred[ClientConnection] = Deferred(lambda _: self._give_up())
        self.tls: TlsInfo | None = None
        self.verified = False
        self.deliveries = 0
        self._destination = destination
        self._clock = clock
        self._on_lost = on_lost
        self._limits = destination.timeouts.by_stage()
        self._session = ClientSession(
            destination.hostname, destination.host, ignored=destination.ignored_extensions
        )
        self._attempt: Deferred[Any] | None = None
        self._was_opened = False
        self._wire: Any = None
        self._secure: TLSMemoryBIOProtocol | None = None
        self._handshake: Handshake | None = None  # while it is under way
        self._stage: Stage | None = None
        self._timer: IDelayedCall | None = None
        self._deadline_s = 0.0
        self._idle_s: float | None = None
        self._closing = False
        self._delivery: Deferred[Finished] | None = None
        self._content: Any = None
        self._body: BodyType = "7BIT"
        self._converter: Converter | None = None
        self._sender: ContentSender | ContentInspection | None = None
        self._on_event: Mapping[type[Event], Callable[[Any], None]] = {
            Hello: self._greeted,
            StartTls: self._start_tls,
            Authenticated: self._ready,
            Refused: self._refused,
            InspectionWanted: self._inspection_wanted,
            ContentWanted: self._content_wanted,
            Finished: self._finished,
            Ended: self._ended,
        }

    # ---- for the owner ----------------------------------------------------------------

    def connect(self, endpoint: IStreamClientEndpoint) -> None:
        """Start; `opened` tells the result."""
        factory = Factory.forProtocol(lambda: self)
        factory.noisy = False
        self._attempt = endpoint.connect(factory)
        self._attempt.addTimeout(self._destination.timeouts.connect_s, self._clock)
        self._attempt.addErrback(self._could_not_connect)

    @property
    def is_idle(self) -> bool:
        """Whether `deliver` may be called."""
        return self._session.is_ready and not self._closing

    def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], content: Any
    ) -> "Deferred[Finished]":
        """Send one message.

        :param recipients: those of the envelope that are meant; at least one.
        :param content: provides `IContent`.
        :returns: a Deferred that doesn't fail.
        """
        self._session.begin(envelope, recipients, content.size, self._clock.seconds())
        self._idle_s = None
        self._content = content
        self._body = envelope.body
        self._converter = None
        self.deliveries += 1
        delivery: Deferred[Finished] = Deferred()
        self._delivery = delivery
        self._go_on()
        return delivery

    def rest(self, idle_s: float) -> None:
        """Nothing to do for now: QUIT unless `deliver` is called within *idle_s* seconds."""
        self._idle_s = idle_s
        self._watch()

    def close(self) -> None:
        """QUIT and close, if nothing is under way."""
        if self.is_idle:
            self._session.quit()
            self._go_on()

    # ---- the wire ---------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Connected: TLS comes first, or the greeting."""
        self._wire = self.transport
        if ITCPTransport.providedBy(self.transport):
            # An envelope and a message are two writes, which Nagle would delay.
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        if self._destination.level == "implicit":
            self._start_tls(None)
        self._watch()

    def dataReceived(self, data: bytes) -> None:
        """Octets from the socket."""
        if self._secure is None:
            self._received(data)
        else:
            self._secure.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The socket is closed."""
        if self._secure is None:
            self._lost(reason)
        else:
            self._secure.connectionLost(reason)

    def _could_not_connect(self, failure: Failure) -> None:
        host, limit = self._destination.host, self._destination.timeouts.connect_s
        status = "4.4.1"
        if failure.check(DeferredTimeout, CancelledError):
            reason = f"no connection to {host} within {limit:g} s"
        elif failure.check(DNSLookupError):
            status, reason = "4.4.3", f"name lookup failed: {failure.getErrorMessage()}"
        else:
            reason = f"cannot connect to {host}: {failure.getErrorMessage()}"
        delayed = DeliveryStatus(Action.DELAYED, status, reason, host)
        self.opened.errback(Unreachable(delayed, None))

    def _give_up(self) -> None:
        if self._wire is not None:
            self._stage = None
            self._session.fail("4.3.2", "given up before it was ready")
            self._go_on()
        elif self._attempt is not None:
            self._attempt.cancel()

    def _received(self, data: bytes) -> None:
        # A time limit is for a whole reply, in however many pieces it comes.
        if self._session.receive(data):
            self._go_on()

    def _lost(self, reason: Failure) -> None:
        self._closing = True
        if self._handshake is not None:
            self._handshake_failed(self._handshake.fault or _words(reason))
        else:
            self._session.receive_eof()
        self._go_on()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._was_opened:
            self._on_lost(self)

    def _start_tls(self, _event: StartTls | None) -> None:
        assert self._destination.tls is not None
        assert self.transport is not None
        self._handshake = self._destination.tls.handshake()
        factory = TLSMemoryBIOFactory(self._handshake, True, Factory(), self._clock)
        top = _OverTls(self._secured, self._received, self._lost)
        self._wire = self._secure = TLSMemoryBIOProtocol(factory, top)
        self._secure.makeConnection(self.transport)

    def _secured(self) -> None:
        handshake, self._handshake = self._handshake, None
        assert handshake is not None
        assert self._secure is not None
        connection = self._secure.getHandle()
        handshake.completed(connection)
        self.tls = handshake.info(connection)
        self.verified = handshake.fault is None
        if not self.verified and self._destination.level != "opportunistic":
            self._handshake_failed(handshake.fault or "")
        elif self._destination.level == "implicit":
            self._session.verified = self.verified
        else:
            self._session.secured(verified=self.verified)
        self._go_on()

    def _handshake_failed(self, reason: str) -> None:
        self._session.fail("4.7.5", f"TLS handshake failed: {reason}")

    # ---- events -----------------------------------------------------------------------

    def _go_on(self) -> None:
        session = self._session
        while (event := session.next_event()) is not None:
            self._on_event[type(event)](event)
        data = session.data_to_send()
        if data:
            self._wire.write(data)
        self._watch()

    def _greeted(self, _event: Hello) -> None:
        level, session = self._destination.level, self._session
        if self.tls is None and level in ("starttls", "opportunistic"):
            if "STARTTLS" in session.extensions:
                session.starttls()
                return
            if level == "starttls":
                session.fail("4.7.4", "TLS is required, but the next hop offers no STARTTLS")
                return
        self._log_in()

    def _log_in(self) -> None:
        credentials = self._destination.credentials
        if credentials is None:
            self._ready(None)
        else:
            self._session.authenticate(credentials.username, credentials.password)

    def _refused(self, event: Refused) -> None:
        words = event.status.diagnostic
        if event.stage is Stage.AUTH:
            self._stage = Stage.AUTH
            self._session.fail(event.status.status, f"login at the next hop failed: {words}")
        elif self._destination.level == "opportunistic":
            self._log_in()
        else:
            self._session.fail("4.7.4", f"TLS is required, but STARTTLS was refused: {words}")

    def _ready(self, _event: Authenticated | None) -> None:
        self._was_opened = True
        self.opened.callback(self)

    def _inspection_wanted(self, event: InspectionWanted) -> None:
        inspector = Inspector(self._body, event.body, ascii_header=event.ascii_header)
        self._sender = ContentInspection(
            self._content, inspector, self._inspected, self._unreadable
        )
        self._sender.start()

    def _inspected(self, result: tuple[Edit, ...] | Unconvertible) -> None:
        if isinstance(result, Unconvertible):
            self._session.inspected(Unfit(result.status, f"the message does not fit: {result}"))
        else:
            self._converter = Converter(result) if result else None
            self._session.inspected(None)
        self._go_on()

    def _content_wanted(self, _event: ContentWanted) -> None:
        self._sender = ContentSender(
            self._content,
            self._session,
            self._wire,
            self._go_on,
            self._unreadable,
            self._converter,
        )
        self._sender.start()

    def _unreadable(self, failure: Failure) -> None:
        self._log.failure("stored message cannot be read", failure)
        self._session.fail("4.3.0", "the stored message cannot be read")
        self._go_on()

    def _finished(self, event: Finished) -> None:
        self._content = None
        if self._sender is not None:
            self._sender.stop()
            self._sender = None
        delivery, self._delivery = self._delivery, None
        assert delivery is not None
        delivery.callback(event)

    def _ended(self, event: Ended) -> None:
        if not self._closing:
            self._closing = True
            if event.status is None:
                self._wire.loseConnection()
            else:
                # Nothing that is still on its way out shall arrive.
                self._wire.abortConnection()
        if not self._was_opened:
            assert event.status is not None
            self.opened.errback(Unreachable(event.status, self._stage))

    # ---- time -------------------------------------------------------------------------

    def _watch(self) -> None:
        """Set the deadline for what is awaited now.

        One delayed call serves a connection: it looks at the deadline when its time
        has come, instead of being moved at each command.
        """
        if self._closing:
            limit_s: float | None = self._destination.timeouts.close_s
        else:
            waiting = Stage.HANDSHAKE if self._handshake else self._session.waiting_for
            limit_s = self._idle_s if waiting is None else self._limits[waiting]
            self._stage = waiting
        if limit_s is None:
            self._deadline_s = float("inf")
            return
        self._deadline_s = self._clock.seconds() + limit_s
        if self._timer is None:
            self._timer = self._clock.callLater(limit_s, self._time_is_up)
        elif self._timer.getTime() > self._deadline_s:
            self._timer.reset(limit_s)

    def _time_is_up(self) -> None:
        self._timer = None
        left_s = self._deadline_s - self._clock.seconds()
        if left_s > 0:
            if left_s != float("inf"):
                self._timer = self._clock.callLater(left_s, self._time_is_up)
        elif self._closing:
            self._wire.abortConnection()
        elif self._stage is None:
            self.close()
        else:
            limit_s = self._limits[self._stage]
            self._session.fail(
                "4.4.2", f"time limit of {limit_s:g} s reached, waiting for {self._stage.value}"
            )
            self._go_on()


def _words(reason: Failure) -> str:
    """Why a handshake failed: OpenSSL's own words where there are some."""
    arguments = reason.value.args if reason.value else ()
    if arguments and isinstance(arguments[0], list) and arguments[0]:
        return as_text(str(arguments[0][0][-1]).encode())
    return as_text(reason.getErrorMessage().encode())
