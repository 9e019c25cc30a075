"""A submission session as the RFCs tell it: what a server answers, and what it then has.

Written from RFC 5321, 6409, 3207, 4954, 3030, 1870 and 6531, and not from the engine:
plain variables where that has tables, and one command after the other where that has
octets.  `Model` says what is to be answered and keeps what an honest server would keep.
"""

import re

import attrs

ERRORS = 12
FAILED_LOGINS = 3
RECIPIENTS = 5
MESSAGE_OCTETS = 5000
TRANSACTIONS = 6
IDLE_COMMANDS = 12

Replies = list[str]
"""Each a reply code, with the enhanced status code where the RFCs settle that too."""


@attrs.define
class Transaction:
    """One mail transaction.

    :ivar sender: the reverse-path as text, `""` for the null one.
    :ivar content: by BDAT so far; None before the first one.
    :ivar too_many: recipients beyond the limit that were asked for.
    """

    sender: str
    binary: bool = False
    utf8: bool = False
    recipients: list[str] = attrs.field(factory=list)
    content: bytes | None = None
    too_many: int = 0


@attrs.frozen
class Message:
    """What was taken with 250 at its end."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


def normalised(content: bytes) -> bytes:
    """Content with CRLF for each bare CR and LF."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", content)


@attrs.define
class Model:
    """One session.

    :ivar hello: `"EHLO"`, `"HELO"` or None; forgotten at STARTTLS (RFC 3207 §4.2).
    :ivar messages: what was taken so far.
    :ivar transactions: MAIL commands that were accepted.
    :ivar idle: commands since the last message that brought none any further.
    """

    tls: bool
    hello: str | None = None
    login: bool = False
    transaction: Transaction | None = None
    messages: list[Message] = attrs.field(factory=list)
    transactions: int = 0
    idle: int = 0
    errors: int = 0
    failed_logins: int = 0
    closed: bool = False

    @property
    def state(self) -> str:
        """The name of the state in docs/protocol.md."""
        if self.closed:
            return "closed"
        if not self.tls:
            return "clear"
        if self.login:
            if self.transaction is None:
                return "ready"
            if self.transaction.content is not None:
                return "chunks"
            return "rcpt" if self.transaction.recipients else "mail"
        return {None: "secured", "EHLO": "greeted", "HELO": "greeted-helo"}[self.hello]

    # ---- what any answer leads to ---------------------------------------------------

    def answer(self, *replies: str, is_error: bool = False) -> Replies:
        """Count the errors in *replies*, and end the session where there are too many.

        :param is_error: whether something that isn't 5yz counts too.
        """
        said: Replies = []
        for reply in replies:
            if self.closed:
                break
            said.append(reply)
            if reply[0] != "5" and not is_error:
                continue
            self.errors += 1
            self.failed_logins += reply.startswith("535")
            if self.failed_logins >= FAILED_LOGINS or self.errors >= ERRORS:
                said.append("421 4.7.0")
                self.closed = True
        return said

    def end(self, reply: str) -> Replies:
        """The session is over, with a last reply."""
        self.closed = True
        return [reply]

    def idles_too_long(self) -> bool:
        """Count a command that brings no message any further; whether it is one too many."""
        self.idle += 1
        return self.idle > IDLE_COMMANDS

    # ---- commands, each with a good argument ----------------------------------------

    def idle_command(self, reply: str, *, needs_tls: bool, counts: bool) -> Replies:
        """A command that changes nothing.

        :param needs_tls: whether it is one of those that RFC 3207 §4 has refused before TLS.
        :param counts: whether a client may say it only so often.
        """
        if needs_tls and not self.tls:
            return self.answer("530 5.7.0")
        if counts and self.idles_too_long():
            return self.end("421 4.7.0")
        return self.answer(reply)

    def greet(self, verb: str) -> Replies:
        """EHLO or HELO; as RSET (RFC 5321 §4.1.4), and no logout (RFC 4954 §4)."""
        if self.idles_too_long():
            return self.end("421 4.7.0")
        self.transaction = None
        if self.tls:
            self.hello = verb
        return self.answer("250")

    def reset(self) -> Replies:
        """RSET."""
        if self.idles_too_long():
            return self.end("421 4.7.0")
        self.transaction = None
        return self.answer("250 2.0.0")

    def quit(self) -> Replies:
        """QUIT."""
        return self.end("221 2.0.0")

    def start_tls(self) -> Replies:
        """STARTTLS with nothing behind it, and the handshake (RFC 3207)."""
        if self.tls:
            return self.answer("503 5.5.1")
        self.tls = True
        self.hello = None
        return self.answer("220 2.0.0")

    def may_log_in(self) -> bool:
        """Whether an AUTH exchange can begin (RFC 4954 §4)."""
        return self.tls and self.hello == "EHLO" and not self.login

    def log_in(self, *replies: str) -> Replies:
        """AUTH, answered by *replies* where it can begin."""
        if not self.tls:
            return self.answer("538 5.7.11")
        if not self.may_log_in():
            return self.answer("503 5.5.1")
        self.login = replies[-1].startswith("235")
        return self.answer(*replies)

    def mail(self, reply: str, transaction: Transaction) -> Replies:
        """MAIL, answered by *reply* where it may come (RFC 6409 §4.3: after AUTH)."""
        if not self.login:
            return self.answer("530 5.7.0")
        if self.transaction is not None:
            return self.answer("503 5.5.1")
        if self.transactions >= TRANSACTIONS:  # RFC 9422 §4, MAILMAX
            return self.end("421 4.5.3")
        if reply[0] == "2":
            self.transactions += 1
            self.transaction = transaction
        return self.answer(reply)

    def rcpt(self, reply: str, recipient: str) -> Replies:
        """RCPT, answered by *reply* where it may come."""
        if not self.login:
            return self.answer("530 5.7.0")
        transaction = self.transaction
        if transaction is None or transaction.content is not None:
            return self.answer("503 5.5.1")
        if not recipient.isascii() and not transaction.utf8:
            reply = "553 5.6.7"
        elif reply[:3] in ("250", "450", "550") and len(transaction.recipients) >= RECIPIENTS:
            # RFC 5321 §4.5.3.1.10; no error of the client's, unless it goes on and on.
            reply = "452 4.5.3"
            transaction.too_many += 1
            return self.answer(reply, is_error=transaction.too_many > RECIPIENTS)
        if reply[0] == "2":
            transaction.recipients.append(recipient)
        return self.answer(reply)

    def may_send_data(self) -> bool:
        """Whether DATA is answered by 354."""
        transaction = self.transaction
        return bool(
            self.login
            and transaction is not None
            and transaction.recipients
            and transaction.content is None
            and not transaction.binary
        )

    def data(self, content: bytes) -> Replies:
        """DATA, and *content* where it may come."""
        if not self.login:
            return self.answer("530 5.7.0")
        if not self.may_send_data():
            nobody = self.transaction is not None and not self.transaction.recipients
            return self.answer("554 5.5.1" if nobody else "503 5.5.1")
        return [*self.answer("354"), *self._end(normalised(content))]

    def bdat(self, octets: bytes, *, last: bool) -> Replies:
        """BDAT; *octets* have come whatever is answered (RFC 3030 §2)."""
        if not self.login:
            return self.answer("530 5.7.0")
        transaction = self.transaction
        if transaction is None:
            return self.answer("503 5.5.1")
        if not transaction.recipients:
            return self.answer("554 5.5.1")
        if not (octets or last) and self.idles_too_long():
            return self.end("421 4.7.0")
        content = (transaction.content or b"") + octets
        if len(content) > MESSAGE_OCTETS:
            self.transaction = None
            return self.answer("552 5.3.4")
        transaction.content = content
        if not last:
            return self.answer("250 2.0.0")
        return self._end(content if transaction.binary else normalised(content))

    def _end(self, content: bytes) -> Replies:
        transaction, self.transaction = self.transaction, None
        assert transaction is not None
        if len(content) > MESSAGE_OCTETS:
            return self.answer("552 5.3.4")
        if b"\0" in content and not transaction.binary:
            return self.answer("554 5.6.0")
        if b"later" in content:
            return self.answer("451 4.3.0")
        self.idle = 0
        self.messages.append(Message(transaction.sender, tuple(transaction.recipients), content))
        return self.answer("250 2.0.0")
