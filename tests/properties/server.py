"""The engine with a driver that keeps what it was told, to be held against the model."""

from collections.abc import Iterable

from submitd.mail.address import Mailbox
from submitd.smtp import events, replies
from submitd.smtp.replies import Reply, reply
from submitd.smtp.server import PAUSED, ServerSession, Wait
from submitd.smtp.settings import Settings
from submitd.smtp.states import State
from tests.fuzz.wire import WireReply, read_replies
from tests.properties import model

PASSWORD = "sesame"
BUSY = "busy"
SETTINGS = Settings(
    hostname="mail.example.org",
    message_size_bytes=model.MESSAGE_OCTETS,
    recipients_per_message=model.RECIPIENTS,
    failed_logins_per_connection=model.FAILED_LOGINS,
    errors_per_connection=model.ERRORS,
    junk_commands_per_connection=model.IDLE_COMMANDS,
    messages_per_connection=model.TRANSACTIONS,
    future_release_s=86_400,
    mechanisms=("PLAIN", "LOGIN"),
)


class Server:
    """A session, and what stands behind it.

    :param late: give each verdict only when more octets have come, or nothing more will.
    :ivar messages: those that were taken.
    :ivar closed: whether the session said that it is.
    """

    def __init__(self, *, implicit: bool, late: bool) -> None:
        self.session = ServerSession(
            SETTINGS, release_by="2026-12-24T12:00:00Z", implicit_tls=implicit
        )
        self.messages: list[model.Message] = []
        self.closed = False
        self._late = late
        self._due: Reply | None = None
        self._sender = ""
        self._recipients: list[str] = []
        self._content = b""
        if implicit:
            self.session.secured()

    def hear(self, pieces: Iterable[bytes]) -> list[WireReply]:
        """Take octets, piece by piece; all that is answered."""
        said = self._run()
        for piece in pieces:
            if self.closed:
                break
            self.session.receive_data(piece)
            said += self._run()
        while self._due is not None:
            said += self._run()
        return read_replies(said)

    def _run(self) -> bytes:
        if self._due is not None:
            self.session.send(self._due)
            self._due = None
        while not isinstance(event := self.session.next_event(), Wait):
            verdict = self._verdict(event)
            if verdict is None:
                continue
            assert self.session.next_event() is PAUSED
            if self._late:
                self._due = verdict
                break
            self.session.send(verdict)
        said = self.session.data_to_send()
        if self.session.state is State.HANDSHAKE:
            self.session.secured()
        return said

    def _verdict(self, event: events.Event) -> Reply | None:
        match event:
            case events.LoginReceived(password=password):
                if password == BUSY:
                    return replies.AUTH_UNAVAILABLE
                return replies.LOGGED_IN if password == PASSWORD else replies.BAD_CREDENTIALS
            case events.MailReceived(reverse_path=path):
                if _is(path, "no"):
                    return replies.SENDER_NOT_YOURS
                self._sender = str(path or "")
                self._recipients = []
                return replies.SENDER_OK
            case events.RcptReceived(mailbox=mailbox):
                if _is(mailbox, "no"):
                    return reply(550, "5.1.1", "No such user")
                if _is(mailbox, "later"):
                    return reply(450, "4.2.1", "Not now")
                self._recipients.append(str(mailbox))
                return replies.RECIPIENT_OK
            case events.DataRequested():
                self._content = b""
                return replies.START_MAIL_INPUT
            case events.ContentReceived(data=data):
                self._content += data
            case events.EndOfData(refused=refused):
                return refused or self._judge()
            case events.HelloReceived() | events.TransactionReset():
                self._recipients = []
            case events.SessionClosed():
                self.closed = True
        return None

    def _judge(self) -> Reply:
        if b"later" in self._content:
            return replies.LOCAL_ERROR
        message = model.Message(self._sender, tuple(self._recipients), self._content)
        self.messages.append(message)
        return reply(250, "2.0.0", "Queued as 1")


def _is(mailbox: Mailbox | None, local_part: str) -> bool:
    return mailbox is not None and mailbox.local_part == local_part
