"""The fields that a submission server makes itself: Received, Date, Message-ID."""

import re
from email.utils import formatdate
from functools import lru_cache

from submitd.mail.address import DOMAIN, DOMAIN_OCTETS, Mailbox

LINE_COLUMNS = 78  # RFC 5322 §2.1.1
_TAB_COLUMNS = 8
# RFC 5321 §4.1.3, as far as an address can go wrong inside a trace field.
_ADDRESS_LITERAL = re.compile(r"\[(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|IPv6:[0-9A-Fa-f:.]{2,45})\]")
_NOT_IN_COMMENT = re.compile(r"[^ -'*-\[\]-~]")  # RFC 5322 §3.2.2: ctext, and space
_LOGIN_CHARACTERS = 256

_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
# The values that Date and Message-ID may have.  RFC 5322 §3.3, with the obsolete zones and
# short years of §4.3:
DATE = re.compile(
    r"[ \t]*+(?>(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[ \t]*+,[ \t]*+)?)"
    rf"(?:0?[1-9]|[12][0-9]|3[01])[ \t]++(?:{_MONTH})[ \t]++[0-9]{{2,4}}"
    r"[ \t]++(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60))?"
    r"[ \t]++(?:[+-][0-9]{2}[0-5][0-9]|UT|GMT|[ECMP][SD]T|[A-IK-Z])"
    r"[ \t]*+(?>(?:\([^()\\]*+\)[ \t]*+)?)",
    re.IGNORECASE,
)


def _message_id_syntax(beyond_ascii: str) -> re.Pattern[str]:
    atom = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{beyond_ascii}-]++"
    dot_atom = rf"{atom}(?>(?:\.{atom})*)"
    # RFC 5322 §3.6.4, with the quoted strings of §4.5.4.
    return re.compile(
        rf'[ \t]*+<(?:{dot_atom}|"(?>(?:[^"\\]++|\\.)*)")@(?:{dot_atom}|\[[!-Z^-~]*+\])>[ \t]*+'
    )


MESSAGE_ID = _message_id_syntax("")
UTF8_MESSAGE_ID = _message_id_syntax("\x80-\xff")  # RFC 6532 §3.2; octets as Latin-1


@lru_cache(maxsize=8)
def _date_time(second: int, utc_offset_minutes: int) -> str:
    hours, minutes = divmod(abs(utc_offset_minutes), 60)
    sign = "-" if utc_offset_minutes < 0 else "+"
    there = formatdate(second + utc_offset_minutes * 60).removesuffix("-0000")
    return f"{there}{sign}{hours:02}{minutes:02}"


def date_time(now_s: float, utc_offset_minutes: int) -> str:
    """Write a date as RFC 5322 §3.3 has it: `"Fri, 21 Nov 2025 22:50:00 +0100"`.

    :param now_s: POSIX time in seconds; the text of a second is made only once.
    :param utc_offset_minutes: the zone it is written in, minutes east of UTC.
    """
    return _date_time(int(now_s), utc_offset_minutes)


def message_id(queue_id: str, hostname: str, random: str) -> str:
    """Make a Message-ID (RFC 5322 §3.6.4), with its angle brackets.

    :param queue_id: letters and digits; joins the message with the logs.
    :param hostname: our own name.
    :param random: letters and digits that nobody can guess and nothing else has.
    """
    return f"<{random}.{queue_id}@{hostname}>"


def received(
    *,
    helo: str,
    hostname: str,
    queue_id: str,
    date: str,
    tls_suite: str | None,
    only_recipient: Mailbox | None = None,
    client_address: str | None = None,
    login: str | None = None,
    utf8: bool = False,
) -> bytes:
    """Make the Received field of a submission (RFC 5321 §4.4, RFC 8314 §4.3), folded.

    No argument can put more into it than its own clause: what the grammar does not
    allow is left out or shown as `unknown`.

    :param helo: what the client called itself, unverified.
    :param hostname: our own name.
    :param queue_id: letters and digits.
    :param date: as `date_time` gives it.
    :param tls_suite: IANA's name of the cipher suite; None without TLS.
    :param only_recipient: the one recipient, or None when there are several: none of
        them shall learn of the others here (RFC 5321 §7.2).
    :param client_address: the client's IP address as text, to show it.  None hides it,
        and with it a *helo* that is an address.
    :param login: the user's login, to show it; None hides it.
    :param utf8: whether the client gave SMTPUTF8; without it a recipient beyond ASCII
        is not named.
    :return: the whole field with its CRLF.
    """
    clauses = [f"Received: from {_client_name(helo, client_address is not None)}"]
    if client_address is not None:
        address = client_address.partition("%")[0]  # a zone is of this machine only
        clauses.append(f"([IPv6:{address}])" if ":" in address else f"([{address}])")
    if login is not None:
        # The wording is Postfix's: filters know it for a submission.
        shown = _NOT_IN_COMMENT.sub("?", login[:_LOGIN_CHARACTERS])
        clauses.append(f"(Authenticated sender: {shown})")
    # RFC 3848, RFC 6531 §4.3: A for AUTH, S for TLS.
    protocol = "UTF8SMTP" if utf8 else "ESMTP"
    clauses += (f"by {hostname}", f"with {protocol}{'SA' if tls_suite else 'A'}", f"id {queue_id}")
    if only_recipient is not None and (utf8 or only_recipient.is_ascii):
        clauses.append(f"for <{only_recipient}>")
    if tls_suite:
        # An additional registered clause: the grammar has these behind "for".
        clauses.append(f"tls {tls_suite}")
    clauses[-1] += ";"
    clauses.append(date)
    return _fold(clauses).encode()


def _client_name(helo: str, show_address: bool) -> str:
    if DOMAIN.fullmatch(helo) and len(helo) <= DOMAIN_OCTETS:
        # "[192.0.2.1]" without its brackets is an address all the same.
        if show_address or not helo.rpartition(".")[2].isdigit():
            return helo
    elif show_address and _ADDRESS_LITERAL.fullmatch(helo):
        return helo
    return "unknown"


def _fold(words: list[str]) -> str:
    """Join by spaces, with a line end before each word that would not fit the line."""
    lines = [words[0]]
    column = len(words[0])
    for word in words[1:]:
        column += 1 + len(word)
        if column <= LINE_COLUMNS:
            lines.append(f" {word}")
        else:
            lines.append(f"\r\n\t{word}")
            column = _TAB_COLUMNS + len(word)
    return "".join(lines) + "\r\n"
