"""Reports of delivery, delay and failure."""

import email
import email.policy
import re
from collections.abc import Mapping
from email.message import EmailMessage

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from submitd.mail.address import Mailbox
from submitd.mail.envelope import Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.message.dsn import ORIGINAL_HEADER_OCTETS, Original, ReportFacts, delivery_report

FACTS = ReportFacts(
    hostname="mail.example.org",
    recipient=Mailbox("alice", "example.org"),
    queue_id="4ABC",
    arrived_s=1_763_760_000,
    now_s=1_763_760_060,
    utc_offset_minutes=60,
    random="r4nd",
)
BOB = Mailbox("bob", "example.net")
CAROL = Mailbox("carol c", "example.com")
NO_USER = DeliveryStatus(
    Action.FAILED, "5.1.1", "550 5.1.1 No such user", "mx.example.net", smtp_reply=True
)
EXPIRED = DeliveryStatus(Action.FAILED, "4.4.7", "no answer for 5 days")
HEADER = b"Subject: hello\r\n there\r\nMessage-ID:\r\n <a@laptop>\r\n\r\n"
DELAYED = DeliveryStatus(Action.DELAYED, "4.4.1", "no answer")
RELAYED = DeliveryStatus(Action.RELAYED, "2.0.0", "250 2.0.0 Ok", "mx.example.net", smtp_reply=True)
DELIVERED = DeliveryStatus(Action.DELIVERED, "2.1.5", "stored in bob", "maildir")
EXPANDED = DeliveryStatus(Action.EXPANDED, "2.0.0", "40 members", "list")


def make(
    outcome: Mapping[Mailbox, DeliveryStatus],
    header: bytes = HEADER,
    facts: ReportFacts = FACTS,
    whole: bool = False,
) -> bytes:
    """A report about recipients without parameters of their own."""
    about = [(Recipient(mailbox), status) for mailbox, status in outcome.items()]
    return delivery_report(facts, about, Original(header, whole))


