"""All connections together: how many, how long, and how they end."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from submitd.smtp import replies
from submitd.transport.connections import LOGIN_IN_PEACE_S, NOTICE_S
from tests.support.memory import AUTH, DATA, EHLO, END, LONG_TEXT, MAIL, RCPT, TEXT, Client
from tests.support.stage import Stage

MakeStage = Callable[..., Stage]
LISTENERS = pytest.mark.parametrize("tls", ["implicit", "starttls"])
NOOP = b"NOOP\r\n"


def _passes(stage: Stage, client: Client, seconds: float) -> None:
    """The client is served for *seconds*, and cut off or sent away within the second after."""
    stage.listener.wait(seconds - 0.5, client)
    assert not client.closed
    assert client.text == b""
    stage.listener.wait(2, client)


def _trickle(stage: Stage, client: Client, data: bytes, seconds: int) -> None:
    """Send *data* each second until the server has had enough."""
    for _ in range(seconds):
        if client.closed:
            return
        client.send(data)
        stage.listener.wait(1, client)


# ---- time limits ------------------------------------------------------------------


@LISTENERS
def test_a_handshake_that_takes_too_long_is_cut_off(make_stage: MakeStage, tls: str) -> None:
    """`handshake_s` after connecting, or after STARTTLS, a handshake not done is cut off."""
    stage = make_stage(tls, handshake_s=30, login_s=120)
    client = stage.connect()
    if tls == "starttls":
        stage.listener.wait(60, client)
        client.ask(b"STARTTLS\r\n")
    seen = client.seen
    client.wire.to_server += client.begin_tls()[:20]
    client.run()
    _passes(stage, client, 30)
    assert client.closed
    assert client.seen == seen
    assert stage.last.calls[-1] == ("closed", "time-out")


@LISTENERS
def test_a_login_must_come_in_time(make_stage: MakeStage, tls: str) -> None:
    """Without a login, talking does not prolong a connection beyond `login_s`."""
    stage = make_stage(tls, login_s=100)
    client = stage.secure()
    for _ in range(24):
        assert client.ask(NOOP) == [str(replies.OK)]
        stage.listener.wait(4, client)
    _passes(stage, client, 4)
    assert client.lines() == [str(replies.TIMEOUT)]
    assert client.closed
    assert stage.last.calls[-1] == ("closed", "time-out")


def test_clear_text_must_end_in_time(make_stage: MakeStage) -> None:
    """On a STARTTLS listener `login_s` also bounds what comes before TLS."""
    stage = make_stage("starttls", login_s=100)
    client = stage.connect()
    client.lines()
    _passes(stage, client, 100)
    assert client.lines() == [str(replies.TIMEOUT)]
    assert client.closed


def test_a_silent_client_is_sent_away(make_stage: MakeStage) -> None:
    """Logged in, a client may be silent for `command_s`, counted from what it said last."""
    stage = make_stage(command_s=300, login_s=50)
    client = stage.secure().log_in()
    for _ in range(3):
        stage.listener.wait(299, client)
        assert client.ask(NOOP) == [str(replies.OK)]
    _passes(stage, client, 300)
    assert client.lines() == [str(replies.TIMEOUT)]
    assert client.closed
    assert not client.wire.was_reset


def test_a_message_that_stops_coming_is_dropped(make_stage: MakeStage) -> None:
    """Within a message a client may be silent for `data_s`, and speech buys time again."""
    stage = make_stage(data_s=100, command_s=300, data_rate_bytes_s=40)
    client = stage.secure().log_in().begin_message()
    for _ in range(5):
        client.send(LONG_TEXT)
        stage.listener.wait(99, client)
    client.send(LONG_TEXT)
    _passes(stage, client, 100)
    assert client.lines() == [str(replies.TIMEOUT)]
    assert client.closed
    assert stage.last.calls[-1] == ("closed", "time-out")
    assert "end_of_data" not in stage.last.names()


def test_a_trickle_of_a_message_is_cut_off(make_stage: MakeStage) -> None:
    """Below `data_rate_bytes_s`, an octet now and then doesn't keep a message going."""
    stage = make_stage(data_s=100, data_rate_bytes_s=100)
    client = stage.secure().log_in().begin_message()
    for _ in range(99):
        client.send(b"x")
        stage.listener.wait(1, client)
    assert not client.closed
    stage.listener.wait(5, client)
    assert client.lines() == [str(replies.TIMEOUT)]
    assert stage.last.calls[-1] == ("closed", "time-out")


