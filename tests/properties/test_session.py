"""The session against an independent model of it: any commands, in any groups, cut anywhere."""

import base64
import random
import re

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.fuzz.splits import pieces
from tests.properties.model import MESSAGE_OCTETS, RECIPIENTS, Model, Replies, Transaction
from tests.properties.server import BUSY, PASSWORD, Server


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


GOOD = _base64(f"\0alice\0{PASSWORD}")
WRONG = _base64("\0alice\0guess")
USER, SECRET = _base64("alice"), _base64(PASSWORD)

# Lines of an exchange, and how each is answered.
EXCHANGES = (
    ((f"AUTH PLAIN {GOOD}",), ("235 2.7.0",)),
    ((f"auth plain  {GOOD}",), ("235 2.7.0",)),
    (("AUTH PLAIN", GOOD), ("334", "235 2.7.0")),
    ((f"AUTH PLAIN {WRONG}",), ("535 5.7.8",)),
    (("AUTH PLAIN", WRONG), ("334", "535 5.7.8")),
    ((f"AUTH PLAIN {_base64(chr(0) + 'alice' + chr(0) + BUSY)}",), ("454 4.7.0",)),
    (("AUTH PLAIN", "*"), ("334", "501")),
    (("AUTH PLAIN =",), ("501",)),
    (("AUTH PLAIN", ""), ("334", "501")),
    (("AUTH PLAIN !",), ("501 5.5.2",)),
    (("AUTH PLAIN", "QUIT"), ("334", "501")),
    ((f"AUTH PLAIN {_base64('alice')}",), ("501",)),
    ((f"AUTH PLAIN {GOOD} {GOOD}",), ("501",)),
    (("AUTH LOGIN", USER, SECRET), ("334", "334", "235 2.7.0")),
    ((f"AUTH LOGIN {USER}", SECRET), ("334", "235 2.7.0")),
    (("AUTH LOGIN", USER, USER), ("334", "334", "535 5.7.8")),
    (("AUTH LOGIN", USER, "*"), ("334", "334", "501")),
    (("AUTH LOGIN", "NOOP!"), ("334", "501 5.5.2")),
    (("AUTH LOGIN", "A" * 12_300), ("334", "500 5.5.6")),
    (("AUTH CRAM-MD5",), ("504 5.5.4",)),
)  # fmt: skip

# What follows MAIL, how it is answered, and the reverse-path that it gives.
MAILS = (
    ("FROM:<alice@example.org>", "250 2.1.0", "alice@example.org"),
    ("from:<alice@EXAMPLE.org> size=10 body=8bitmime", "250 2.1.0", "alice@EXAMPLE.org"),
    ("FROM:<>", "250 2.1.0", ""),
    ('FROM:<"a > b"@example.org>', "250 2.1.0", '"a > b"@example.org'),
    ("FROM:<@a.example,@b.example:alice@example.org>", "250 2.1.0", "alice@example.org"),
    ("FROM:<alice@[192.0.2.1]>", "250 2.1.0", "alice@[192.0.2.1]"),
    ("FROM:<alice@example.org> BODY=BINARYMIME", "250 2.1.0", "alice@example.org"),
    ("FROM:<müller@example.org> SMTPUTF8", "250 2.1.0", "müller@example.org"),
    ("FROM:<alice@example.org> RET=HDRS ENVID=QQ+2B1 REQUIRETLS", "250 2.1.0", "alice@example.org"),
    ("FROM:<alice@example.org> HOLDFOR=60 MT-PRIORITY=-3", "250 2.1.0", "alice@example.org"),
    ("FROM:<alice@example.org> BY=60;RT AUTH=<>", "250 2.1.0", "alice@example.org"),
    ("FROM:<no@example.org>", "553 5.7.1", ""),
    ("FROM:<alice@localhost>", "554 5.1.8", ""),
    (f"FROM:<alice@example.org> SIZE={MESSAGE_OCTETS + 1}", "552 5.3.4", ""),
    ("FROM:<müller@example.org>", "553 5.6.7", ""),
    ("FROM:<alice@example.org> FOO=BAR", "555 5.5.4", ""),
    ("FROM alice@example.org", "501 5.5.4", ""),
    ("FROM:<alice@example.org> SIZE=1 SIZE=1", "501 5.5.4", ""),
    ("FROM:<alice@example.org> BODY=9BIT", "501 5.5.4", ""),
    ("FROM:<alice@example.org> RET=ALL", "501 5.5.4", ""),
    ("FROM:<alice@example.org> BY=0;R", "501 5.5.4", ""),
    ("FROM:<alice@example.org> MT-PRIORITY=10", "501 5.5.4", ""),
    ("FROM:<alice@example.org> HOLDFOR=5 HOLDUNTIL=2026-12-24T12:00:00Z", "501 5.5.4", ""),
    (f"FROM:<{'x' * 65}@example.org>", "501 5.1.7", ""),
    ("FROM:<alice@example..org>", "501 5.1.7", ""),
)  # fmt: skip

