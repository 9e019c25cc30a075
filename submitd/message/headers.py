"""The header block as bytes: found, split into fields, never generated anew.

What a client sent leaves as it came, so that signatures survive.  A field is a pair
of bytes and no object of its own: this runs for every message.  docs/completion.md
has the table of odd blocks and what becomes of them.
"""

import re

import attrs

Field = tuple[bytes, bytes]
"""One header field: all of its octets with folding and CRLF, and its name as written."""

# RFC 5322 §2.2: a field name is of printable ASCII but ":"; §4.5 (obsolete) allows white
# space before the colon.  §4.2: a folded line may be white space only.  All repetitions
# are possessive: whatever a client sends is read in linear time.
_NAME = rb"[!-9;-~]++"
_VALUE = rb"[ \t]*+:[^\r]*+\r\n(?:[ \t][^\r]*+\r\n)*+"
_FIELDS = re.compile(rb"(?:%b%b)*+" % (_NAME, _VALUE))
_EACH = re.compile(rb"((%b)%b)" % (_NAME, _VALUE))
_MBOX_LINE = re.compile(rb"From [^\r]*+\r\n")
_SECRET_LINE = re.compile(rb"^(?:resent-)?bcc[ \t]*:", re.IGNORECASE | re.MULTILINE)
# All that may stand in a line.
_TEXT = bytes(set(range(256)) - set(range(0x20)) - {0x7F} | set(b"\t"))


class MalformedHeader(ValueError):
    """A header block that must not be passed on; the text says why, fit for a client."""


def find_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """Find where the header block ends in what has come of a message so far.

    :param buffer: the message from its first octet, CRLF line ends.
    :param start: how many octets were searched before; they are not read again.
    :return: the offset just behind the empty line, or -1 if that has not come yet.
        A message may also end without one: then all of it is header.
    """
    if buffer[:2] == b"\r\n":
        return 2
    found = buffer.find(b"\r\n\r\n", max(0, start - 3))
    return found if found < 0 else found + 4


@attrs.frozen(slots=True)
class HeaderBlock:
    """A header block, split.

    :ivar fields: in their order; joined, they are the block as it came.
    :ivar end: what follows the last field: the empty line, with a malformed line and
        all behind it where there was one.
    """

    fields: list[Field]
    end: bytes

    @classmethod
    def parse(cls, block: bytes) -> "HeaderBlock":
        """Split a header block, in linear time.

        A line that is neither a field nor the continuation of one ends the block: an
        empty line is put before it, so that all who read the message later see the
        same block as we do.  An mbox "From " line at the very top is dropped.

        :param block: the octets up to and with the empty line; that line is added
            where the message ended without it.
        :raises MalformedHeader: for NUL and other control characters, CR or LF that is
            no line end, or a malformed line with a Bcc field behind it.
        """
        _refuse_control_characters(block)
        if not block.endswith(b"\r\n"):
            block += b"\r\n"
        start = 0
        if block.startswith(b"From ") and not block[5:].lstrip(b" \t").startswith(b":"):
            mbox = _MBOX_LINE.match(block)
            start = mbox.end() if mbox else 0
        matched = _FIELDS.match(block, start)
        end = matched.end() if matched else start
        rest = block[end:]
        if rest != b"\r\n" and not rest.startswith(b"\r\n"):
            if _SECRET_LINE.search(rest):
                # Behind the malformed line it would be body, and all recipients would read it.
                raise MalformedHeader("the header has a malformed line before its Bcc field")
            rest = b"\r\n" + rest
        return cls(_EACH.findall(block, start, end), rest)


def _refuse_control_characters(block: bytes) -> None:
    """Check that a header block is made of text and CRLF alone (RFC 5322 §2.3, §4.1).

    :raises MalformedHeader: when it is not.
    """
    odd = block.translate(None, _TEXT)
    lines = len(odd) // 2
    if len(odd) % 2 or odd.count(b"\r\n") != lines or block.count(b"\r\n") != lines:
        raise MalformedHeader("the header has control characters in it")
