"""Reports of failed delivery."""

import email
import email.policy
import re
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from submitd.mail.address import Mailbox
from submitd.mail.status import Action, DeliveryStatus
from submitd.message.dsn import ORIGINAL_HEADER_OCTETS, ReportFacts, failure_report

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
    message = parse(failure_report(FACTS, {BOB: NO_USER, CAROL: EXPIRED}, HEADER))
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
    message = parse(failure_report(FACTS, {BOB: NO_USER, CAROL: EXPIRED}, HEADER))
    text = next(message.iter_parts()).get_content()
    for said in (
        *("mail.example.org", "Fri, 21 Nov 2025", "<bob@example.net>", "4ABC"),
        *("The server mx.example.net answered:", "550 5.1.1 No such user", "typing errors"),
        *('<"carol c"@example.com>', "no answer for 5 days", "Send the message again later"),
    ):
        assert said in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 76


def test_only_failures_are_told() -> None:
    """Recipients that were reached, or may be yet, are not in a failure report."""
    delivered = DeliveryStatus(Action.RELAYED, "2.0.0", "250 ok", "mx.example.net", smtp_reply=True)
    delayed = DeliveryStatus(Action.DELAYED, "4.4.1", "no answer")
    others = {CAROL: delivered, Mailbox("d", "example.net"): delayed}
    report = failure_report(FACTS, {**others, BOB: NO_USER}, HEADER)
    assert report == failure_report(FACTS, {BOB: NO_USER}, HEADER)
    with pytest.raises(ValueError, match="failed"):
        failure_report(FACTS, others, HEADER)


@pytest.mark.parametrize("status", ["5.1.1", "5.2.2", "5.2.3", "5.3.4", "5.7.1", "4.4.7", "5.0.0"])
def test_advice(status: str) -> None:
    """Whatever the status code, there is something to do."""
    failed = DeliveryStatus(Action.FAILED, status, "so it is")
    report = failure_report(FACTS, {BOB: failed}, HEADER)
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
    message = parse(failure_report(FACTS, {BOB: failed}, header))
    _human, status, original = message.iter_parts()
    assert len(list(status.iter_parts())) == 2
    sent = b"" if b"\x7f" in header else header.removesuffix(b"\r\n")
    assert original.get_payload(decode=True) == sent


def test_original_header_is_bounded() -> None:
    """Of a long header the report has the first fields, each of them whole."""
    field = b"X: " + b"y" * 95 + b"\r\n"
    message = parse(failure_report(FACTS, {BOB: NO_USER}, field * 1000 + b"\r\n"))
    original = list(message.iter_parts())[2].get_payload(decode=True)
    assert original == field * (ORIGINAL_HEADER_OCTETS // len(field))


def test_body_is_left_out() -> None:
    """Body octets that come along with the header do not get into the report."""
    report = failure_report(FACTS, {BOB: NO_USER}, HEADER + b"secret\0\x0c\r\n")
    assert report == failure_report(FACTS, {BOB: NO_USER}, HEADER)


def test_header_cut_short() -> None:
    """Of a header whose end did not come along, the lines that are whole are shown."""
    message = parse(failure_report(FACTS, {BOB: NO_USER}, b"Subject: a\r\nTo: bob@exa"))
    assert list(message.iter_parts())[2].get_payload(decode=True) == b"Subject: a\r\n"


def test_status_that_is_none() -> None:
    """A status code that RFC 3463 does not know does not get into the report."""
    failed = DeliveryStatus(Action.FAILED, "5.1\r\nX: y", "no")
    _human, status, _original = parse(failure_report(FACTS, {BOB: failed}, HEADER)).iter_parts()
    assert [part["Status"] for part in status.iter_parts()] == [None, "5.0.0"]


@pytest.mark.parametrize("value", [b"a@b", b"<a@b> <c@d>", b"<\xfc@b>", b"<a b@c>", b""])
def test_malformed_message_id(value: bytes) -> None:
    """A Message-ID that is none is not referred to."""
    message = parse(failure_report(FACTS, {BOB: NO_USER}, b"Message-ID: " + value + b"\r\n\r\n"))
    assert message["In-Reply-To"] is None
