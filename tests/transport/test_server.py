"""One connection: what is said when, what is held back, and what a fault leads to."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from submitd.smtp import replies
from submitd.transport.server import READ_AHEAD_OCTETS
from tests.support.memory import AUTH, DATA, EHLO, END, LONG_TEXT, MAIL, RCPT, TEXT
from tests.support.stage import Stage

NOOP = b"NOOP\r\n"
READ_OCTETS = 65_536  # of one read from a socket
TLS_RECORD_TYPES = (20, 21, 22, 23)  # RFC 8446 §5.1


def records(data: bytes) -> list[int]:
    """The types of the TLS records that *data* is made of, to its last octet."""
    types = []
    while data:
        types.append(data[0])
        length = int.from_bytes(data[3:5])
        assert len(data) >= 5 + length, "the last record is cut short"
        data = data[5 + length :]
    return types


# ---- TLS first --------------------------------------------------------------------


def test_implicit_tls_says_nothing_before_the_handshake(implicit: Stage) -> None:
    """With implicit TLS the greeting is the first thing said, and no octet of it is in clear."""
    client = implicit.connect()
    assert client.seen == b""
    client.start_tls()
    assert client.lines() == ["220 localhost.example ESMTP submitd"]
    assert b"220" not in client.seen
    assert set(records(client.seen)) <= set(TLS_RECORD_TYPES)


def test_a_handshake_octet_by_octet(implicit: Stage) -> None:
    """A ClientHello that comes octet by octet ends in the same greeting, said once."""
    client = implicit.connect()
    for value in client.begin_tls():
        assert not client.secure
        client.wire.to_server += bytes((value,))
        client.run()
    assert client.lines() == ["220 localhost.example ESMTP submitd"]


@pytest.mark.parametrize("words", [EHLO, b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100])
def test_clear_text_on_implicit_tls_gets_an_alert_at_most(implicit: Stage, words: bytes) -> None:
    """Who speaks in clear where TLS is implicit gets no SMTP, and the log says why it ended."""
    client = implicit.connect()
    client.send(words)
    assert client.closed
    assert records(client.seen) in ([], [21])
    [(_, reason)] = [call for call in implicit.last.calls if call[0] == "closed"]
    assert reason.startswith("no TLS: ")
    assert "[" not in reason


def test_commands_behind_the_handshake_wait_for_it(implicit: Stage) -> None:
    """EHLO in one piece with the end of the handshake is answered after the greeting."""
    client = implicit.connect()
    client.reading = False
    client.wire.to_server = client.begin_tls()
    client.run()
    assert client.tls is not None
    client.tls.bio_write(client.wire.to_client)
    client.wire.to_client = b""
    client.tls.do_handshake()
    client.secure = client.reading = True
    client.send(EHLO)
    assert [line[:4] for line in client.lines()[:2]] == ["220 ", "250-"]


def test_starttls_forgets_everything(starttls: Stage) -> None:
    """After STARTTLS the client has said nothing yet: AUTH and MAIL want a new EHLO."""
    client = starttls.connect()
    assert client.ask(EHLO)[-1] == "250 STARTTLS"
    client.send(b"STARTTLS\r\n")
    client.lines()
    client.start_tls()
    assert client.lines() == []
    assert client.ask(AUTH + MAIL) == [str(replies.EHLO_FIRST), str(replies.AUTH_REQUIRED)]
    assert not any("STARTTLS" in line for line in client.ask(EHLO))
    assert client.ask(AUTH)[-1].startswith("235 ")
    assert starttls.last.names() == ["hello", "secured", "hello", "authenticate"]


def test_replies_over_starttls_do_not_wait_for_another_turn(starttls: Stage) -> None:
    """After STARTTLS a reply leaves in the same turn as its command came, without a timer."""
    client = starttls.secure()
    client.log_in()
    assert client.begin_message().ask(TEXT + END)[-1].startswith("250 2.0.0 Queued")


def test_commands_before_starttls_in_one_piece(starttls: Stage) -> None:
    """EHLO and STARTTLS in one piece are answered in order, and TLS follows."""
    client = starttls.connect()
    client.lines()
    told = client.ask(EHLO + NOOP + b"STARTTLS\r\n")
    assert [line[:4] for line in told[-3:]] == ["250 ", "250 ", "220 "]
    client.start_tls()
    client.log_in()


@pytest.mark.parametrize("behind", [EHLO, b"\r\n", b"x", b"\x16\x03\x01"])
def test_data_behind_starttls_ends_the_connection(starttls: Stage, behind: bytes) -> None:
    """Anything behind STARTTLS in the same piece ends the connection; nothing of it is done."""
    client = starttls.connect()
    client.lines()
    assert client.ask(b"STARTTLS\r\n" + behind) == [str(replies.DATA_BEHIND_STARTTLS)]
    assert client.closed
    assert starttls.last.calls == [("closed", "data behind STARTTLS")]


def test_clear_text_instead_of_the_handshake(starttls: Stage) -> None:
    """A command in clear after the 220 of STARTTLS is no handshake and is not answered."""
    client = starttls.connect()
    client.ask(b"STARTTLS\r\n")
    seen = len(client.seen)
    client.send(EHLO)
    assert client.closed
    assert records(client.seen[seen:]) in ([], [21])
    [(name, reason)] = starttls.last.calls
    assert (name, reason[:8]) == ("closed", "no TLS: ")


# ---- pipelining and back-pressure -------------------------------------------------


def test_pipelined_replies_leave_together(implicit: Stage) -> None:
    """The replies to commands that came in one piece leave in one TLS record."""
    client = implicit.secure().log_in()
    before = len(client.seen)
    assert len(client.ask(MAIL + RCPT * 3 + DATA)) == 5
    assert records(client.seen[before:]) == [23]


def test_replies_keep_their_order_when_verdicts_come_late(implicit: Stage) -> None:
    """A late verdict holds back all that was asked behind it, and order is kept."""
    client = implicit.secure().log_in()
    verdict: Deferred[Any] = Deferred()
    implicit.last.script["mail"] = [verdict]
    assert client.ask(MAIL + RCPT + DATA) == []
    assert implicit.last.names()[-1] == "mail"
    verdict.callback(replies.SENDER_NOT_YOURS)
    client.run()
    assert client.lines() == [
        str(replies.SENDER_NOT_YOURS),
        str(replies.MAIL_FIRST),
        str(replies.MAIL_FIRST),
    ]


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_read_ahead_is_bounded(make_stage: Callable[..., Stage], tls: str) -> None:
    """While a verdict is awaited, no more than the read-ahead is read, and nothing is lost."""
    stage = make_stage(tls)
    client = stage.secure()
    client.ask(EHLO)
    verdict: Deferred[Any] = Deferred()
    stage.last.script["authenticate"] = [verdict]
    noops = 100_000
    client.send(AUTH + NOOP * noops)
    left = len(client.wire.to_server)
    assert left > noops * len(NOOP) - READ_AHEAD_OCTETS - 2 * READ_OCTETS
    verdict.callback(replies.LOGGED_IN)
    client.run()
    told = client.lines()
    assert told[0] == str(replies.LOGGED_IN)
    assert told[1:] == [str(replies.OK)] * noops


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_a_client_that_does_not_read_is_not_served(
    make_stage: Callable[..., Stage], tls: str
) -> None:
    """While the client leaves its replies unread nothing more is read; then all goes on."""
    stage = make_stage(tls)
    client = stage.secure().log_in()
    client.reading = False
    client.wire.room = 0
    noops = 100_000
    client.send(NOOP * noops)
    left = len(client.wire.to_server)
    assert left > noops * len(NOOP) - 4 * READ_OCTETS
    client.wire.room = 1 << 30
    client.reading = True
    client.run()
    assert client.lines() == [str(replies.OK)] * noops
    assert client.ask(b"QUIT\r\n") == [str(replies.BYE)]
    assert client.closed


def test_storage_that_is_behind_holds_the_client_back(implicit: Stage) -> None:
    """When `content` asks to pause, reading stops until it is over; no octet is lost."""
    client = implicit.secure().log_in().begin_message()
    pauses: list[Deferred[None]] = [Deferred() for _ in range(4)]
    implicit.last.script["content"] = list(pauses)
    text = TEXT + b"x" * 70 + b"\r\n"
    text += (b"y" * 98 + b"\r\n") * 9000
    client.send(text + END)
    for pause in pauses:
        assert len(implicit.last.content_octets) < len(text)
        implicit.listener.wait(1000, client)  # it is we who are slow: no time-out
        pause.callback(None)
        client.run()
    assert client.lines() == ["250 2.0.0 Queued as 1"]
    assert implicit.last.content_octets == text


def test_storage_that_fails_while_paused(implicit: Stage) -> None:
    """A pause that ends in a failure lets the message go on to its end and its verdict."""
    client = implicit.secure().log_in().begin_message()
    pause: Deferred[None] = Deferred()
    implicit.last.script["content"] = [pause]
    implicit.last.script["end_of_data"] = [replies.STORE_FULL]
    client.send(LONG_TEXT)
    pause.errback(OSError("disk"))
    assert client.ask(END) == [str(replies.STORE_FULL)]


def test_closing_while_reading_is_held_back(implicit: Stage) -> None:
    """A client that says QUIT, and much more behind it, is answered and closed at once."""
    client = implicit.secure()
    client.ask(EHLO)
    verdict: Deferred[Any] = Deferred()
    implicit.last.script["authenticate"] = [verdict]
    client.send(AUTH + b"QUIT\r\n" + NOOP * 30_000)
    verdict.callback(replies.LOGGED_IN)
    client.run()
    assert client.lines() == [str(replies.LOGGED_IN), str(replies.BYE)]
    assert client.closed
    assert not client.wire.was_reset


# ---- faults and departures --------------------------------------------------------


@pytest.mark.parametrize("method", ["authenticate", "mail", "rcpt", "data", "end_of_data"])
@pytest.mark.parametrize("late", [False, True])
def test_a_fault_in_a_verdict_is_451(implicit: Stage, method: str, late: bool) -> None:
    """An exception where a verdict was wanted is 451 4.3.0 and logged; the session goes on."""
    client = implicit.secure()
    client.ask(EHLO)
    fault = RuntimeError("inner secret")
    verdict: Deferred[Any] = Deferred()
    implicit.last.script[method] = [verdict if late else fault]
    steps = {"authenticate": AUTH, "mail": MAIL, "rcpt": RCPT, "data": DATA}
    steps["end_of_data"] = TEXT + END
    for name, step in steps.items():
        told = client.ask(step)
        if name == method:
            if late:
                assert told == []
                verdict.errback(fault)
                client.run()
                told = client.lines()
            assert told == [str(replies.LOCAL_ERROR)]
            [event] = implicit.failures()
            assert event["log_failure"].value is fault
            told = client.ask((MAIL + RCPT + DATA if name == "end_of_data" else b"") + step)
        assert told[-1][0] in "23"
    assert "inner secret" not in client.text.decode()


@pytest.mark.parametrize("late", [False, True])
def test_a_fault_while_content_comes_in_is_451_at_its_end(implicit: Stage, late: bool) -> None:
    """An exception in `content` refuses the message at its end; the rest is not handed in."""
    client = implicit.secure().log_in().begin_message()
    pause: Deferred[None] = Deferred()
    implicit.last.script["content"] = [pause, OSError("disk")] if late else [OSError("disk")]
    client.send(LONG_TEXT)
    if late:
        client.send(LONG_TEXT)
        pause.callback(None)
    client.send(b"still more\r\n" + LONG_TEXT)
    assert len(implicit.failures()) == 1
    assert b"still more" not in implicit.last.content_octets
    assert client.ask(END) == [str(replies.LOCAL_ERROR)]
    assert implicit.last.calls[-1] == ("end_of_data", 0, False, replies.LOCAL_ERROR)
    assert client.begin_message().ask(TEXT + END) == ["250 2.0.0 Queued as 1"]


@pytest.mark.parametrize(("method", "command"), [("hello", EHLO), ("reset", b"RSET\r\n")])
def test_a_fault_where_no_verdict_is_wanted(implicit: Stage, method: str, command: bytes) -> None:
    """An exception in `hello` or `reset` is logged, and the session goes on."""
    client = implicit.secure().log_in()
    implicit.last.script[method] = [RuntimeError("inner secret")]
    assert client.ask(command)[-1].startswith("250 ")
    assert len(implicit.failures()) == 1
    assert client.begin_message().ask(TEXT + END) == ["250 2.0.0 Queued as 1"]


@pytest.mark.parametrize("way", ["hang_up", "vanish"])
@pytest.mark.parametrize("method", ["authenticate", "mail", "data", "content", "end_of_data"])
def test_a_client_that_goes_while_a_verdict_is_awaited(
    implicit: Stage, method: str, way: str
) -> None:
    """A client that goes while we think is taken leave of once; the late verdict is dropped."""
    client = implicit.secure()
    verdict: Deferred[Any] = Deferred()
    implicit.last.script[method] = [verdict]
    for step in (EHLO, AUTH, MAIL, RCPT, DATA, LONG_TEXT, END):
        if implicit.last.calls[-1][0] == method:
            break
        client.send(step)
    assert implicit.last.calls[-1][0] == method
    getattr(client, way)()
    if method == "content":  # reading is paused: only the time limit or the store tells
        verdict.callback(None)
        client.run()
    else:
        assert client.closed
        verdict.callback(replies.LOGGED_IN if method == "authenticate" else replies.OK)
    assert client.closed
    assert implicit.last.calls[-1] == ("closed", "connection lost")
    assert implicit.last.names().count("closed") == 1
    assert len(implicit.listener.connections) == 0


@pytest.mark.parametrize("way", ["hang_up", "vanish"])
@pytest.mark.parametrize("steps", range(7))
def test_a_client_that_goes_between_two_commands(implicit: Stage, steps: int, way: str) -> None:
    """Wherever a client goes, what stands behind its session is told so exactly once."""
    client = implicit.secure()
    for step in (EHLO, AUTH, MAIL, RCPT, DATA, TEXT[:20], TEXT[20:])[:steps]:
        client.send(step)
    getattr(client, way)()
    assert client.closed
    assert implicit.last.names().count("closed") == 1
    assert implicit.last.calls[-1] == ("closed", "connection lost")
    assert len(implicit.listener.connections) == 0


@pytest.mark.parametrize("way", ["hang_up", "vanish"])
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_a_client_that_goes_within_the_handshake(
    make_stage: Callable[..., Stage], tls: str, way: str
) -> None:
    """A client that goes before TLS is there is counted off, with the reason in words."""
    stage = make_stage(tls)
    client = stage.connect()
    if tls == "starttls":
        client.ask(b"STARTTLS\r\n")
    getattr(client, way)()
    assert client.closed
    [(name, reason)] = stage.last.calls
    assert (name, reason[:8]) == ("closed", "no TLS: ")
    assert len(stage.listener.connections) == 0


def test_tls_that_is_tampered_with(implicit: Stage) -> None:
    """A record that doesn't authenticate ends the connection, and nothing of it is done."""
    client = implicit.secure().log_in()
    client.put(MAIL)
    garbled = bytearray(client.wire.to_server)
    garbled[-1] ^= 1
    client.wire.to_server = bytes(garbled)
    client.run()
    assert client.closed
    assert implicit.last.names() == ["secured", "hello", "authenticate", "closed"]
