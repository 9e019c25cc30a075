"""What becomes of the extensions of an envelope at next hops that offer them, or don't."""

from typing import Any

import attrs
import pytest

from submitd.mail.address import Mailbox
from submitd.mail.envelope import DeliverBy, Envelope, Recipient
from submitd.smtp.client import ClientSession
from submitd.smtp.client_events import ContentWanted, Ended, Finished, InspectionWanted
from submitd.smtp.client_extensions import AT_ONCE_OCTETS, Unfit
from submitd.smtp.client_replies import Stage
from submitd.smtp.errors import LocalProtocolError
from tests.support.talk import ANN, BOB, CAT, NOW_S, Talk, envelope, offering, words

BUECHER = Mailbox("info", "b\u00fccher.example")
JOSE = Mailbox("jos\u00e9", "bob.example")
UTF8 = ("PIPELINING", "8BITMIME", "SMTPUTF8")
CHUNKING = ("PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME")


@pytest.fixture(params=["whole", "octets", "random"])
def split(request: pytest.FixtureRequest) -> str:
    """How the peer's octets are cut."""
    return str(request.param)


def said(what: Envelope, *keywords: str, verified: bool = False, login: bool = False) -> str:
    """All that is said at the beginning to a next hop that offers these; "" when refused."""
    talk = Talk("whole", offering(*keywords, "AUTH PLAIN"))
    talk.session.verified = verified
    if login:
        talk.session.authenticate("org", "secret")
        talk.session.data_to_send()
        talk.hear(b"235 welcome\r\n")
    return talk.begin_with(what).decode()


def refused(what: Envelope, *keywords: str, verified: bool = False) -> dict[str, tuple[str, str]]:
    """The outcome of an envelope of which nothing is said."""
    talk = Talk("whole", offering(*keywords))
    talk.session.verified = verified
    assert talk.begin_with(what) == b""
    return words(talk.finished())


# ---- DSN --------------------------------------------------------------------------------

DSN = attrs.evolve(
    envelope(ANN, BOB),
    ret="HDRS",
    envelope_id="QQ314159+2B",
    recipients=(
        Recipient(BOB, frozenset({"FAILURE", "SUCCESS"}), "rfc822;bob+2Bold@example.net"),
        Recipient(Mailbox("a+b=c", "cat.example"), frozenset({"NEVER"})),
        Recipient(CAT),
    ),
)


def test_dsn_is_passed_on(split: str) -> None:
    """RET, ENVID, NOTIFY and ORCPT go to a next hop with DSN, which answers for reports then."""
    talk = Talk(split, offering("PIPELINING", "DSN"))
    assert talk.begin_with(DSN) == (
        b"MAIL FROM:<ann@ann.example> RET=HDRS ENVID=QQ314159+2B\r\n"
        b"RCPT TO:<bob@bob.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob+2Bold@example.net\r\n"
        b"RCPT TO:<a+b=c@cat.example> NOTIFY=NEVER ORCPT=rfc822;a+2Bb+3Dc@cat.example\r\n"
        b"RCPT TO:<cat@cat.example>\r\nDATA\r\n"
    )
    talk.hear(b"250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n")
    talk.take()
    talk.send(b"x")
    talk.hear(b"250 ok\r\n")
    passed_on = [status.dsn_passed_on for status in talk.finished().values()]
    assert sorted(passed_on) == [False, True, True]


def test_dsn_that_is_not_offered(split: str) -> None:
    """Nothing of it is said to others, and reports stay ours."""
    talk = Talk(split, offering("PIPELINING"))
    assert b"=" not in talk.begin_with(DSN).replace(b"a+b=c@", b"")
    talk.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    talk.take()
    talk.send(b"x")
    talk.hear(b"250 ok\r\n")
    assert not any(status.dsn_passed_on for status in talk.finished().values())


