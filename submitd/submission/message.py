"""One message on its way in: its header completed, the rest handed on as it comes."""

import secrets
import time
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from submitd.interfaces import Eventual, Peer, QueuedMessage, StoreFull, TlsInfo
from submitd.mail.address import Mailbox
from submitd.mail.envelope import BodyType, Envelope, Recipient
from submitd.message.completion import Completed, Facts, complete
from submitd.message.headers import find_end
from submitd.message.refusal import Refused
from submitd.smtp import replies
from submitd.smtp.replies import Reply, reply
from submitd.submission.means import Means

HEADER_TOO_BIG = reply(552, "5.3.4", "Header block too big")


@attrs.frozen(slots=True)
class Origin:
    """Where a message comes from.

    :ivar peer: the client.
    :ivar helo: what it called itself.
    :ivar tls: what was agreed in the handshake, if there was one.
    :ivar login: who sent the message; None without a login.
    """

    peer: Peer
    helo: str
    tls: TlsInfo | None
    login: str | None


class IncomingMessage:
    """A message from DATA, or the first BDAT, to its verdict.

    :param means: what all submissions use.
    :param origin: where it comes from.
    :param envelope: as MAIL gave it.
    :param recipients: as the RCPT commands gave them.
    :param stored: is told of the message once it is durable.
    """

    __slots__ = (
        "_block",
        "_completed",
        "_envelope",
        "_means",
        "_origin",
        "_recipients",
        "_refused",
        "_size",
        "_stored",
        "_writer",
    )

    _log = Logger()

    def __init__(
        self,
        means: Means,
        origin: Origin,
        envelope: Envelope,
        recipients: tuple[Recipient, ...],
        stored: Callable[[QueuedMessage], None],
    ) -> None:
        self._means = means
        self._origin = origin
        self._envelope = envelope
        self._recipients = recipients
        self._stored = stored
        self._writer = means.store.new_message()
        self._block = bytearray()  # what has come of a header block that has not ended
        self._completed: Completed | None = None
        self._refused: Reply | None = None
        self._size = 0

    def content(self, data: bytes) -> Eventual[None]:
        """Take a piece; see `ISubmission.content`."""
        if self._refused is not None:
            return None
        if self._completed is not None:
            self._size += len(data)
            return self._writer.write(data)
        block: bytes | bytearray = data
        searched = len(self._block)
        if searched:
            self._block += data
            block = self._block
        end = find_end(block, searched)
        if (len(block) if end < 0 else end) > self._means.header_size_bytes:
            self._refuse(HEADER_TOO_BIG)
            return None
        if end < 0:
            if not searched:
                self._block += data
            return None
        rest = data[end - searched :]
        self._block = bytearray()
        if not self._take_header(bytes(block[:end])) or not rest:
            return None
        self._size += len(rest)
        return self._writer.write(rest)

    def _take_header(self, block: bytes) -> bool:
        """Complete the header block and store it; False when the message is refused."""
        means = self._means
        origin = self._origin
        recipients = self._recipients
        login = origin.login or ""
        now_s = means.site.reactor.seconds()
        facts = Facts(
            helo=origin.helo,
            client_address=origin.peer.address,
            hostname=means.site.hostname,
            queue_id=self._writer.id,
            tls_suite=origin.tls.suite if origin.tls else None,
            only_recipient=recipients[0].mailbox if len(recipients) == 1 else None,
            login=login,
            login_mailbox=means.senders.primary_mailbox(login),
            now_s=now_s,
            utc_offset_minutes=time.localtime(now_s).tm_gmtoff // 60,
            random=secrets.token_hex(8),
            utf8=self._envelope.utf8,
        )
        result = complete(block, facts, self._may_send_as, means.from_mismatch, means.completion)
        if isinstance(result, Refused):
            self._refuse(reply(result.code, result.status, result.text))
            return False
        self._completed = result
        self._size = len(result.header)
        pause = self._writer.write(result.header)
        if isinstance(pause, Deferred):
            # No need to wait for so little; should it fail, the commit tells.
            pause.addErrback(lambda _: None)
        return True

    def _may_send_as(self, mailbox: Mailbox) -> bool:
        login = self._origin.login
        return login is not None and self._means.senders.may_send_as(login, mailbox)

    def _refuse(self, refusal: Reply) -> None:
        """The rest of the message is read and dropped; the reply waits for its end."""
        self._refused = refusal
        self._block = bytearray()
        self._writer.abort()

    def abort(self) -> None:
        """The message will not be finished; nothing of it is kept."""
        self._writer.abort()

    def end(self, bare_line_ends: int, eight_bit: bool, refused: Reply | None) -> Eventual[Reply]:
        """The message is whole; see `ISubmission.end_of_data`."""
        if refused is not None:
            self._refuse(refused)
        elif self._refused is None and self._completed is None:
            self._take_header(bytes(self._block))
        completed = self._completed
        if self._refused is not None:
            return self._log_refused(self._refused)
        if completed is None:  # a header is taken or refused
            return replies.LOCAL_ERROR
        envelope = self._envelope
        body: BodyType = "8BITMIME" if eight_bit else "7BIT"
        envelope = attrs.evolve(
            envelope,
            recipients=self._recipients,
            body="BINARYMIME" if envelope.body == "BINARYMIME" else body,
            # RFC 8689 §3: REQUIRETLS wins over what the message says.
            tls_optional=completed.tls_optional and not envelope.require_tls,
        )
        return self._writer.commit(envelope, self._origin.login).addCallbacks(
            self._queued, self._not_queued, callbackArgs=(completed, bare_line_ends)
        )

    def _log_refused(self, refused: Reply) -> Reply:
        self._log.warn(
            "session {session}: message from {login} refused: {reply}",
            line="refused",
            session=self._origin.peer.session_id,
            login=self._origin.login,
            reverse_path=_path(self._envelope.reverse_path),
            recipients=len(self._recipients),
            status=refused.status,
            reply=str(refused),
        )
        return refused

    def _queued(self, message: QueuedMessage, completed: Completed, bare_line_ends: int) -> Reply:
        envelope = message.envelope
        self._log.info(
            "session {session}: message {queue_id} from {login}: {reverse_path} to {recipients},"
            " {size} octets",
            line="message",
            session=self._origin.peer.session_id,
            queue_id=message.id,
            login=message.login,
            reverse_path=_path(envelope.reverse_path),
            recipients=len(envelope.recipients),
            size=self._size,
            message_id=completed.message_id,
            bare_line_ends=bare_line_ends,
            leniencies=", ".join(completed.leniencies),
        )
        self._stored(message)
        return reply(250, "2.0.0", f"Queued as {message.id}")

    def _not_queued(self, failure: Failure) -> Reply:
        session, login = self._origin.peer.session_id, self._origin.login
        if isinstance(failure.value, StoreFull):
            self._log.error(
                "session {session}: no room for a message from {login}",
                line="refused",
                session=session,
                login=login,
                status=replies.STORE_FULL.status,
            )
            return replies.STORE_FULL
        self._log.failure(
            "session {session}: a message from {login} could not be stored",
            failure,
            session=session,
            login=login,
        )
        return replies.LOCAL_ERROR


def _path(reverse_path: Mailbox | None) -> str:
    return "<>" if reverse_path is None else str(reverse_path)
