"""Connections to next hops, over real sockets and real TLS."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.smtp.client_replies import Stage
from submitd.testing import MemoryContent
from submitd.transport.client import ClientConnection, connect
from submitd.transport.client_tls import ClientTls
from submitd.transport.next_hop import Credentials, Destination, Timeouts, Unreachable
from tests.support.loop import Loop
from tests.support.nexthop import CLOSE, SILENCE, NextHop
from tests.support.pki import Identity, TestAuthority

ANN, BOB = Mailbox("ann", "example.org"), Mailbox("bob", "example.net")
ENVELOPE = Envelope(ANN, (Recipient(BOB),))
LOGIN = Credentials("org", "secret")
TIMEOUTS = Timeouts(connect_s=5, close_s=0.2)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A reactor for the client's side."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    """The authority that the client trusts."""
    return TestAuthority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def localhost(authority: TestAuthority) -> Identity:
    """A good certificate."""
    return authority.issue("localhost", "127.0.0.1")


class Client:
    """Connects to a next hop on loopback, trusting the test's authority."""

    def __init__(self, loop: Loop, authority: TestAuthority) -> None:
        self.loop = loop
        self.ca_file = authority.file
        self.lost: list[ClientConnection] = []

    def connect(
        self,
        hop: NextHop,
        level: Any,
        credentials: Credentials | None = None,
        host: str = "localhost",
        timeouts: Timeouts = TIMEOUTS,
    ) -> ClientConnection:
        """A connection that is ready, or Unreachable."""
        tls = None
        if level != "none":
            tls = ClientTls(host, self.ca_file, required=level != "opportunistic")
        destination = Destination(
            host=host,
            hostname="us.example",
            level=level,
            tls=tls,
            credentials=credentials,
            timeouts=timeouts,
        )
        endpoint = HostnameEndpoint(self.loop.reactor, host, hop.port)
        opened = connect(endpoint, destination, self.loop.reactor, self.lost.append)
        connection = self.loop.wait(opened)
        assert isinstance(connection, ClientConnection)
        return connection

    def refused(self, *arguments: Any, **keywords: Any) -> tuple[DeliveryStatus, Stage | None]:
        """Why there was no connection."""
        with pytest.raises(Unreachable) as caught:
            self.connect(*arguments, **keywords)
        assert caught.value.status.action is Action.DELAYED
        return caught.value.status, caught.value.stage

    def deliver(self, connection: ClientConnection, content: Any = b"a: b\r\n\r\nc") -> Any:
        """Send a message; the outcome for its recipient."""
        if isinstance(content, bytes):
            content = MemoryContent(content)
        finished = self.loop.wait(connection.deliver(ENVELOPE, ENVELOPE.recipients, content))
        return finished.outcome[BOB]

    def ended(self, hop: NextHop) -> None:
        """Wait until the next hop has seen the end of the first connection."""
        self.loop.until(hop.sessions[0].closed.is_set)

    def close(self, connection: ClientConnection) -> None:
        """Close in order."""
        connection.close()
        self.loop.until(lambda: connection in self.lost)


@pytest.fixture
def client(loop: Loop, authority: TestAuthority) -> Client:
    """The client's side."""
    return Client(loop, authority)


def credentials_seen(hop: NextHop) -> bool:
    """Whether anything of a login reached the next hop."""
    octets = b"".join(read for session in hop.sessions for read in session.reads)
    return b"AUTH" in octets or b"c2VjcmV0" in octets


# ---- TLS --------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["implicit", "starttls"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_verified_tls(client: Client, localhost: Identity, level: Any, host: str) -> None:
    """With a good certificate for the name or the address, login and message go over TLS."""
    with NextHop(level, localhost, {"org": "secret"}) as hop:
        connection = client.connect(hop, level, LOGIN, host)
        assert connection.verified
        assert connection.tls is not None
        assert (connection.tls.version, connection.tls.suite[:4]) == ("TLSv1.3", "TLS_")
        assert client.deliver(connection).action is Action.RELAYED
        client.close(connection)
        (message,) = hop.wait_for(1)
    assert message.content == b"a: b\r\n\r\nc\r\n"
    assert message.session.login == "org"
    assert message.session.server_name == (None if host == "127.0.0.1" else host)
    assert message.session.commands[-1] == "QUIT"


def bad_identities(authority: TestAuthority, directory: Path) -> dict[str, Identity]:
    """Certificates that must not be taken, by the words that say why."""
    return {
        "is not for localhost": authority.issue("other.example"),
        "names no host": authority.issue(),
        "has expired": authority.issue("localhost", expired=True),
        "issuer is not trusted": TestAuthority(directory, "stranger").issue("localhost"),
    }