def test_internationalised_orcpt() -> None:
    """ORCPT of type utf-8 has a form in ASCII for a next hop without SMTPUTF8 (RFC 6533)."""
    what = attrs.evolve(DSN, recipients=(Recipient(BOB, None, "utf-8;jos\u00e9@example"),))
    assert "ORCPT=utf-8;jos\\x{E9}@example\r\n" in said(what, "PIPELINING", "DSN")
    assert "ORCPT=utf-8;jos\u00e9@example\r\n" in said(what, "DSN", *UTF8)


# ---- SMTPUTF8 ---------------------------------------------------------------------------


def test_utf8_addresses_to_those_who_take_them() -> None:
    """Addresses go as they are where SMTPUTF8 is offered, and MAIL says so."""
    what = attrs.evolve(envelope(JOSE, BUECHER), utf8=True)
    assert said(what, *UTF8).startswith(
        "MAIL FROM:<jos\u00e9@bob.example> SMTPUTF8\r\nRCPT TO:<info@b\u00fccher.example>\r\n"
    )
    assert " SMTPUTF8\r\n" in said(envelope(None, JOSE), *UTF8)
    assert " SMTPUTF8\r\n" not in said(envelope(ANN, BOB), *UTF8)


def test_domains_have_an_ascii_form(split: str) -> None:
    """Without SMTPUTF8 a domain goes as A-labels; an address beyond that fails alone."""
    talk = Talk(split, offering("PIPELINING", "8BITMIME"))
    assert talk.begin_with(envelope(BUECHER, BUECHER, JOSE)) == (
        b"MAIL FROM:<info@xn--bcher-kva.example>\r\n"
        b"RCPT TO:<info@xn--bcher-kva.example>\r\nDATA\r\n"
    )
    talk.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    talk.take()
    talk.send(b"x")
    talk.hear(b"250 ok\r\n")
    assert words(talk.finished()) == {
        "info": ("relayed", "2.0.0"),
        JOSE.local_part: ("failed", "5.6.7"),
    }


def test_sender_beyond_ascii() -> None:
    """A sender without an ASCII form, or a domain that is none, fails for all."""
    assert refused(envelope(JOSE, BOB)) == {"bob": ("failed", "5.6.7")}
    assert refused(envelope(Mailbox("a", "\u2028.example"), BOB)) == {"bob": ("failed", "5.6.7")}


@pytest.mark.parametrize("fits", [True, False])
def test_header_is_looked_at_where_smtputf8_lacks(split: str, fits: bool) -> None:
    """An internationalised message goes without SMTPUTF8 if its header is ASCII, else fails."""
    talk = Talk(split, offering("PIPELINING", "8BITMIME"))
    what = attrs.evolve(envelope(ANN, BOB, body="8BITMIME"), utf8=True)
    assert talk.begin_with(what) == b""
    assert talk.take() == [InspectionWanted("8BITMIME", True)]
    assert talk.session.waiting_for is None
    talk.session.inspected(None if fits else Unfit("5.6.9", "no"))
    if fits:
        assert talk.session.data_to_send() == (
            b"MAIL FROM:<ann@ann.example> BODY=8BITMIME\r\nRCPT TO:<bob@bob.example>\r\nDATA\r\n"
        )
    else:
        assert talk.session.data_to_send() == b""
        assert words(talk.finished()) == {"bob": ("failed", "5.6.9")}


# ---- 8BITMIME, BINARYMIME, CHUNKING -----------------------------------------------------


@pytest.mark.parametrize(
    ("body", "keywords", "becomes"),
    [
        ("7BIT", (), "7BIT"),
        ("8BITMIME", ("8BITMIME",), "8BITMIME"),
        ("8BITMIME", ("BINARYMIME", "CHUNKING"), "7BIT"),
        ("BINARYMIME", ("BINARYMIME", "CHUNKING"), "BINARYMIME"),
        ("BINARYMIME", ("BINARYMIME", "8BITMIME"), "8BITMIME"),
        ("BINARYMIME", ("CHUNKING", "8BITMIME"), "8BITMIME"),
        ("BINARYMIME", ("BINARYMIME",), "7BIT"),
        ("BINARYMIME", (), "7BIT"),
    ],
)
def test_what_content_has_to_become(body: Any, keywords: tuple[str, ...], becomes: str) -> None:
    """Content goes as it is declared where that is offered, else as the best that is."""
    talk = Talk("whole", offering("SIZE", *keywords))
    sent = talk.begin_with(envelope(ANN, BOB, body=body))
    if body != becomes:
        assert sent == b""
        assert talk.take() == [InspectionWanted(becomes, False)]  # type: ignore[arg-type]
        talk.session.inspected(None)
        sent = talk.session.data_to_send()
    parameter = b"" if becomes == "7BIT" else b" BODY=" + becomes.encode()
    # How long it will be is not known before it is converted.
    size = b" SIZE=100" if body == becomes else b""
    assert sent == b"MAIL FROM:<ann@ann.example>" + size + parameter + b"\r\n"


