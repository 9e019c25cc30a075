"""What the next hop says: replies read from bytes, and what they mean for a recipient."""

import enum
import re

from submitd.mail.status import Action, DeliveryStatus
from submitd.smtp.errors import RemoteProtocolError

REPLY_LINE_OCTETS = 2048  # RFC 5321 §4.5.3.1 has 512; some servers write more
REPLY_OCTETS = 65_536  # of one reply, all its lines together: bounds what a peer can make us keep
DIAGNOSTIC_CHARACTERS = 1000  # logged and stored with each recipient

_CODE = re.compile(rb"[2-5][0-9]{2}")  # RFC 5321 §4.2, and those of other servers
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?:[ ]|$)")  # RFC 2034 §4
_CLASS = {Action.RELAYED: "2", Action.DELAYED: "4", Action.FAILED: "5"}
# Refusals of the session, not of a message: "authentication required", "mechanism too
# weak", "bad credentials", "encryption required" (RFC 4954 §6).  They tell of a fault in
# our configuration, for which no user's message may bounce.
_OURS = frozenset((530, 534, 535, 538))


class Stage(enum.Enum):
    """What a client waits for; time limits and log lines go by it."""

    GREETING = "the greeting"
    EHLO = "the reply to EHLO"
    HELO = "the reply to HELO"
    STARTTLS = "the reply to STARTTLS"
    HANDSHAKE = "the TLS handshake"
    AUTH = "the reply to AUTH"
    RSET = "the reply to RSET"
    MAIL = "the reply to MAIL"
    RCPT = "the reply to RCPT"
    DATA = "the reply to DATA"
    CONTENT = "the message to be taken"
    END_OF_DATA = "the reply to the end of data"
    QUIT = "the reply to QUIT"


_OF_THE_MESSAGE = frozenset((Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.CONTENT, Stage.END_OF_DATA))

RawReply = tuple[int, list[bytes]]
"""A reply as it came: its code, and its lines, whole but for their line ends."""


class ReplyReader:
    """Cuts a stream of bytes into replies (RFC 5321 §4.2)."""

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[bytes] = []
        self._octets = 0

    def feed(self, data: bytes) -> None:
        """Take in what was received."""
        self._buffer = self._buffer + data if self._buffer else data

    @property
    def is_empty(self) -> bool:
        """Whether nothing was received beyond the last reply."""
        return not self._buffer and not self._lines

    def next_reply(self) -> RawReply | None:
        """The next whole reply, or None until more has come.

        A line may end in LF alone.

        :raises RemoteProtocolError: when it isn't a reply, or too long for one.
        """
        while True:
            line, end, rest = self._buffer.partition(b"\n")
            if len(line) > REPLY_LINE_OCTETS:
                raise RemoteProtocolError(f"a reply line of more than {REPLY_LINE_OCTETS} octets")
            if not end:
                return None
            self._buffer = rest
            self._octets += len(line)
            if self._octets > REPLY_OCTETS:
                raise RemoteProtocolError(f"a reply of more than {REPLY_OCTETS} octets")
            self._lines.append(line.removesuffix(b"\r"))
            if self._is_last(self._lines[-1]):
                lines, self._lines, self._octets = self._lines, [], 0
                return int(lines[0][:3]), lines

    def _is_last(self, line: bytes) -> bool:
        code, separator = line[:3], line[3:4]
        if not (_CODE.fullmatch(code) and separator in b" -"):
            raise RemoteProtocolError(f"not a reply: {as_text(line[:80])}")
        if code != self._lines[0][:3]:
            raise RemoteProtocolError(f"two codes in one reply: {as_text(line[:80])}")
        return separator != b"-"


def as_text(octets: bytes) -> str:
    """A peer's words, made safe for logs and reports: printable, on one line."""
    text = octets.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def diagnostic(raw: RawReply) -> str:
    """A reply in one line: code, enhanced code and the texts of all lines."""
    _, lines = raw
    first = as_text(lines[0])
    if len(lines) > 1:
        first = first[:3] + " " + first[4:]
        enhanced = _ENHANCED.match(first, 4)
        prefix = enhanced.group() if enhanced else ""
        texts = (as_text(line[4:]).removeprefix(prefix) for line in lines[1:])
        first = " ".join((first, *texts))
    return first[:DIAGNOSTIC_CHARACTERS]


def delivery_status(
    raw: RawReply,
    stage: Stage,
    next_hop: str,
    *,
    dsn_passed_on: bool = False,
    deliver_by_passed_on: bool = False,
) -> DeliveryStatus:
    """What a reply at *stage* means for the recipients it is about.

    :param dsn_passed_on: whether a next hop that accepts the message sees to reports too.
    :param deliver_by_passed_on: whether it keeps watch on the time to deliver by.

    4yz delays and 5yz fails (RFC 5321 §4.2.1), but a refusal that is not about the
    message delays whatever its code: at the greeting, EHLO, STARTTLS and AUTH, and
    those that RFC 4954 §6 has for a client that isn't logged in.  3yz where it has
    no place delays too.

    The status is the one the next hop gave, its class put right, or else x.0.0.
    """
    code = raw[0]
    text = diagnostic(raw)
    enhanced = _ENHANCED.match(text, 4)
    if code < 300:
        action = Action.RELAYED
    elif code < 500 or stage not in _OF_THE_MESSAGE or code in _OURS:
        action = Action.DELAYED
    elif code == 552 and stage is Stage.RCPT and (not enhanced or enhanced[0].startswith("5.5.3")):
        # "Too many recipients" in the code of RFC 821 (RFC 5321 §4.5.3.1.10).
        action = Action.DELAYED
    else:
        action = Action.FAILED
    detail = f"{enhanced[2]}.{enhanced[3]}" if enhanced else "0.0"
    status = f"{_CLASS[action]}.{detail}"
    relayed = action is Action.RELAYED
    return DeliveryStatus(
        action,
        status,
        text,
        next_hop,
        True,
        dsn_passed_on=relayed and dsn_passed_on,
        deliver_by_passed_on=relayed and deliver_by_passed_on,
    )
