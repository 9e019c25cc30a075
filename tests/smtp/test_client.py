"""The client's side of SMTP, as a pure object."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.mail.address import Mailbox
from submitd.mail.status import Action, DeliveryStatus
from submitd.smtp.client import ClientSession
from submitd.smtp.client_events import (
    Authenticated,
    ContentWanted,
    Ended,
    Finished,
    Hello,
    Refused,
    StartTls,
)
from submitd.smtp.client_replies import REPLY_LINE_OCTETS, Stage
from submitd.smtp.errors import LocalProtocolError
from tests.support.talk import (
    ANN,
    BOB,
    CAT,
    DAN,
    EHLO,
    GREETING,
    NOW_S,
    PLAIN_EHLO,
    Talk,
    envelope,
    words,
)


@pytest.fixture(params=["whole", "octets", "random"])
def split(request: pytest.FixtureRequest) -> str:
    """How the peer's octets are cut."""
    return str(request.param)


@pytest.fixture
def talk(split: str) -> Talk:
    """A session that has heard all the extensions."""
    return Talk(split)


@pytest.fixture
def slow(split: str) -> Talk:
    """A session with a next hop that knows no extension."""
    return Talk(split, PLAIN_EHLO)


# ---- greeting ---------------------------------------------------------------------------


def test_extensions(talk: Talk) -> None:
    """EHLO's keywords are known in capitals, with their parameters."""
    assert talk.session.extensions["SIZE"] == "1000000"
    assert talk.session.extensions["AUTH"] == "LOGIN PLAIN"
    assert "PIPELINING" in talk.session.extensions


def test_helo_when_ehlo_is_unknown(split: str) -> None:
    """A next hop that refuses EHLO for good is greeted with HELO, and has no extensions."""
    talk = Talk(split)
    session = talk.session = ClientSession("us.example", "hop.example")
    talk.hear(GREETING)
    assert talk.hear(b"502 what?\r\n") == b"HELO us.example\r\n"
    talk.hear(b"250 hop.example\r\n")
    assert talk.take() == [Hello()]
    assert session.extensions == {}


@pytest.mark.parametrize(
    ("replies", "status"),
    [
        ([b"554 5.7.1 go away\r\n"], "4.7.1"),
        ([b"554 no\r\n"], "4.0.0"),
        ([b"421 4.3.2 busy\r\n"], "4.3.2"),
        ([b"450-4.3.2 a\r\n450 4.3.2 b\r\n"], "4.3.2"),
        ([GREETING, b"421 busy\r\n"], "4.0.0"),
        ([GREETING, b"450 no\r\n"], "4.0.0"),
        ([GREETING, b"550 5.7.0 no\r\n", b"550 5.7.0 no\r\n"], "4.7.0"),
    ],
)
def test_refused_at_the_door(split: str, replies: list[bytes], status: str) -> None:
    """A refusal before any message delays, whatever its code: it is not about a message."""
    talk = Talk(split)
    talk.session = ClientSession("us.example", "hop.example")
    for reply in replies:
        talk.hear(reply)
    (event,) = talk.take()
    assert isinstance(event, Ended)
    assert event.status is not None
    assert (event.status.action, event.status.status) == (Action.DELAYED, status)
    assert event.status.smtp_reply
    assert talk.session.has_ended


# ---- TLS and login ----------------------------------------------------------------------


def test_starttls_forgets_what_was_said_before(talk: Talk) -> None:
    """After the handshake the session greets anew and knows nothing from before."""
    talk.session.starttls()
    assert talk.session.data_to_send() == b"STARTTLS\r\n"
    assert talk.hear(b"220 go\r\n") == b""
    assert talk.take() == [StartTls()]
    talk.session.secured(verified=True)
    assert talk.session.extensions == {}
    assert talk.session.data_to_send() == b"EHLO us.example\r\n"
    talk.hear(PLAIN_EHLO)
    assert talk.take() == [Hello()]
    assert "AUTH" not in talk.session.extensions