def test_unconvertible_content_fails() -> None:
    """What can't be converted fails, and nothing of it is sent."""
    talk = Talk("whole", offering())
    assert talk.begin_with(envelope(ANN, BOB, CAT, body="8BITMIME")) == b""
    talk.take()
    talk.session.inspected(Unfit("5.6.3", "signed"))
    assert words(talk.finished()) == {"bob": ("failed", "5.6.3"), "cat": ("failed", "5.6.3")}
    assert talk.begin() == b"MAIL FROM:<ann@ann.example>\r\n"


def test_connection_lost_while_content_is_looked_at() -> None:
    """A connection that ends meanwhile ends the transaction as one that had not begun."""
    for end in (ClientSession.receive_eof, lambda s: s.receive(b"421 4.3.2 bye\r\n")):
        talk = Talk("whole", offering())
        talk.begin_with(envelope(ANN, BOB, body="8BITMIME"))
        end(talk.session)
        finished, ended = talk.take()
        assert isinstance(finished, Finished)
        assert isinstance(ended, Ended)
        assert not finished.begun
        with pytest.raises(LocalProtocolError):
            talk.session.inspected(None)


def test_a_small_message_is_one_write(split: str) -> None:
    """With CHUNKING, envelope and content go together, and one round trip does for both."""
    talk = Talk(split, offering(*CHUNKING))
    talk.session.begin(*begin(BOB, CAT, size=4))
    assert talk.take() == [ContentWanted()]
    assert talk.send(b".\r\n\x00") == (
        b"MAIL FROM:<ann@ann.example>\r\nRCPT TO:<bob@bob.example>\r\n"
        b"RCPT TO:<cat@cat.example>\r\nBDAT 4 LAST\r\n.\r\n\x00"
    )
    assert talk.session.waiting_for is Stage.MAIL
    assert talk.hear(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n") == b""
    assert talk.session.waiting_for is Stage.END_OF_DATA
    talk.hear(b"250 2.6.0 ok\r\n")
    assert words(talk.finished()) == {"bob": ("relayed", "2.6.0"), "cat": ("failed", "5.1.1")}
    assert talk.begin(BOB, size=0) == (
        b"MAIL FROM:<ann@ann.example>\r\nRCPT TO:<bob@bob.example>\r\n"
    )
    assert talk.send() == b"BDAT 0 LAST\r\n"


def begin(*mailboxes: Mailbox, size: int, body: Any = "7BIT") -> Any:
    """The arguments of `ClientSession.begin`."""
    what = envelope(ANN, *mailboxes, body=body)
    return what, what.recipients, size, NOW_S


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (b"550 5.7.1 no\r\n503 x\r\n503 x\r\n503 x\r\n", ("failed", "5.7.1")),
        (b"450 4.7.1 no\r\n250 ok\r\n250 ok\r\n503 x\r\n", ("delayed", "4.7.1")),
        (b"250 ok\r\n550 5.1.1 a\r\n550 5.1.1 b\r\n554 none\r\n", ("failed", "5.1.1")),
        (b"250 ok\r\n250 ok\r\n250 ok\r\n554 5.6.0 spam\r\n", ("failed", "5.6.0")),
        (b"250 ok\r\n250 ok\r\n250 ok\r\n452 4.3.1 full\r\n", ("delayed", "4.3.1")),
    ],
)
def test_refused_after_all_was_sent(split: str, replies: bytes, expected: tuple[str, str]) -> None:
    """Refusals count as ever; what they leave at the next hop is reset."""
    talk = Talk(split, offering(*CHUNKING))
    talk.begin(BOB, CAT, size=1)
    talk.take()
    talk.send(b"x")
    assert talk.hear(replies) == b""
    assert words(talk.finished()) == {"bob": expected, "cat": expected}
    assert talk.begin(BOB).startswith(b"RSET\r\nMAIL")


