"""The seams of submitd: what may be replaced, and the values that cross each seam.

Three kinds of plugin are found through `twisted.plugin`, the built-in ones in the
same way as anyone else's: user databases, queue stores and relay backends.  Each is
a factory with a name, an attrs class for its own table of the configuration (fields
made with `submitd.options.option`), and `build()`.

A method that returns `Eventual[T]` gives its value at once when it has it, and a
Deferred of it only when it must wait: the way of most messages never meets a Deferred.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore, IReactorTCP, IReactorThreads, IReactorTime
from zope.interface import Attribute, Interface

from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import DeliveryStatus
from submitd.smtp.events import MailReceived, RcptReceived
from submitd.smtp.replies import Reply

T = TypeVar("T")
Eventual: TypeAlias = T | Deferred[T]


class IReactor(IReactorCore, IReactorTCP, IReactorThreads, IReactorTime):
    """What submitd asks of a reactor."""


@attrs.frozen(slots=True)
class Site:
    """What every plugin is told about the place it runs in.

    :ivar hostname: our own name: greeting, EHLO, trace fields, reports.
    :ivar reactor: connections, threads and the clock; never imported instead.
    """

    hostname: str
    reactor: Any


class IPluginFactory(Interface):
    """What the factories of all kinds of plugin have in common."""

    name: str = Attribute("The value of `backend` or `store` that chooses it.")
    options: type[Any] = Attribute("The attrs class of its table in the configuration.")


# ---- users ------------------------------------------------------------------------


class AuthFailure(enum.Enum):
    """Why a login was refused: for the log, never for the client (RFC 4954 §6, 535)."""

    UNKNOWN_USER = "unknown user"
    WRONG_PASSWORD = "wrong password"
    DISABLED = "user disabled"
    UNUSABLE_HASH = "mechanism not usable with the stored hash"
    UNAVAILABLE = "user database away"  # answered 454 4.7.0, not 535
    THROTTLED = "too many failures"
    NOT_AUTHORIZED = "not authorised to act for another"  # RFC 4616 §2


@attrs.frozen(slots=True)
class AuthResult:
    """The outcome of one login.

    :ivar login: the user's name as the database writes it, or None when refused.
    :ivar failure: why it was refused, or None.
    """

    login: str | None
    failure: AuthFailure | None = None


class IUserDatabase(Interface):
    """Knows the users (`[users]` in the configuration)."""

    def verify_password(login: str, password: str) -> Eventual[AuthResult]:
        """Check a password.

        Takes as long for an unknown user as for a known one, never blocks the
        reactor, and bounds what it has under way.  Does not raise for what an
        outside party can cause.
        """

    def stop() -> Eventual[None]:
        """Let go of threads, connections and files."""


class IUserDatabaseFactory(IPluginFactory):
    """A kind of user database."""

    def build(options: Any, site: Site) -> IUserDatabase:
        """Make one from its table.

        :raises ValueError: with a message for the operator, when *options* can't work.
        """


class ISenderPolicy(Interface):
    """Decides who may send as whom (`[senders]`)."""

    def may_send_as(login: str, mailbox: Mailbox) -> bool:
        """Whether *login* may use *mailbox* as reverse-path or in `From:`."""

    def primary_mailbox(login: str) -> Mailbox | None:
        """The login's own mailbox, for `Sender:`; None when nothing says which that is."""


# ---- the queue --------------------------------------------------------------------


class IContent(Interface):
    """The bytes of a stored message: CRLF line ends, not dot-stuffed."""

    size: int = Attribute("Octets in all.")

    def read(offset: int, octets: int) -> Eventual[bytes]:
        """The octets from *offset* on, fewer only at the end; never blocks the reactor.

        At once when they are in memory.  Fails with `OSError` when storage does.
        """


