"""What stands behind a session: who it is, what it may send, and the way into the queue."""

import secrets
import time
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from submitd.interfaces import (
    AuthFailure,
    AuthResult,
    Eventual,
    IMessageWriter,
    IQueueStore,
    ISenderPolicy,
    ISubmission,
    ISubmissionFactory,
    IUserDatabase,
    Peer,
    QueuedMessage,
    Site,
    StoreFull,
    TlsInfo,
)
from submitd.mail.address import Mailbox
from submitd.mail.envelope import BodyType, DeliverBy, Envelope, Recipient
from submitd.mail.login import login_key
from submitd.message.completion import CompletionOptions, Facts, FromMismatch, Refused, complete
from submitd.message.headers import find_end
from submitd.smtp import replies
from submitd.smtp.events import MailReceived, RcptReceived
from submitd.smtp.replies import Reply, reply

_NO_ENVELOPE = Envelope(None, ())
HEADER_TOO_BIG = reply(552, "5.3.4", "Header block too big")


@attrs.frozen(kw_only=True)
class Means:
    """What all submissions use.

    :ivar site: our name, the clock.
    :ivar users: checks logins.
    :ivar senders: says who may send as whom.
    :ivar store: takes messages in.
    :ivar queued: is told of each message once it is stored, to deliver it.
    :ivar refusal_delay_s: seconds to hold back a refused login of an address; counts it.
    :ivar login_accepted: is told of an address whose login was good.
    :ivar completion: `[completion]`.
    :ivar from_mismatch: what to do with a From the login may not use.
    :ivar header_size_bytes: largest header block.
    :ivar future_release_s: how long a message may be held (RFC 4865).
    :ivar highest_priority: the most a client may ask for (RFC 6710).
    """

    site: Site
    users: IUserDatabase
    senders: ISenderPolicy
    store: IQueueStore
    queued: Callable[[QueuedMessage], None]
    refusal_delay_s: Callable[[str], float]
    login_accepted: Callable[[str], None]
    completion: CompletionOptions
    from_mismatch: FromMismatch
    header_size_bytes: int
    future_release_s: int
    highest_priority: int


@implementer(ISubmissionFactory)
class SubmissionFactory:
    """Makes a `Submission` for each session.

    :param means: what they all use.
    """

    def __init__(self, means: Means) -> None:
        self._means = means

    def submission(self, peer: Peer) -> ISubmission:
        """See `ISubmissionFactory`."""
        return Submission(self._means, peer)