@pytest.mark.parametrize("replies", [b"550 no\r\n503 x\r\n", b"250 ok\r\n550 no\r\n"])
def test_refused_before_the_content_was_there(split: str, replies: bytes) -> None:
    """When the envelope is refused while content is still being read, it is not sent."""
    talk = Talk(split, offering(*CHUNKING))
    assert b"BDAT" not in talk.begin(BOB, size=1)
    assert talk.hear(replies) == b""
    wanted, finished = talk.take()
    assert wanted == ContentWanted()
    assert words(finished.outcome)["bob"][0] == "failed"
    assert talk.session.is_ready
    with pytest.raises(LocalProtocolError):
        talk.session.content(b"x")


@pytest.mark.parametrize(
    "replies", [b"550 no\r\n250 ok\r\n250 ok\r\n", b"250 a\r\n550 b\r\n250 c\r\n"]
)
def test_content_taken_against_its_own_word(replies: bytes) -> None:
    """A next hop that takes content for an envelope it refused is left at once."""
    talk = Talk("whole", offering(*CHUNKING))
    talk.begin(BOB, size=1)
    talk.take()
    talk.send(b"x")
    talk.hear(replies)
    finished, ended = talk.take()
    assert words(finished.outcome)["bob"][0] == "failed"
    assert isinstance(ended, Ended)


def test_large_content_waits_for_the_envelope(split: str) -> None:
    """Above a size nothing is sent before somebody is accepted: BDAT if binary, else DATA."""
    size = AT_ONCE_OCTETS + 1
    talk = Talk(split, offering(*CHUNKING))
    assert talk.begin(BOB, size=size).endswith(b"\r\nDATA\r\n")
    talk.hear(b"250 ok\r\n550 5.1.1 no\r\n554 none\r\n")
    talk.take()
    talk.session.begin(*begin(BOB, size=size, body="BINARYMIME"))
    assert talk.session.data_to_send().endswith(b"RCPT TO:<bob@bob.example>\r\n")
    assert talk.take() == []
    talk.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n")
    assert talk.take() == [ContentWanted()]
    talk.session.content(b"x" * AT_ONCE_OCTETS)
    assert talk.session.data_to_send().startswith(b"BDAT %d LAST\r\nxx" % size)
    with pytest.raises(LocalProtocolError):
        talk.session.end_of_content()
    with pytest.raises(LocalProtocolError):
        talk.session.content(b"12")
    assert talk.send(b"\n") == b"\n"


def test_binary_content_one_by_one(split: str) -> None:
    """The same without PIPELINING; nothing is sent for nobody."""
    talk = Talk(split, offering("BINARYMIME", "CHUNKING"))
    for reply, last in ((b"250 ok\r\n", b"BDAT 1 LAST\r\n\x00"), (b"550 no\r\n", b"")):
        talk.session.begin(*begin(BOB, size=1, body="BINARYMIME"))
        assert talk.session.data_to_send().startswith(b"MAIL FROM:<ann@ann.example> BODY=BINARYM")
        talk.hear(b"250 ok\r\n")
        talk.hear(reply)
        if last:
            assert talk.take() == [ContentWanted()]
            assert talk.send(b"\x00") == last
            talk.hear(b"250 ok\r\n")
        assert len(talk.finished()) == 1


# ---- TLS, time, priority, AUTH= ---------------------------------------------------------

SECRET = attrs.evolve(envelope(ANN, BOB), require_tls=True)