def test_a_slow_client_above_the_least_rate_is_served(make_stage: MakeStage) -> None:
    """At little more than `data_rate_bytes_s` a message may take far longer than `data_s`."""
    stage = make_stage(data_s=100, data_rate_bytes_s=100)
    client = stage.secure().log_in().begin_message()
    client.send(TEXT)
    for _ in range(1000):
        client.send(b"x" * 98 + b"\r\n")
        stage.listener.wait(1, client)
    assert client.ask(END) == ["250 2.0.0 Queued as 1"]


def test_a_burst_is_no_credit(make_stage: MakeStage) -> None:
    """However much came before, a trickle then ends the message within `data_s` or so."""
    stage = make_stage(data_s=100, data_rate_bytes_s=100)
    client = stage.secure().log_in().begin_message()
    client.send(b"x" * 500_000)
    _trickle(stage, client, b"x", 105)
    assert client.lines() == [str(replies.TIMEOUT)]


def test_without_a_least_rate_any_octet_counts(make_stage: MakeStage) -> None:
    """With `data_rate_bytes_s = 0` only silence ends a message."""
    stage = make_stage(data_s=100, data_rate_bytes_s=0)
    client = stage.secure().log_in().begin_message()
    for _ in range(5):
        client.send(b"x")
        stage.listener.wait(99, client)
    assert not client.closed


def test_chunks_in_a_trickle_are_cut_off(make_stage: MakeStage) -> None:
    """A chunk of one octet now and then is a trickle too, though each is answered."""
    stage = make_stage(data_s=100, data_rate_bytes_s=100)
    client = stage.secure().log_in()
    client.ask(MAIL + RCPT)
    for _ in range(11):
        client.send(b"BDAT 1\r\nx")
        stage.listener.wait(10, client)
    assert client.lines()[-1] == str(replies.TIMEOUT)


def test_a_command_line_must_end_in_time(make_stage: MakeStage) -> None:
    """A line that comes octet by octet has `command_s` in all, not for each octet."""
    stage = make_stage(command_s=100)
    client = stage.secure().log_in()
    for _ in range(9):
        client.send(b"x")
        stage.listener.wait(11, client)
    assert not client.closed
    stage.listener.wait(3, client)
    assert client.lines() == [str(replies.TIMEOUT)]


def test_an_endless_line_must_end_in_time(make_stage: MakeStage) -> None:
    """A line that goes on and on, far over the limit, does not prolong the session."""
    stage = make_stage(command_s=10)
    client = stage.secure().log_in()
    _trickle(stage, client, b"x" * 50_000, 12)
    assert client.lines() == [str(replies.TIMEOUT)]


def test_a_refused_chunk_must_end_in_time(make_stage: MakeStage) -> None:
    """Octets of a chunk that is dropped as too big do not prolong the session for ever."""
    stage = make_stage(command_s=10)
    client = stage.secure().log_in()
    client.ask(MAIL + RCPT)
    client.send(b"BDAT 99999999999999999999\r\n")
    _trickle(stage, client, b"x" * 50_000, 12)
    assert client.lines() == [str(replies.TIMEOUT)]


@pytest.mark.parametrize("method", ["authenticate", "mail", "data", "end_of_data", "content"])
def test_our_own_slowness_is_no_time_out(make_stage: MakeStage, method: str) -> None:
    """While we owe a verdict, or hold back the message, no limit of the client's runs."""
    stage = make_stage(login_s=10, command_s=10, data_s=10)
    client = stage.secure()
    verdict: Deferred[Any] = Deferred()
    stage.last.script[method] = [verdict]
    for step in (EHLO, AUTH, MAIL, RCPT, DATA, LONG_TEXT, END):
        if stage.last.names()[-1] == method or stage.last.calls[-1][0] == method:
            break
        client.send(step)
    client.lines()
    stage.listener.wait(1000, client)
    assert not client.closed
    assert client.lines() == []
    verdict.callback(replies.LOGGED_IN if method == "authenticate" else replies.OK)
    if method == "content":
        client.send(END)
    client.run()
    assert client.lines()[-1][:3] in ("235", "250")


