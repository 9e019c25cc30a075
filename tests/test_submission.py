"""What stands behind a session: login, policy, the way into the queue, what is logged."""

import gc
import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent

from submitd.auth.throttle import LoginThrottle
from submitd.interfaces import (
    AuthFailure,
    AuthResult,
    Peer,
    QueuedMessage,
    Site,
    StoreFull,
    TlsInfo,
)
from submitd.mail.address import Mailbox
from submitd.message.completion import CompletionOptions
from submitd.policy.senders import SenderRules, SendersOptions
from submitd.queue.memory import MemoryStore, MemoryWriter
from submitd.smtp import replies
from submitd.smtp.events import MailReceived, RcptReceived
from submitd.smtp.replies import Reply
from submitd.submission import Means, SubmissionFactory
from submitd.testing import StaticUsers, now
from tests.support.stage import logged

ALICE = Mailbox.parse("alice@example.org")
BOB = Mailbox.parse("bob@example.net")
CAROL = Mailbox.parse("carol@example.net")
MALLORY = Mailbox.parse("mallory@example.org")
PASSWORD = "pass-word-of-alice"
SECRET = b"what only bob may read"
HEADER = b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: secret subject\r\n"
BODY = SECRET + b"\r\n"
TLS = TlsInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256", "mail.example.org")
PEER = Peer("session1", "192.0.2.1", 40000, "implicit:465")


@attrs.define
class Scene:
    """One submission and what it works with."""

    clock: Clock
    users: StaticUsers
    store: MemoryStore
    queued: list[QueuedMessage]
    events: list[LogEvent]
    submission: Any
    means: Means

    def log_in(self) -> "Scene":
        """EHLO and AUTH; self."""
        self.submission.hello("client.example", True)
        assert now(self.try_login()) is replies.LOGGED_IN
        return self

    def try_login(
        self, login: str = "alice@example.org", password: str = PASSWORD, authorization: str = ""
    ) -> Any:
        """AUTH; the verdict, or a Deferred of it."""
        return self.submission.authenticate("PLAIN", login, password, authorization)

    def send(
        self,
        *pieces: bytes,
        sender: Mailbox | None = ALICE,
        recipients: tuple[Mailbox, ...] = (BOB,),
        eight_bit: bool = False,
        refused: Reply | None = None,
        **parameters: Any,
    ) -> Reply:
        """A whole transaction, with parameters of MAIL; the last verdict."""
        assert now(self.submission.mail(MailReceived(sender, **parameters))) is replies.SENDER_OK
        for recipient in recipients:
            assert now(self.submission.rcpt(RcptReceived(recipient))) is replies.RECIPIENT_OK
        assert now(self.submission.data()) is replies.START_MAIL_INPUT
        for piece in pieces:
            now(self.submission.content(piece))
        verdict: Reply = now(self.submission.end_of_data(0, eight_bit, refused))
        return verdict

    @property
    def content(self) -> bytes:
        """What was stored of the newest message."""
        data: bytes = self.queued[-1].content.data
        return data

    def lines(self, line: str) -> list[LogEvent]:
        """The events of one kind."""
        return [event for event in self.events if event.get("line") == line]


@pytest.fixture
def make() -> Iterator[Callable[..., Scene]]:
    """Makes a scene; keywords replace parts of its `Means`."""
    with logged() as events:

        def build(store: type[MemoryStore] = MemoryStore, **changes: Any) -> Scene:
            clock = Clock()
            clock.advance(1_700_000_000)
            site = Site(hostname="mail.example.org", reactor=clock)
            throttle = LoginThrottle(clock.seconds)
            queued: list[QueuedMessage] = []

            def refusal_delay_s(address: str) -> float:
                throttle.failed(address)
                return throttle.delay_s(address)

            parts: dict[str, Any] = {
                "site": site,
                "users": StaticUsers({"alice@example.org": PASSWORD}),
                "senders": SenderRules(SendersOptions(), site),
                "store": store(clock),
                "queued": queued.append,
                "refusal_delay_s": refusal_delay_s,
                "login_accepted": throttle.succeeded,
                "completion": CompletionOptions(),
                "from_mismatch": "reject",
                "message_size_bytes": lambda login: 1_000_000,
                "header_size_bytes": 16_384,
                "future_release_s": 86_400,
                "highest_priority": 4,
                **changes,
            }
            means = Means(**parts)
            submission = SubmissionFactory(means).submission(PEER)
            return Scene(clock, parts["users"], parts["store"], queued, events, submission, means)

        yield build