@pytest.mark.parametrize("injected", [b"250 hop.example\r\n", b"2", b"\r\n"])
def test_data_behind_the_reply_to_starttls(injected: bytes) -> None:
    """Octets behind the 220, which anybody could have put there, end the connection."""
    talk = Talk("whole")
    talk.session.starttls()
    talk.session.data_to_send()
    assert talk.hear(b"220 go\r\n" + injected) == b""
    (event,) = talk.take()
    assert isinstance(event, Ended)
    assert event.status is not None
    assert "STARTTLS" in event.status.diagnostic
    with pytest.raises(LocalProtocolError):
        talk.session.secured(verified=True)


def test_starttls_refused(talk: Talk) -> None:
    """A refused STARTTLS leaves the session as it was."""
    talk.session.starttls()
    talk.session.data_to_send()
    talk.hear(b"454 4.7.0 not now\r\n")
    (event,) = talk.take()
    assert isinstance(event, Refused)
    assert event.stage is Stage.STARTTLS
    assert talk.session.is_ready


def test_no_credentials_for_the_unverified(talk: Talk) -> None:
    """A login at a peer that isn't verified is an error of ours, and nothing of it is sent."""
    with pytest.raises(LocalProtocolError):
        talk.session.authenticate("org", "secret")
    assert talk.session.data_to_send() == b""


def test_auth_plain(talk: Talk) -> None:
    """PLAIN takes one command."""
    talk.session.verified = True
    talk.session.authenticate("org", "secret")
    assert talk.session.data_to_send() == b"AUTH PLAIN AG9yZwBzZWNyZXQ=\r\n"
    assert talk.hear(b"235 2.7.0 welcome\r\n") == b""
    assert talk.take() == [Authenticated()]


def test_auth_plain_that_is_too_long_for_a_command(talk: Talk) -> None:
    """A response that makes the command longer than 512 octets waits for the challenge."""
    talk.session.verified = True
    talk.session.authenticate("org", "x" * 400)
    assert talk.session.data_to_send() == b"AUTH PLAIN\r\n"
    assert talk.hear(b"334 \r\n").startswith(b"AG9yZwB4")
    talk.hear(b"235 welcome\r\n")
    assert talk.take() == [Authenticated()]


def test_auth_login(split: str) -> None:
    """LOGIN is used where it is all there is."""
    talk = Talk(split, b"250-hop.example\r\n250 auth login\r\n")
    talk.session.verified = True
    talk.session.authenticate("org", "secret")
    assert talk.session.data_to_send() == b"AUTH LOGIN\r\n"
    assert talk.hear(b"334 VXNlcm5hbWU6\r\n") == b"b3Jn\r\n"
    assert talk.hear(b"334 UGFzc3dvcmQ6\r\n") == b"c2VjcmV0\r\n"
    talk.hear(b"235 welcome\r\n")
    assert talk.take() == [Authenticated()]


@pytest.mark.parametrize(
    ("reply", "status"),
    [(b"535 5.7.8 bad\r\n", "4.7.8"), (b"454 4.7.0 later\r\n", "4.7.0"), (b"535 bad\r\n", "4.0.0")],
)
def test_refused_login_delays(talk: Talk, reply: bytes, status: str) -> None:
    """A refused login is a fault of our configuration, for which no mail bounces."""
    talk.session.verified = True
    talk.session.authenticate("org", "wrong")
    talk.session.data_to_send()
    talk.hear(reply)
    (event,) = talk.take()
    assert isinstance(event, Refused)
    assert (event.status.action, event.status.status) == (Action.DELAYED, status)
    assert "wrong" not in event.status.diagnostic


def test_challenge_too_many(talk: Talk) -> None:
    """A challenge that the mechanism doesn't have is answered by cancelling."""
    talk.session.verified = True
    talk.session.authenticate("org", "secret")
    talk.session.data_to_send()
    assert talk.hear(b"334 more\r\n") == b"*\r\n"
    talk.hear(b"501 5.7.0 cancelled\r\n")
    (event,) = talk.take()
    assert isinstance(event, Refused)


def test_no_mechanism(slow: Talk) -> None:
    """Where no known mechanism is offered, the login is refused without a word to the peer."""
    slow.session.verified = True
    slow.session.authenticate("org", "secret")
    assert slow.session.data_to_send() == b""
    (event,) = slow.take()
    assert event.stage is Stage.AUTH


# ---- transactions -----------------------------------------------------------------------