@implementer(ISubmission)
class Submission:
    """One client: its login, its envelope, the message that is coming in."""

    __slots__ = (
        "_began_s",
        "_block",
        "_envelope",
        "_failed_logins",
        "_header_done",
        "_helo",
        "_login",
        "_means",
        "_mechanism",
        "_message_id",
        "_messages",
        "_peer",
        "_recipients",
        "_refused",
        "_size",
        "_tls",
        "_writer",
    )

    _log = Logger()

    def __init__(self, means: Means, peer: Peer) -> None:
        self._means = means
        self._peer = peer
        self._began_s: float = means.site.reactor.seconds()
        self._tls: TlsInfo | None = None
        self._helo = ""
        self._login: str | None = None
        self._mechanism: str | None = None
        self._messages = 0
        self._failed_logins = 0
        self._envelope = _NO_ENVELOPE
        self._recipients: dict[Mailbox, Recipient] = {}
        self._writer: IMessageWriter | None = None
        self._forget_message()

    def _forget_message(self) -> None:
        self._block = b""
        self._header_done = False
        self._refused: Reply | None = None
        self._message_id = ""
        self._size = 0

    # ---- the session begins ------------------------------------------------------

    def secured(self, tls: TlsInfo) -> None:
        """See `ISubmission`."""
        self._tls = tls
        self._helo = ""

    def hello(self, name: str, extended: bool) -> None:
        """See `ISubmission`."""
        self._helo = name
        self.reset()

    def authenticate(
        self, mechanism: str, login: str, password: str, authorization: str
    ) -> Eventual[Reply]:
        """See `ISubmission`."""
        self._mechanism = mechanism
        result = self._means.users.verify_password(login, password)
        if isinstance(result, Deferred):
            return result.addCallback(self._judge_login, login, authorization)
        return self._judge_login(result, login, authorization)

    def _judge_login(self, result: AuthResult, claimed: str, authorization: str) -> Eventual[Reply]:
        means = self._means
        failure = result.failure
        # RFC 4616 §2: acting for another needs a permission that nobody has here.
        if result.login and authorization and login_key(authorization) != login_key(result.login):
            failure = AuthFailure.NOT_AUTHORIZED
        if result.login is not None and failure is None:
            self._login = result.login
            means.login_accepted(self._peer.address)
            return replies.LOGGED_IN
        self._failed_logins += 1
        self._log.warn(
            "session {session}: login {login} from {client} refused: {reason}",
            line="login",
            session=self._peer.session_id,
            client=self._peer.address,
            login=claimed,
            mechanism=self._mechanism,
            listener=self._peer.listener,
            reason=failure.value if failure else "",
        )
        if failure is AuthFailure.UNAVAILABLE:
            return replies.AUTH_UNAVAILABLE
        delay_s = means.refusal_delay_s(self._peer.address)
        if delay_s:
            return deferLater(means.site.reactor, delay_s, lambda: replies.BAD_CREDENTIALS)
        return replies.BAD_CREDENTIALS

    # ---- the envelope ------------------------------------------------------------

    def mail(self, mail: MailReceived) -> Eventual[Reply]:
        """See `ISubmission`."""
        # The null reverse-path is for anyone: read receipts have it (RFC 8098 §3), and
        # From is checked all the same.
        reverse_path = mail.reverse_path
        if reverse_path is not None and not self._may_send_as(reverse_path):
            self._log.warn(
                "session {session}: {login} may not send as {reverse_path}",
                line="refused",
                session=self._peer.session_id,
                login=self._login,
                reverse_path=str(reverse_path),
            )
            return replies.SENDER_NOT_YOURS
        means = self._means
        now_s: float = means.site.reactor.seconds()
        hold_until_s = mail.hold_until_s
        if mail.hold_for_s is not None:
            hold_until_s = now_s + mail.hold_for_s
        if hold_until_s is not None and hold_until_s > now_s + means.future_release_s:
            return replies.HELD_TOO_LONG
        by = mail.deliver_by
        self._envelope = Envelope(
            reverse_path,
            (),
            body=mail.body,
            utf8=mail.utf8,
            ret=mail.ret,
            envelope_id=mail.envelope_id,
            require_tls=mail.require_tls,
            hold_until_s=hold_until_s,
            deliver_by=None if by is None else DeliverBy(now_s + by.seconds, by.mode, by.trace),
            priority=min(mail.priority, means.highest_priority),
        )
        # RFC 6710 §6: the client is told when its priority was not taken.
        lowered = mail.priority > means.highest_priority
        return replies.SENDER_OK_PRIORITY_LOWERED if lowered else replies.SENDER_OK

    def _may_send_as(self, mailbox: Mailbox) -> bool:
        return self._login is not None and self._means.senders.may_send_as(self._login, mailbox)

    def rcpt(self, rcpt: RcptReceived) -> Eventual[Reply]:
        """See `ISubmission`."""
        self._recipients[rcpt.mailbox] = Recipient(rcpt.mailbox, rcpt.notify, rcpt.original)
        return replies.RECIPIENT_OK

    def data(self) -> Eventual[Reply]:
        """See `ISubmission`."""
        self._forget_message()
        self._writer = self._means.store.new_message()
        return replies.START_MAIL_INPUT

    def reset(self) -> None:
        """See `ISubmission`."""
        self._envelope = _NO_ENVELOPE
        self._recipients = {}
        self._abort()
        self._forget_message()

    def _abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    # ---- the message -------------------------------------------------------------

    def content(self, data: bytes) -> Eventual[None]:
        """See `ISubmission`."""
        writer = self._writer
        if self._refused is not None or writer is None:
            return None
        if self._header_done:
            self._size += len(data)
            return writer.write(data)
        searched = len(self._block)
        block = self._block + data if searched else data
        end = find_end(block, searched)
        if (len(block) if end < 0 else end) > self._means.header_size_bytes:
            self._refuse(HEADER_TOO_BIG)
            return None
        if end < 0:
            self._block = block
            return None
        self._block = b""
        if not self._take_header(block[:end], writer):
            return None
        rest = block[end:]
        if not rest:
            return None
        self._size += len(rest)
        return writer.write(rest)

    def _take_header(self, block: bytes, writer: IMessageWriter) -> bool:
        """Complete the header block and store it; False when the message is refused."""
        self._header_done = True
        means = self._means
        login = self._login or ""
        now_s = means.site.reactor.seconds()
        only = next(iter(self._recipients)) if len(self._recipients) == 1 else None
        facts = Facts(
            helo=self._helo,
            client_address=self._peer.address,
            hostname=means.site.hostname,
            queue_id=writer.id,
            tls_suite=self._tls.suite if self._tls else None,
            only_recipient=only,
            login=login,
            login_mailbox=means.senders.primary_mailbox(login),
            now_s=now_s,
            utc_offset_minutes=time.localtime(now_s).tm_gmtoff // 60,
            random=secrets.token_hex(8),
        )
        result = complete(block, facts, self._may_send_as, means.from_mismatch, means.completion)
        if isinstance(result, Refused):
            self._refuse(reply(result.code, result.status, result.text))
            return False
        self._message_id = result.message_id
        self._size = len(result.header)
        pause = writer.write(result.header)
        if isinstance(pause, Deferred):
            # No need to wait for so little; should it fail, the commit tells.
            pause.addErrback(lambda _: None)
        return True

    def _refuse(self, refusal: Reply) -> None:
        """The rest of the message is read and dropped; the reply waits for its end."""
        self._refused = refusal
        self._block = b""
        self._abort()

    def end_of_data(
        self, bare_line_ends: int, eight_bit: bool, refused: Reply | None
    ) -> Eventual[Reply]:
        """See `ISubmission`."""
        writer = self._writer
        if refused is not None:
            self._refuse(refused)
        elif writer is not None and not self._header_done:
            self._take_header(self._block, writer)
        refused = self._refused
        if refused is not None or writer is None:
            return self._refused_message(refused or replies.LOCAL_ERROR)
        body: BodyType = "8BITMIME" if eight_bit else "7BIT"
        if self._envelope.body == "BINARYMIME":
            body = "BINARYMIME"
        envelope = attrs.evolve(
            self._envelope, recipients=tuple(self._recipients.values()), body=body
        )
        self._writer = None
        size = self._size
        self._recipients = {}
        return writer.commit(envelope, self._login).addCallbacks(
            self._queued,
            self._not_queued,
            callbackArgs=(size, self._message_id, bare_line_ends),
        )

    def _refused_message(self, refused: Reply) -> Reply:
        self._log.warn(
            "session {session}: message from {login} refused: {reply}",
            line="refused",
            session=self._peer.session_id,
            login=self._login,
            reverse_path=_path(self._envelope.reverse_path),
            recipients=len(self._recipients),
            reply=str(refused),
        )
        self.reset()
        return refused

    def _queued(
        self, message: QueuedMessage, size: int, message_id: str, bare_line_ends: int
    ) -> Reply:
        self._messages += 1
        envelope = message.envelope
        self._log.info(
            "message {queue_id} from {login}: {reverse_path} to {recipients}, {size} octets",
            line="message",
            session=self._peer.session_id,
            queue_id=message.id,
            login=message.login,
            reverse_path=_path(envelope.reverse_path),
            recipients=len(envelope.recipients),
            size=size,
            message_id=message_id,
            bare_line_ends=bare_line_ends,
        )
        self._means.queued(message)
        return reply(250, "2.0.0", f"Queued as {message.id}")

    def _not_queued(self, failure: Failure) -> Reply:
        if isinstance(failure.value, StoreFull):
            self._log.error(
                "session {session}: no room for a message from {login}",
                line="refused",
                session=self._peer.session_id,
                login=self._login,
            )
            return replies.STORE_FULL
        self._log.failure(
            "session {session}: a message from {login} could not be stored",
            failure,
            session=self._peer.session_id,
            login=self._login,
        )
        return replies.LOCAL_ERROR

    # ---- the session ends --------------------------------------------------------

    def closed(self, reason: str) -> None:
        """See `ISubmission`."""
        self._abort()
        tls = self._tls
        self._log.info(
            "session {session} from {client}: {user}, {messages} messages, {reason}",
            line="session",
            session=self._peer.session_id,
            client=self._peer.address,
            client_port=self._peer.port,
            listener=self._peer.listener,
            tls=tls.version if tls else None,
            suite=tls.suite if tls else None,
            server_name=tls.server_name if tls else None,
            helo=self._helo,
            login=self._login,
            user=self._login or "no login",
            mechanism=self._mechanism,
            messages=self._messages,
            failed_logins=self._failed_logins,
            reason=reason,
            duration_s=round(self._means.site.reactor.seconds() - self._began_s, 3),
        )


def _path(reverse_path: Mailbox | None) -> str:
    return "<>" if reverse_path is None else str(reverse_path)
