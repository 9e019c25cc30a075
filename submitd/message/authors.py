"""Who a message is from: `From` and `Sender`, read strictly and held against the policy."""

import contextlib
from collections.abc import Callable
from typing import Literal

import attrs
import idna

from submitd.mail.address import Mailbox
from submitd.message.addresses import MalformedAddress, mailboxes, value_of
from submitd.message.refusal import Refusal, malformed

FromMismatch = Literal["reject", "add-sender", "allow"]
"""What becomes of a message whose From the login may not use."""

AUTHOR_FIELD_OCTETS = 65_536
"""Longest From or Sender.  Postfix, for one, keeps 102,400 octets of a field and drops the
rest, and then who wrote the message would hang on where the cut falls."""
LINE_OCTETS = 998
"""Longest line of From or Sender, without its end (RFC 5322 §2.1.1).  Next hops break a
longer one in two with white space between, be it in the midst of an address."""


def read_authors(fields: list[bytes], *, utf8: bool) -> tuple[Mailbox, ...]:
    """The mailboxes of From: one field exactly, whatever the policy (RFC 5322 §3.6).

    :param fields: all From fields, each whole.
    :param utf8: whether addresses may be UTF-8 (RFC 6532 §3.2).
    :raises Refusal: when it is not one field, or can't be read with certainty.
    """
    if len(fields) != 1:
        raise malformed(f"the header has {len(fields) or 'no'} From fields, not one")
    return tuple(_read(fields[0], "From", utf8))


def read_sender(fields: list[bytes], *, utf8: bool) -> Mailbox | None:
    """The mailbox of Sender: one field and one mailbox at most (RFC 5322 §3.6, §3.6.2).

    :raises Refusal: as `read_authors` does.
    """
    if not fields:
        return None
    if len(fields) > 1:
        raise malformed(f"the header has {len(fields)} Sender fields, not one")
    senders = _read(fields[0], "Sender", utf8)
    if len(senders) > 1:
        raise malformed("the Sender field has more than one mailbox")
    return senders[0]


def _read(raw: bytes, name: str, utf8: bool) -> list[Mailbox]:
    # "From : x" is obsolete syntax (RFC 5322 §4.5), yet some readers end the header there
    # and others take it for an mbox line.
    if raw[len(name) : len(name) + 1] != b":":
        raise malformed(f"the {name} field has white space before its colon")
    if len(raw) > LINE_OCTETS:
        if len(raw) > AUTHOR_FIELD_OCTETS:
            raise malformed(f"the {name} field is longer than {AUTHOR_FIELD_OCTETS} octets")
        if max(map(len, raw.split(b"\r\n"))) > LINE_OCTETS:
            raise malformed(f"the {name} field has a line longer than {LINE_OCTETS} octets")
    try:
        return mailboxes(value_of(raw), utf8=utf8)
    except MalformedAddress as error:
        raise malformed(f"the {name} field is malformed: {error}") from error


def needs_own_sender(
    authors: tuple[Mailbox, ...],
    sender: Mailbox | None,
    may_send_as: Callable[[Mailbox], bool],
    from_mismatch: FromMismatch,
) -> bool:
    """Apply the policy; tell whether Sender must be the login's own mailbox.

    :raises Refusal: when the login may not send the message.
    """
    if from_mismatch == "reject":
        for mailbox in authors if sender is None else (*authors, sender):
            if not may_send_as(mailbox):
                raise Refusal(550, "5.7.1", f"you may not send as {mailbox}")
    elif from_mismatch == "add-sender":
        if sender is not None:
            return not may_send_as(sender)
        if not all(map(may_send_as, authors)):
            return True
    # RFC 5322 §3.6.2: with several authors there must be a Sender.
    return sender is None and len(authors) > 1


def own_mailbox(login: str, mailbox: Mailbox | None, hostname: str, *, utf8: bool) -> str:
    """What our own Sender field says: the login's mailbox, else the login at our name.

    :param mailbox: the login's own, or None.
    :param utf8: whether it may be UTF-8; if not, a domain is written in A-labels.
    :raises Refusal: when the login has no mailbox that could stand there.
    """
    try:
        own = mailbox or Mailbox.parse(f"{login}@{hostname}")
    except ValueError as error:
        text = "the message needs a Sender field, and your login has no mailbox to put there"
        raise Refusal(550, "5.7.1", text) from error
    if not utf8 and not own.is_ascii:
        own = _in_ascii(own)
    return str(own)


def _in_ascii(mailbox: Mailbox) -> Mailbox:
    with contextlib.suppress(idna.IDNAError):
        domain = idna.encode(mailbox.domain.lower()).decode("ascii")
        if mailbox.local_part.isascii():
            return attrs.evolve(mailbox, domain=domain)
    text = "the message needs a Sender field with your address, which needs SMTPUTF8"
    raise Refusal(550, "5.6.7", text)