RCPTS = (
    ("TO:<bob@example.net>", "250 2.1.5", "bob@example.net"),
    ("to:<bob@example.net> NOTIFY=SUCCESS,DELAY", "250 2.1.5", "bob@example.net"),
    ("TO:<carol@example.net> NOTIFY=NEVER ORCPT=rfc822;c+2Bd", "250 2.1.5", "carol@example.net"),
    ("TO:<Postmaster>", "250 2.1.5", "Postmaster@mail.example.org"),
    ("TO:<dörte@example.net>", "250 2.1.5", "dörte@example.net"),
    ("TO:<later@example.net>", "450", "later@example.net"),
    ("TO:<no@example.net>", "550", "no@example.net"),
    ("TO:<bob@localhost>", "554 5.1.2", ""),
    ("TO:<bob@example.net> NOTIFY=NEVER,SUCCESS", "501 5.5.4", ""),
    ("TO:<bob@example.net> SIZE=1", "555 5.5.4", ""),
    ("TO:<bob>", "501 5.1.3", ""),
    ("TO:<>", "501", ""),
    ("<bob@example.net>", "501 5.5.4", ""),
)

# What changes nothing: the line, its answer, whether that is another one before TLS, and
# whether it may be said only so often.
IDLE = (
    (b"NOOP\r\n", "250 2.0.0", False, True),
    (b"noop what you like\r\n", "250 2.0.0", False, True),
    (b"HELP\r\n", "214 2.0.0", False, True),
    (b"RSET now\r\n", "501 5.5.4", False, True),
    (b"QUIT now\r\n", "501 5.5.4", False, False),
    (b"EHLO\r\n", "501 5.5.4", False, True),
    (b"VRFY bob\r\n", "252", True, True),
    (b"EXPN all\r\n", "502 5.5.1", True, False),
    (b"XYZZY\r\n", "500 5.5.1", True, False),
    (b"\r\n", "500 5.5.1", True, False),
    (b"NOOP\n", "500 5.5.2", False, False),
    (b"NO\rOP\r\n", "500 5.5.2", False, False),
    (b"NOOP \0\r\n", "500 5.5.2", False, True),
    (b"EHLO \xff\r\n", "500 5.5.2", False, True),
    (b"NOOP " + b"x" * 2042 + b"\r\n", "500 5.5.2", False, True),
    (b"x" * 20_000 + b"\r\n", "500 5.5.2", False, False),
)

CONTENT = st.lists(
    st.sampled_from((b"\r\n", b".", b"\r", b"\n", b"a", b"\xe9", b"\0", b"later", b"QUIT\r\n")),
    max_size=12,
).map(b"".join)


