"""Messages to send: those that CPython tests its email package with, and hard cases."""

import importlib.util
from pathlib import Path

FROM = b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: "
HEADER = FROM + b"x\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
MIME = (
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
)
LINE = b"All work and no play makes Jack a dull boy, says the proverb.\r\n"

HARD_CASES = {
    "eight-bit": HEADER + MIME + b"\r\n" + "Grüße, 挨拶, привет\r\n".encode(),
    "latin-1": HEADER + b"\r\nGr\xfc\xdfe\r\n",
    "longest-line": HEADER + b"\r\n" + b"x" * 998 + b"\r\n" + b"." + b"y" * 997 + b"\r\n",
    "dots": HEADER + b"\r\n.\r\n..\r\n...\r\n.x\r\n\r\n. \r\n.\r\nend\r\n",
    "no-final-newline": HEADER + b"\r\nends here",
    "dot-at-the-end": HEADER + b"\r\nends with a dot\r\n.",
    "empty-body": HEADER + b"\r\n",
    "header-only": HEADER,
    "blank-lines-at-the-end": HEADER + b"\r\ntext\r\n\r\n\r\n\r\n",
    "odd-header-spacing": b"X-Odd:no space\r\nx-ODD :\t tabs \t\r\n" + HEADER + b"\r\ntext \t\r\n",
    "folded-header": HEADER + b"X-Folded: one\r\n\ttwo\r\n   three\r\n\r\ntext\r\n",
    "no-date-no-id": FROM + b"x\r\n\r\ntext\r\n",
}
BIG = HEADER + b"\r\n" + LINE * (20 * 2**20 // len(LINE))
"""20 MiB."""


def python_samples() -> list[Path]:
    """CPython's own sample mails; none where they aren't installed."""
    spec = importlib.util.find_spec("test")
    locations = spec.submodule_search_locations if spec is not None else None
    places = [Path(place) / "test_email" / "data" for place in locations or ()]
    # Debian's package puts them beside its own Python, whichever runs this.
    places += sorted(Path("/usr/lib").glob("python3*/test/test_email/data"))
    found = (sorted(place.glob("msg_*.txt")) for place in places)
    return next(filter(None, found), [])


def crlf(text: bytes) -> bytes:
    """*text* with every line end as CRLF, as clients send it."""
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