@pytest.mark.parametrize("level", ["implicit", "starttls"])
@pytest.mark.parametrize(
    "why", ["is not for localhost", "names no host", "has expired", "issuer is not trusted"]
)
def test_unverified_peer(
    client: Client, authority: TestAuthority, tmp_path: Path, level: Any, why: str
) -> None:
    """A peer that isn't verified gets neither login nor message, and the reason is told."""
    identity = bad_identities(authority, tmp_path)[why]
    with NextHop(level, identity, {"org": "secret"}) as hop:
        status, stage = client.refused(hop, level, LOGIN)
        assert why in status.diagnostic
        assert (status.status, stage) == ("4.7.5", Stage.HANDSHAKE)
        client.ended(hop)
        assert not credentials_seen(hop)
        assert all(b"MAIL" not in read for read in hop.sessions[0].reads)


@pytest.mark.parametrize(
    "why", ["is not for localhost", "names no host", "has expired", "issuer is not trusted"]
)
def test_opportunistic_tls_with_anybody(
    client: Client, authority: TestAuthority, tmp_path: Path, why: str
) -> None:
    """Opportunistic TLS goes on with a certificate that isn't good, and says that it isn't."""
    with NextHop("starttls", bad_identities(authority, tmp_path)[why]) as hop:
        connection = client.connect(hop, "opportunistic")
        assert connection.tls is not None
        assert not connection.verified
        assert client.deliver(connection).action is Action.RELAYED


def test_opportunistic_tls_that_is_not_offered(client: Client) -> None:
    """Opportunistic TLS goes on in clear where STARTTLS isn't offered, or refused."""
    with NextHop() as hop:
        connection = client.connect(hop, "opportunistic")
        assert connection.tls is None
        assert client.deliver(connection).action is Action.RELAYED
    with NextHop(extensions=["STARTTLS"], script={"STARTTLS": "454 4.7.0 no"}) as hop:
        assert client.connect(hop, "opportunistic").tls is None


def test_starttls_not_offered(client: Client) -> None:
    """Where STARTTLS is required and not offered, nothing is said but EHLO."""
    with NextHop("none", users={"org": "secret"}) as hop:
        status, _ = client.refused(hop, "starttls", LOGIN)
        assert status.status == "4.7.4"
        client.ended(hop)
        assert hop.sessions[0].commands == ["EHLO us.example"]


def test_starttls_refused(client: Client) -> None:
    """Where STARTTLS is required and refused, nothing goes in clear."""
    with NextHop(extensions=["STARTTLS"], script={"STARTTLS": "454 4.7.0 no"}) as hop:
        status, _ = client.refused(hop, "starttls")
        assert status.status == "4.7.4"
        assert "454 4.7.0 no" in status.diagnostic
        client.ended(hop)
        assert hop.sessions[0].commands == ["EHLO us.example", "STARTTLS"]


@pytest.mark.parametrize("level", ["starttls", "opportunistic"])
def test_data_injected_behind_starttls(client: Client, localhost: Identity, level: Any) -> None:
    """Replies that are there before TLS don't count under TLS: the connection ends."""
    script = {"STARTTLS": "220 go\r\n250-injected\r\n250 AUTH PLAIN"}
    with NextHop("starttls", localhost, script=script) as hop:
        status, _ = client.refused(hop, level)
        assert "behind the reply to STARTTLS" in status.diagnostic


@pytest.mark.parametrize("level", ["implicit", "starttls", "opportunistic"])
@pytest.mark.parametrize("nonsense", ["220 hop in clear", CLOSE])
def test_a_peer_that_speaks_no_tls(client: Client, level: Any, nonsense: str) -> None:
    """A handshake that is answered in clear, or not at all, is a failed handshake."""
    server_level = "implicit" if level == "implicit" else "starttls"
    with NextHop(server_level, script={"handshake": nonsense}) as hop:
        status, stage = client.refused(hop, level)
    assert (status.status, stage) == ("4.7.5", Stage.HANDSHAKE)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_refused(client: Client, localhost: Identity) -> None:
    """TLS 1.1 and older are not spoken."""

    class OldHop(NextHop):
        def _make_context(self, identity: Any) -> Any:
            context = super()._make_context(identity)
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.set_ciphers("ALL:@SECLEVEL=0")
            return context

    with OldHop("implicit", localhost) as hop:
        status, stage = client.refused(hop, "implicit")
    assert (status.status, stage) == ("4.7.5", Stage.HANDSHAKE)


def test_tls_1_2(client: Client, localhost: Identity) -> None:
    """TLS 1.2 is spoken, and its suite has the name IANA gave it."""

    class Hop12(NextHop):
        def _make_context(self, identity: Any) -> Any:
            context = super()._make_context(identity)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            return context

    with Hop12("implicit", localhost) as hop:
        tls = client.connect(hop, "implicit").tls
    assert tls is not None
    assert tls.version == "TLSv1.2"
    assert tls.suite.startswith("TLS_ECDHE_ECDSA_WITH_")


