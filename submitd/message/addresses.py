"""Mailboxes as header fields write them (RFC 5322 §3.4), read strictly.

Who may send as whom is decided on what stands here, and the reader at the far end
decides anew what the sender is.  So there is one rule: what two honest parsers could
read differently is malformed.  What real clients write is taken: folding, comments,
quoted strings, encoded words, dots and raw 8-bit octets in display names.  Groups,
source routes, and white space or comments inside an address are not.  Addresses
beyond ASCII are read where the client gave SMTPUTF8 (RFC 6532).
"""

import re
import unicodedata
from collections.abc import Iterator

import idna

from submitd.mail.address import Mailbox

# Groups are atomic and not possessive: Python before 3.11.5, Debian 12's among them,
# matches a possessive repetition of a group wrongly.
_QUOTED = r'"(?>(?:[^"\\]++|\\.)*)"'
_BEYOND_ASCII = "\x80-\U0010ffff"
# RFC 5322 §4.1: phrases in use have unquoted dots (obs-phrase).  8-bit octets are those of
# clients that send names raw.
_WORDS = rf"(?>(?:[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.{_BEYOND_ASCII} \t-]++|{_QUOTED})*)"
_DOMAIN = rf"(?:[A-Za-z0-9._{_BEYOND_ASCII}-]++|\[[^\[\]\\]*+\])"
# A backslash before white space may have stood before a fold, where readers differ.
_QUOTED_LOCAL_PART = r'"(?>(?:[^"\\]++|\\[^ \t])*)"'
_ADDRESS = rf'((?:[^ \t<>()\[\]:;@\\,"]++|{_QUOTED_LOCAL_PART})@{_DOMAIN})'
_MAILBOX = re.compile(rf"[ \t]*+(?:{_ADDRESS}|{_WORDS}<[ \t]*+{_ADDRESS}[ \t]*+>)[ \t]*+(,|\Z)")
_OUTSIDE_COMMENTS = re.compile(rf'(?>(?:[^"()]++|{_QUOTED})*)')
_IN_COMMENT = re.compile(r"\\.|[()]")
# RFC 2047 §2, with no more than may stand in a phrase (§5), leniently: any of an atom and dots.
_ENCODED_WORD = re.compile(
    r"=\?[A-Za-z0-9!#$%&'*+^_`{|}~-]++\?[BbQq]\?[A-Za-z0-9!#$%&'*+/=^_`{|}~.-]*+\?="
)
# A domain of one label that ends an address.
_UNQUALIFIED = re.compile(rf"[^ \t]@[A-Za-z0-9_{_BEYOND_ASCII}-]++[ \t]*+(?:[>,;(]|\Z)")
_QUOTED_STRING = re.compile(_QUOTED)
_ATOM = re.compile(r'([^ \t<>,;:"]++)[ \t]*+([>,;]?)')
# What structures an address list, or ends a word of it.
_SPECIAL = re.compile(r'[\0- ()<>\[\]:;@\\,."]')


class MalformedAddress(ValueError):
    """An address list that can't be read with certainty; the text says why."""


def value_of(field: bytes) -> str:
    """The value of a whole header field, unfolded (RFC 5322 §2.2.3), octets as Latin-1."""
    return field[field.index(b":") + 1 :].replace(b"\r\n", b"").decode("latin-1")


def mailboxes(value: str, *, utf8: bool = False) -> list[Mailbox]:
    """Read a mailbox-list (RFC 5322 §3.4), in linear time.

    :param value: as `value_of` gives it.
    :param utf8: whether it is one of RFC 6532 §3.2, where addresses are UTF-8 too.
    :return: one mailbox or more, in order.
    :raises MalformedAddress: when it is not one, or leaves room for another reading.
    """
    if utf8 and not value.isascii():
        try:
            value = value.encode("latin-1").decode()
        except UnicodeDecodeError as error:
            raise MalformedAddress("not UTF-8") from error
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
        found.append(_mailbox(bare or bracketed, utf8))
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
    plain = _without_texts(value)
    return plain is not None and _UNQUALIFIED.search(plain) is not None


def has_address_beyond_ascii(value: str) -> bool:
    """Whether an address in a list has 8-bit octets, which without SMTPUTF8 it may not.

    Names and comments may, for the sake of clients that send them raw.  Takes what
    `lacks_qualified_domain` takes, and judges as little else.

    :param value: as `value_of` gives it.
    """
    if value.isascii():
        return False
    plain = _without_texts(value)
    if plain is None or plain.isascii():
        return False
    for word in _ATOM.finditer(plain):
        text, end = word.groups()
        if (end or word.end() == len(plain)) and "@" in text and not text.isascii():
            return True
    return False


def _without_texts(value: str) -> str | None:
    """Take comments and encoded words away, and put an atom for each quoted string.

    None where quotes or parentheses are unbalanced.
    """
    try:
        value = _without_comments(_ENCODED_WORD.sub("", value))
    except MalformedAddress:
        return None
    # The quoted string stays as an atom: it may be a local part.
    return _QUOTED_STRING.sub(lambda quoted: "x" if quoted[0].isascii() else "\xff", value)


def _mailbox(text: str, utf8: bool) -> Mailbox:
    if "=?" in text:
        # RFC 2047 §5 (3) forbids it; a lax decoder would find another address in it.
        raise MalformedAddress("encoded word in an address")
    if text.isascii():
        return _parse(text)
    if not utf8:
        raise MalformedAddress("address beyond ASCII")
    mailbox = _parse(text)
    _refuse_deceptive(mailbox)
    return mailbox


def _parse(text: str) -> Mailbox:
    try:
        return Mailbox.parse(text)
    except ValueError as error:
        raise MalformedAddress("malformed address") from error


def _refuse_deceptive(mailbox: Mailbox) -> None:
    """Check that an address beyond ASCII is one mailbox to the eye and to other programs.

    :raises MalformedAddress: for characters that do not show or change the direction of
        writing (RFC 6532 §4), that normalisation (RFC 6532 §3.1) makes into structure,
        and for a domain that has no A-label (RFC 5890 §2.3.2.1).
    """
    local_part = mailbox.local_part
    beyond = "".join(character for character in local_part if not character.isascii())
    if not beyond.isprintable():
        raise MalformedAddress("characters that do not show in an address")
    # "<" and a combining stroke are one character in NFC, and then there is no bracket.
    if unicodedata.combining(local_part[:1] or "x") or _SPECIAL.search(
        unicodedata.normalize("NFKC", beyond)
    ):
        raise MalformedAddress("characters in an address that can become others")
    for label in mailbox.domain.lower().split("."):
        if not label.isascii():
            try:
                idna.alabel(label)
            except idna.IDNAError as error:
                raise MalformedAddress("malformed domain beyond ASCII") from error


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