@pytest.fixture
def scene(make: Callable[..., Scene]) -> Scene:
    """A scene as it is by default."""
    return make()


# ---- login ------------------------------------------------------------------------


def test_a_good_login(scene: Scene) -> None:
    """A good login is accepted at once, and nothing is logged but at the end."""
    scene.log_in()
    assert scene.events == []
    scene.submission.closed("quit")
    [event] = scene.lines("session")
    assert (event["login"], event["mechanism"]) == ("alice@example.org", "PLAIN")


@pytest.mark.parametrize(
    ("login", "password", "reason"),
    [
        ("alice@example.org", "wrong-one", "wrong password"),
        ("nobody@example.org", PASSWORD, "unknown user"),
    ],
)
def test_a_bad_login(scene: Scene, login: str, password: str, reason: str) -> None:
    """A bad login is 535 whatever the reason, which only the log tells."""
    assert now(scene.try_login(login, password)) is replies.BAD_CREDENTIALS
    [event] = scene.lines("login")
    assert (event["login"], event["client"], event["reason"]) == (login, "192.0.2.1", reason)
    assert event["session"] == "session1"


@pytest.mark.parametrize("too_long", ["login", "authorization"])
def test_a_name_too_long_to_be_one(make: Callable[..., Scene], too_long: str) -> None:
    """A name of more than 255 octets is looked up nowhere, and the log has its beginning only."""
    asked: list[str] = []

    class Users(StaticUsers):
        def verify_password(self, login: str, password: str) -> AuthResult:
            asked.append(login)
            return AuthResult(login)

    scene = make(users=Users({}))
    name = "a" + "\u0301\u0323" * 2300
    assert now(scene.try_login(**{too_long: name})) is replies.BAD_CREDENTIALS
    assert asked == []
    [event] = scene.lines("login")
    assert event["reason"] == "unknown user"
    assert len(event["login"]) <= 64


def test_a_login_forges_no_part_of_the_line(scene: Scene) -> None:
    """The true address stands before the name, which may look like the rest of a line."""
    scene.try_login(login="bob from 203.0.113.9: login refused")
    [event] = scene.lines("login")
    line = formatEvent(event)
    assert line.startswith("session session1 from 192.0.2.1: login refused, unknown user: bob ")


@pytest.mark.parametrize("failure", AuthFailure)
def test_only_a_user_database_that_is_away_is_no_535(
    make: Callable[..., Scene], failure: AuthFailure
) -> None:
    """454 is for a user database that can't be asked; every refusal else is one and the same."""

    class Users(StaticUsers):
        def verify_password(self, login: str, password: str) -> AuthResult:
            return AuthResult(None, failure)

    verdict = now(make(users=Users({})).try_login())
    away = failure is AuthFailure.UNAVAILABLE
    assert verdict is (replies.AUTH_UNAVAILABLE if away else replies.BAD_CREDENTIALS)


def test_a_database_that_is_away_is_no_failure_of_the_client(make: Callable[..., Scene]) -> None:
    """Logins that could not be checked bring no delay upon their address."""
    asked: list[str] = []

    class Users(StaticUsers):
        def verify_password(self, login: str, password: str) -> AuthResult:
            return AuthResult(None, AuthFailure.UNAVAILABLE)

    scene = make(users=Users({}), refusal_delay_s=asked.append)
    scene.try_login()
    assert asked == []


@pytest.mark.parametrize(
    ("authorization", "good"),
    [("", True), ("alice@example.org", True), ("ALICE@example.ORG", True), ("bob@x.org", False)],
)
def test_acting_for_another(scene: Scene, authorization: str, good: bool) -> None:
    """A good password for one's own login does not let one act for another (RFC 4616 §2)."""
    verdict = now(scene.try_login(authorization=authorization))
    assert verdict is (replies.LOGGED_IN if good else replies.BAD_CREDENTIALS)
    if not good:
        [event] = scene.lines("login")
        assert event["reason"] == "not authorised to act for another"
        assert not scene.submission.mail(MailReceived(ALICE)).is_positive