def test_authorities_that_cannot_be_used(tmp_path: Path) -> None:
    """A ca_file that is missing or holds no certificate is told at the start."""
    with pytest.raises(ValueError, match="cannot be read"):
        ClientTls("localhost", tmp_path / "missing.pem", required=True)
    (tmp_path / "empty.pem").write_text("nothing here")
    with pytest.raises(ValueError, match="no PEM certificates"):
        ClientTls("localhost", tmp_path / "empty.pem", required=True)


# ---- login ------------------------------------------------------------------------------


def test_login_refused(client: Client, localhost: Identity) -> None:
    """A refused login is told with the next hop's words."""
    with NextHop("implicit", localhost, {"org": "other"}) as hop:
        status, stage = client.refused(hop, "implicit", LOGIN)
    assert (status.status, stage) == ("4.7.8", Stage.AUTH)
    assert "535 5.7.8 Wrong credentials" in status.diagnostic
    assert "secret" not in status.diagnostic


def test_login_mechanism_login(client: Client, localhost: Identity) -> None:
    """LOGIN works where PLAIN isn't offered."""
    with NextHop("implicit", localhost, {"org": "secret"}, mechanisms="LOGIN") as hop:
        client.connect(hop, "implicit", LOGIN)
        assert hop.sessions[0].login == "org"


# ---- time, ends, content ----------------------------------------------------------------


def test_nobody_listens(client: Client) -> None:
    """A refused connection is told as such."""
    hop = NextHop()
    hop.stop()
    status, stage = client.refused(hop, "none")
    assert (status.status, stage) == ("4.4.1", None)
    assert "refused" in status.diagnostic


@pytest.mark.parametrize(
    ("level", "stage", "script", "timeouts"),
    [
        ("none", Stage.GREETING, {"greeting": SILENCE}, Timeouts(greeting_s=0.2)),
        ("none", Stage.EHLO, {"EHLO": SILENCE}, Timeouts(command_s=0.2)),
        ("implicit", Stage.AUTH, {"AUTH": SILENCE}, Timeouts(command_s=0.2)),
    ],
)
def test_time_limits_before_a_message(
    client: Client, localhost: Identity, level: Any, stage: Stage, script: Any, timeouts: Timeouts
) -> None:
    """A next hop that doesn't go on is given up when the limit for its stage is reached."""
    identity, users = (localhost, {"org": "secret"}) if level == "implicit" else (None, None)
    login = LOGIN if level == "implicit" else None
    with NextHop(level, identity, users, script=script) as hop:
        status, reached = client.refused(hop, level, login, timeouts=timeouts)
    assert (status.status, reached) == ("4.4.2", stage)
    assert "time limit of 0.2 s" in status.diagnostic


def test_a_reply_in_drops_has_one_time_limit() -> None:
    """A reply that comes an octet at a time has no more time than one that does not come."""
    clock = Clock()
    timeouts = Timeouts(greeting_s=10, command_s=10)
    destination = Destination(
        host="hop", hostname="us.example", level="none", tls=None, timeouts=timeouts
    )
    connection = ClientConnection(destination, clock, lambda _: None)
    transport = StringTransport()
    connection.makeConnection(transport)  # type: ignore[no-untyped-call]
    connection.dataReceived(b"220-")
    for _ in range(11):
        clock.advance(1)
        connection.dataReceived(b"x")
    failures: list[Failure] = []
    connection.opened.addErrback(failures.append)
    (fault,) = (failure.value for failure in failures)
    assert isinstance(fault, Unreachable)
    assert fault.stage is Stage.GREETING
    assert transport.disconnecting


def test_time_limit_of_the_handshake(client: Client, localhost: Identity) -> None:
    """A peer that accepts and stays silent is given up when the handshake takes too long."""
    with NextHop("implicit", localhost, script={"handshake": SILENCE}) as hop:
        status, stage = client.refused(hop, "implicit", timeouts=Timeouts(handshake_s=0.2))
    assert (status.status, stage) == ("4.4.2", Stage.HANDSHAKE)


@pytest.mark.parametrize(
    ("stage", "timeouts"),
    [
        ("MAIL", Timeouts(command_s=0.3)),
        ("RCPT", Timeouts(command_s=0.3)),
        ("DATA", Timeouts(data_s=0.3)),
        (".", Timeouts(end_of_data_s=0.3)),
    ],
)
def test_time_limits_of_a_message(client: Client, stage: str, timeouts: Timeouts) -> None:
    """Within a transaction, a limit reached delays the message and ends the connection."""
    with NextHop(script={stage: SILENCE}) as hop:
        connection = client.connect(hop, "none", timeouts=timeouts)
        status = client.deliver(connection)
        assert (status.action, status.status) == (Action.DELAYED, "4.4.2")
        client.loop.until(lambda: connection in client.lost)