@attrs.define(slots=True, eq=False)
class QueuedMessage:
    """A message that has been stored durably.

    :ivar id: the queue id: what the client was told, and what logs join on.
    :ivar envelope: `envelope.recipients` are those not yet done with.
    :ivar login: who submitted it; None for our own reports.
    :ivar content: header block and body as they will be relayed.
    :ivar arrived_s: when it was stored, POSIX time in seconds.
    :ivar attempts: delivery attempts so far.
    :ivar delay_told_s: when its sender was last told that it is delayed, POSIX time, or None.
    """

    id: str
    envelope: Envelope
    login: str | None
    content: Any
    arrived_s: float
    attempts: int = 0
    delay_told_s: float | None = None


class StoreFull(Exception):
    """The store has no room: nothing was kept.  Answered `452 4.3.1`."""


class IMessageWriter(Interface):
    """Takes one message into the store, piece by piece, with bounded memory."""

    id: str = Attribute("The queue id the message will have, known from the start.")

    def write(data: bytes) -> Eventual[None]:
        """Add octets.

        Returns a Deferred when the caller should pause its transport until it
        fires; octets may be handed in before that and are still kept in order.
        The Deferred fails with `StoreFull` when the disk is full.
        """

    def commit(envelope: Envelope, login: str | None) -> Deferred[QueuedMessage]:
        """Make the message durable.

        The Deferred fires once the message is certain to survive a crash, and not
        before; it fails with `StoreFull`, or with `OSError` for other faults, and
        then nothing is kept.
        """

    def abort() -> None:
        """Drop what was written.  Harmless after `commit` or a second time."""


@attrs.frozen(slots=True)
class Report:
    """A message of our own that enters the queue with the outcome it reports.

    :ivar envelope: null reverse-path, the original sender as recipient.
    :ivar content: whole message.
    """

    envelope: Envelope
    content: bytes


class IQueueStore(Interface):
    """Keeps messages durably until every recipient is done with.

    Times are POSIX seconds.  One process at a time owns a store for delivery;
    the operator's tools read and change it beside that.
    """

    def start() -> Deferred[None]:
        """Open it, claim it, and drop what incomplete messages left behind.

        :raises BlockingIOError: through the Deferred, when another process owns it.
        """

    def stop() -> Deferred[None]:
        """Finish all that was asked for, and close."""

    def new_message() -> IMessageWriter:
        """Begin to take in a message."""

    def due(now_s: float, limit: int, busy: frozenset[str]) -> Deferred[Sequence[QueuedMessage]]:
        """Messages whose time for an attempt has come, in turn.

        The time is when the message was stored, or its `hold_until_s`, or what `record`
        was told.  The first turn has what came due first, each step of MT-PRIORITY
        counting for an hour (RFC 6710): low priorities wait longer, but not for ever.

        :param busy: ids to leave out: those under way now.
        """

    def next_due_s(busy: frozenset[str]) -> Deferred[float | None]:
        """When the next message will be due, `busy` left out; None if there is none."""

    def record(
        message: QueuedMessage,
        outcome: Mapping[Mailbox, DeliveryStatus],
        retry_at_s: float | None,
        report: Report | None = None,
    ) -> Deferred[QueuedMessage | None]:
        """Write down what an attempt came to, all in one transaction.

        Recipients with a final status are done with; a message without any left is
        removed.  The others are due again at *retry_at_s*, and what *message* has as
        `delay_told_s` is kept with them.  The Deferred fires when
        this is durable, with the stored *report* if there was one to store.
        """

    def changed_elsewhere() -> Deferred[bool]:
        """Whether another process (the operator's tools) changed the store since last asked."""


class IQueueStoreFactory(IPluginFactory):
    """A kind of queue store."""

    def build(options: Any, site: Site) -> IQueueStore:
        """Make one from its table; touches nothing before `start`.

        :raises ValueError: with a message for the operator, when *options* can't work.
        """


# ---- the next hop -----------------------------------------------------------------


