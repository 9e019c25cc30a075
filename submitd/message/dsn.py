"""Delivery status notifications (RFC 3464): what the sender is told about its message.

A report is a message in three parts (RFC 6522): one for people, one for programs, and
the message it is about, or its header.  Where addresses go beyond ASCII, the parts are
those of RFC 6533.
"""

import binascii
import re
import textwrap
from collections.abc import Sequence

import attrs

from submitd.mail.address import DOMAIN, Mailbox
from submitd.mail.envelope import Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.mail.xtext import decode_xtext
from submitd.message.headers import HeaderBlock, MalformedHeader, find_end
from submitd.message.trace import date_time, message_id

DIAGNOSTIC_CHARACTERS = 2000  # a hostile next hop shall not fill the sender's mailbox
ORIGINAL_HEADER_OCTETS = 16_384
_COLUMNS = 76
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_LONG_WORD = re.compile(r"[^ ]{200}(?=[^ ])")  # no line may reach 998 octets (RFC 5322 §2.1.1)
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")  # RFC 3463 §2
_MESSAGE_ID = re.compile(rb"[ \t\r\n]*(<[!-;=?-~]{3,900}>)[ \t\r\n]*")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")  # RFC 6533 §3, EmbeddedUnicodeChar

# What a sender can do, by the beginning of the enhanced status code (RFC 3463 §3).
_ADVICE = (
    ("5.1.", "Check the address for typing errors, then send the message again."),
    ("5.2.2", "The mailbox is full. Reach the recipient in another way, or try again later."),
    ("5.2.3", "The message is too big there. Send less, or send a link to it."),
    ("5.3.4", "The message is too big there. Send less, or send a link to it."),
    ("5.2.", "The mailbox does not take the message. Reach the recipient in another way."),
    ("5.4.7", "We tried until the time limit and gave up. Send the message again later, or reach"
     " the recipient in another way."),
    ("5.6.", "The next server could not take the form of the message. Send it without"
     " attachments or special characters in addresses."),
    ("5.7.", "The next server refused the message by its rules. Its answer above may say why;"
     " its postmaster can tell more."),
    ("4.", "We tried until the time limit and gave up. Send the message again later, or reach"
     " the recipient in another way."),
)  # fmt: skip
_OTHER_ADVICE = "If the answer above does not help, show this report to your mail administrator."