def test_envelope_in_one_write_and_message_in_one(talk: Talk) -> None:
    """With PIPELINING a message takes two writes: the envelope, and the content with its end."""
    assert talk.begin(BOB, CAT, body="8BITMIME", size=8) == (
        b"MAIL FROM:<ann@ann.example> SIZE=8 BODY=8BITMIME\r\n"
        b"RCPT TO:<bob@bob.example>\r\nRCPT TO:<cat@cat.example>\r\nDATA\r\n"
    )
    talk.hear(b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n250 2.1.5 ok\r\n354 go\r\n")
    assert talk.take() == [ContentWanted()]
    assert talk.send(b"a: b\r\n\r\n") == b"a: b\r\n\r\n.\r\n"
    assert talk.session.waiting_for is Stage.END_OF_DATA
    talk.hear(b"250 2.6.0 queued as 17\r\n")
    status = DeliveryStatus(Action.RELAYED, "2.6.0", "250 2.6.0 queued as 17", "hop.example", True)
    assert talk.finished() == {BOB: status, CAT: status}
    assert talk.begin(DAN).startswith(b"MAIL FROM")


def test_one_by_one_without_pipelining(slow: Talk) -> None:
    """Without PIPELINING each command waits for the reply to the one before; no parameters."""
    assert slow.begin(BOB, CAT) == b"MAIL FROM:<ann@ann.example>\r\n"
    assert slow.hear(b"250 ok\r\n") == b"RCPT TO:<bob@bob.example>\r\n"
    assert slow.hear(b"250 ok\r\n") == b"RCPT TO:<cat@cat.example>\r\n"
    assert slow.hear(b"251 forwarded\r\n") == b"DATA\r\n"
    slow.hear(b"354 go\r\n")
    assert slow.take() == [ContentWanted()]
    assert slow.send(b"") == b".\r\n"
    slow.hear(b"250 ok\r\n")
    assert words(slow.finished()) == {"bob": ("relayed", "2.0.0"), "cat": ("relayed", "2.0.0")}


def test_null_reverse_path(talk: Talk) -> None:
    """Reports go out with the null reverse-path."""
    assert talk.begin_with(envelope(None, BOB), 1).startswith(b"MAIL FROM:<> SIZE=1\r\n")


def test_addresses_beyond_ascii(talk: Talk) -> None:
    """An address that can't be written in ASCII fails alone; such a sender fails for all."""
    odd = Mailbox("b\u00fccher", "example.org")
    assert b"RCPT TO:<bob@bob.example>\r\nDATA" in talk.begin(odd, BOB)
    talk.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    talk.take()
    talk.send(b"")
    talk.hear(b"250 ok\r\n")
    assert words(talk.finished()) == {
        odd.local_part: ("failed", "5.6.7"),
        "bob": ("relayed", "2.0.0"),
    }
    assert talk.begin(odd) == b""
    assert words(talk.finished()) == {odd.local_part: ("failed", "5.6.7")}
    assert talk.begin_with(envelope(odd, BOB)) == b""
    assert words(talk.finished()) == {"bob": ("failed", "5.6.7")}


def test_some_recipients_refused(talk: Talk) -> None:
    """Each recipient has the outcome that the next hop gave it; the others get the message."""
    talk.begin(BOB, CAT, DAN)
    talk.hear(b"250 ok\r\n550-5.1.1 no\r\n550 5.1.1 such\r\n250 ok\r\n450 4.2.1 busy\r\n354 go\r\n")
    assert talk.take() == [ContentWanted()]
    talk.send(b"x")
    talk.hear(b"250 2.0.0 ok\r\n")
    outcome = talk.finished()
    assert words(outcome) == {
        "bob": ("failed", "5.1.1"),
        "cat": ("relayed", "2.0.0"),
        "dan": ("delayed", "4.2.1"),
    }
    assert outcome[BOB].diagnostic == "550 5.1.1 no such"


def test_lone_dot_when_all_are_refused_yet_data_is_taken(talk: Talk) -> None:
    """Without a recipient left, a 354 is answered by a lone dot, not by the message."""
    talk.begin(BOB, CAT)
    assert talk.hear(b"250 ok\r\n550 5.1.1 no\r\n450 4.2.1 no\r\n354 go\r\n") == b".\r\n"
    assert talk.take() == []
    talk.hear(b"554 5.5.1 no recipients\r\n")
    assert words(talk.finished()) == {"bob": ("failed", "5.1.1"), "cat": ("delayed", "4.2.1")}
    assert not talk.begin(BOB).startswith(b"RSET")


def test_reset_before_the_next_message_when_one_was_not_completed(talk: Talk) -> None:
    """What an uncompleted transaction left at the next hop is reset, without a round trip."""
    talk.begin(BOB)
    talk.hear(b"250 ok\r\n550 5.1.1 no\r\n554 5.5.1 none\r\n")
    assert words(talk.finished()) == {"bob": ("failed", "5.1.1")}
    assert talk.begin(CAT).startswith(b"RSET\r\nMAIL FROM")
    talk.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert talk.take() == [ContentWanted()]


def test_reset_one_by_one(slow: Talk) -> None:
    """The same without PIPELINING; DATA isn't tried without a recipient."""
    slow.begin(BOB)
    slow.hear(b"250 ok\r\n")
    assert slow.hear(b"550 no\r\n") == b""
    assert words(slow.finished()) == {"bob": ("failed", "5.0.0")}
    assert slow.begin(CAT) == b"RSET\r\n"
    assert slow.hear(b"250 ok\r\n").startswith(b"MAIL FROM")


def test_mail_refused(talk: Talk) -> None:
    """A refused sender is the outcome for every recipient."""
    talk.begin(BOB, CAT)
    assert talk.hear(b"553 5.7.1 not you\r\n503 x\r\n503 x\r\n503 x\r\n") == b""
    outcome = talk.finished()
    assert words(outcome) == {"bob": ("failed", "5.7.1"), "cat": ("failed", "5.7.1")}
    assert outcome[BOB].diagnostic == "553 5.7.1 not you"


def test_mail_refused_one_by_one(slow: Talk) -> None:
    """The same without PIPELINING: no further command is sent."""
    slow.begin(BOB)
    assert slow.hear(b"450 4.7.1 later\r\n") == b""
    assert words(slow.finished()) == {"bob": ("delayed", "4.7.1")}


def test_no_message_after_mail_was_refused(talk: Talk) -> None:
    """A next hop that refuses MAIL but takes RCPT and DATA gets neither message nor dot."""
    talk.begin(BOB)
    assert talk.hear(b"450 4.7.1 later\r\n250 ok\r\n354 go\r\n") == b""
    finished, ended = talk.take()
    assert words(finished.outcome) == {"bob": ("delayed", "4.7.1")}
    assert isinstance(ended, Ended)


@pytest.mark.parametrize("code", [b"530 5.7.0", b"534 5.7.9", b"538 5.7.11"])
def test_a_session_without_login_delays(talk: Talk, code: bytes) -> None:
    """ "Authentication required" is our own fault, and bounces nothing."""
    talk.begin(BOB)
    talk.hear(code + b" log in\r\n503 x\r\n503 x\r\n")
    ((action, status),) = words(talk.finished()).values()
    assert action == "delayed"
    assert status.startswith("4.7.")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"552 too many recipients", ("delayed", "4.0.0")),
        (b"552 5.5.3 too many recipients", ("delayed", "4.5.3")),
        (b"552 5.2.2 mailbox full", ("failed", "5.2.2")),
        (b"452 4.5.3 too many", ("delayed", "4.5.3")),
        (b"550", ("failed", "5.0.0")),
        (b"550 4.1.1 class of the code counts", ("failed", "5.1.1")),
        (b"550 5.1.1", ("failed", "5.1.1")),
        (b"550 5.1.1000 no such code", ("failed", "5.0.0")),
        (b"350 what", ("delayed", "4.0.0")),
    ],
)
def test_status_of_a_reply(talk: Talk, reply: bytes, expected: tuple[str, str]) -> None:
    """Code and enhanced code of a refusal give action and status."""
    talk.begin(BOB)
    talk.hear(b"250 ok\r\n" + reply + b"\r\n554 none\r\n")
    assert words(talk.finished()) == {"bob": expected}


