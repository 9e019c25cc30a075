"""Listeners in memory, with scripted submissions behind their sessions."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import attrs
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from submitd.interfaces import Eventual, ISubmission, ISubmissionFactory, Peer, TlsInfo
from submitd.smtp import replies
from submitd.smtp.events import MailReceived, RcptReceived
from submitd.smtp.replies import Reply, reply
from submitd.smtp.settings import Settings
from submitd.transport.connections import Connections
from submitd.transport.options import LimitsOptions
from submitd.transport.server import SubmissionListener, wrap
from submitd.transport.tls import ServerTls
from tests.support.memory import PLENTY, Client
from tests.support.server import HOSTNAME

SETTINGS = Settings(
    hostname=HOSTNAME,
    message_size_bytes=1_000_000,
    recipients_per_message=100,
    failed_logins_per_connection=3,
    errors_per_connection=10,
    junk_commands_per_connection=1_000_000,
)
CLIENT_ADDRESS = "192.0.2.1"


@implementer(ISubmission)
class ScriptedSubmission:
    """Stands behind a session: notes what is asked, and answers as it is told.

    :ivar peer: who it is for.
    :ivar calls: each call as a tuple, the name of the method first.
    :ivar content_octets: what has come as content.
    :ivar leniencies: what the session was forgiven, once it is closed.
    :ivar script: verdicts for the next calls of a method, used up one by one: a value,
        a Deferred, or an exception to raise; what follows is answered positively.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.message_size_bytes: int | None = None
        self.calls: list[tuple[Any, ...]] = []
        self.content_octets = b""
        self.leniencies: dict[str, int] = {}
        self.script: dict[str, list[Any]] = defaultdict(list)

    def names(self) -> list[str]:
        """The methods that were called, without those for pieces of content."""
        return [name for name, *_ in self.calls if name != "content"]

    def _answer(self, name: str, default: Any, *arguments: Any) -> Any:
        self.calls.append((name, *arguments))
        answer = self.script[name].pop(0) if self.script[name] else default
        if isinstance(answer, Exception):
            raise answer
        return answer

    def secured(self, tls: TlsInfo) -> None:
        """See `ISubmission`."""
        self._answer("secured", None, tls)

    def hello(self, name: str, extended: bool) -> None:
        """See `ISubmission`."""
        self._answer("hello", None, name, extended)

    def authenticate(
        self, mechanism: str, login: str, password: str, authorization: str
    ) -> Eventual[Reply]:
        """See `ISubmission`."""
        default = replies.LOGGED_IN
        answer: Eventual[Reply] = self._answer(
            "authenticate", default, mechanism, login, password, authorization
        )
        return answer

    def mail(self, mail: MailReceived) -> Eventual[Reply]:
        """See `ISubmission`."""
        answer: Eventual[Reply] = self._answer("mail", replies.SENDER_OK, mail)
        return answer

    def rcpt(self, rcpt: RcptReceived) -> Eventual[Reply]:
        """See `ISubmission`."""
        answer: Eventual[Reply] = self._answer("rcpt", replies.RECIPIENT_OK, rcpt)
        return answer

    def data(self) -> Eventual[Reply]:
        """See `ISubmission`."""
        answer: Eventual[Reply] = self._answer("data", replies.START_MAIL_INPUT)
        return answer

    def content(self, data: bytes) -> Eventual[None]:
        """See `ISubmission`."""
        self.content_octets += data
        answer: Eventual[None] = self._answer("content", None, data)
        return answer

    def end_of_data(self, bare_line_ends: int, eight_bit: bool, refused: Reply | None) -> Any:
        """See `ISubmission`."""
        default = refused or reply(250, "2.0.0", "Queued as 1")
        return self._answer("end_of_data", default, bare_line_ends, eight_bit, refused)

    def reset(self) -> None:
        """See `ISubmission`."""
        self._answer("reset", None)

    def closed(self, reason: str, leniencies: Mapping[str, int] | None = None) -> None:
        """See `ISubmission`."""
        self.leniencies = dict(leniencies or {})
        self._answer("closed", None, reason)


@implementer(ISubmissionFactory)
class ScriptedSubmissions:
    """Makes a `ScriptedSubmission` for each session and keeps it.

    :ivar made: all of them, in order.
    """

    def __init__(self) -> None:
        self.made: list[ScriptedSubmission] = []

    def submission(self, peer: Peer) -> ISubmission:
        """See `ISubmissionFactory`."""
        self.made.append(ScriptedSubmission(peer))
        made: ISubmission = self.made[-1]
        return made


class Listener:
    """A listener in memory, with its clock.

    :ivar implicit: whether TLS comes first.
    :ivar clock: `advance` it to let time pass.
    :ivar connections: what counts and watches the connections.
    :ivar submissions: makes what stands behind the sessions (`ISubmissionFactory`).
    """

    def __init__(
        self,
        tls: ServerTls,
        submissions: Any,
        *,
        implicit: bool,
        limits: LimitsOptions | None = None,
        settings: Settings = SETTINGS,
        clock: MemoryReactorClock | None = None,
    ) -> None:
        self.implicit = implicit
        self.submissions = submissions
        self.clock = clock or MemoryReactorClock()
        self.limits = limits or LimitsOptions()
        self.connections = Connections(self.clock, self.limits)
        self.connections.start()
        self._factory = wrap(
            SubmissionListener(
                "implicit:465" if implicit else "starttls:587",
                implicit_tls=implicit,
                settings=settings,
                limits=self.limits,
                tls=tls,
                connections=self.connections,
                submissions=submissions,
            )
        )

    def connect(self, address: str = CLIENT_ADDRESS, room: int = PLENTY) -> Client:
        """A client connects, and says nothing yet.

        :param room: how many octets the server can write to it before it must wait.
        """
        return Client(self.clock, self._factory, address, room)

    def wait(self, seconds: float, *clients: Client) -> None:
        """Let time pass in steps of half a second; *clients* go on all the while."""
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            for client in clients:
                client.run()


@attrs.frozen
class Stage:
    """A listener with scripted submissions behind it.

    :ivar events: all that is logged.
    """

    listener: Listener
    submissions: ScriptedSubmissions
    events: list[LogEvent]

    def connect(self, address: str = CLIENT_ADDRESS, room: int = PLENTY) -> Client:
        """As `Listener.connect`."""
        return self.listener.connect(address, room)

    def secure(self, address: str = CLIENT_ADDRESS) -> Client:
        """A client connects and does its handshake; nothing that was said by then is kept."""
        client = self.connect(address)
        if self.listener.implicit:
            client.start_tls()
        else:
            assert client.ask(b"STARTTLS\r\n")[-1].startswith("220 2.0.0")
            client.start_tls()
        assert client.secure
        client.lines()
        return client

    @property
    def last(self) -> ScriptedSubmission:
        """What stands behind the newest connection."""
        return self.submissions.made[-1]

    def failures(self) -> list[LogEvent]:
        """Exceptions that were logged; they are forgotten then."""
        found = [event for event in self.events if event.get("log_failure")]
        self.events.clear()
        return found


@contextmanager
def logged() -> Iterator[list[LogEvent]]:
    """All that is logged meanwhile."""
    found: list[LogEvent] = []
    observer = cast(ILogObserver, found.append)
    globalLogPublisher.addObserver(observer)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observer)