# In the order of how much they matter: subject, and what happened to "the addresses below".
_KINDS = {
    Action.FAILED: (
        "Undelivered mail: returned to sender",
        "could not be delivered to {whom}, and will not be tried again for {them}.",
    ),
    Action.DELAYED: (
        "Delayed mail: still being tried",
        "has not been delivered yet to {whom}. It will be tried until {until}. There is nothing"
        " you need to do.",
    ),
    Action.RELAYED: (
        "Mail passed on, as you asked to be told",
        "was passed on for {whom} to the next server, which may tell you nothing more unless it"
        " fails.",
    ),
    Action.EXPANDED: (
        "Mail passed on to a list, as you asked to be told",
        "was passed on to the members of the list at {whom}.",
    ),
    Action.DELIVERED: (
        "Mail delivered, as you asked to be told",
        "was delivered to {whom}.",
    ),
}
_USUAL_STATUS = {Action.FAILED: "5.0.0", Action.DELAYED: "4.0.0"}  # else 2.0.0


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
    :ivar envelope_id: ENVID as it came, in xtext (RFC 3461 §4.4), or None.
    :ivar retry_until_s: until when delayed recipients will be tried, POSIX time.
    :ivar deliver_by_s: by when its sender wanted it delivered (RFC 2852), POSIX time, or None.
    :ivar utf8: whether the message came with SMTPUTF8, so that its sender can read UTF-8.
    """

    hostname: str
    recipient: Mailbox
    queue_id: str
    arrived_s: float
    now_s: float
    utc_offset_minutes: int
    random: str
    envelope_id: str | None = None
    retry_until_s: float = 0.0
    deliver_by_s: float | None = None
    utf8: bool = False


@attrs.frozen(slots=True)
class Original:
    """What goes back of the message.

    :ivar content: its header block, or the beginning of it: `ORIGINAL_HEADER_OCTETS` are
        enough; or all of the message.
    :ivar whole: whether it is all, and goes back as it is.
    """

    content: bytes
    whole: bool = False


def delivery_report(
    facts: ReportFacts,
    outcome: Sequence[tuple[Recipient, DeliveryStatus]],
    original: Original,
) -> bytes:
    """Make one report.

    :param outcome: who it is about, and how it went; they may differ in what happened.
    :param original: what stands behind the header block is left out if it isn't whole.
    :return: a whole message for the null reverse-path (RFC 3464 §2), CRLF line ends.  It
        is ASCII unless what goes back isn't, or the sender takes UTF-8.
    :raises ValueError: when it would be about nobody.
    """
    if not outcome:
        raise ValueError("nobody to report about")
    content = original.content if original.whole else _bounded(original.content)
    utf8 = facts.utf8 and not (
        content.isascii()
        and facts.recipient.is_ascii
        and all(one.mailbox.is_ascii and _plain(one.original) for one, _status in outcome)
    )
    kinds = [kind for kind in _KINDS if any(status.action is kind for _one, status in outcome)]
    people = _for_people(facts, kinds, outcome, original.whole, utf8)
    programs = _for_programs(facts, outcome, utf8)
    parts = (
        _part(f"text/plain; charset={'utf-8' if utf8 else 'us-ascii'}", _encoded(people)),
        _part(f"message/{'global-' if utf8 else ''}delivery-status", _encoded(programs)),
        _original_part(content, original.whole, utf8),
    )
    fields = [
        f"Date: {date_time(facts.now_s, facts.utc_offset_minutes)}",
        f"From: Mail Delivery System <MAILER-DAEMON@{facts.hostname}>",
        f"To: <{facts.recipient}>",
        f"Subject: {_KINDS[kinds[0]][0]}",
        f"Message-ID: {message_id(facts.queue_id, facts.hostname, facts.random)}",
        *_thread(_bounded(content) if original.whole else content),
        "Auto-Submitted: auto-replied",  # RFC 3834 §5
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="report-{facts.random}"',
    ]
    if not all(part.isascii() for pieces in parts for part in pieces):
        fields.append("Content-Transfer-Encoding: 8bit")
    boundary = b"--report-%b\r\n" % facts.random.encode("ascii")
    pieces = [_encoded([*fields, "", "This is a delivery status report in MIME format."])]
    for part in parts:
        pieces += (boundary, *part, b"\r\n")
    pieces.append(boundary.replace(b"\r\n", b"--\r\n"))
    return b"".join(pieces)


def _encoded(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8")


def _part(content_type: str, content: bytes, encoding: str | None = None) -> tuple[bytes, bytes]:
    """One part: its header and its content."""
    if encoding is None and not content.isascii():
        encoding = "8bit"
    header = [f"Content-Type: {content_type}"]
    if encoding is not None:
        header.append(f"Content-Transfer-Encoding: {encoding}")
    return _encoded([*header, ""]), content


# ---- for people -------------------------------------------------------------------


def _for_people(
    facts: ReportFacts,
    kinds: Sequence[Action],
    outcome: Sequence[tuple[Recipient, DeliveryStatus]],
    whole: bool,
    utf8: bool,
) -> list[str]:
    """The first part: who, why in the next hop's words, and what to do."""
    arrived = date_time(facts.arrived_s, facts.utc_offset_minutes)
    until = date_time(facts.retry_until_s, facts.utc_offset_minutes)
    opening = f"This is the mail server {facts.hostname}."
    lines: list[str] = []
    for kind in kinds:
        concerned = [(one, status) for one, status in outcome if status.action is kind]
        one_only = len(concerned) == 1
        said = _KINDS[kind][1].format(
            whom="the address below" if one_only else "the addresses below",
            them="it" if one_only else "them",
            until=until,
        )
        lines += _wrapped(f"{opening} Your message of {arrived} {said}".lstrip())
        opening = ""
        for one, status in concerned:
            lines += _about(one, status, utf8)
        lines.append("")
    closing = (
        f"For the mail administrator: the message had the queue id {facts.queue_id}. Technical"
        f" details and {'the message' if whole else 'the header of the message'} are attached."
    )
    return [*lines, *_wrapped(closing)]


def _about(one: Recipient, status: DeliveryStatus, utf8: bool) -> list[str]:
    lines = ["", f"<{_printable(str(one.mailbox), utf8)}>"]
    if status.smtp_reply and status.next_hop:
        lines += _wrapped(f"The server {_text(status.next_hop, utf8)} answered:", "    ", "    ")
    lines += _wrapped(_text(status.diagnostic, utf8), "        ", "        ")
    if status.action is Action.FAILED:
        lines += _wrapped(_advice(status.status), "    ", "    ")
    return lines


def _advice(status: str) -> str:
    return next((text for prefix, text in _ADVICE if status.startswith(prefix)), _OTHER_ADVICE)


# ---- for programs -----------------------------------------------------------------


