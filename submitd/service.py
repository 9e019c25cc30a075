"""The composition root: builds the parts, joins them, starts and stops them in order."""

import os
import random
import signal
import socket
import sys
from types import FrameType
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure

from submitd import __version__
from submitd.auth.throttle import LoginThrottle
from submitd.config.model import Configuration
from submitd.interfaces import Site
from submitd.policy.senders import SenderRules
from submitd.policy.sizes import MessageSizes
from submitd.queue.delivery import Delivery
from submitd.smtp.settings import Settings
from submitd.submission import Means, SubmissionFactory
from submitd.timers import ClockWatch
from submitd.transport.connections import Connections
from submitd.transport.server import SubmissionListener, wrap
from submitd.transport.sockets import CannotListen, listening_sockets
from submitd.transport.tls import CertificateError, ServerTls

CERTIFICATES_S = 5.0  # how often the certificate files are looked at


class SubmissionServer(Service):
    """The whole server.

    Sockets are bound and keys read before privileges are dropped; clients are let in
    once the store is open.

    :param configuration: checked already.
    :param reactor: the one to run on.
    """

    _log = Logger()

    def __init__(self, configuration: Configuration, reactor: Any) -> None:
        self._configuration = configuration
        self._reactor = reactor
        self._sockets: list[tuple[SubmissionListener, socket.socket]] = []
        self._ports: list[IListeningPort] = []
        self._serving: Deferred[None] | None = None
        self._failed = False
        self._build()

    def _build(self) -> None:
        configuration = self._configuration
        limits = configuration.limits
        site = Site(hostname=configuration.hostname, reactor=self._reactor)
        self._users = configuration.users.factory.build(configuration.users.options, site)
        self._store = configuration.queue.factory.build(configuration.queue.options, site)
        self._backend = configuration.relay.factory.build(configuration.relay.options, site)
        self._delivery = Delivery(
            self._store,
            self._backend,
            configuration.delivery,
            self._reactor,
            random.random,
            configuration.hostname,
        )
        sizes = MessageSizes(limits)
        throttle = LoginThrottle(self._reactor.seconds)

        def refusal_delay_s(address: str) -> float:
            throttle.failed(address)
            return throttle.delay_s(address)

        self._submissions = SubmissionFactory(
            Means(
                site=site,
                users=self._users,
                senders=SenderRules(configuration.senders, site),
                store=self._store,
                queued=self._delivery.submitted,
                refusal_delay_s=refusal_delay_s,
                login_accepted=throttle.succeeded,
                completion=configuration.completion,
                from_mismatch=configuration.senders.from_mismatch,
                message_size_bytes=sizes.of,
                header_size_bytes=limits.header_size_bytes,
                future_release_s=limits.future_release_s,
                highest_priority=limits.highest_priority,
            )
        )
        self._settings = Settings(
            hostname=configuration.hostname,
            message_size_bytes=sizes.largest_bytes,
            recipients_per_message=limits.recipients_per_message,
            failed_logins_per_connection=limits.failed_logins_per_connection,
            errors_per_connection=limits.errors_per_connection,
            junk_commands_per_connection=limits.junk_commands_per_connection,
            messages_per_connection=limits.messages_per_connection,
            future_release_s=limits.future_release_s,
            bare_line_ends=configuration.completion.bare_line_ends,
        )
        self._tls = ServerTls(configuration.tls)
        self._connections = Connections(self._reactor, limits)
        self._metrics = self._build_metrics()
        self._clock_watch = ClockWatch(self._reactor)
        self._certificates = LoopingCall(self._tls.reload_if_changed)
        self._certificates.clock = self._reactor

    def _build_metrics(self) -> Any:
        """The counters, or None where none are wanted."""
        if self._configuration.metrics.port is None:
            return None
        try:
            from submitd.web.metrics import Metrics
        except ImportError:
            raise ValueError(
                "metrics.port needs the package prometheus_client;"
                f" {sys.executable} -m pip install prometheus-client"
            ) from None
        return Metrics(self._connections.__len__)

    def privilegedStartService(self) -> None:
        """Bind the sockets, unless they are bound already.

        :raises SystemExit: with the reason, when one can't be bound.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        if not self._sockets:
            self.bind()

    def bind(self) -> None:
        """Bind the sockets, while we still may use ports below 1024.

        `twistd` calls `privilegedStartService` once standard error is the log, and, as a
        daemon, from a process whose end its parent would not notice.  Called before that,
        this tells the terminal what is wrong.

        :raises SystemExit: with the reason, when one can't be bound.
        """
        try:
            for options in self._configuration.listener:
                listener = SubmissionListener(
                    options.name,
                    implicit_tls=options.tls == "implicit",
                    settings=attrs.evolve(
                        self._settings, missing_angle_brackets=options.missing_angle_brackets
                    ),
                    limits=self._configuration.limits,
                    tls=self._tls,
                    connections=self._connections,
                    submissions=self._submissions,
                )
                for listening in listening_sockets(options, os.environ, os.getpid()):
                    self._sockets.append((listener, listening))
        except CannotListen as error:
            self._close_sockets()
            raise SystemExit(f"submitd: {error}") from None

    def startService(self) -> None:
        """Open the store, then let clients in and deliver."""
        super().startService()  # type: ignore[no-untyped-call]
        self._serving = self._store.start().addCallback(self._serve)
        self._serving.addErrback(self._cannot_serve)

    def _serve(self, _result: object) -> None:
        if not self.running:
            return  # stopped while the store was being opened
        self._delivery.start()
        self._connections.start()
        self._certificates.start(CERTIFICATES_S, now=False)
        self._clock_watch.start()
        signal.signal(signal.SIGHUP, self._reload)
        for listener, listening in self._sockets:
            port = self._reactor.adoptStreamPort(
                listening.fileno(), listening.family, wrap(listener)
            )
            listening.close()
            self._ports.append(port)
            host = port.getHost()
            self._log.info(
                "listening on {address} port {port} ({tls})",
                address=host.host,
                port=host.port,
                tls="implicit TLS" if listener.implicit_tls else "STARTTLS",
            )
        self._sockets.clear()
        if self._metrics is not None:
            self._serve_metrics()
        self._log.info("submitd {version} is serving", version=__version__)

    def _serve_metrics(self) -> None:
        from submitd.web.metrics import metrics_site

        options = self._configuration.metrics
        site = metrics_site(self._metrics)
        try:
            port = self._reactor.listenTCP(options.port, site, interface=options.address)
        except CannotListenError as error:
            raise OSError(f"metrics: {error}") from None
        self._ports.append(port)
        globalLogPublisher.addObserver(self._metrics)
        self._log.info(
            "metrics on {address} port {port}", address=options.address, port=port.getHost().port
        )

    def _cannot_serve(self, failure: Failure) -> None:
        self._failed = True
        if isinstance(failure.value, BlockingIOError):
            self._log.critical(
                "the queue is in use by another process: {error}", error=failure.value
            )
        elif isinstance(failure.value, OSError):
            self._log.critical("the server can't start: {error}", error=failure.value)
        else:
            self._log.failure("the server can't start", failure)
        # twistd has no way to be told an exit status once the reactor runs.
        self._reactor.addSystemEventTrigger("after", "shutdown", _exit_with_failure)
        if self.running:
            self._reactor.stop()

    def _close_sockets(self) -> None:
        for _, listening in self._sockets:
            listening.close()
        self._sockets.clear()

    def _reload(self, _signal: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._tls.reload)

    def stopService(self) -> Deferred[None]:
        """Let nobody in, finish what is under way within `stop_s`, close the store.

        A relay backend that has not ended by then gets `close_s` more, and no more than
        that: a next hop may be silent for longer than whoever stops us has patience.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self._close_sockets()
        if self._metrics is not None:
            globalLogPublisher.removeObserver(self._metrics)
        self._clock_watch.stop()
        if self._certificates.running:
            self._certificates.stop()
        if self._serving is not None:
            await self._serving
        if self._failed:
            return
        limits = self._configuration.limits
        until_s = self._reactor.seconds() + limits.stop_s
        await self._connections.drain()
        await self._delivery.stop(max(0.0, until_s - self._reactor.seconds()))
        try:
            await maybeDeferred(self._backend.stop).addTimeout(limits.close_s, self._reactor)
        except TimeoutError:
            self._log.warn("deliveries that did not end in time are cut off")
        await maybeDeferred(self._users.stop)
        await self._store.stop()
        self._log.info("submitd has stopped")


def _exit_with_failure() -> None:
    sys.stdout.flush()
    os._exit(1)


def make_server(configuration: Configuration, reactor: Any) -> SubmissionServer:
    """Build the server.

    :raises ValueError: with a message for the operator, when a file that the
        configuration names can't be used.
    """
    try:
        return SubmissionServer(configuration, reactor)
    except CertificateError as error:
        raise ValueError(f"tls: {error}") from error