class IRelayBackend(Interface):
    """Hands messages on (`[relay]`)."""

    def next_hop(recipient: Recipient) -> str:
        """A key for where *recipient*'s mail goes: limits of concurrency apply to it.

        Recipients of one message with the same key are delivered together.
        """

    def deliver(
        message: QueuedMessage, recipients: Sequence[Recipient]
    ) -> Deferred[Mapping[Mailbox, DeliveryStatus]]:
        """Try to hand *message* on for *recipients*, which share one next hop.

        The outcome names each recipient once.  What goes wrong on the way is an
        outcome (DELAYED, FAILED), not a failure of the Deferred; should the Deferred
        fail all the same, the delivery counts as delayed and the fault is logged.
        """

    def stop() -> Eventual[None]:
        """Close idle connections; fires when what was under way has ended."""


class IRelayBackendFactory(IPluginFactory):
    """A kind of relay backend."""

    def build(options: Any, site: Site) -> IRelayBackend:
        """Make one from its table.

        :raises ValueError: with a message for the operator, when *options* can't work.
        """


# ---- a client's session -----------------------------------------------------------


@attrs.frozen(slots=True)
class TlsInfo:
    """What was agreed in the handshake.

    :ivar version: as OpenSSL names it, `"TLSv1.3"`.
    :ivar suite: IANA's name of the cipher suite (RFC 8314 §4.3), `"TLS_AES_256_GCM_SHA384"`.
    :ivar server_name: the name the client asked for (SNI), or None.
    """

    version: str
    suite: str
    server_name: str | None


@attrs.frozen(slots=True)
class Peer:
    """A client, as the listener sees it before it says anything.

    :ivar session_id: joins the log lines of one connection.
    :ivar address: IP address as text, an IPv4-mapped IPv6 address as IPv4.
    :ivar port: its TCP port.
    :ivar listener: name of the listener it came in by, `"implicit:465"`.
    """

    session_id: str
    address: str
    port: int
    listener: str


class ISubmission(Interface):
    """What stands behind one client's session: login, policy, the way into the queue.

    The session has checked grammar and sequence before it calls; each verdict is a
    Reply, positive to go on, at once or later.  Calls come one at a time: the
    next only after the verdict.
    """

    message_size_bytes: int | None = Attribute(
        "Octets of the largest message, once a login has been good; None for the usual limit."
    )

    def secured(tls: TlsInfo) -> None:
        """The handshake is done; whatever was known before is forgotten (RFC 3207 §4.2)."""

    def hello(name: str, extended: bool) -> None:
        """EHLO (*extended*) or HELO gave the *name*, unverified; any envelope is dropped."""

    def authenticate(
        mechanism: str, login: str, password: str, authorization: str
    ) -> Eventual[Reply]:
        """AUTH gave these credentials; *authorization* is `""` or whom to act for (RFC 4616)."""

    def mail(mail: MailReceived) -> Eventual[Reply]:
        """MAIL, with its parameters."""

    def rcpt(rcpt: RcptReceived) -> Eventual[Reply]:
        """RCPT, with its parameters."""

    def data() -> Eventual[Reply]:
        """DATA, or the first BDAT; a positive verdict lets the message come."""

    def content(data: bytes) -> Eventual[None]:
        """A piece of the message: undotted, CRLF line ends; a Deferred asks to pause."""

    def end_of_data(bare_line_ends: int, eight_bit: bool, refused: Reply | None) -> Eventual[Reply]:
        """The message is whole: store it durably, and only then give a positive verdict.

        :param bare_line_ends: how many bare CR or LF were normalised.
        :param eight_bit: whether the message has octets above 127.
        :param refused: the session's own reason to refuse it (too big, bare line
            ends, NUL), which is logged and returned; the message is dropped.
        """

    def reset() -> None:
        """The envelope and any message that had begun are dropped."""

    def closed(reason: str, leniencies: Mapping[str, int] | None = None) -> None:
        """The connection is gone; a message not yet answered may or may not be stored.

        :param leniencies: what the client was forgiven, and how often
            (`submitd.smtp.leniencies`).
        """


class ISubmissionFactory(Interface):
    """Makes what stands behind a session."""

    def submission(peer: Peer) -> ISubmission:
        """A new client has connected."""