class Session(RuleBasedStateMachine):
    """Whatever is said, however it is cut: the engine answers and has what the model does.

    Commands are put into a group, which `send` says.
    """

    @initialize(implicit=st.booleans(), late=st.booleans())
    def begin(self, implicit: bool, late: bool) -> None:
        """The client connects."""
        self.model = Model(tls=implicit)
        self.server = Server(implicit=implicit, late=late)
        self.said = b""
        self.expected: Replies = ["220"]

    def say(self, octets: bytes, expected: Replies) -> None:
        """Put a command into the group."""
        self.said += octets
        self.expected += expected

    @rule(pattern=st.integers(0, 255))
    def send(self, pattern: int) -> None:
        """Say all of the group, cut up."""
        answered = self.server.hear(pieces(self.said, pattern))
        got = [f"{each.code} {each.enhanced or ''}".strip() for each in answered]
        assert len(got) == len(self.expected), (self.said, got, self.expected)
        for reply, expected in zip(got, self.expected, strict=True):
            assert reply.startswith(expected), (self.said, got, self.expected)
        for each in answered:  # RFC 2034 §4
            hello = each.code in (220, 250) and each.lines[0].startswith(b"mail.example.org")
            assert each.enhanced or each.code in (334, 354) or hello, each
        self.said, self.expected = b"", []

    @invariant()
    def both_are_where_they_should_be(self) -> None:
        """After each group the engine has what the model has."""
        if self.said or self.expected:
            return
        session = self.server.session
        assert session.state.value == self.model.state
        assert session.errors == self.model.errors
        assert session.failed_logins == self.model.failed_logins
        assert session.is_logged_in == (self.model.login and not self.model.closed)
        assert session.buffered == 0 or self.model.closed
        assert self.server.closed == self.model.closed
        assert self.server.messages == self.model.messages

    def teardown(self) -> None:
        """Say what is left."""
        if hasattr(self, "model"):
            self.send(0)
            self.both_are_where_they_should_be()

    is_open = precondition(lambda self: not self.model.closed)

    @is_open
    @rule(idle=st.sampled_from(IDLE))
    def idle(self, idle: tuple[bytes, str, bool, bool]) -> None:
        """What changes nothing."""
        octets, reply, needs_tls, counts = idle
        self.say(octets, self.model.idle_command(reply, needs_tls=needs_tls, counts=counts))

    @is_open
    @rule(verb=st.sampled_from(("EHLO", "HELO")))
    def greet(self, verb: str) -> None:
        """EHLO or HELO."""
        self.say(f"{verb} client.example\r\n".encode(), self.model.greet(verb))

    @is_open
    @rule()
    def reset(self) -> None:
        """RSET."""
        self.say(b"RSET\r\n", self.model.reset())

    @is_open
    @rule(sure=st.integers(0, 9))
    def quit(self, sure: int) -> None:
        """QUIT, seldom."""
        if sure == 0:
            self.say(b"QUIT\r\n", self.model.quit())

    @is_open
    @rule()
    def start_tls(self) -> None:
        """STARTTLS, the last of its group."""
        self.say(b"STARTTLS\r\n", self.model.start_tls())
        self.send(0)

    @precondition(lambda self: not (self.model.closed or self.model.tls))
    @rule(octets=st.sampled_from((b"\n", b"EHLO c\r\n", b"MAIL FROM:<>\r\n", b"\x16\x03\x01")))
    def inject(self, octets: bytes) -> None:
        """STARTTLS with something behind it ends the session (CVE-2011-0411)."""
        self.send(0)
        self.say(b"STARTTLS\r\n" + octets, ["554 5.5.1"])
        self.model.closed = True
        self.send(0)

    @is_open
    @rule(exchange=st.sampled_from(EXCHANGES))
    def log_in(self, exchange: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
        """AUTH; where it can't begin, its first line alone."""
        lines, replies = exchange
        spoken = lines if self.model.may_log_in() else lines[:1]
        octets = "".join(f"{line}\r\n" for line in spoken).encode()
        self.say(octets, self.model.log_in(*replies))

    @precondition(lambda self: not (self.model.closed or self.model.login))
    @rule()
    def get_ready(self) -> None:
        """All that comes before MAIL."""
        if not self.model.tls:
            self.start_tls()
        self.greet("EHLO")
        if not self.model.closed:
            self.log_in(EXCHANGES[0])

    @is_open
    @rule(mail=st.sampled_from(MAILS))
    def mail(self, mail: tuple[str, str, str]) -> None:
        """MAIL."""
        text, reply, sender = mail
        transaction = Transaction(sender, "BINARYMIME" in text, "SMTPUTF8" in text)
        self.say(f"MAIL {text}\r\n".encode(), self.model.mail(reply, transaction))

    @is_open
    @rule(rcpt=st.sampled_from(RCPTS))
    def rcpt(self, rcpt: tuple[str, str, str]) -> None:
        """RCPT."""
        text, reply, recipient = rcpt
        self.say(f"RCPT {text}\r\n".encode(), self.model.rcpt(reply, recipient))

    @is_open
    @rule(number=st.integers(RECIPIENTS - 1, RECIPIENTS + 2))
    def envelope(self, number: int) -> None:
        """MAIL, and as many RCPT as there may be, or some more."""
        self.mail(MAILS[0])
        for _ in range(number):
            if not self.model.closed:
                self.rcpt(RCPTS[0])

    @is_open
    @rule(content=CONTENT, size=st.sampled_from((0, 0, 0, MESSAGE_OCTETS, MESSAGE_OCTETS + 1)))
    def data(self, content: bytes, size: int) -> None:
        """DATA, and a message where 354 is to come."""
        if size:
            content = b"x" * (size - 2) + b"\r\n"
        octets = b"DATA\r\n"
        if self.model.may_send_data():
            if content and not content.endswith(b"\r\n"):
                content += b"\r\n"
            octets += re.sub(rb"(\A|\r\n)\.", rb"\1..", content) + b".\r\n"
        self.say(octets, self.model.data(content))

    @is_open
    @rule(content=CONTENT, last=st.booleans(), big=st.booleans())
    def bdat(self, content: bytes, last: bool, big: bool) -> None:
        """BDAT with its octets, whether they are wanted or not."""
        if big:
            content = random.Random(len(content)).randbytes(MESSAGE_OCTETS + 1)
        command = f"BDAT {len(content)}{' LAST' * last}\r\n".encode()
        self.say(command + content, self.model.bdat(content, last=last))

    @precondition(lambda self: not self.model.closed and self.model.transaction is not None)
    @rule(argument=st.sampled_from(("x", "-1", "5 FIRST", "LAST", "5LAST")))
    def bad_bdat(self, argument: str) -> None:
        """BDAT without a size takes no octets and changes nothing."""
        transaction = self.model.transaction
        assert transaction is not None
        reply = "501 5.5.4" if transaction.recipients else "554 5.5.1"
        self.say(f"BDAT {argument}\r\n".encode(), self.model.answer(reply))


TestSession = Session.TestCase
TestSession.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