def _for_programs(
    facts: ReportFacts, outcome: Sequence[tuple[Recipient, DeliveryStatus]], utf8: bool
) -> list[str]:
    """The second part (RFC 3464 §2.1): fields for the message, then for each recipient."""
    lines = []
    if facts.envelope_id is not None:  # RFC 3461 §6.3
        lines.append(f"Original-Envelope-Id: {_printable(decode_xtext(facts.envelope_id), False)}")
    lines += (
        f"Reporting-MTA: dns; {facts.hostname}",
        f"Arrival-Date: {date_time(facts.arrived_s, facts.utc_offset_minutes)}",
    )
    if facts.deliver_by_s is not None:  # RFC 2852
        lines.append(f"Deliver-By-Date: {date_time(facts.deliver_by_s, facts.utc_offset_minutes)}")
    for one, status in outcome:
        lines.append("")
        if one.original is not None:
            lines.append(f"Original-Recipient: {_original_recipient(one.original, utf8)}")
        usual = _USUAL_STATUS.get(status.action, "2.0.0")
        lines += (
            f"Final-Recipient: {_final_recipient(one.mailbox, utf8)}",
            f"Action: {status.action.value}",
            f"Status: {status.status if _STATUS.fullmatch(status.status) else usual}",
        )
        if status.next_hop and DOMAIN.fullmatch(status.next_hop):
            lines.append(f"Remote-MTA: dns; {status.next_hop}")
        kind = "smtp" if status.smtp_reply else "x-submitd"
        diagnostic = f"Diagnostic-Code: {kind}; {_text(status.diagnostic, utf8)}"
        lines += _wrapped(diagnostic, "", "    ")
        if status.action is Action.DELAYED:
            until = date_time(facts.retry_until_s, facts.utc_offset_minutes)
            lines.append(f"Will-Retry-Until: {until}")
    return lines


def _final_recipient(mailbox: Mailbox, utf8: bool) -> str:
    """Address type and address (RFC 3464 §2.3.2, RFC 6533 §3)."""
    if mailbox.is_ascii:
        return f"rfc822; {mailbox}"
    return f"utf-8; {mailbox if utf8 else _embedded(str(mailbox))}"


def _original_recipient(original: str, utf8: bool) -> str:
    """The ORCPT parameter, decoded (RFC 3461 §6.3, RFC 6533 §3)."""
    kind, _semicolon, address = original.partition(";")
    if kind.lower() != "utf-8":
        return f"{kind}; {_printable(decode_xtext(address), utf8)}"
    if not utf8:
        return f"{kind}; {_embedded(address)}"
    try:
        decoded = _EMBEDDED.sub(lambda match: chr(int(match[1], 16)), address)
    except ValueError:  # beyond the last character that there is
        decoded = address
    return f"{kind}; {_printable(decoded, utf8)}"


def _embedded(text: str) -> str:
    r"""*text* in ASCII, `\x{E9}` for what is beyond (RFC 6533 §3, utf-8-addr-xtext)."""
    return "".join(each if "!" <= each <= "~" else f"\\x{{{ord(each):02X}}}" for each in text)


def _plain(original: str | None) -> bool:
    """Whether an ORCPT parameter says nothing beyond ASCII."""
    return original is None or (original.isascii() and _EMBEDDED.search(original) is None)


# ---- the message reported on ------------------------------------------------------


def _original_part(content: bytes, whole: bool, utf8: bool) -> tuple[bytes, bytes]:
    """The third part: the message reported on, or its header (RFC 6522 §3, RFC 6533 §4)."""
    if whole:
        return _part("message/global" if utf8 else "message/rfc822", content)
    if utf8:
        return _part("message/global-headers", content)
    if not content.isascii() or max(map(len, content.split(b"\r\n"))) > 998:
        lines = [binascii.b2a_qp(line, istext=False) for line in content.split(b"\r\n")]
        encoded = b"\r\n".join(lines).replace(b"=\n", b"=\r\n")
        return _part("text/rfc822-headers", encoded, "quoted-printable")
    return _part("text/rfc822-headers", content)


def _bounded(header: bytes) -> bytes:
    """The header block of a message without its empty line, whole fields up to a limit."""
    header = header[: 2 * ORIGINAL_HEADER_OCTETS]
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


def _thread(header: bytes) -> tuple[str, ...]:
    """The fields that put the report beside its message in a mail client (RFC 3834 §3.1.6)."""
    for raw, name in HeaderBlock.parse(header).fields:
        if name.lower() == b"message-id":
            match = _MESSAGE_ID.fullmatch(raw.partition(b":")[2])
            if match:
                identifier = match.group(1).decode("ascii")
                return f"In-Reply-To: {identifier}", f"References: {identifier}"
    return ()


# ---- text -------------------------------------------------------------------------


def _text(text: str, utf8: bool) -> str:
    """Words from outside, without such as fill a line."""
    text = _printable(text[:DIAGNOSTIC_CHARACTERS], utf8) or "(no reason given)"
    return _LONG_WORD.sub(lambda match: f"{match.group()} ", text)


def _printable(text: str, utf8: bool) -> str:
    """*text* from outside on one line; in ASCII unless *utf8*."""
    text = _CONTROLS.sub(" ", text).strip()
    return text if utf8 else text.encode("ascii", "backslashreplace").decode("ascii")


def _wrapped(text: str, first: str = "", others: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _COLUMNS,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
