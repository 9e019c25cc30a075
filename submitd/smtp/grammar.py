"""The arguments of MAIL, RCPT and BDAT (RFC 5321 §4.1.2), beside their grammar.

Path            = "<" [ A-d-l ":" ] Mailbox ">"
A-d-l           = At-domain *( "," At-domain )
Mail-parameters = esmtp-param *(SP esmtp-param)
esmtp-param     = esmtp-keyword ["=" esmtp-value]
esmtp-keyword   = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
esmtp-value     = 1*(%d33-60 / %d62-126)    ; and UTF-8 (RFC 6531 §3.3)
"""

import re

from submitd.mail.address import Mailbox
from submitd.smtp import replies
from submitd.smtp.errors import RemoteProtocolError
from submitd.smtp.events import MailReceived, RcptReceived
from submitd.smtp.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS, read
from submitd.smtp.replies import Reply

# A quoted local part may hold ">", so that the path ends at the first ">" outside quotes.
_PATH = r'<((?:[^<>"\\]|"(?:[^"\\]|\\.)*")*)>'
# Spaces after the colon are not in the grammar; many printers and scripts send one.
_FROM = re.compile(rf"FROM: *{_PATH}(?: +(\S.*?))? *", re.IGNORECASE)
_TO = re.compile(rf"TO: *{_PATH}(?: +(\S.*?))? *", re.IGNORECASE)
# Without brackets, where the listener allows it: no octet that could end or quote a path.
_BARE_FROM = re.compile(r'FROM: *([^\s<>"@]+@[^\s<>"@]+)(?: +(\S.*?))? *', re.IGNORECASE)
_BARE_TO = re.compile(r'TO: *([^\s<>"@]+@[^\s<>"@]+)(?: +(\S.*?))? *', re.IGNORECASE)
# RFC 5321 §4.1.2, appendix C: source routes are to be accepted and ignored.
_SOURCE_ROUTE = re.compile(r"@[A-Za-z0-9_.-]+(?:,@[A-Za-z0-9_.-]+)*:")
_CHUNK = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)  # RFC 3030 §2

PATH_OCTETS = 256  # RFC 5321 §4.5.3.1.3, with the brackets


def parse_mail(text: str, *, brackets: bool = True) -> MailReceived:
    """Read what follows `MAIL `.

    :param brackets: whether the path needs its angle brackets.
    :raises RemoteProtocolError: with the reply to give.
    """
    match = _FROM.fullmatch(text) or (None if brackets else _BARE_FROM.fullmatch(text))
    if match is None:
        raise RemoteProtocolError("no reverse-path", replies.BAD_MAIL_SYNTAX)
    path, parameters = match.groups()
    reverse_path = _mailbox(path, replies.BAD_REVERSE_PATH) if path else None
    if not parameters:
        event = MailReceived(reverse_path)
    else:
        event = MailReceived(reverse_path, **read(parameters, MAIL_PARAMETERS))
        if event.hold_for_s is not None and event.hold_until_s is not None:
            # RFC 4865 §5: one of them at most.
            raise RemoteProtocolError("HOLDFOR and HOLDUNTIL", replies.REPEATED_PARAMETER)
    if reverse_path is not None and not event.utf8 and not reverse_path.is_ascii:
        raise RemoteProtocolError("not ASCII", replies.NON_ASCII_ADDRESS)
    return event


def parse_rcpt(text: str, hostname: str, *, utf8: bool, brackets: bool = True) -> RcptReceived:
    """Read what follows `RCPT `.

    :param hostname: the domain of `<postmaster>` (RFC 5321 §4.1.1.3).
    :param utf8: whether MAIL had SMTPUTF8.
    :param brackets: whether the path needs its angle brackets.
    :raises RemoteProtocolError: with the reply to give.
    """
    match = _TO.fullmatch(text) or (None if brackets else _BARE_TO.fullmatch(text))
    if match is None:
        raise RemoteProtocolError("no forward-path", replies.BAD_RCPT_SYNTAX)
    path, parameters = match.groups()
    if path.lower() == "postmaster":
        mailbox = Mailbox(path, hostname)
    else:
        mailbox = _mailbox(path, replies.BAD_FORWARD_PATH)
    if not utf8 and not mailbox.is_ascii:
        raise RemoteProtocolError("not ASCII", replies.NON_ASCII_ADDRESS)
    if not parameters:
        return RcptReceived(mailbox)
    if not utf8 and not parameters.isascii():
        # RFC 6533 §3: ORCPT has UTF-8 in it with SMTPUTF8 alone.
        raise RemoteProtocolError("not ASCII", replies.BAD_PARAMETER)
    return RcptReceived(mailbox, **read(parameters, RCPT_PARAMETERS))


def parse_bdat(text: str) -> tuple[int, bool]:
    """Read what follows `BDAT `: the octets of the chunk, and whether it is the last.

    :raises RemoteProtocolError: with the reply to give.
    """
    match = _CHUNK.fullmatch(text)
    if match is None:
        raise RemoteProtocolError("no chunk size", replies.BAD_BDAT_SYNTAX)
    return int(match[1]), match[2] is not None


def _mailbox(path: str, bad: Reply) -> Mailbox:
    if len(path.encode("utf-8", "replace")) > PATH_OCTETS - 2:
        raise RemoteProtocolError("path too long", bad)
    if path.startswith("@"):
        path = _SOURCE_ROUTE.sub("", path, count=1)
    try:
        return Mailbox.parse(path)
    except ValueError as error:
        raise RemoteProtocolError(str(error), bad) from None