def test_refusals_come_later_and_later(scene: Scene) -> None:
    """After some failures from an address each refusal is held back, a good login never."""
    for _ in range(3):
        assert now(scene.try_login(password="wrong")) is replies.BAD_CREDENTIALS
    for delay_s in (1, 2):
        verdict = scene.try_login(password="wrong")
        assert isinstance(verdict, Deferred)
        scene.clock.advance(delay_s - 0.1)
        assert not verdict.called
        scene.clock.advance(0.1)
        assert now(verdict) is replies.BAD_CREDENTIALS
    assert scene.try_login() is replies.LOGGED_IN
    scene.submission.closed("quit")
    assert scene.lines("session")[0]["failed_logins"] == 5


def test_a_login_that_is_checked_elsewhere(make: Callable[..., Scene]) -> None:
    """A verdict of the user database that comes later counts as one that comes at once."""
    answer: Deferred[AuthResult] = Deferred()

    class Users(StaticUsers):
        def verify_password(self, login: str, password: str) -> Any:
            return answer

    scene = make(users=Users({}))
    verdict = scene.try_login(login="ALICE@example.org")
    assert not verdict.called
    answer.callback(AuthResult("alice@example.org"))
    assert now(verdict) is replies.LOGGED_IN
    assert scene.submission.mail(MailReceived(ALICE)) is replies.SENDER_OK


# ---- the envelope -----------------------------------------------------------------


def test_a_reverse_path_of_somebody_else(scene: Scene) -> None:
    """A reverse-path the login may not use is 553 5.7.1, and is logged with the login."""
    scene.log_in()
    verdict = scene.submission.mail(MailReceived(MALLORY))
    assert (verdict.code, verdict.status) == (553, "5.7.1")
    [event] = scene.lines("refused")
    assert (event["login"], event["reverse_path"]) == ("alice@example.org", "mallory@example.org")
    assert event["status"] == "5.7.1"


def test_nobody_may_send_without_a_login(scene: Scene) -> None:
    """Without a login no reverse-path is one's own."""
    assert scene.submission.mail(MailReceived(ALICE)) is replies.SENDER_NOT_YOURS


def test_the_null_reverse_path(scene: Scene) -> None:
    """The null reverse-path is for everybody; From is checked all the same."""
    scene.log_in()
    assert scene.send(HEADER + b"\r\n" + BODY, sender=None).code == 250
    assert scene.queued[-1].envelope.reverse_path is None
    forged = HEADER.replace(b"alice", b"mallory")
    assert scene.send(forged + b"\r\n" + BODY, sender=None).code == 550


def test_recipients_are_kept_once_and_in_order(scene: Scene) -> None:
    """A recipient given twice is kept once, where it stood first."""
    scene.log_in().send(HEADER + b"\r\n", recipients=(CAROL, BOB, CAROL, BOB))
    kept = [recipient.mailbox for recipient in scene.queued[-1].envelope.recipients]
    assert kept == [CAROL, BOB]


@pytest.mark.parametrize("between", ["nothing", "reset", "hello", "refused"])
def test_the_envelope_is_forgotten(scene: Scene, between: str) -> None:
    """After a message, RSET, EHLO or a refusal nothing of the old envelope is left."""
    scene.log_in()
    submission = scene.submission
    if between == "refused":
        assert scene.send(b"no header", recipients=(CAROL,)).code == 554
    elif between == "nothing":
        assert scene.send(HEADER, recipients=(CAROL,)).code == 250
    else:
        submission.mail(MailReceived(ALICE))
        submission.rcpt(RcptReceived(CAROL))
        submission.data()
        submission.content(b"From: ")
        if between == "reset":
            submission.reset()
        else:
            submission.hello("other.example", True)
    assert scene.send(HEADER + b"\r\n" + BODY, sender=None).code == 250
    envelope = scene.queued[-1].envelope
    assert envelope.reverse_path is None
    assert [recipient.mailbox for recipient in envelope.recipients] == [BOB]
    assert scene.content.count(b"From: ") == 1


