"""The `smarthost` backend: all mail goes to one next hop, by SMTP with or without TLS and login."""

import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from submitd.interfaces import IRelayBackend, IRelayBackendFactory, QueuedMessage, Site
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Recipient
from submitd.mail.status import DeliveryStatus
from submitd.options import at_least, between, not_empty, option
from submitd.relay.pool import ConnectionPool, Outcome
from submitd.smtp.client_replies import Stage
from submitd.transport.client import ClientConnection, connect
from submitd.transport.client_tls import ClientTls
from submitd.transport.next_hop import Credentials, Destination, Timeouts, Unreachable

_log = Logger()


def _host(value: str) -> str | None:
    return None if value and value.isascii() and value.isprintable() else "a name in ASCII"


@attrs.frozen(kw_only=True)
class SmarthostOptions:
    """`[relay]` with `backend = "smarthost"`: the next hop that takes all mail."""

    host: str = option(
        "Name or IP address of the next hop; its certificate must be for this name.",
        check=_host,
    )
    port: int = option(
        "TCP port: 465 for implicit TLS, 587 for STARTTLS, 25.",
        default=465,
        check=between(1, 65535),
    )
    tls: Literal["implicit", "starttls", "opportunistic", "none"] = option(
        "implicit: TLS from the first byte; starttls: STARTTLS or no delivery; opportunistic: "
        "STARTTLS where offered, with anybody, else in clear; none: in clear. "
        "A login needs implicit or starttls.",
        default="implicit",
    )
    username: str | None = option(
        "Login at the next hop; without it there is none.", default=None, check=not_empty
    )
    password_file: Path | None = option(
        "File with the password of the login in its first line; only the server may read it.",
        default=None,
    )
    ca_file: Path | None = option(
        "PEM file of the authorities to trust instead of the system's.", default=None
    )
    connections: int = option(
        "Most connections at one time; further deliveries wait.", default=10, check=at_least(1)
    )
    messages_per_connection: int = option(
        "Messages after which a connection is closed.", default=100, check=at_least(1)
    )
    recipients_per_message: int = option(
        "Most recipients of one transaction; a message with more is sent in several. "
        "Every server takes 100 (RFC 5321 §4.5.3.1.8).",
        default=100,
        check=at_least(1),
    )
    ignore_extensions: tuple[str, ...] = option(
        "EHLO keywords of the next hop to take as not offered, such as CHUNKING, for one that "
        "offers what it does badly.",
        default=(),
    )
    idle_s: int = option(
        "Seconds after which a connection without work is closed.", default=30, check=at_least(1)
    )
    connect_s: int = option("Seconds to wait for a connection.", default=30, check=at_least(1))
    handshake_s: int = option(
        "Seconds to wait for the TLS handshake.", default=30, check=at_least(1)
    )
    command_s: int = option(
        "Seconds to wait for the greeting and for the reply to a command "
        "(RFC 5321 §4.5.3.2 asks for 300).",
        default=300,
        check=at_least(1),
    )
    content_s: int = option(
        "Seconds to wait, within a message, for the next hop to take more.",
        default=180,
        check=at_least(1),
    )
    end_of_data_s: int = option(
        "Seconds to wait for the reply to a whole message. Shorter than the next hop needs "
        "means messages sent twice (RFC 5321 §4.5.3.2 asks for 600).",
        default=600,
        check=at_least(1),
    )


@implementer(IRelayBackendFactory)
class SmarthostFactory:
    """Makes the `smarthost` backend."""

    name = "smarthost"
    options = SmarthostOptions

    def build(self, options: SmarthostOptions, site: Site) -> "Smarthost":
        """Read the password and the authorities; connects to nothing yet.

        :raises ValueError: with a message for the operator.
        """
        credentials = _credentials(options)
        tls = None
        if options.tls != "none":
            required = options.tls != "opportunistic"
            tls = ClientTls(options.host, options.ca_file, required=required)
        destination = Destination(
            host=options.host,
            hostname=site.hostname,
            level=options.tls,
            tls=tls,
            credentials=credentials,
            ignored_extensions=frozenset(map(str.upper, options.ignore_extensions)),
            timeouts=Timeouts(
                connect_s=options.connect_s,
                handshake_s=options.handshake_s,
                greeting_s=options.command_s,
                command_s=options.command_s,
                data_s=min(120, options.command_s),  # RFC 5321 §4.5.3.2
                content_s=options.content_s,
                end_of_data_s=options.end_of_data_s,
            ),
        )
        return Smarthost(options, destination, site)