def test_data_refused(talk: Talk) -> None:
    """A refusal of DATA or of the message is the outcome for those who were accepted."""
    talk.begin(BOB, CAT)
    talk.hear(b"250 ok\r\n550 5.1.1 no\r\n250 ok\r\n451 4.3.0 no\r\n")
    assert words(talk.finished()) == {"bob": ("failed", "5.1.1"), "cat": ("delayed", "4.3.0")}
    talk.begin(BOB, CAT)
    talk.hear(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n")
    talk.take()
    talk.send(b"x")
    talk.hear(b"554 5.6.0 spam\r\n")
    assert words(talk.finished()) == {"bob": ("failed", "5.1.1"), "cat": ("failed", "5.6.0")}


def test_refused_in_the_middle_of_the_message(talk: Talk) -> None:
    """A refusal while the message is on its way counts, and no end of data is sent."""
    talk.begin(BOB)
    talk.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    talk.session.content(b"half")
    talk.session.data_to_send()
    assert talk.hear(b"552 5.3.4 too big\r\n") == b""
    wanted, finished, ended = talk.take()
    assert wanted == ContentWanted()
    assert words(finished.outcome) == {"bob": ("failed", "5.3.4")}
    assert isinstance(ended, Ended)
    with pytest.raises(LocalProtocolError):
        talk.session.content(b"more")


# ---- what next hops do wrong ------------------------------------------------------------

DIALOGUE = [
    b"250 2.1.0 ok\r\n",
    b"550 5.1.1 no\r\n",
    b"250 ok\r\n",
    b"354 go\r\n",
    b"250 2.0.0 queued\r\n",
]


def at_stage(stage: int) -> Talk:
    """A session that has heard the first *stage* replies to a message for bob and cat."""
    talk = Talk("whole")
    talk.begin(BOB, CAT)
    for number, reply in enumerate(DIALOGUE[:stage]):
        talk.hear(reply)
        if number == 3:
            talk.send(b"x\r\n")
    talk.take()
    return talk


@pytest.mark.parametrize("stage", range(5))
def test_421_at_any_stage(stage: int) -> None:
    """421 delays whoever has no final word yet, and ends the session."""
    talk = at_stage(stage)
    talk.hear(b"421 4.3.2 going down\r\n")
    finished, ended = talk.take()
    assert finished.outcome[CAT].action is Action.DELAYED
    assert finished.outcome[CAT].diagnostic == "421 4.3.2 going down"
    assert (finished.outcome[BOB].action is Action.FAILED) == (stage >= 2)
    assert finished.begun == (stage >= 1)
    assert isinstance(ended, Ended)


@pytest.mark.parametrize("stage", range(5))
def test_closed_at_any_octet(stage: int) -> None:
    """Wherever the connection breaks, everybody has one outcome, and nobody a false success."""
    for octets in range(len(DIALOGUE[stage])):
        talk = at_stage(stage)
        talk.hear(DIALOGUE[stage][:octets])
        talk.session.receive_eof()
        finished, ended = talk.take()
        assert words(finished.outcome)["cat"] == ("delayed", "4.4.2")
        assert finished.begun == (stage >= 1)
        assert isinstance(ended, Ended)
        assert talk.session.data_to_send() == b""


@pytest.mark.parametrize("stage", range(5))
@pytest.mark.parametrize(
    "reply",
    [
        b"\r\n",
        b"ok\r\n",
        b"25 ok\r\n",
        b"25\r\n",
        b"2500 ok\r\n",
        b"150 ok\r\n",
        b"650 ok\r\n",
        b"250_ok\r\n",
        b"250-a\r\n251 b\r\n",
        b"250-a\r\nb\r\n",
        b"\xff\xfe\xfd\r\n",
        b"x" * (REPLY_LINE_OCTETS + 1),
        (b"250-" + b"x" * 1000 + b"\r\n") * 70,
    ],
)
def test_broken_replies(stage: int, reply: bytes) -> None:
    """What is no reply, or too long for one, ends the session; the message is delayed."""
    talk = at_stage(stage)
    talk.hear(reply)
    finished, ended = talk.take()
    assert words(finished.outcome)["cat"] == ("delayed", "4.5.0")
    assert ended.status.status == "4.5.0"
    assert len(ended.status.diagnostic) < 500


def test_reply_before_its_command() -> None:
    """A reply to a command that wasn't sent yet ends the session."""
    session = ClientSession("us.example", "hop.example")
    session.receive(GREETING + PLAIN_EHLO)
    event = session.next_event()
    assert isinstance(event, Ended)
    assert session.data_to_send() == b""
    talk = Talk("whole", PLAIN_EHLO)
    talk.begin(BOB)
    talk.hear(b"250 ok\r\n250 ok\r\n")
    finished, _ended = talk.take()
    assert words(finished.outcome) == {"bob": ("delayed", "4.5.0")}


def test_reply_without_a_command(talk: Talk) -> None:
    """Nothing may come while nothing was asked, but for a 421."""
    talk.hear(b"250 ok\r\n")
    (event,) = talk.take()
    assert event.status.status == "4.5.0"


@pytest.mark.parametrize("last", [b"421 4.3.2 down\r\n", b"nonsense\r\n"])
def test_the_end_comes_with_the_reply_before_it(last: bytes) -> None:
    """Where one segment brings a reply and the end, the driver is not asked to go on."""
    talk = Talk("whole")
    talk.session = ClientSession("us.example", "hop.example", verified=True)
    talk.hear(GREETING)
    talk.hear(b"250-hop.example\r\n250 AUTH PLAIN\r\n" + last)
    assert [type(event) for event in talk.take()] == [Ended]

    talk = Talk("whole", PLAIN_EHLO)
    talk.begin(BOB)
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n" + last):
        talk.hear(reply)
    assert [type(event) for event in talk.take()] == [Finished, Ended]


def test_words_of_the_peer_are_made_safe(talk: Talk) -> None:
    """Control characters of a reply don't reach logs or reports; other text does."""
    talk.begin(BOB)
    talk.hear(b"250 ok\r\n550 5.1.1 \x1b[31m n\xc3\xb6 \xff \x00\r\n554 none\r\n")
    (status,) = talk.finished().values()
    assert status.diagnostic == "550 5.1.1 \\x1b[31m nö \\xff \\x00"


def test_address_with_a_line_of_its_own(talk: Talk) -> None:
    """An address that would smuggle in a command is an error of ours; nothing is sent."""
    evil = Mailbox("x>\r\nRCPT TO:<y", "z.example")
    with pytest.raises(LocalProtocolError):
        talk.begin(BOB, evil)
    assert talk.session.data_to_send() == b""
    assert talk.session.is_ready


def test_quit(talk: Talk) -> None:
    """QUIT ends in order, whatever is answered, and even if nothing is."""
    talk.session.quit()
    assert talk.session.data_to_send() == b"QUIT\r\n"
    talk.hear(b"221 bye\r\n")
    assert talk.take() == [Ended(None)]
    other = Talk("whole")
    other.session.quit()
    other.session.receive_eof()
    assert other.take() == [Ended(None)]


def test_calls_out_of_turn(talk: Talk) -> None:
    """What the state doesn't allow is refused at once, before it does harm."""
    talk.begin(BOB)
    for call in (
        talk.session.quit,
        talk.session.starttls,
        talk.session.end_of_content,
        lambda: talk.session.content(b""),
        lambda: talk.begin(BOB),
    ):
        with pytest.raises(LocalProtocolError):
            call()


@given(st.lists(st.binary(max_size=12) | st.sampled_from([GREETING, EHLO, *DIALOGUE])))
def test_any_octets_at_all(pieces: list[bytes]) -> None:
    """Whatever a next hop says, there is at most one outcome, one end, and no exception."""
    session = ClientSession("us.example", "hop.example")
    events: list[Any] = []
    for piece in pieces:
        session.receive(piece)
        while (event := session.next_event()) is not None:
            events.append(event)
            if isinstance(event, Hello):
                what = envelope(ANN, BOB, CAT)
                session.begin(what, what.recipients, 1, NOW_S)
            elif isinstance(event, ContentWanted):
                session.content(b"x")
                session.end_of_content()
        session.data_to_send()
    session.receive_eof()
    while (event := session.next_event()) is not None:
        events.append(event)
    kinds = [type(event) for event in events]
    assert kinds.count(Ended) == 1
    assert kinds[-1] is Ended
    assert kinds.count(Finished) == kinds.count(Hello)
