"""Delivery status notifications (RFC 3464): what the sender is told when delivery failed.

A report is a message in three parts (RFC 6522): one for people, one for programs, and
the header of the message it is about.  It is 7-bit whatever went into it.
"""

import binascii
import re
import textwrap
from collections.abc import Mapping

import attrs

from submitd.mail.address import DOMAIN, Mailbox
from submitd.mail.status import Action, DeliveryStatus
from submitd.message.headers import HeaderBlock, MalformedHeader, find_end
from submitd.message.trace import date_time, message_id

DIAGNOSTIC_CHARACTERS = 2000  # a hostile next hop shall not fill the sender's mailbox
ORIGINAL_HEADER_OCTETS = 16_384
_COLUMNS = 76
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_LONG_WORD = re.compile(r"[^ ]{400}(?=[^ ])")  # no line may reach 998 octets (RFC 5322 §2.1.1)
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")  # RFC 3463 §2
_MESSAGE_ID = re.compile(rb"[ \t\r\n]*(<[!-;=?-~]{3,900}>)[ \t\r\n]*")

# What a sender can do, by the beginning of the enhanced status code (RFC 3463 §3).
_ADVICE = (
    ("5.1.", "Check the address for typing errors, then send the message again."),
    ("5.2.2", "The mailbox is full. Reach the recipient in another way, or try again later."),
    ("5.2.3", "The message is too big there. Send less, or send a link to it."),
    ("5.3.4", "The message is too big there. Send less, or send a link to it."),
    ("5.2.", "The mailbox does not take the message. Reach the recipient in another way."),
    ("5.6.", "The next server could not take the form of the message. Send it without"
     " attachments or special characters in addresses."),
    ("5.7.", "The next server refused the message by its rules. Its answer above may say why;"
     " its postmaster can tell more."),
    ("4.", "We tried until the time limit and gave up. Send the message again later, or reach"
     " the recipient in another way."),
)  # fmt: skip
_OTHER_ADVICE = "If the answer above does not help, show this report to your mail administrator."


@attrs.frozen(slots=True, kw_only=True)
class ReportFacts:
    """What a report says about the message as a whole, and about itself.

    :ivar hostname: our own name.
    :ivar recipient: who gets the report: the message's reverse-path.
    :ivar queue_id: of the message that the report is about.
    :ivar arrived_s: when that message came, POSIX time in seconds.
    :ivar now_s: POSIX time in seconds.
    :ivar utc_offset_minutes: the zone of the dates we write, minutes east of UTC.
    :ivar random: letters and digits, at most 40, unguessable and unique: for the
        Message-ID and the boundary between the parts.
    """

    hostname: str
    recipient: Mailbox
    queue_id: str
    arrived_s: float
    now_s: float
    utc_offset_minutes: int
    random: str


def failure_report(
    facts: ReportFacts, outcome: Mapping[Mailbox, DeliveryStatus], header: bytes
) -> bytes:
    """Report the recipients that a message will never reach.

    :param outcome: the status of each recipient to tell about; those that have not
        failed are left out.
    :param header: the beginning of the message: `ORIGINAL_HEADER_OCTETS` of it are
        enough.  What stands behind the header block is left out.
    :return: a whole message for the null reverse-path (RFC 3464 §2): 7-bit, CRLF line
        ends, no line longer than 998 octets.
    :raises ValueError: when no recipient has failed.
    """
    failed = {
        mailbox: status for mailbox, status in outcome.items() if status.action is Action.FAILED
    }
    if not failed:
        raise ValueError("no recipient has failed")
    arrived = date_time(facts.arrived_s, facts.utc_offset_minutes)
    opening = (
        f"This is the mail server {facts.hostname}. Your message of {arrived} could not be"
        f" delivered to {'the address' if len(failed) == 1 else 'the addresses'} below, and"
        " will not be tried again for them."
    )
    return _report(facts, "Undelivered mail: returned to sender", opening, failed, header)


def _report(
    facts: ReportFacts,
    subject: str,
    opening: str,
    outcome: Mapping[Mailbox, DeliveryStatus],
    header: bytes,
) -> bytes:
    """Put a report of any kind together."""
    original = _bounded(header)
    fields = [
        f"Date: {date_time(facts.now_s, facts.utc_offset_minutes)}",
        f"From: Mail Delivery System <MAILER-DAEMON@{facts.hostname}>",
        f"To: <{facts.recipient}>",
        f"Subject: {subject}",
        f"Message-ID: {message_id(facts.queue_id, facts.hostname, facts.random)}",
        *_thread(original),
        "Auto-Submitted: auto-replied",  # RFC 3834 §5
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="report-{facts.random}"',
    ]
    parts = (
        _text_part("text/plain; charset=us-ascii", _for_people(facts, opening, outcome)),
        _text_part("message/delivery-status", _for_programs(facts, outcome)),
        _original_part(original),
    )
    boundary = b"--report-%b" % facts.random.encode("ascii")
    return b"\r\n".join(
        (
            "\r\n".join(fields).encode("ascii"),
            b"",
            b"This is a delivery status report in MIME format (RFC 3464).",
            *(line for part in parts for line in (boundary, part)),
            boundary + b"--",
            b"",
        )
    )


