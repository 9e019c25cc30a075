"""One client's session: its login, its envelope, and a message when one comes."""

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from submitd.interfaces import (
    AuthFailure,
    AuthResult,
    Eventual,
    ISubmission,
    ISubmissionFactory,
    Peer,
    QueuedMessage,
    TlsInfo,
)
from submitd.mail.address import Mailbox
from submitd.mail.envelope import DeliverBy, Envelope, Recipient
from submitd.mail.login import LOGIN_OCTETS, login_key
from submitd.smtp import replies
from submitd.smtp.events import MailReceived, RcptReceived
from submitd.smtp.replies import Reply
from submitd.submission.means import Means
from submitd.submission.message import IncomingMessage, Origin

_NO_ENVELOPE = Envelope(None, ())
LOGGED_CHARACTERS = 64  # of a name that is too long to be one


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
        "_envelope",
        "_failed_logins",
        "_helo",
        "_login",
        "_means",
        "_mechanism",
        "_message",
        "_messages",
        "_peer",
        "_recipients",
        "_tls",
        "message_size_bytes",
    )

    _log = Logger()

    def __init__(self, means: Means, peer: Peer) -> None:
        self._means = means
        self._peer = peer
        self._began_s: float = means.site.reactor.seconds()
        self.message_size_bytes: int | None = None
        self._tls: TlsInfo | None = None
        self._helo = ""
        self._login: str | None = None
        self._mechanism: str | None = None
        self._messages = 0
        self._failed_logins = 0
        self._envelope = _NO_ENVELOPE
        self._recipients: dict[Mailbox, Recipient] = {}
        self._message: IncomingMessage | None = None

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
        if max(map(_octets, (login, authorization))) > LOGIN_OCTETS:
            # Nobody's name.  Looking it up, and logging it whole, is work for the asking.
            nobody = AuthResult(None, AuthFailure.UNKNOWN_USER)
            return self._judge_login(nobody, login[:LOGGED_CHARACTERS], "")
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
            self.message_size_bytes = means.message_size_bytes(result.login)
            means.login_accepted(self._peer.address)
            return replies.LOGGED_IN
        self._failed_logins += 1
        self._log.warn(
            # The client's own words come last: nothing before them can be forged.
            "session {session} from {client}: login refused, {reason}: {login}",
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
                status=replies.SENDER_NOT_YOURS.status,
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

    # ---- the message -------------------------------------------------------------

    def data(self) -> Eventual[Reply]:
        """See `ISubmission`."""
        self._drop_message()
        origin = Origin(self._peer, self._helo, self._tls, self._login)
        recipients = tuple(self._recipients.values())
        self._message = IncomingMessage(
            self._means, origin, self._envelope, recipients, self._stored
        )
        return replies.START_MAIL_INPUT

    def content(self, data: bytes) -> Eventual[None]:
        """See `ISubmission`."""
        return None if self._message is None else self._message.content(data)

    def end_of_data(
        self, bare_line_ends: int, eight_bit: bool, refused: Reply | None
    ) -> Eventual[Reply]:
        """See `ISubmission`."""
        message, self._message = self._message, None
        self._forget_envelope()
        if message is None:
            return replies.LOCAL_ERROR
        return message.end(bare_line_ends, eight_bit, refused)

    def _stored(self, message: QueuedMessage) -> None:
        self._messages += 1
        self._means.queued(message)

    def reset(self) -> None:
        """See `ISubmission`."""
        self._forget_envelope()
        self._drop_message()

    def _forget_envelope(self) -> None:
        self._envelope = _NO_ENVELOPE
        self._recipients = {}

    def _drop_message(self) -> None:
        if self._message is not None:
            self._message.abort()
            self._message = None

    # ---- the session ends --------------------------------------------------------

    def closed(self, reason: str, leniencies: Mapping[str, int] | None = None) -> None:
        """See `ISubmission`."""
        self._drop_message()
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
            leniencies=", ".join(f"{name}={times}" for name, times in (leniencies or {}).items()),
            reason=reason,
            duration_s=round(self._means.site.reactor.seconds() - self._began_s, 3),
        )


def _octets(name: str) -> int:
    return len(name.encode(errors="replace"))
