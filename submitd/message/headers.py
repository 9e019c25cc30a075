"""The header block as bytes: found, split into fields, never generated anew.

What a client sent leaves as it came, so that signatures survive.  A field is a pair
of bytes and no object of its own: this runs for every message.  docs/completion.md
has the table of odd blocks and what becomes of them.
"""

import enum
import re

import attrs

Field = tuple[bytes, bytes]
"""One header field: all of its octets with folding and CRLF, and its name as written."""

# RFC 5322 §2.2: a field name is of printable ASCII but ":"; §4.5 (obsolete) allows white
# space before the colon.  §4.2: a folded line may be white space only.  All repetitions
# are possessive: whatever a client sends is read in linear time.
_NAME = rb"[!-9;-~]++"
_VALUE = rb"[ \t]*+:[^\r]*+\r\n(?>(?:[ \t][^\r]*+\r\n)*)"
_FIELDS = re.compile(rb"(?>(?:%b%b)*)" % (_NAME, _VALUE))
_EACH = re.compile(rb"((%b)%b)" % (_NAME, _VALUE))
_MBOX_LINE = re.compile(rb"From [^\r]*+\r\n")
# Also with a fold before the colon, which some programs take away.
_SECRET_LINE = re.compile(rb"^(?:resent-)?bcc[ \t\r\n]*+:", re.IGNORECASE | re.MULTILINE)
# All that may stand in a line.
_TEXT = bytes(set(range(256)) - set(range(0x20)) - {0x7F} | set(b"\t"))


class HeaderLeniency(enum.StrEnum):
    """What is taken of a header block although RFC 5322 does not have it, by its name in logs.

    docs/leniencies.md says who sends each.
    """

    MBOX_LINE = "mbox-line"
    """A "From " line at the top, dropped."""
    MALFORMED_LINE = "malformed-line"
    """A line that is no field ends the block, and an empty line is put before it."""
    NO_EMPTY_LINE = "no-empty-line"
    """The message ends within its header, and the empty line is added."""
    RAW_8BIT = "raw-8bit-header"
    """Octets above 127 without SMTPUTF8."""


class MalformedHeader(ValueError):
    """A header block that must not be passed on; the text says why, fit for a client."""


class HeaderTooBig(MalformedHeader):
    """A header block with more fields, or longer ones, than are taken."""


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
    :ivar leniencies: what the block needed; that of octets above 127 is not looked for.
    """

    fields: list[Field]
    end: bytes
    leniencies: tuple[HeaderLeniency, ...] = ()

    @classmethod
    def parse(
        cls, block: bytes, *, max_fields: int | None = None, max_field_octets: int | None = None
    ) -> "HeaderBlock":
        """Split a header block, in linear time.

        A line that is neither a field nor the continuation of one ends the block: an
        empty line is put before it, so that all who read the message later see the
        same block as we do.  An mbox "From " line at the very top is dropped.

        :param block: the octets up to and with the empty line; that line is added
            where the message ended without it.
        :param max_fields: most fields, or None for no bound.
        :param max_field_octets: most octets of one field, all of its lines together.
        :raises MalformedHeader: for NUL and other control characters, CR or LF that is
            no line end, or a malformed line with a Bcc field behind it.
        :raises HeaderTooBig: for more than the bounds.
        """
        _refuse_control_characters(block)
        leniencies: tuple[HeaderLeniency, ...] = ()
        if not block.endswith(b"\r\n"):
            block += b"\r\n"
        start = 0
        if block.startswith(b"From ") and not block[5:].lstrip(b" \t").startswith(b":"):
            mbox = _MBOX_LINE.match(block)
            start = mbox.end() if mbox else 0
            leniencies = (HeaderLeniency.MBOX_LINE,)
        matched = _FIELDS.match(block, start)
        end = matched.end() if matched else start
        if max_fields is not None and _count(block, start, end) > max_fields:
            raise HeaderTooBig(f"the header has more than {max_fields} fields")
        fields: list[Field] = _EACH.findall(block, start, end)
        if (
            max_field_octets is not None
            and len(block) > max_field_octets
            and any(len(raw) > max_field_octets for raw, _name in fields)
        ):
            raise HeaderTooBig(f"a header field is longer than {max_field_octets} octets")
        rest = block[end:]
        if rest.startswith(b"\r\n"):
            return cls(fields, rest, leniencies)
        if not rest:
            return cls(fields, b"\r\n", (*leniencies, HeaderLeniency.NO_EMPTY_LINE))
        if _SECRET_LINE.search(rest):
            # Behind the malformed line it would be body, and all recipients would read it.
            raise MalformedHeader("the header has a malformed line before its Bcc field")
        return cls(fields, b"\r\n" + rest, (*leniencies, HeaderLeniency.MALFORMED_LINE))


def _count(block: bytes, start: int, end: int) -> int:
    """How many fields stand there: lines that do not begin with white space."""
    folds = block.count(b"\r\n ", start, end) + block.count(b"\r\n\t", start, end)
    return block.count(b"\r\n", start, end) - folds


def _refuse_control_characters(block: bytes) -> None:
    """Check that a header block is made of text and CRLF alone (RFC 5322 §2.3, §4.1).

    :raises MalformedHeader: when it is not.
    """
    odd = block.translate(None, _TEXT)
    lines = len(odd) // 2
    if len(odd) % 2 or odd.count(b"\r\n") != lines or block.count(b"\r\n") != lines:
        raise MalformedHeader("the header has control characters in it")