# ---- the message ------------------------------------------------------------------


def test_a_message_is_stored_and_handed_on_once(scene: Scene) -> None:
    """A message is completed, stored, told to the delivery once, and named in the reply."""
    scene.log_in()
    scene.submission.secured(TLS)
    scene.submission.hello("client.example", True)
    verdict = scene.send(HEADER + b"\r\n" + BODY)
    [message] = scene.queued
    assert str(verdict) == f"250 2.0.0 Queued as {message.id}"
    assert len(scene.store) == 1
    assert message.login == "alice@example.org"
    assert message.envelope.body == "7BIT"
    header, body = scene.content.split(b"\r\n\r\n", 1)
    assert body == BODY
    assert header.startswith(b"Received: from client.example ")
    for expected in (b"ESMTPSA", message.id.encode(), b"TLS_AES_128_GCM_SHA256", b"for <bob@"):
        assert expected in header.split(b"\r\nDate:")[0]
    assert header.endswith(HEADER.rstrip(b"\r\n"))


def test_several_recipients_are_not_in_received(scene: Scene) -> None:
    """With more than one recipient none is named in the message (RFC 5321 §7.2)."""
    scene.log_in().send(HEADER + b"\r\n", recipients=(BOB, CAROL))
    assert b"carol" not in scene.content
    assert b" for <" not in scene.content


def test_eight_bit_content_is_marked(scene: Scene) -> None:
    """A message with octets above 127 is relayed as 8BITMIME, whatever MAIL said."""
    scene.log_in().send(HEADER + b"\r\n", "Grüße\r\n".encode(), eight_bit=True)
    assert scene.queued[-1].envelope.body == "8BITMIME"


@pytest.mark.parametrize(
    "text",
    [HEADER + b"\r\n" + BODY, HEADER + b"\r\n", HEADER, HEADER + b"\r\n\r\n\r\n", HEADER[:-2]],
    ids=["whole", "no body", "no empty line", "empty lines", "no line end"],
)
@pytest.mark.parametrize("octets", [1, 7, 64, 1 << 20])
def test_a_message_in_pieces(scene: Scene, text: bytes, octets: int) -> None:
    """However a message is cut into pieces, the same comes out."""
    scene.log_in()
    pieces = [text[start : start + octets] for start in range(0, len(text), octets)]
    assert scene.send(*pieces).code == 250
    whole = text if b"\r\n\r\n" in text else HEADER + b"\r\n"
    assert scene.content.endswith(b"\r\n" + whole)
    assert scene.content.startswith(b"Received: ")
    assert scene.lines("message")[0]["size"] == len(scene.content)


def test_a_large_body_passes_piece_by_piece(make: Callable[..., Scene]) -> None:
    """What follows the header is handed on as it comes, and nothing of it kept."""
    written: list[int] = []

    class Writer(MemoryWriter):
        def write(self, data: bytes) -> None:
            written.append(len(data))
            super().write(data)

    class Store(MemoryStore):
        def new_message(self) -> MemoryWriter:
            return Writer(self, "M1")

    scene = make(Store).log_in()
    body = [b"y" * 62 + b"\r\n"] * 20_000
    assert scene.send(HEADER + b"\r\n", *body).code == 250
    assert written[1:] == [64] * 20_000
    assert scene.content.endswith(b"".join(body))


@pytest.mark.parametrize(
    ("header", "code", "status"),
    [
        (HEADER.replace(b"alice", b"mallory"), 550, "5.7.1"),
        (HEADER.replace(b"From:", b"X-From:"), 554, "5.6.0"),
        (HEADER + b"From: alice@example.org\r\n", 554, "5.6.0"),
        (b"", 554, "5.6.0"),
    ],
)
def test_a_header_that_must_not_pass(scene: Scene, header: bytes, code: int, status: str) -> None:
    """A From that is another's, missing or double refuses the message at its end."""
    scene.log_in()
    verdict = scene.send(header, b"\r\n", BODY, BODY)
    assert (verdict.code, verdict.status) == (code, status)
    assert len(scene.store) == 0
    assert scene.queued == []
    [event] = scene.lines("refused")
    assert (event["login"], event["reply"]) == ("alice@example.org", str(verdict))
    assert event["status"] == status
    assert (event["reverse_path"], event["recipients"]) == ("alice@example.org", 1)
    assert scene.send(HEADER + b"\r\n" + BODY).code == 250


