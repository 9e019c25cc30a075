"""Golden dialogues: text files of what a client says and what the server answers.

    # One sentence: what the dialogue promises.
    listener: starttls              or implicit
    C: EHLO client.example          a line; CRLF is added
    C> MAIL FROM:<a@b.example>\\n    octets as they are, with Python's escapes
    S: 250 2.0.0 Queued as *        a whole line of the server's; "*" stands for anything
    TLS                             both sides begin TLS
    END                             the server closes the connection
    # ...                           a comment, anywhere

Client lines that follow one another are sent in one piece.  `{hostname}`, `{plain}` (a
good PLAIN response), `{wrong}` (one with a wrong password), `{nobody}` (one of an
unknown user), `{login}` and `{password}` (base64 of each) are filled in.
"""

import base64
import re
from pathlib import Path
from typing import Protocol

import attrs

from tests.support.server import HOSTNAME, LOGIN, PASSWORD

DIRECTORY = Path(__file__).parent.parent / "dialogues"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


WORDS = {
    "{hostname}": HOSTNAME,
    "{plain}": _base64(f"\0{LOGIN}\0{PASSWORD}"),
    "{wrong}": _base64(f"\0{LOGIN}\0not {PASSWORD}"),
    "{nobody}": _base64(f"\0nobody@example.org\0{PASSWORD}"),
    "{login}": _base64(LOGIN),
    "{password}": _base64(PASSWORD),
}


class Side(Protocol):
    """What a dialogue is played against."""

    def send(self, data: bytes) -> None:
        """Octets of the client."""

    def line(self) -> str:
        """The server's next line, without CRLF."""

    def start_tls(self) -> None:
        """Begin TLS; nothing of the server's may be left unread before."""

    def expect_end(self) -> None:
        """Assert that the server has closed and has said nothing more."""


@attrs.frozen
class Step:
    """One step: `send` octets, expect a `line`, begin `tls` or see the `end`."""

    kind: str
    value: str
    number: int


@attrs.frozen
class Dialogue:
    """One file."""

    name: str
    promise: str
    listener: str
    steps: tuple[Step, ...]

    @classmethod
    def read(cls, path: Path) -> "Dialogue":
        """Read a file; ValueError when it is malformed."""
        promise, listener = "", ""
        steps: list[Step] = []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for word, value in WORDS.items():
                line = line.replace(word, value)
            if line.startswith("#"):
                promise = promise or line[1:].strip()
            elif line.startswith("listener: "):
                listener = line.removeprefix("listener: ")
            elif line.startswith("C: ") or line == "C:":
                steps.append(Step("send", line[3:] + "\r\n", number))
            elif line.startswith("C> "):
                raw = line[3:].encode("latin-1").decode("unicode_escape")
                steps.append(Step("send", raw, number))
            elif line.startswith("S: "):
                steps.append(Step("line", line[3:], number))
            elif line in ("TLS", "END"):
                steps.append(Step(line.lower(), "", number))
            elif line.strip():
                raise ValueError(f"{path.name}:{number}: {line!r}")
        if not promise or listener not in ("implicit", "starttls") or not steps:
            raise ValueError(f"{path.name}: lacks its promise, its listener or its steps")
        return cls(path.stem, promise, listener, tuple(steps))

    def play(self, side: Side) -> None:
        """Say the client's part and compare the server's, line by line."""
        waiting = b""
        for step in self.steps:
            if step.kind == "send":
                waiting += step.value.encode("latin-1")
                continue
            if waiting:
                side.send(waiting)
                waiting = b""
            where = f"{self.name}:{step.number}"
            if step.kind == "line":
                got = side.line()
                wanted = ".*".join(map(re.escape, step.value.split("*")))
                assert re.fullmatch(wanted, got), f"{where}: wanted {step.value!r}, got {got!r}"
            elif step.kind == "tls":
                side.start_tls()
            else:
                side.expect_end()
        assert not waiting, f"{self.name}: ends with words of the client"


def dialogues() -> tuple[Dialogue, ...]:
    """All of them, in order of their names."""
    return tuple(Dialogue.read(path) for path in sorted(DIRECTORY.glob("*.smtp")))