def _credentials(options: SmarthostOptions) -> Credentials | None:
    if options.username is None and options.password_file is None:
        return None
    if options.username is None or options.password_file is None:
        raise ValueError("username and password_file need each other")
    if options.tls not in ("implicit", "starttls"):
        raise ValueError(
            f'a login needs tls = "implicit" or "starttls"; with "{options.tls}" anybody '
            "could read the password"
        )
    path = options.password_file
    try:
        text = path.read_text("utf-8")
        mode = path.stat().st_mode
    except OSError as fault:
        raise ValueError(f"password_file {path} cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"password_file {path} is not UTF-8") from None
    password = text.partition("\n")[0].removesuffix("\r")
    if not password or "\0" in password:
        raise ValueError(f"password_file {path} holds no password in its first line")
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        _log.warn(
            "password file {path} is open to everybody: chmod o= it",
            line="relay",
            path=str(path),
        )
    return Credentials(options.username, password)


@implementer(IRelayBackend)
class Smarthost:
    """Hands all mail to one next hop; made by `SmarthostFactory`."""

    def __init__(self, options: SmarthostOptions, destination: Destination, site: Site) -> None:
        self._destination = destination
        self._clock = site.reactor
        self._key = f"{options.host}:{options.port}"
        self._batch = options.recipients_per_message
        self._endpoint = HostnameEndpoint(
            site.reactor, options.host, options.port, timeout=options.connect_s
        )
        self._pool = ConnectionPool(
            self._connect,
            site.reactor,
            options.host,
            options.connections,
            options.messages_per_connection,
            options.idle_s,
        )

    def next_hop(self, recipient: Recipient) -> str:
        """Host and port, for every recipient."""
        return self._key

    def deliver(
        self, message: QueuedMessage, recipients: Sequence[Recipient]
    ) -> "Deferred[Mapping[Mailbox, DeliveryStatus]]":
        """Send it, in as many transactions as the number of recipients makes necessary."""
        envelope, content, batch = message.envelope, message.content, self._batch
        if len(recipients) <= batch:
            return self._pool.deliver(envelope, recipients, content)
        batches = [
            self._pool.deliver(envelope, recipients[start : start + batch], content)
            for start in range(0, len(recipients), batch)
        ]
        return gatherResults(batches).addCallback(_merged)

    def stop(self) -> "Deferred[None]":
        """Idle connections are closed, waiting deliveries delayed, the others finished."""
        return self._pool.stop()

    # ---- connections ------------------------------------------------------------------

    def _connect(self, on_lost: Callable[[ClientConnection], None]) -> "Deferred[ClientConnection]":
        opened = connect(self._endpoint, self._destination, self._clock, on_lost)
        if self._destination.level == "opportunistic":
            opened.addErrback(self._in_clear, on_lost)
        return opened.addCallbacks(self._opened, self._failed)

    def _in_clear(
        self, failure: Failure, on_lost: Callable[[ClientConnection], None]
    ) -> "Failure | Deferred[ClientConnection]":
        """Opportunistic TLS: a broken handshake is followed by a connection without one."""
        fault = failure.value
        if not isinstance(fault, Unreachable) or fault.stage is not Stage.HANDSHAKE:
            return failure
        _log.warn(
            "{next_hop}: {diagnostic}; going on in clear, as opportunistic TLS does",
            line="relay",
            next_hop=self._key,
            diagnostic=fault.status.diagnostic,
        )
        destination = attrs.evolve(self._destination, level="none")
        return connect(self._endpoint, destination, self._clock, on_lost)

    def _opened(self, connection: ClientConnection) -> ClientConnection:
        tls = connection.tls
        _log.info(
            "connected to {next_hop} ({security})",
            line="relay",
            next_hop=self._key,
            security="in clear" if tls is None else f"{tls.version} {tls.suite}",
            verified=connection.verified,
        )
        return connection

    def _failed(self, failure: Failure) -> Failure:
        fault = failure.value
        if isinstance(fault, Unreachable):
            # A refused login is a fault of our configuration: nothing gets out until it is mended.
            log = _log.error if fault.stage is Stage.AUTH else _log.warn
            log(
                "no connection to {next_hop}: {diagnostic}",
                line="relay",
                next_hop=self._key,
                status=fault.status.status,
                diagnostic=fault.status.diagnostic,
            )
        return failure


def _merged(outcomes: Sequence[Outcome]) -> dict[Mailbox, DeliveryStatus]:
    return {mailbox: status for outcome in outcomes for mailbox, status in outcome.items()}