@pytest.mark.parametrize("octets", [1000, 1 << 20])
@pytest.mark.parametrize("ends", [True, False])
def test_a_header_that_is_too_big(scene: Scene, octets: int, ends: bool) -> None:
    """A header block over `header_size_bytes` is 552, ended or not, and none of it is kept."""
    scene.log_in()
    text = HEADER + b"X-Filler: x\r\n" * 2000 + (b"\r\n" + BODY if ends else b"")
    pieces = [text[start : start + octets] for start in range(0, len(text), octets)]
    verdict = scene.send(*pieces)
    assert (verdict.code, verdict.status) == (552, "5.3.4")
    assert scene.queued == []
    assert scene.send(HEADER + b"\r\n" + BODY).code == 250


def test_a_header_of_just_the_size_allowed(scene: Scene) -> None:
    """A header block of exactly `header_size_bytes` passes, and one octet more does not."""
    scene.log_in()
    for more, code in ((0, 250), (1, 552)):
        filler = b"x" * (16_384 - len(HEADER) - len(b"X-Filler: \r\n\r\n") + more)
        text = HEADER + b"X-Filler: " + filler + b"\r\n\r\n"
        assert scene.send(text + BODY).code == code


def test_a_refusal_of_the_session_itself(scene: Scene) -> None:
    """A message that the session refuses (too big, NUL) is dropped with that reply, and logged."""
    scene.log_in()
    refused = replies.MESSAGE_TOO_BIG
    assert scene.send(HEADER + b"\r\n" + BODY, refused=refused) is refused
    assert len(scene.store) == 0
    assert scene.lines("refused")[0]["reply"] == str(refused)


@pytest.mark.parametrize(
    ("fault", "verdict", "has_traceback"),
    [
        (StoreFull("disk"), replies.STORE_FULL, False),
        (OSError(5, "Input/output error"), replies.LOCAL_ERROR, True),
        (RuntimeError("bug"), replies.LOCAL_ERROR, True),
    ],
)
def test_storage_that_fails(
    make: Callable[..., Scene], fault: Exception, verdict: Reply, has_traceback: bool
) -> None:
    """No room is 452 4.3.1, any other fault of storage 451; nothing is handed on."""

    class Writer(MemoryWriter):
        def commit(self, *_arguments: object) -> Any:
            return fail(fault)

    class Store(MemoryStore):
        def new_message(self) -> MemoryWriter:
            return Writer(self, "M1")

    scene = make(Store).log_in()
    assert scene.send(HEADER + b"\r\n" + BODY) is verdict
    assert scene.queued == []
    [event] = [event for event in scene.events if event["log_level"] >= LogLevel.error]
    assert bool(event.get("log_failure")) is has_traceback
    assert event["login"] == "alice@example.org"


def test_storage_that_fails_at_the_header(make: Callable[..., Scene]) -> None:
    """A store that is full as the header comes is told at the end of data, and only there."""

    class Writer(MemoryWriter):
        def write(self, data: bytes) -> Any:
            return fail(StoreFull("disk"))

        def commit(self, *_arguments: object) -> Any:
            return fail(StoreFull("disk"))

    class Store(MemoryStore):
        def new_message(self) -> MemoryWriter:
            return Writer(self, "M1")

    scene = make(Store).log_in()
    assert scene.send(HEADER + b"\r\n") is replies.STORE_FULL
    gc.collect()  # or a failure that nobody took would not be logged
    assert [event.get("line") for event in scene.events] == ["refused"]