def parse(report: bytes) -> EmailMessage:
    """Check what holds for the octets of each report, and read it with Python's parser."""
    assert report.isascii()
    assert report.endswith(b"\r\n")
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", report)
    assert max(map(len, report.split(b"\r\n"))) <= 998
    message = email.message_from_bytes(report, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def test_report() -> None:
    """A report has the parts and fields of RFC 3464, for each recipient that failed."""
    message = parse(make({BOB: NO_USER, CAROL: EXPIRED}, HEADER))
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@mail.example.org>"
    assert message["To"] == "alice@example.org"
    assert message["Date"] == "Fri, 21 Nov 2025 22:21:00 +0100"
    assert message["Subject"]
    assert message["Message-ID"] == "<r4nd.4ABC@mail.example.org>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["In-Reply-To"] == message["References"] == "<a@laptop>"
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"

    human, status, original = message.iter_parts()
    assert human.get_content_type() == "text/plain"
    assert status.get_content_type() == "message/delivery-status"
    assert original.get_content_type() == "text/rfc822-headers"
    whole, bob, carol = (dict(part.items()) for part in status.iter_parts())
    assert whole == {
        "Reporting-MTA": "dns; mail.example.org",
        "Arrival-Date": "Fri, 21 Nov 2025 22:20:00 +0100",
    }
    assert bob == {
        "Final-Recipient": "rfc822; bob@example.net",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.net",
        "Diagnostic-Code": "smtp; 550 5.1.1 No such user",
    }
    assert carol == {
        "Final-Recipient": 'rfc822; "carol c"@example.com',
        "Action": "failed",
        "Status": "4.4.7",
        "Diagnostic-Code": "x-submitd; no answer for 5 days",
    }
    assert original.get_payload(decode=True) == HEADER.removesuffix(b"\r\n")


def test_text_for_people() -> None:
    """The first part tells who, why in the next hop's words, and what to do."""
    message = parse(make({BOB: NO_USER, CAROL: EXPIRED}, HEADER))
    text = next(message.iter_parts()).get_content()
    for said in (
        *("mail.example.org", "Fri, 21 Nov 2025", "<bob@example.net>", "4ABC"),
        *("The server mx.example.net answered:", "550 5.1.1 No such user", "typing errors"),
        *('<"carol c"@example.com>', "no answer for 5 days", "Send the message again later"),
    ):
        assert said in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 76


def test_nobody_to_report_about() -> None:
    """A report is about somebody."""
    with pytest.raises(ValueError, match="nobody"):
        make({})


@pytest.mark.parametrize(
    ("status", "subject", "said"),
    [
        (NO_USER, "Undelivered", "could not be delivered to the address below"),
        (DELAYED, "Delayed", "will be tried until Wed, 26 Nov 2025 22:20:00 +0100"),
        (RELAYED, "passed on", "for the address below to the next server"),
        (EXPANDED, "list", "to the members of the list"),
        (DELIVERED, "Mail delivered", "was delivered to the address below"),
    ],
)
def test_each_action(status: DeliveryStatus, subject: str, said: str) -> None:
    """Each action has its words for people, and its field and code for programs."""
    facts = attrs.evolve(FACTS, retry_until_s=FACTS.arrived_s + 432_000.0)
    message = parse(make({BOB: status}, facts=facts))
    assert subject in message["Subject"]
    human, fields, _original = message.iter_parts()
    text = " ".join(human.get_content().split())
    assert said in text
    assert status.diagnostic in text
    assert ("typing errors" in text) == (status.action is Action.FAILED)
    _whole, bob = fields.iter_parts()
    assert (bob["Action"], bob["Status"]) == (status.action.value, status.status)
    assert (bob["Will-Retry-Until"] is not None) == (status.action is Action.DELAYED)


def test_mixed_actions() -> None:
    """One report tells of all that happened, the worst first, each under its own words."""
    dave = Mailbox("dave", "example.net")
    message = parse(make({BOB: RELAYED, CAROL: NO_USER, dave: DELAYED}))
    assert message["Subject"].startswith("Undelivered")
    human, fields, _original = message.iter_parts()
    text = " ".join(human.get_content().split())
    places = [
        text.index(said)
        for said in (
            "could not be",
            '"carol c"',
            "not been delivered yet",
            "dave@",
            "passed",
            "bob@",
        )
    ]
    assert places == sorted(places)
    actions = [part["Action"] for part in fields.iter_parts()]
    assert actions == [None, "relayed", "failed", "delayed"]


@pytest.mark.parametrize(
    ("original", "field"),
    [
        ("rfc822;bob+40example.net", "rfc822; bob@example.net"),
        ("RFC822;Bob+2Btag@example.net", "RFC822; Bob+tag@example.net"),
        ("x400;/C=US/+2F", "x400; /C=US//"),
        ("rfc822;a+0D+0ATo:+20x@example.net", "rfc822; a To: x@example.net"),
        ("rfc822;" + "a" * 480, "rfc822; " + "a" * 480),
        (r"utf-8;b\x{F6}b@example.net", r"utf-8; b\x{F6}b@example.net"),
        (None, None),
    ],
)
def test_original_recipient(original: str | None, field: str | None) -> None:
    """ORCPT comes back decoded (RFC 3461 §6.3), and can't add lines of its own."""
    report = delivery_report(
        FACTS, [(Recipient(BOB, original=original), NO_USER)], Original(HEADER)
    )
    _human, fields, _original = parse(report).iter_parts()
    _whole, bob = fields.iter_parts()
    assert bob["Original-Recipient"] == field


@pytest.mark.parametrize(
    ("envelope_id", "field"),
    [(None, None), ("QQ314159", "QQ314159"), ("a+20b+3Dc", "a b=c"), ("a+0D+0Ab", "a b")],
)
def test_envelope_id(envelope_id: str | None, field: str | None) -> None:
    """ENVID comes back decoded (RFC 3461 §6.3)."""
    message = parse(make({BOB: NO_USER}, facts=attrs.evolve(FACTS, envelope_id=envelope_id)))
    _human, fields, _original = message.iter_parts()
    assert next(fields.iter_parts())["Original-Envelope-Id"] == field


def test_whole_message() -> None:
    """A message that goes back whole does so to the octet, and the text says it is attached."""
    content = HEADER + b"hello\r\n.\r\n\r\nno end"
    message = parse(make({BOB: NO_USER}, content, whole=True))
    human, _status, original = message.iter_parts()
    assert "details and the message are attached" in " ".join(human.get_content().split())
    assert original.get_content_type() == "message/rfc822"
    assert b"\r\n\r\n" + content + b"\r\n--report-r4nd--\r\n" in make(
        {BOB: NO_USER}, content, whole=True
    )
    assert message["In-Reply-To"] == "<a@laptop>"


def test_whole_message_of_eight_bits() -> None:
    """A whole message of 8 bits is not changed either: the report is 8-bit then, and says so."""
    content = HEADER + b"gr\xfc\xdfe\r\n"
    report = make({BOB: NO_USER}, content, whole=True)
    assert content in report
    message = email.message_from_bytes(report, policy=email.policy.default)
    assert message["Content-Transfer-Encoding"] == "8bit"
    original = list(message.iter_parts())[2]
    assert original["Content-Transfer-Encoding"] == "8bit"


UTF8 = attrs.evolve(FACTS, utf8=True)
JOERG = Mailbox("jörg", "bücher.example")


def test_utf8() -> None:
    """Beyond ASCII a report has the parts and the address type of RFC 6533."""
    original = r"utf-8;j\x{F6}rg@b\x{FC}cher.example"
    header = "Subject: Grüße\r\n\r\n".encode()
    status = attrs.evolve(NO_USER, diagnostic="550 5.1.1 nicht für uns")
    report = delivery_report(
        UTF8, [(Recipient(JOERG, original=original), status)], Original(header)
    )
    message = email.message_from_bytes(report, policy=email.policy.default)
    assert message["Content-Transfer-Encoding"] == "8bit"
    types = [part.get_content_type() for part in message.iter_parts()]
    assert types == ["text/plain", "message/global-delivery-status", "message/global-headers"]
    human = next(message.iter_parts()).get_content()
    assert "<jörg@bücher.example>" in human
    assert "nicht für uns" in human
    text = report.decode("utf-8")
    assert "Final-Recipient: utf-8; jörg@bücher.example\r\n" in text
    assert "Original-Recipient: utf-8; jörg@bücher.example\r\n" in text
    assert "Subject: Grüße\r\n" in text


def test_utf8_whole() -> None:
    """A whole message beyond ASCII goes back as message/global."""
    content = "Subject: Grüße\r\n\r\nhallo\r\n".encode()
    report = make({BOB: NO_USER}, content, UTF8, whole=True)
    assert b"Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n" in report
    assert content in report


def test_utf8_not_needed() -> None:
    """A message that came with SMTPUTF8 and didn't need it has an ordinary report."""
    assert make({BOB: NO_USER}, facts=UTF8) == make({BOB: NO_USER})


def test_addresses_beyond_ascii_without_smtputf8() -> None:
    """Without SMTPUTF8 an address beyond ASCII is written in ASCII (RFC 6533 §3)."""
    message = parse(make({JOERG: NO_USER}))
    _human, fields, _original = message.iter_parts()
    _whole, joerg = fields.iter_parts()
    assert joerg["Final-Recipient"] == r"utf-8; j\x{F6}rg@b\x{FC}cher.example"


def test_sender_beyond_ascii() -> None:
    """A sender beyond ASCII is addressed as such; the envelope must say SMTPUTF8."""
    report = make({BOB: NO_USER}, facts=attrs.evolve(UTF8, recipient=JOERG))
    assert "To: <jörg@bücher.example>\r\n".encode() in report


@pytest.mark.parametrize(
    "status", ["5.1.1", "5.2.2", "5.2.3", "5.3.4", "5.4.7", "5.7.1", "4.4.7", "5.0.0"]
)
def test_advice(status: str) -> None:
    """Whatever the status code, there is something to do."""
    failed = DeliveryStatus(Action.FAILED, status, "so it is")
    report = make({BOB: failed}, HEADER)
    assert re.search(rb" so it is\r\n    [A-Z][^<]+\.\r\n\r\nFor the mail admin", report)


@settings(deadline=None)
@given(
    diagnostic=st.one_of(st.text(max_size=200), st.text("aé\u4e00\U0001f600", min_size=900)),
    next_hop=st.one_of(st.none(), st.text(max_size=50)),
    header=st.one_of(st.binary(max_size=100), st.binary(min_size=900, max_size=1100)).map(
        lambda octets: b"Subject: " + octets.translate(None, bytes(range(32))) + b"\r\n\r\n"
    ),
)
def test_seven_bits(diagnostic: str, next_hop: str | None, header: bytes) -> None:
    """Whatever the next hop said and the message held, the report is 7-bit and well-formed."""
    failed = DeliveryStatus(Action.FAILED, "5.0.0", diagnostic, next_hop, smtp_reply=True)
    message = parse(make({BOB: failed}, header))
    _human, status, original = message.iter_parts()
    assert len(list(status.iter_parts())) == 2
    sent = b"" if b"\x7f" in header else header.removesuffix(b"\r\n")
    assert original.get_payload(decode=True) == sent


def test_original_header_is_bounded() -> None:
    """Of a long header the report has the first fields, each of them whole."""
    field = b"X: " + b"y" * 95 + b"\r\n"
    message = parse(make({BOB: NO_USER}, field * 1000 + b"\r\n"))
    original = list(message.iter_parts())[2].get_payload(decode=True)
    assert original == field * (ORIGINAL_HEADER_OCTETS // len(field))


def test_body_is_left_out() -> None:
    """Body octets that come along with the header do not get into the report."""
    report = make({BOB: NO_USER}, HEADER + b"secret\0\x0c\r\n")
    assert report == make({BOB: NO_USER}, HEADER)


def test_header_cut_short() -> None:
    """Of a header whose end did not come along, the lines that are whole are shown."""
    message = parse(make({BOB: NO_USER}, b"Subject: a\r\nTo: bob@exa"))
    assert list(message.iter_parts())[2].get_payload(decode=True) == b"Subject: a\r\n"


def test_status_that_is_none() -> None:
    """A status code that RFC 3463 does not know does not get into the report."""
    failed = DeliveryStatus(Action.FAILED, "5.1\r\nX: y", "no")
    _human, status, _original = parse(make({BOB: failed}, HEADER)).iter_parts()
    assert [part["Status"] for part in status.iter_parts()] == [None, "5.0.0"]


@pytest.mark.parametrize("value", [b"a@b", b"<a@b> <c@d>", b"<\xfc@b>", b"<a b@c>", b""])
def test_malformed_message_id(value: bytes) -> None:
    """A Message-ID that is none is not referred to."""
    message = parse(make({BOB: NO_USER}, b"Message-ID: " + value + b"\r\n\r\n"))
    assert message["In-Reply-To"] is None