@LISTENERS
def test_a_client_that_does_not_take_the_last_reply_is_cut_off(
    make_stage: MakeStage, tls: str
) -> None:
    """After its last reply a connection has `close_s` to end in good order, and no more."""
    stage = make_stage(tls, close_s=10)
    client = stage.secure().log_in()
    client.reading = False
    client.send(b"QUIT\r\n")
    stage.listener.wait(9.5, client)
    assert not client.closed
    stage.listener.wait(2.5, client)
    assert client.closed
    assert client.wire.was_reset
    assert stage.last.calls[-1] == ("closed", "quit")
    assert len(stage.listener.connections) == 0


def test_a_client_that_reads_nothing_at_all_is_cut_off(make_stage: MakeStage) -> None:
    """A client that takes none of its replies is held to `command_s`, then to `close_s`."""
    stage = make_stage(command_s=100, close_s=10)
    client = stage.secure().log_in()
    client.reading = False
    client.wire.room = 0
    client.send(NOOP * 50_000)
    stage.listener.wait(99, client)
    assert not client.closed
    stage.listener.wait(13, client)
    assert client.closed
    assert stage.last.calls[-1] == ("closed", "time-out")


# ---- how many ---------------------------------------------------------------------


def test_connections_of_one_address_are_bounded_on_starttls(make_stage: MakeStage) -> None:
    """One connection too many from an address gets 421; others and later ones don't."""
    stage = make_stage("starttls", connections_per_address=2)
    kept = [stage.connect(), stage.connect()]
    refused = stage.connect()
    assert refused.lines() == [str(replies.TOO_MANY_FROM_ADDRESS)]
    assert refused.closed
    assert len(stage.submissions.made) == 2
    assert stage.connect("192.0.2.2").lines()[0].startswith("220 ")
    kept[0].hang_up()
    assert stage.connect().lines()[0].startswith("220 ")
    assert stage.connect().closed


def test_connections_of_one_address_are_bounded_on_implicit_tls(make_stage: MakeStage) -> None:
    """With implicit TLS a connection too many is closed without an octet in clear."""
    stage = make_stage("implicit", connections_per_address=1)
    kept = stage.connect()
    refused = stage.connect()
    assert refused.closed
    assert refused.seen == b""
    assert len(stage.submissions.made) == 1
    kept.hang_up()
    stage.secure().log_in()


@LISTENERS
def test_all_connections_together_are_bounded(make_stage: MakeStage, tls: str) -> None:
    """`connections` bounds all addresses together, and those refused make room at once."""
    stage = make_stage(tls, connections=3)
    kept = [stage.connect(f"192.0.2.{n}") for n in range(3)]
    for n in range(3, 6):
        assert stage.connect(f"192.0.2.{n}").closed
    assert len(stage.listener.connections) == 3
    kept.pop().vanish()
    assert not stage.connect("192.0.2.9").closed


def test_too_many_connections_are_told(make_stage: MakeStage) -> None:
    """A client that finds all places taken hears 421 4.3.2, where something may be said."""
    stage = make_stage("starttls", connections=1)
    kept = stage.connect()
    assert stage.connect("192.0.2.2").lines() == [str(replies.TOO_MANY_CONNECTIONS)]
    assert not kept.closed


@LISTENERS
def test_who_never_logs_in_makes_room(make_stage: MakeStage, tls: str) -> None:
    """When all places are taken, the one longest without a login goes; users stay."""
    stage = make_stage(tls, connections=3)
    user = stage.secure("192.0.2.1").log_in()
    oldest = stage.connect("192.0.2.2")
    stage.listener.wait(LOGIN_IN_PEACE_S - 1)
    younger = stage.connect("192.0.2.3")
    assert stage.connect("192.0.2.4").closed
    stage.listener.wait(2)
    newcomer = stage.connect("192.0.2.5")
    oldest.run()
    assert not newcomer.closed
    assert oldest.closed
    assert not younger.closed
    assert user.ask(NOOP) == [str(replies.OK)]
    [calls] = [m.calls for m in stage.submissions.made if m.peer.address == "192.0.2.2"]
    assert calls[-1] == ("closed", "made room for others")
    assert len(stage.listener.connections) == 3


def test_users_make_no_room(make_stage: MakeStage) -> None:
    """Users that are logged in are not cut off for a newcomer, however long they are there."""
    stage = make_stage("starttls", connections=2, command_s=1000)
    users = [stage.secure(f"192.0.2.{n}").log_in() for n in range(2)]
    stage.listener.wait(100)
    assert stage.connect("192.0.2.9").closed
    assert not any(user.closed for user in users)