def test_the_verdict_waits_for_the_commit(make: Callable[..., Scene]) -> None:
    """No 250, and nothing handed on, before the message is durable."""
    durable: Deferred[None] = Deferred()

    class Writer(MemoryWriter):
        def commit(self, *arguments: Any) -> Any:
            return durable.addCallback(lambda _: super(Writer, self).commit(*arguments))

    class Store(MemoryStore):
        def new_message(self) -> MemoryWriter:
            return Writer(self, "M1")

    scene = make(Store).log_in()
    submission = scene.submission
    submission.mail(MailReceived(ALICE))
    submission.rcpt(RcptReceived(BOB))
    submission.data()
    submission.content(HEADER + b"\r\n" + BODY)
    verdict = submission.end_of_data(0, False, None)
    assert not verdict.called
    assert scene.queued == []
    submission.closed("connection lost")  # the client is gone: the message is kept
    durable.callback(None)
    assert now(verdict).code == 250
    assert len(scene.queued) == 1


def test_a_client_that_goes_within_a_message_leaves_nothing(make: Callable[..., Scene]) -> None:
    """When the connection ends within a message, what was written is dropped."""
    aborted: list[str] = []

    class Writer(MemoryWriter):
        def abort(self) -> None:
            aborted.append(self.id)

    class Store(MemoryStore):
        def new_message(self) -> MemoryWriter:
            return Writer(self, "M1")

    scene = make(Store).log_in()
    scene.submission.mail(MailReceived(ALICE))
    scene.submission.rcpt(RcptReceived(BOB))
    scene.submission.data()
    scene.submission.content(HEADER + b"\r\n" + BODY)
    scene.submission.closed("connection lost")
    assert aborted == ["M1"]
    assert len(scene.store) == 0


def test_a_message_in_utf8(scene: Scene) -> None:
    """With SMTPUTF8 addresses may be UTF-8, in Received too; without it they are refused."""
    to = Mailbox.parse("jörg@bücher.example")
    header = HEADER + "To: Jörg <jörg@bücher.example>\r\n\r\n".encode()
    scene.log_in()
    verdict = scene.send(header)
    assert (verdict.code, verdict.status) == (554, "5.6.7")
    assert scene.send(header, utf8=True, recipients=(to,)).code == 250
    assert scene.queued[-1].envelope.utf8
    received = scene.content.split(b"\r\nDate:")[0].decode()
    assert " with UTF8SMTPA id " in received
    assert "for <jörg@bücher.example>" in received


@pytest.mark.parametrize("require_tls", [False, True])
@pytest.mark.parametrize("says_no", [False, True])
def test_tls_required_no(scene: Scene, says_no: bool, require_tls: bool) -> None:
    """`TLS-Required: No` is told to the relay, unless MAIL had REQUIRETLS (RFC 8689 §3)."""
    field = b"TLS-Required: No\r\n" if says_no else b""
    scene.log_in().send(HEADER + field + b"\r\n", require_tls=require_tls)
    envelope = scene.queued[-1].envelope
    assert envelope.require_tls is require_tls
    assert envelope.tls_optional is (says_no and not require_tls)
    assert field in scene.content


def test_a_message_that_goes_round(scene: Scene) -> None:
    """A message with more Received fields than allowed is 554 5.4.6."""
    loop = b"Received: from a by b; Fri, 21 Nov 2025 22:20:00 +0000\r\n"
    scene.log_in()
    assert scene.send(loop * 100 + HEADER + b"\r\n").code == 250
    verdict = scene.send(loop * 101 + HEADER + b"\r\n")
    assert (verdict.code, verdict.status) == (554, "5.4.6")


# ---- the log ----------------------------------------------------------------------


def test_one_line_for_a_message_joins_the_others(scene: Scene) -> None:
    """A message is one line with the ids that join it to its session and its deliveries."""
    scene.log_in().send(HEADER + b"Message-ID: <1@x.example>\r\n\r\n" + BODY)
    [event] = scene.events
    told = {key: value for key, value in event.items() if not key.startswith("log_")}
    assert told == {
        "line": "message",
        "session": "session1",
        "queue_id": scene.queued[0].id,
        "login": "alice@example.org",
        "reverse_path": "alice@example.org",
        "recipients": 1,
        "size": len(scene.content),
        "message_id": "<1@x.example>",
        "bare_line_ends": 0,
        "leniencies": "",
    }
    assert formatEvent(event) == (
        f"session session1: message {scene.queued[0].id} from alice@example.org:"
        f" alice@example.org to 1, {len(scene.content)} octets"
    )


