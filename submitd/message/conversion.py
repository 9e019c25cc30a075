"""Content made fit for a next hop without 8BITMIME or BINARYMIME (RFC 6152 §3, RFC 3030 §3).

Two passes over the message, each in pieces: an `Inspector` finds the bodies of MIME parts
(RFC 2045, RFC 2046) that must be encoded, a `Converter` encodes them and leaves all else to
the octet.  docs/extensions.md has the rules.  What is held is a header block, a piece, and
two small objects for each part, of which there is a most; the time is linear.
"""

import re
from collections import deque
from collections.abc import Iterable
from typing import Literal

import attrs

from submitd.mail.envelope import BodyType
from submitd.message.encodings import Base64, QuotedPrintable
from submitd.message.headers import HeaderBlock, MalformedHeader

HEADER_OCTETS = 1_048_576  # of one part; more than a message's own may have
PARTS = 10_000
DEPTH = 100
_LINE_OCTETS = 998  # RFC 5322 §2.1.1
_DELIMITER_OCTETS = 1000  # RFC 2046 §5.1.1 has 70 and white space

Encoding = Literal["quoted-printable", "base64"]
_ENCODERS: dict[str, type[QuotedPrintable] | type[Base64]] = {
    "quoted-printable": QuotedPrintable,
    "base64": Base64,
}

_TYPE = re.compile(rb"\s*([^\s;/()]+)/([^\s;/()]+)")
_PARAMETER = re.compile(rb';\s*([^\s;=()"]+)\s*=\s*(?:"((?>(?:[^"\\]|\\.)*))"|([^\s;()"]+))')
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_BARE_LINE_END = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_HIGH = bytes(range(128, 256))
_IDENTITY = frozenset((b"7bit", b"8bit", b"binary"))
# RFC 6532 §3.5: unlike all others these may be encoded.
_GLOBAL = frozenset(
    (b"global", b"global-headers", b"global-delivery-status", b"global-disposition-notification")
)


class Unconvertible(Exception):
    """A message that can't be made fit.

    :ivar status: `"5.6.3"`, or `"5.6.9"` where a header stands in the way.
    """

    def __init__(self, reason: str, status: str = "5.6.3") -> None:
        super().__init__(reason)
        self.status = status


@attrs.frozen(slots=True)
class Edit:
    """One change.

    :ivar start: the first octet concerned, counted from the beginning of the message.
    :ivar end: the octet behind the last.
    :ivar by: what to put there, or how to encode what is there.
    """

    start: int
    end: int
    by: bytes | Encoding


@attrs.frozen(slots=True)
class _Multipart:
    boundary: bytes
    digest: bool
    frozen: bool  # signed or encrypted, or within such


@attrs.define(slots=True)
class _Entity:
    """A part, or a message: what its header says, and then what its body is like."""

    main: bytes
    sub: bytes
    encoding: bytes
    encoding_at: tuple[int, int] | None  # where the field is
    header_end: int  # before the empty line
    missing: bytes  # fields that a conversion must add
    body_start: int
    frozen: bool
    octets: int = 0
    high: int = 0
    nul: bool = False
    unclean: bool = False  # NUL, bare CR or LF, a line that is too long