@pytest.mark.parametrize(
    ("kept", "other", "is_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
    ],
)
def test_what_counts_as_one_client(
    make_stage: MakeStage, kept: str, other: str, is_one: bool
) -> None:
    """`connections_per_address` counts an IPv6 /64 as one, and IPv4 by the address."""
    stage = make_stage("starttls", connections_per_address=1)
    stage.connect(kept)
    assert stage.connect(other).closed == is_one


@pytest.mark.parametrize(
    ("addresses", "other"),
    [
        (("192.0.2.1", "192.0.2.2"), "192.0.3.1"),
        (("2001:db8::1", "2001:db8:0:1::1"), "2001:db8:1::1"),
    ],
)
def test_connections_of_one_network_are_bounded(
    make_stage: MakeStage, addresses: tuple[str, ...], other: str
) -> None:
    """`connections_per_network` counts an IPv4 /24 and an IPv6 /48 as one, and says so."""
    stage = make_stage("starttls", connections_per_network=2)
    kept = [stage.connect(address) for address in addresses]
    assert stage.connect(addresses[0]).lines() == [str(replies.TOO_MANY_FROM_NETWORK)]
    assert not stage.connect(other).closed
    kept[0].hang_up()
    assert not stage.connect(addresses[0]).closed


def test_new_connections_of_a_minute_are_bounded(make_stage: MakeStage) -> None:
    """`connections_per_minute` counts those that are gone again; others, and later, may come."""
    stage = make_stage("starttls", connections_per_minute=5, exempt_networks=("192.0.2.9/32",))
    for address in ("192.0.2.9", "2001:db8::1"):
        for _ in range(5):
            stage.connect(address).hang_up()
    assert not stage.connect("192.0.2.9").closed
    refused = stage.connect("2001:db8::2")
    assert refused.lines() == [str(replies.TOO_MANY_NEW_CONNECTIONS)]
    assert not stage.connect("2001:db8:0:1::1").closed
    stage.listener.wait(60)
    assert not stage.connect("2001:db8::1").closed


def test_exempt_networks(make_stage: MakeStage) -> None:
    """`exempt_networks` frees from the limits by client and network, not from that of all."""
    stage = make_stage(
        "starttls",
        connections=5,
        connections_per_address=1,
        connections_per_network=2,
        exempt_networks=("192.0.2.0/25", "2001:db8::/32"),
    )
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1"):
        assert not stage.connect(address).closed
    assert stage.connect("192.0.2.200").lines() == [str(replies.TOO_MANY_FROM_NETWORK)]
    assert not stage.connect("::ffff:192.0.2.1").closed
    assert stage.connect("192.0.2.1").lines() == [str(replies.TOO_MANY_CONNECTIONS)]


def test_a_limit_is_logged_now_and_then(make_stage: MakeStage) -> None:
    """However often a limit is met, it is logged once in ten seconds, with how often it was."""
    stage = make_stage("starttls", connections_per_address=1)
    stage.connect()

    def told() -> list[tuple[object, ...]]:
        found = [event for event in stage.events if event.get("line") == "limit"]
        return [(each["limit"], each["most"], each["client"], each["times"]) for each in found]

    for _ in range(1000):
        stage.connect()
    once = ("connections_per_address", 1, "192.0.2.1", 1)
    assert told() == [once]
    stage.listener.wait(NOTICE_S)
    stage.connect()
    assert told() == [once, (*once[:3], 1000)]
    assert not any(event.get("line") == "session" for event in stage.events)


def test_an_address_counts_in_either_family(make_stage: MakeStage) -> None:
    """A client by IPv4 on an IPv6 socket is the same as by IPv4, in logs and limits."""
    stage = make_stage("starttls", connections_per_address=1)
    stage.connect("::ffff:192.0.2.1")
    assert stage.last.peer.address == "192.0.2.1"
    assert stage.connect("192.0.2.1").closed
    assert not stage.connect("2001:db8::1").closed
    assert stage.last.peer.address == "2001:db8::1"
    assert stage.last.peer.port == 40000
    assert stage.last.peer.listener == "starttls:587"


def test_sessions_have_names_of_their_own(implicit: Stage) -> None:
    """No two sessions have one id, which is short and of letters and digits."""
    for _ in range(50):
        implicit.connect().hang_up()
    ids = {made.peer.session_id for made in implicit.submissions.made}
    assert len(ids) == 50
    assert all(text.isalnum() and len(text) == 10 for text in ids)


# ---- the server stops -------------------------------------------------------------