def test_one_line_for_a_session(scene: Scene) -> None:
    """A session is one line at its end: who, from where, over what, how long, and why it ended."""
    scene.submission.secured(TLS)
    scene.log_in()
    scene.send(HEADER + b"\r\n" + BODY)
    scene.clock.advance(2.5)
    scene.submission.closed("quit")
    [event] = scene.lines("session")
    told = {key: value for key, value in event.items() if not key.startswith("log_")}
    assert told == {
        "line": "session",
        "session": "session1",
        "client": "192.0.2.1",
        "client_port": 40000,
        "listener": "implicit:465",
        "tls": "TLSv1.3",
        "suite": "TLS_AES_128_GCM_SHA256",
        "server_name": "mail.example.org",
        "helo": "client.example",
        "login": "alice@example.org",
        "user": "alice@example.org",
        "mechanism": "PLAIN",
        "messages": 1,
        "failed_logins": 0,
        "leniencies": "",
        "reason": "quit",
        "duration_s": 2.5,
    }
    assert formatEvent(event) == (
        "session session1 from 192.0.2.1: alice@example.org, 1 messages, quit"
    )


def test_bare_line_ends_are_logged_with_the_login(scene: Scene) -> None:
    """How many bare line ends were put right is in the message's line, beside the login."""
    submission = scene.log_in().submission
    submission.mail(MailReceived(ALICE))
    submission.rcpt(RcptReceived(BOB))
    submission.data()
    submission.content(HEADER + b"\r\n")
    now(submission.end_of_data(3, False, None))
    [event] = scene.lines("message")
    assert (event["bare_line_ends"], event["login"]) == (3, "alice@example.org")


def test_leniencies_are_logged_with_the_login(scene: Scene) -> None:
    """What a header needed is in the message's line, by name, beside the login."""
    header = b"From a@b.c Sat\r\n" + HEADER + b"X-Name: J\xf6rg\r\n"
    scene.log_in().send(header)
    scene.send(header + b"no field\r\n\r\n")
    first, second = scene.lines("message")
    assert first["leniencies"] == "mbox-line, no-empty-line, raw-8bit-header"
    assert second["leniencies"] == "mbox-line, malformed-line, raw-8bit-header"
    assert first["login"] == "alice@example.org"


def test_leniencies_of_the_session_are_logged_with_the_login(scene: Scene) -> None:
    """What the session forgave is in its own line, with how often."""
    scene.log_in().submission.closed("quit", {"space-after-colon": 2, "bare-line-end": 1})
    [event] = scene.lines("session")
    assert event["leniencies"] == "space-after-colon=2, bare-line-end=1"
    assert event["login"] == "alice@example.org"


def test_neither_passwords_nor_content_are_logged(make: Callable[..., Scene]) -> None:
    """No event, of whatever outcome, holds a password or anything of a message's text."""

    class Writer(MemoryWriter):
        def commit(self, *_arguments: object) -> Any:
            return fail(OSError("disk"))

    class Store(MemoryStore):
        def new_message(self) -> MemoryWriter:
            return Writer(self, "M1")

    for scene in (make(), make(Store)):
        scene.try_login(password="another-password")
        scene.try_login(authorization="bob@example.net")
        scene.log_in()
        scene.send(HEADER + b"\r\n" + BODY)
        scene.send(HEADER.replace(b"alice", b"mallory") + b"\r\n" + BODY)
        scene.send(HEADER + b"\r\n" + BODY, refused=replies.NUL_IN_MESSAGE)
        scene.send(b"X-Filler: x\r\n" * 2000 + BODY)
        scene.send(BODY)
        scene.submission.closed("quit")
    assert len(scene.events) >= 14
    text = "\n".join(
        f"{formatEvent(event)} {event!r} {_traceback(event)}" for event in scene.events
    )
    assert not re.search("pass-word|another-password|what only bob|secret subject", text)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback(detail="verbose") if failure else ""