class Inspector:
    """Finds out what has to change in a message.

    :param body: what the message is declared as.
    :param target: what it has to become: `"7BIT"`, or `"8BITMIME"` for BINARYMIME; the
        same as *body* where only its header is of interest.
    :param ascii_header: whether its header block must be ASCII.

    :ivar is_done: whether the rest of the message makes no difference.
    """

    def __init__(self, body: BodyType, target: BodyType, *, ascii_header: bool) -> None:
        self.is_done = False
        self._header_only = body == target
        self._seven_bit = target == "7BIT"
        self._clean = body == "BINARYMIME" and target != body
        self._ascii_header = ascii_header or self._seven_bit
        self._edits: list[Edit] = []
        self._parts = 0
        self._stack: list[_Multipart] = []
        self._entity: _Entity | None = None  # None in a preamble or an epilogue
        self._filler = _Entity(b"", b"", b"7bit", None, 0, b"", 0, True)
        self._in_header = True
        self._is_message = True  # the header is that of a message, not of a part
        self._line_octets = 0
        self._line_begins = False
        self._buffer = b""
        self._position = 0
        self._offset = 0  # of the buffer in the message

    def feed(self, data: bytes) -> None:
        """Take in the next octets.

        :raises Unconvertible: when nothing can be done.
        """
        self._buffer = self._buffer[self._position :] + data
        self._offset += self._position
        self._position = 0
        while not self.is_done:
            if not (self._header() if self._in_header else self._body(last=False)):
                return

    def end(self) -> tuple[Edit, ...]:
        """What has to change, in the order of the message.

        :raises Unconvertible: when nothing can be done.
        """
        while not self.is_done:
            if self._in_header:
                if not self._header():
                    self._header_ended(len(self._buffer), len(self._buffer))
            elif not self._body(last=True):
                self._body_ended(len(self._buffer))
                break
        return tuple(self._edits)

    # ---- headers ----------------------------------------------------------------------

    def _header(self) -> bool:
        """Read a header block; False until it is there."""
        start, buffer = self._position, self._buffer
        if len(buffer) - start < 2:
            return False
        if buffer.startswith(b"\r\n", start):
            end = start
        else:
            end = buffer.find(b"\r\n\r\n", start) + 2
            if end < 2:
                if len(buffer) - start > HEADER_OCTETS:
                    raise Unconvertible("the header of a part is too long")
                return False
        self._header_ended(end, end + 2)
        return True

    def _header_ended(self, end: int, body: int) -> None:
        """A header block is whole.

        :param end: where its fields end in the buffer.
        :param body: where its body begins.
        """
        self._parts += 1
        if self._parts > PARTS:
            raise Unconvertible("the message has too many parts")
        block = self._buffer[self._position : end]
        if self._ascii_header and not block.isascii():
            raise Unconvertible("the header is not ASCII", "5.6.9")
        if self._header_only:
            self.is_done = True
            return
        if not self._seven_bit:
            # A header beyond ASCII is in the way only if it is the message's own.
            self._ascii_header = False
        entity = self._read(block, self._offset + self._position, self._offset + body)
        self._position = body
        self._in_header = False
        self._line_octets = 0
        self._line_begins = True
        self._entity = entity
        if entity.encoding not in _IDENTITY:
            return
        if entity.main == b"multipart":
            boundary = self._boundary(block)
            if boundary is not None:
                self._relabel(entity)
                frozen = entity.frozen or entity.sub in (b"signed", b"encrypted")
                self._stack.append(_Multipart(boundary, entity.sub == b"digest", frozen))
                self._entity = None
                if len(self._stack) > DEPTH:
                    raise Unconvertible("the parts of the message are nested too deep")
        elif entity.main == b"message" and entity.sub == b"rfc822":
            self._relabel(entity)
            self._entity = None
            self._in_header = self._is_message = True

    def _read(self, block: bytes, start: int, body_start: int) -> _Entity:
        """What a header block says of its body.

        :param start: where the block begins in the message.
        """
        if block.startswith(b"From "):
            raise Unconvertible("a part begins with an mbox line")
        try:
            header = HeaderBlock.parse(block + b"\r\n")
        except MalformedHeader:
            raise Unconvertible("the header of a part is malformed") from None
        if header.end != b"\r\n":
            raise Unconvertible("the header of a part is malformed")
        seen: dict[bytes, tuple[bytes, int, int]] = {}
        offset = start
        for raw, name in header.fields:
            name = name.lower()
            if name.startswith(b"--"):
                raise Unconvertible("a part has no end of its header")
            if name.startswith(b"content-t") and name in seen:
                raise Unconvertible("a part says twice what it is")
            seen[name] = (raw.partition(b":")[2], offset, offset + len(raw))
            offset += len(raw)
        frozen = bool(self._stack) and self._stack[-1].frozen
        digest = bool(self._stack) and self._stack[-1].digest and not self._is_message
        main, sub = (b"message", b"rfc822") if digest else (b"text", b"plain")
        if b"content-type" in seen:
            kind = _TYPE.match(seen[b"content-type"][0])
            main, sub = kind.groups() if kind else (b"application", b"octet-stream")
        missing = b""
        if self._is_message and b"mime-version" not in seen:
            missing = b"MIME-Version: 1.0\r\n"
            if b"content-type" not in seen:
                # RFC 1428 §3: nobody knows what it is in.
                missing += b"Content-Type: text/plain; charset=unknown-8bit\r\n"
        self._is_message = False
        encoding, at = b"7bit", None
        if b"content-transfer-encoding" in seen:
            value, field_start, field_end = seen[b"content-transfer-encoding"]
            encoding, at = value.strip().lower(), (field_start, field_end)
        return _Entity(main.lower(), sub.lower(), encoding, at, offset, missing, body_start, frozen)

    def _boundary(self, block: bytes) -> bytes | None:
        for raw, name in HeaderBlock.parse(block + b"\r\n").fields:
            if name.lower() == b"content-type":
                found = [
                    token or _QUOTED_PAIR.sub(rb"\1", quoted).rstrip()
                    for key, quoted, token in _PARAMETER.findall(raw.replace(b"\r\n", b""))
                    if key.lower() == b"boundary"
                ]
                if len(found) == 1:
                    return found[0] or None
        return None

    # ---- bodies -----------------------------------------------------------------------

    def _body(self, *, last: bool) -> bool:
        """Read up to the next delimiter; False when there is none in the buffer.

        :param last: whether nothing follows the buffer.
        """
        buffer, end = self._buffer, len(self._buffer)
        if not self._stack:
            self._look_at(end if last or not buffer.endswith(b"\r") else end - 1)
            return False
        search = self._position
        while True:
            if self._line_begins and search == self._position:
                line = search
                if not last and end - line < 2:
                    return False
                if not buffer.startswith(b"--", line):
                    self._line_begins = False
                    continue
                delimiter = line
            else:
                found = buffer.find(b"\n--", search)
                if found < 0:
                    # What may be the beginning of CRLF "--" stays.
                    self._look_at(end if last else max(self._position, end - 3))
                    return False
                line = found + 1
                delimiter = found - (buffer[found - 1 : found] == b"\r")
            line_end = buffer.find(b"\n", line)
            if line_end < 0:
                if not last and end - line < _DELIMITER_OCTETS:
                    self._look_at(max(self._position, delimiter))
                    return False
                line_end = end
            depth, closes = self._match(buffer[line:line_end])
            if depth is None:
                if line == self._position:
                    self._line_begins = False
                search = line
                continue
            if delimiter == line - 1:
                raise Unconvertible("a bare LF stands before a boundary")
            # Its own line end is passed on as it is, and must be fit for DATA.
            if _BARE_LINE_END.search(buffer, line, line_end + 1):
                raise Unconvertible("a boundary's line has a bare CR or LF")
            self._body_ended(delimiter)
            self._position = min(line_end + 1, end)
            del self._stack[depth + (not closes) :]
            self._in_header = not closes
            self._entity = None
            self._line_begins = closes
            return True

    def _match(self, line: bytes) -> tuple[int | None, bool]:
        """Which multipart a delimiter is of, by its depth, and whether it is its last."""
        text = line[2:].rstrip()
        near = False
        for depth in range(len(self._stack) - 1, -1, -1):
            boundary = self._stack[depth].boundary
            if text.startswith(boundary):
                rest = text[len(boundary) :]
                if rest in (b"", b"--"):
                    return depth, rest == b"--"
                near = True
        if near:
            # RFC 2046 §5.1.1 lets readers compare the beginning alone; not all do.
            raise Unconvertible("a line begins like a boundary")
        return None, False

    def _look_at(self, end: int) -> None:
        """Take the buffer up to *end* as a piece of the body."""
        piece = self._buffer[self._position : end]
        if not piece:
            return
        self._position = end
        self._line_begins = False
        entity = self._entity or self._filler
        entity.octets += len(piece)
        if not piece.isascii():
            entity.high += len(piece) - len(piece.translate(None, _HIGH))
        if self._clean and not entity.unclean:
            entity.nul = entity.nul or b"\0" in piece
            first, *others = map(len, piece.split(b"\n"))
            longest = max(self._line_octets + first, *others, 0)
            self._line_octets = others[-1] if others else self._line_octets + first
            pairs = piece.count(b"\r\n")
            entity.unclean = (
                entity.nul
                or longest > _LINE_OCTETS + 1
                or piece.count(b"\r") != pairs
                or piece.count(b"\n") != pairs
            )

    def _body_ended(self, end: int) -> None:
        """A body ends at *end* in the buffer: decide what becomes of it."""
        self._look_at(end)
        entity = self._entity
        if entity is None:
            self._check(self._filler, "text outside of the parts of the message")
            return
        if not self._is_fit(entity):
            if entity.main == b"message" and entity.sub not in _GLOBAL:
                self._check(entity, f"a part of type message/{_text(entity.sub)}")
            if entity.main == b"multipart" or entity.encoding not in _IDENTITY:
                self._check(entity, f"a malformed part, {_text(entity.encoding)},")
            if entity.frozen:
                self._check(entity, "a signed or encrypted part")
            self._encode(entity, self._offset + end)
        elif entity.encoding in _IDENTITY:
            self._relabel(entity)

    def _is_fit(self, entity: _Entity) -> bool:
        return not (entity.unclean or (self._seven_bit and entity.high))

    def _check(self, entity: _Entity, what: str) -> None:
        if not self._is_fit(entity):
            raise Unconvertible(f"{what} can't be converted")

    def _encode(self, entity: _Entity, end: int) -> None:
        # Up to a third of quoted octets, text can still be read without decoding it.
        readable = entity.main == b"text" and not entity.nul and entity.high * 3 <= entity.octets
        encoding: Encoding = "quoted-printable" if readable else "base64"
        self._label(entity, encoding.encode())
        self._edits.append(Edit(entity.body_start, end, encoding))

    def _relabel(self, entity: _Entity) -> None:
        """Give a body that needs no encoding the label that the next hop takes."""
        label = entity.encoding
        if self._seven_bit and label in (b"8bit", b"binary"):
            label = b"7bit"
        elif self._clean and label == b"binary":
            label = b"8bit"
        if label != entity.encoding and not entity.frozen:
            self._label(entity, label, added=b"")

    def _label(self, entity: _Entity, label: bytes, added: bytes | None = None) -> None:
        field = b"Content-Transfer-Encoding: %b\r\n" % label
        missing = entity.missing if added is None else added
        if entity.encoding_at is None:
            self._edits.append(Edit(entity.header_end, entity.header_end, missing + field))
        else:
            self._edits.append(Edit(*entity.encoding_at, field))
            if missing:
                self._edits.append(Edit(entity.header_end, entity.header_end, missing))