def _drain(stage: Stage) -> list[object]:
    """Begin to stop; the list is filled once all connections are gone."""
    done: list[object] = []
    stage.listener.connections.drain().addCallback(done.append)
    return done


def test_a_server_without_connections_stops_at_once(implicit: Stage) -> None:
    """With nobody there, `drain` is over when it returns, and so it is the second time."""
    assert _drain(implicit) == [None]
    assert implicit.listener.connections.drain().called


@LISTENERS
def test_idle_clients_are_told_at_once(make_stage: MakeStage, tls: str) -> None:
    """When the server stops, a client between messages gets 421 4.3.2 and the end."""
    stage = make_stage(tls)
    clients = [stage.secure(), stage.secure().log_in()]
    done = _drain(stage)
    for client in clients:
        client.run()
        assert client.lines() == [str(replies.SHUTTING_DOWN)]
        assert client.closed
    assert done == [None]
    assert [made.calls[-1] for made in stage.submissions.made] == [("closed", "server stopped")] * 2


@LISTENERS
def test_a_message_under_way_is_finished(make_stage: MakeStage, tls: str) -> None:
    """A message that had begun gets its 250 while the server stops, and then the client 421."""
    stage = make_stage(tls, stop_s=30)
    client = stage.secure().log_in().begin_message()
    verdict: Deferred[Any] = Deferred()
    stage.last.script["end_of_data"] = [verdict]
    done = _drain(stage)
    client.run()
    assert client.lines() == []
    client.send(TEXT + END)
    stage.listener.wait(10, client)
    assert done == []
    verdict.callback(replies.OK)
    client.run()
    assert client.lines() == [str(replies.OK), str(replies.SHUTTING_DOWN)]
    assert client.closed
    assert done == [None]


def test_a_login_under_way_is_answered(implicit: Stage) -> None:
    """A login that is being checked while the server stops is answered, and then comes 421."""
    client = implicit.secure()
    client.ask(EHLO)
    verdict: Deferred[Any] = Deferred()
    implicit.last.script["authenticate"] = [verdict]
    client.send(AUTH)
    done = _drain(implicit)
    verdict.callback(replies.LOGGED_IN)
    client.run()
    assert client.lines() == [str(replies.LOGGED_IN), str(replies.SHUTTING_DOWN)]
    assert done == [None]


@LISTENERS
def test_handshakes_are_cut_off(make_stage: MakeStage, tls: str) -> None:
    """A handshake that is not done when the server stops is not waited for."""
    stage = make_stage(tls)
    client = stage.connect()
    if tls == "starttls":
        client.ask(b"STARTTLS\r\n")
    done = _drain(stage)
    client.run()
    assert client.closed
    assert done == [None]
    assert stage.last.calls[-1] == ("closed", "server stopped")


@pytest.mark.parametrize("waits_for", ["client", "verdict", "end"])
def test_stopping_has_a_limit(make_stage: MakeStage, waits_for: str) -> None:
    """`stop_s` after the server began to stop, whoever is left is cut off."""
    stage = make_stage(stop_s=30, close_s=300)
    client = stage.secure().log_in()
    if waits_for == "end":
        client.reading = False
    else:
        client.begin_message()
        if waits_for == "verdict":
            stage.last.script["end_of_data"] = [Deferred()]
            client.send(TEXT + END)
    done = _drain(stage)
    stage.listener.wait(29.5, client)
    assert done == []
    stage.listener.wait(2, client)
    assert done == [None]
    assert client.closed
    assert stage.last.names().count("closed") == 1


@LISTENERS
def test_nobody_is_let_in_any_more(make_stage: MakeStage, tls: str) -> None:
    """A connection that the kernel had accepted already is refused while the server stops."""
    stage = make_stage(tls)
    busy = stage.secure().log_in().begin_message()
    _drain(stage)
    late = stage.connect()
    assert late.closed
    assert not busy.closed


def test_a_refused_client_that_lingers_is_told_once(make_stage: MakeStage) -> None:
    """A client refused for the number of connections hears nothing more when the server stops."""
    stage = make_stage("starttls", connections_per_address=1)
    kept = stage.connect()
    refused = stage.connect(room=0)
    assert not refused.closed
    done = _drain(stage)
    kept.run()
    refused.wire.room = 1000
    refused.run()
    assert refused.lines() == [str(replies.TOO_MANY_FROM_ADDRESS)]
    assert refused.closed
    assert done == [None]
