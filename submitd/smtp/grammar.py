"""The arguments of MAIL and RCPT (RFC 5321 §4.1.2), beside their grammar.

Mail-Parameters = esmtp-param *(SP esmtp-param)
esmtp-param     = esmtp-keyword ["=" esmtp-value]
esmtp-keyword   = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
esmtp-value     = 1*(%d33-60 / %d62-126)
Path            = "<" [ A-d-l ":" ] Mailbox ">"
A-d-l           = At-domain *( "," At-domain )
"""

import re
from collections.abc import Callable, Mapping

import attrs

from submitd.mail.address import Mailbox
from submitd.mail.envelope import BodyType
from submitd.smtp import replies
from submitd.smtp.errors import RemoteProtocolError
from submitd.smtp.replies import Reply

# A quoted local part may hold ">", so that the path ends at the first ">" outside quotes.
_PATH = r'<((?:[^<>"\\]|"(?:[^"\\]|\\.)*")*)>'
# Spaces after the colon are not in the grammar; many printers and scripts send one.
_FROM = re.compile(rf"FROM: *{_PATH}(?: +(\S.*?))? *", re.IGNORECASE)
_TO = re.compile(rf"TO: *{_PATH}(?: +(\S.*?))? *", re.IGNORECASE)
# RFC 5321 §4.1.2, appendix C: source routes are to be accepted and ignored.
_SOURCE_ROUTE = re.compile(r"@[A-Za-z0-9_.-]+(?:,@[A-Za-z0-9_.-]+)*:")
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")
_SIZE = re.compile(r"[0-9]{1,20}")  # RFC 1870 §4
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")  # RFC 3461 §4

PATH_OCTETS = 256  # RFC 5321 §4.5.3.1.3, with the brackets


@attrs.frozen(slots=True)
class MailArguments:
    """What stood behind MAIL."""

    reverse_path: Mailbox | None
    size: int | None
    body: BodyType


def parse_mail(text: str) -> MailArguments:
    """Read what follows `MAIL `.

    :raises RemoteProtocolError: with the reply to give.
    """
    match = _FROM.fullmatch(text)
    if match is None:
        raise RemoteProtocolError("no reverse-path", replies.BAD_MAIL_SYNTAX)
    path, parameters = match.groups()
    size: int | None = None
    body: BodyType = "7BIT"
    if parameters:
        values = _parameters(parameters, MAIL_PARAMETERS)
        if "SIZE" in values:
            size = int(values["SIZE"])
        if values.get("BODY", "").upper() == "8BITMIME":
            body = "8BITMIME"
    return MailArguments(_mailbox(path, replies.BAD_REVERSE_PATH) if path else None, size, body)


def parse_rcpt(text: str, hostname: str) -> Mailbox:
    """Read what follows `RCPT `; `<postmaster>` (RFC 5321 §4.1.1.3) gets *hostname*.

    :raises RemoteProtocolError: with the reply to give.
    """
    match = _TO.fullmatch(text)
    if match is None:
        raise RemoteProtocolError("no forward-path", replies.BAD_RCPT_SYNTAX)
    path, parameters = match.groups()
    if parameters:
        _parameters(parameters, RCPT_PARAMETERS)
    if path.lower() == "postmaster":
        return Mailbox(path, hostname)
    return _mailbox(path, replies.BAD_FORWARD_PATH)


def _mailbox(path: str, bad: Reply) -> Mailbox:
    if len(path) > PATH_OCTETS - 2:
        raise RemoteProtocolError("path too long", bad)
    if path.startswith("@"):
        path = _SOURCE_ROUTE.sub("", path, count=1)
    try:
        return Mailbox.parse(path)
    except ValueError as error:
        raise RemoteProtocolError(str(error), bad) from None


def _is_size(value: str) -> bool:
    return _SIZE.fullmatch(value) is not None


def _is_body(value: str) -> bool:
    return value.upper() in ("7BIT", "8BITMIME")


def _is_auth(value: str) -> bool:
    # RFC 4954 §5: "<>" or a mailbox as xtext.  Nobody here is trusted to vouch for
    # another, so that the value is checked and goes no further.
    return value == "<>" or _XTEXT.fullmatch(value) is not None


MAIL_PARAMETERS: Mapping[str, Callable[[str], bool]] = {
    "SIZE": _is_size,
    "BODY": _is_body,
    "AUTH": _is_auth,
}
RCPT_PARAMETERS: Mapping[str, Callable[[str], bool]] = {}


def _parameters(text: str, known: Mapping[str, Callable[[str], bool]]) -> dict[str, str]:
    """Read the parameters: none unknown, none twice, each with a good value."""
    found: dict[str, str] = {}
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise RemoteProtocolError("malformed parameter", replies.BAD_PARAMETER)
        keyword = match[1].upper()
        check = known.get(keyword)
        if check is None:
            raise RemoteProtocolError("unknown parameter", replies.UNKNOWN_PARAMETER)
        if keyword in found:
            raise RemoteProtocolError("repeated parameter", replies.REPEATED_PARAMETER)
        value = match[2] or ""
        if not value or not check(value):
            raise RemoteProtocolError("bad parameter value", replies.BAD_PARAMETER)
        found[keyword] = value
    return found