def test_require_tls() -> None:
    """REQUIRETLS goes on over verified TLS to those who offer it, and nowhere else."""
    assert " REQUIRETLS\r\n" in said(SECRET, "REQUIRETLS", verified=True)
    assert refused(SECRET, verified=True) == {"bob": ("failed", "5.7.30")}
    in_clear = {"bob": ("failed", "5.7.10")}
    assert refused(SECRET, "REQUIRETLS", verified=False) == in_clear
    assert refused(SECRET) == in_clear


def test_report_on_a_require_tls_message() -> None:
    """A report is not lost where REQUIRETLS can't be had (RFC 8689 §5)."""
    report = attrs.evolve(SECRET, reverse_path=None)
    assert " REQUIRETLS\r\n" in said(report, "REQUIRETLS", verified=True)
    assert "REQUIRETLS" not in said(report, verified=True)
    assert "REQUIRETLS" not in said(report, "REQUIRETLS", verified=False)


def test_priority() -> None:
    """A priority is passed on where it is understood, else dropped (RFC 6710)."""
    urgent = attrs.evolve(envelope(ANN, BOB), priority=-3)
    assert " MT-PRIORITY=-3\r\n" in said(urgent, "MT-PRIORITY MIXER")
    assert "PRIORITY" not in said(urgent)
    assert "PRIORITY" not in said(envelope(ANN, BOB), "MT-PRIORITY")


@pytest.mark.parametrize(
    ("mode", "left_s", "keyword", "expected"),
    [
        ("R", 120.5, "DELIVERBY", " BY=120;R\r\n"),
        ("R", 120, "DELIVERBY 120", " BY=120;R\r\n"),
        ("R", 119, "DELIVERBY 120", "5.4.7"),
        ("R", 0.5, "DELIVERBY", "5.4.7"),
        ("R", -5, "X", "5.4.7"),
        ("R", 120, "X", "5.3.3"),
        ("N", 60, "DELIVERBY 120", " BY=60;N\r\n"),
        ("N", -60, "DELIVERBY", " BY=-60;N\r\n"),
        ("N", 60, "X", "example>\r\n"),
        ("N", 1e12, "DELIVERBY", " BY=999999999;N\r\n"),
    ],
)
def test_deliver_by(mode: Any, left_s: float, keyword: str, expected: str) -> None:
    """The time left is passed on; mode R goes to nobody who can't keep to it."""
    what = attrs.evolve(envelope(ANN, BOB), deliver_by=DeliverBy(NOW_S + left_s, mode))
    if expected.startswith("5"):
        assert refused(what, keyword) == {"bob": ("failed", expected)}
    else:
        assert said(what, keyword).endswith(expected)


@pytest.mark.parametrize("offered", [True, False])
def test_who_watches_the_time(split: str, offered: bool) -> None:
    """The outcome tells whether the next hop that took a message knows of DELIVERBY."""
    talk = Talk(split, offering("PIPELINING", *["DELIVERBY"] * offered))
    talk.begin_with(attrs.evolve(envelope(ANN, BOB), deliver_by=DeliverBy(NOW_S + 60, "N")))
    talk.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    talk.take()
    talk.send(b"x")
    talk.hear(b"250 ok\r\n")
    assert [status.deliver_by_passed_on for status in talk.finished().values()] == [offered]


def test_deliver_by_with_trace() -> None:
    """The trace flag goes along."""
    what = attrs.evolve(envelope(ANN, BOB), deliver_by=DeliverBy(NOW_S + 9.9, "N", trace=True))
    assert " BY=9;NT\r\n" in said(what, "DELIVERBY")


def test_nobody_is_vouched_for() -> None:
    """Where we have logged in, MAIL says that the submitter's identity is not passed on."""
    assert " AUTH=<>\r\n" in said(envelope(ANN, BOB), verified=True, login=True)
    assert "AUTH" not in said(envelope(ANN, BOB), verified=True)


def test_ignored_extensions() -> None:
    """What the configuration names counts as not offered."""
    session = ClientSession("us.example", "hop.example", ignored={"CHUNKING"})
    session.receive(b"220 hi\r\n")
    session.data_to_send()
    session.receive(offering("chunking", "DSN"))
    assert session.extensions == {"DSN": ""}
