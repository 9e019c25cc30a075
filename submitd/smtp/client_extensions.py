"""What an envelope comes to at a next hop: passed on, given up where its RFC allows, or refused.

docs/extensions.md has the table.
"""

import re
from collections.abc import Mapping

import attrs
import idna

from submitd.mail.address import Mailbox
from submitd.mail.envelope import BodyType, DeliverBy, Envelope, Recipient

# Octets of a message that goes out in one write with its envelope, as one BDAT.  A longer one
# waits for the replies to the envelope: it would be sent in vain when nobody is accepted.
AT_ONCE_OCTETS = 65_536
_BY_LIMIT_S = 999_999_999  # RFC 2852 §4: nine digits
_NOTIFY_ORDER = ("NEVER", "SUCCESS", "FAILURE", "DELAY")
# RFC 3461 §4: what xtext writes as "+" and two digits.
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")


@attrs.frozen(slots=True)
class Offer:
    """A next hop, as a transaction begins.

    :ivar name: its host name, for statuses.
    :ivar extensions: EHLO keywords in capitals, with their parameters as text.
    :ivar verified: whether TLS is active, with a certificate that is the next hop's.
    :ivar authenticated: whether we have logged in.
    """

    name: str
    extensions: Mapping[str, str]
    verified: bool = False
    authenticated: bool = False


@attrs.frozen(slots=True)
class Unfit:
    """Why something can't go to a next hop.

    :ivar status: enhanced status code, `"5.y.z"`.
    :ivar reason: in words.
    """

    status: str
    reason: str


def body_type(body: BodyType, extensions: Mapping[str, str]) -> BodyType:
    """The best that the next hop takes of content declared as *body*.

    BINARYMIME needs CHUNKING as well (RFC 3030 §3); what is given up has to be
    converted (RFC 6152 §3).
    """
    if body == "BINARYMIME" and "BINARYMIME" in extensions and "CHUNKING" in extensions:
        return body
    if body != "7BIT" and "8BITMIME" in extensions:
        return "8BITMIME"
    return "7BIT"


def mail_parameters(
    envelope: Envelope, offer: Offer, body: BodyType, size: int | None, utf8: bool, now_s: float
) -> str | Unfit:
    """The parameters of MAIL, each with a space before it.

    :param body: what the content is when it is sent.
    :param size: octets of the content then; None if that isn't known.
    :param utf8: whether SMTPUTF8 is to be said.
    :param now_s: POSIX time in seconds.
    """
    extensions = offer.extensions
    text = f" SIZE={size}" if size is not None and "SIZE" in extensions else ""  # RFC 1870 §6
    if body != "7BIT":
        text += f" BODY={body}"
    if utf8:
        text += " SMTPUTF8"
    if offer.authenticated:
        # RFC 4954 §5: whoever submitted it is not vouched for.
        text += " AUTH=<>"
    if "DSN" in extensions:
        if envelope.ret is not None:
            text += f" RET={envelope.ret}"
        if envelope.envelope_id is not None:
            text += f" ENVID={envelope.envelope_id}"
    if envelope.require_tls:
        if offer.verified and "REQUIRETLS" in extensions:
            text += " REQUIRETLS"
        elif envelope.reverse_path is not None:  # RFC 8689 §5: a report goes out all the same
            if not offer.verified:
                return Unfit("5.7.10", "REQUIRETLS needs TLS with a verified certificate")
            return Unfit("5.7.30", "the next hop does not offer REQUIRETLS")
    if envelope.priority and "MT-PRIORITY" in extensions:
        text += f" MT-PRIORITY={envelope.priority}"
    if envelope.deliver_by is not None:
        by = _by(envelope.deliver_by, extensions, now_s)
        if isinstance(by, Unfit):
            return by
        text += by
    return text


def _by(deliver_by: DeliverBy, extensions: Mapping[str, str], now_s: float) -> str | Unfit:
    """RFC 2852 §4.1.4: the time that is left is passed on.

    In mode R a message goes to nobody who can't promise to keep to it.
    """
    left_s = int(deliver_by.at_s - now_s)
    returns = deliver_by.mode == "R"
    if returns and left_s <= 0:
        return Unfit("5.4.7", "the time it was to be delivered by has passed")
    if "DELIVERBY" not in extensions:
        if returns:
            return Unfit("5.3.3", "the next hop does not offer DELIVERBY")
        return ""
    least = extensions["DELIVERBY"].strip()
    if returns and least.isdecimal() and left_s < int(least[:10]):
        reason = f"{left_s} s are left to deliver it, and the next hop asks for {least[:10]} s"
        return Unfit("5.4.7", reason)
    left_s = max(-_BY_LIMIT_S, min(_BY_LIMIT_S, left_s))
    return f" BY={left_s};{deliver_by.mode}{'T' if deliver_by.trace else ''}"


def rcpt_parameters(recipient: Recipient, extensions: Mapping[str, str]) -> str:
    """The parameters of RCPT, each with a space before it (RFC 3461 §5.2.1)."""
    if "DSN" not in extensions:
        return ""
    text = ""
    if recipient.notify is not None:
        words = ",".join(word for word in _NOTIFY_ORDER if word in recipient.notify)
        text = f" NOTIFY={words}"
    original = recipient.original
    if original is None:
        if recipient.notify is None or not recipient.mailbox.is_ascii:
            return text
        # The sender looks for reports: they shall name the address it used.
        original = "rfc822;" + _NOT_XTEXT.sub(_hex, str(recipient.mailbox))
    elif "SMTPUTF8" not in extensions and not original.isascii():
        # RFC 6533 §3: utf-8-addr-xtext.
        original = "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in original)
    return f"{text} ORCPT={original}"


def _hex(match: re.Match[str]) -> str:
    return f"+{ord(match[0]):02X}"


def path(mailbox: Mailbox, extensions: Mapping[str, str]) -> str | None:
    """A mailbox as the next hop can take it, or None if there is no such form.

    Where SMTPUTF8 is not offered a domain is written with A-labels (RFC 5891 §4.4);
    a local part has no other form.
    """
    text = str(mailbox)
    if text.isascii() or "SMTPUTF8" in extensions:
        return text
    try:
        domain = idna.encode(mailbox.domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return None
    text = str(Mailbox(mailbox.local_part, domain))
    return text if text.isascii() else None
