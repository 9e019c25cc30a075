"""Mailboxes as header fields write them (RFC 5322 §3.4), read strictly.

Who may send as whom is decided on what stands here, and the reader at the far end
decides anew what the sender is.  So there is one rule: what two honest parsers could
read differently is malformed.  What real clients write is taken: folding, comments,
quoted strings, encoded words, dots and raw 8-bit octets in display names.  Groups,
source routes, and white space or comments inside an address are not.
"""

import re
from collections.abc import Iterator

from submitd.mail.address import Mailbox

_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
# RFC 5322 §4.1: phrases in use have unquoted dots (obs-phrase).  8-bit octets are those of
# clients that send names raw; they never occur in an address here.
_WORDS = rf"(?:[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.\x80-\xff \t-]++|{_QUOTED})*+"
_ADDRESS = rf'((?:[^ \t<>()\[\]:;@\\,"]++|{_QUOTED})@(?:[A-Za-z0-9._-]++|\[[^\[\]\\]*+\]))'
_MAILBOX = re.compile(rf"[ \t]*+(?:{_ADDRESS}|{_WORDS}<[ \t]*+{_ADDRESS}[ \t]*+>)[ \t]*+(,|\Z)")
_OUTSIDE_COMMENTS = re.compile(rf'(?:[^"()]++|{_QUOTED})*+')
_IN_COMMENT = re.compile(r"\\.|[()]")
# RFC 2047 §2, with no more than may stand in a phrase (§5), leniently: any of an atom and dots.
_ENCODED_WORD = re.compile(
    r"=\?[A-Za-z0-9!#$%&'*+^_`{|}~-]++\?[BbQq]\?[A-Za-z0-9!#$%&'*+/=^_`{|}~.-]*+\?="
)
# A domain of one label that ends an address.
_UNQUALIFIED = re.compile(r"[^ \t]@[A-Za-z0-9_-]++[ \t]*+(?:[>,;(]|\Z)")
_QUOTED_STRING = re.compile(_QUOTED)


class MalformedAddress(ValueError):
    """An address list that can't be read with certainty; the text says why."""


def value_of(field: bytes) -> str:
    """The value of a whole header field, unfolded (RFC 5322 §2.2.3), octets as Latin-1."""
    return field[field.index(b":") + 1 :].replace(b"\r\n", b"").decode("latin-1")


def mailboxes(value: str) -> list[Mailbox]:
    """Read a mailbox-list (RFC 5322 §3.4), in linear time.

    :param value: as `value_of` gives it.
    :return: one mailbox or more, in order.
    :raises MalformedAddress: when it is not one, or leaves room for another reading.
    """
    # An encoded word that holds specials, or has no end, is read in as many ways as there
    # are decoders: some look for its end before they look for quotes and brackets.
    if "=?" in value and "=?" in _ENCODED_WORD.sub("", value):
        raise MalformedAddress("malformed encoded word")
    if "(" in value or ")" in value:
        value = _without_comments(value)
    found = []
    at = 0
    while True:
        match = _MAILBOX.match(value, at)
        if match is None:
            raise MalformedAddress("not a list of mailboxes")
        bare, bracketed, separator = match.groups()
        found.append(_mailbox(bare or bracketed))
        if not separator:
            return found
        at = match.end()


def lacks_qualified_domain(value: str) -> bool:
    """Whether an address in a list has a domain of one label (RFC 6409 §4.2).

    Takes any address-list, groups too, and does not judge anything else about it: an
    address without a domain, or text that is no address, is not our rule's business.

    :param value: as `value_of` gives it.
    """
    if _UNQUALIFIED.search(value) is None:
        return False
    try:
        value = _without_comments(_ENCODED_WORD.sub("", value))
    except MalformedAddress:
        return False
    # The quoted string stays as an atom: it may be a local part.
    return _UNQUALIFIED.search(_QUOTED_STRING.sub("x", value)) is not None


def _mailbox(text: str) -> Mailbox:
    if "=?" in text:
        # RFC 2047 §5 (3) forbids it; a lax decoder would find another address in it.
        raise MalformedAddress("encoded word in an address")
    try:
        return Mailbox.parse(text)
    except ValueError as error:
        raise MalformedAddress("malformed address") from error


def _without_comments(value: str) -> str:
    """Put a space for each comment (RFC 5322 §3.2.2), nested ones included."""
    return " ".join(_between_comments(value))


def _between_comments(value: str) -> Iterator[str]:
    at = 0
    while True:
        match = _OUTSIDE_COMMENTS.match(value, at)
        assert match is not None  # it matches the empty text
        yield match.group()
        at = match.end()
        if at == len(value):
            return
        if value[at] != "(":
            raise MalformedAddress("unbalanced quotes or parentheses")
        depth = 0
        for parenthesis in _IN_COMMENT.finditer(value, at):
            depth += {"(": 1, ")": -1}.get(parenthesis.group(), 0)
            if depth == 0:
                at = parenthesis.end()
                break
        else:
            raise MalformedAddress("unbalanced quotes or parentheses")