@pytest.mark.parametrize("level", ["none", "implicit"])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "content", "."])
def test_closed_within_a_message(
    client: Client, localhost: Identity, level: Any, stage: str
) -> None:
    """Wherever the next hop closes within a transaction, the message is delayed."""
    identity = localhost if level == "implicit" else None
    with NextHop(level, identity, script={stage: CLOSE}) as hop:
        connection = client.connect(hop, level)
        status = client.deliver(connection, b"x" * 300_000)
        assert (status.action, status.status) == (Action.DELAYED, "4.4.2")
        client.loop.until(lambda: connection in client.lost)
        assert not connection.is_idle
        assert hop.messages == []


@pytest.mark.parametrize("stage", ["greeting", "EHLO", "STARTTLS", "handshake", "AUTH"])
def test_closed_before_a_message(client: Client, localhost: Identity, stage: str) -> None:
    """Wherever the next hop closes before the first message, there is no connection."""
    script = {stage: CLOSE}
    with NextHop("starttls", localhost, {"org": "secret"}, script=script) as hop:
        status, _ = client.refused(hop, "starttls", LOGIN)
    assert status.status in ("4.4.2", "4.7.5")


@pytest.mark.parametrize("level", ["none", "implicit"])
def test_large_content_is_sent_as_fast_as_it_is_taken(
    client: Client, localhost: Identity, level: Any
) -> None:
    """20 MiB arrive to the octet, and never more than a little of it is held in memory."""
    data = b"0123456789abcde\n" * 64 + b"\r\n.\r\n..\r\n"
    data = data.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r") * (20 * 1024 * 1024 // 1100)

    class Counting(MemoryContent):
        largest = 0

        def read(self, offset: int, octets: int) -> bytes:
            held = connection.transport._tempDataLen + len(connection.transport.dataBuffer)
            Counting.largest = max(Counting.largest, held)
            return self.data[offset : offset + octets]

    identity = localhost if level == "implicit" else None
    with NextHop(level, identity) as hop:
        connection: Any = client.connect(hop, level)
        assert client.deliver(connection, Counting(data)).action is Action.RELAYED
        (message,) = hop.wait_for(1)
        assert message.content == data
        assert Counting.largest < 512 * 1024
        assert client.deliver(connection).action is Action.RELAYED


def test_content_that_is_shorter_than_it_says(client: Client) -> None:
    """A message that storage has lost a part of is never ended, so never taken."""

    class Short(MemoryContent):
        size = 1000

    with NextHop() as hop:
        connection = client.connect(hop, "none")
        status = client.deliver(connection, Short(b"half"))
        assert (status.action, status.status) == (Action.DELAYED, "4.3.0")
        client.loop.until(lambda: connection in client.lost)
        client.ended(hop)
        assert hop.messages == []


@pytest.mark.parametrize("came", [b"\xff" * 10, b"", OSError(5, "Input/output error")])
def test_closed_while_content_is_read_for_conversion(client: Client, came: Any) -> None:
    """What comes of the storage after the connection has ended changes nothing any more."""
    reading: Deferred[bytes] = Deferred()

    class Slow(MemoryContent):
        def read(self, offset: int, octets: int) -> Any:
            return reading

    with NextHop(extensions=()) as hop:
        connection = client.connect(hop, "none")
        what = attrs.evolve(ENVELOPE, body="8BITMIME")
        delivery = connection.deliver(what, what.recipients, Slow(b"x" * 10))
        hop.cut()
        finished = client.loop.wait(delivery)
        assert not finished.begun
        assert finished.outcome[BOB].action is Action.DELAYED
        if isinstance(came, bytes):
            reading.callback(came)
        else:
            reading.errback(came)
        assert not connection.is_idle
        assert hop.messages == []


def test_idle_connection_is_closed_in_order(client: Client) -> None:
    """After the time it may be idle a connection ends with QUIT."""
    with NextHop() as hop:
        connection = client.connect(hop, "none")
        client.deliver(connection)
        connection.rest(0.1)
        client.loop.until(lambda: connection in client.lost)
        assert hop.sessions[0].commands[-1] == "QUIT"


def test_a_peer_that_never_closes(client: Client) -> None:
    """A connection is cut when the next hop answers QUIT with silence."""
    with NextHop(script={"QUIT": SILENCE}) as hop:
        client.close(client.connect(hop, "none"))
        client.ended(hop)