def _text_part(content_type: str, lines: list[str]) -> bytes:
    return "\r\n".join((f"Content-Type: {content_type}", "", *lines, "")).encode("ascii")


def _for_people(
    facts: ReportFacts, opening: str, outcome: Mapping[Mailbox, DeliveryStatus]
) -> list[str]:
    """The first part: who, why in the next hop's words, and what to do."""
    lines = _wrapped(opening)
    for mailbox, status in outcome.items():
        lines += ("", f"<{mailbox}>")
        if status.smtp_reply and status.next_hop:
            lines += _wrapped(f"The server {_printable(status.next_hop)} answered:", "    ", "    ")
        lines += _wrapped(_printable(status.diagnostic), "        ", "        ")
        lines += _wrapped(_advice(status.status), "    ", "    ")
    closing = (
        f"For the mail administrator: the message had the queue id {facts.queue_id}. Technical"
        " details and the header of the message are attached."
    )
    return [*lines, "", *_wrapped(closing)]


def _for_programs(facts: ReportFacts, outcome: Mapping[Mailbox, DeliveryStatus]) -> list[str]:
    """The second part (RFC 3464 §2.1): fields for the message, then for each recipient."""
    lines = [
        f"Reporting-MTA: dns; {facts.hostname}",
        f"Arrival-Date: {date_time(facts.arrived_s, facts.utc_offset_minutes)}",
    ]
    for mailbox, status in outcome.items():
        lines += (
            "",
            f"Final-Recipient: rfc822; {mailbox}",
            f"Action: {status.action.value}",
            f"Status: {status.status if _STATUS.fullmatch(status.status) else '5.0.0'}",
        )
        if status.next_hop and DOMAIN.fullmatch(status.next_hop):
            lines.append(f"Remote-MTA: dns; {status.next_hop}")
        kind = "smtp" if status.smtp_reply else "x-submitd"
        lines += _wrapped(f"Diagnostic-Code: {kind}; {_printable(status.diagnostic)}", "", "    ")
    return lines


def _original_part(original: bytes) -> bytes:
    """The third part: the header of the message reported on (RFC 6522 §4)."""
    fields = [b"Content-Type: text/rfc822-headers"]
    if not original.isascii() or max(map(len, original.split(b"\r\n"))) > 998:
        fields.append(b"Content-Transfer-Encoding: quoted-printable")
        lines = [binascii.b2a_qp(line, istext=False) for line in original.split(b"\r\n")]
        original = b"\r\n".join(lines).replace(b"=\n", b"=\r\n")
    return b"\r\n".join((*fields, b"", original))


def _bounded(header: bytes) -> bytes:
    """The header block of a message without its empty line, whole fields up to a limit."""
    end = find_end(header)
    try:
        # Where the end did not come along, the last line may be there in part.
        fields = HeaderBlock.parse(header[: end if end > 0 else header.rfind(b"\r\n") + 2]).fields
    except MalformedHeader:
        return b""
    kept = []
    octets = 0
    for raw, _name in fields:
        octets += len(raw)
        if octets > ORIGINAL_HEADER_OCTETS:
            break
        kept.append(raw)
    return b"".join(kept)


def _thread(original: bytes) -> tuple[str, ...]:
    """The fields that put the report beside its message in a mail client (RFC 3834 §3.1.6)."""
    for raw, name in HeaderBlock.parse(original).fields:
        if name.lower() == b"message-id":
            match = _MESSAGE_ID.fullmatch(raw.partition(b":")[2])
            if match:
                identifier = match.group(1).decode("ascii")
                return f"In-Reply-To: {identifier}", f"References: {identifier}"
    return ()


def _advice(status: str) -> str:
    return next((text for prefix, text in _ADVICE if status.startswith(prefix)), _OTHER_ADVICE)


def _printable(text: str) -> str:
    """*text* in printable ASCII, bounded, without words that fill a line."""
    text = _CONTROLS.sub(" ", text[:DIAGNOSTIC_CHARACTERS]).strip() or "(no reason given)"
    text = text.encode("ascii", "backslashreplace").decode("ascii")
    return _LONG_WORD.sub(lambda match: f"{match.group()} ", text)


def _wrapped(text: str, first: str = "", others: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _COLUMNS,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