def _text(octets: bytes) -> str:
    return octets[:40].decode("ascii", "replace")


class Converter:
    """Makes the changes.

    :param edits: in the order of the message.
    """

    def __init__(self, edits: Iterable[Edit]) -> None:
        self._edits = deque(edits)
        self._offset = 0
        self._encoder: QuotedPrintable | Base64 | None = None
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """The next octets of the message; what they have become so far."""
        out: list[bytes] = []
        base, done = self._offset, 0
        self._offset += len(data)
        while self._edits and self._edits[0].start - base < len(data):
            edit = self._edits[0]
            if not self._begun:
                self._begun = True
                out.append(data[done : edit.start - base])
                done = edit.start - base
                if isinstance(edit.by, bytes):
                    out.append(edit.by)
                else:
                    self._encoder = _ENCODERS[edit.by]()
            stop = min(edit.end - base, len(data))
            if self._encoder is not None:
                out.append(self._encoder.feed(data[done:stop]))
            done = stop
            if edit.end > self._offset:
                return b"".join(out)
            self._finish(out)
        out.append(data[done:])
        return b"".join(out)

    def _finish(self, out: list[bytes]) -> None:
        """The edit that was begun is done."""
        if self._encoder is not None:
            out.append(self._encoder.end())
            self._encoder = None
        self._begun = False
        self._edits.popleft()

    def end(self) -> bytes:
        """What is left when the message has ended."""
        out: list[bytes] = []
        if self._begun:
            self._finish(out)
        return b"".join(out)
