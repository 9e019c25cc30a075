"""Replies (RFC 5321 §4.2) as named values; no handler writes one out by hand."""

import attrs


def _encode(reply: "Reply") -> bytes:
    prefix = f"{reply.status} " if reply.status else ""
    *first, last = reply.lines
    text = "".join(f"{reply.code}-{prefix}{line}\r\n" for line in first)
    return f"{text}{reply.code} {prefix}{last}\r\n".encode("ascii", "replace")


@attrs.frozen(slots=True)
class Reply:
    """One reply, of one line or more.

    :ivar code: the three-digit reply code.
    :ivar status: the enhanced status code put before each line's text (RFC 2034
        §4), or None where there is none (greeting, EHLO, 334, 354).
    :ivar lines: the texts, without code, status code or line ends; ASCII.
    :ivar encoded: the bytes for the wire, made once.
    """

    code: int
    status: str | None
    lines: tuple[str, ...]
    encoded: bytes = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(_encode, takes_self=True)
    )

    @property
    def is_positive(self) -> bool:
        """Whether the command was done or may go on (2yz, 3yz)."""
        return self.code < 400

    def __str__(self) -> str:
        """The reply in one line, as logs and reports show it."""
        return " ".join(filter(None, (str(self.code), self.status, *self.lines)))


def reply(code: int, status: str | None, *lines: str) -> Reply:
    """Make a Reply; see there for the parameters."""
    return Reply(code, status, lines)
