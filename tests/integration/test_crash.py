"""kill -9 loses nothing that was answered 250."""

import random
import smtplib
import threading
from collections import Counter
from collections.abc import Callable

from tests.support.server import LOGIN, STOPPED, Server, wait_until

ROUNDS = 6
CLIENTS = 6
CONCURRENCY = 4  # deliveries under way at one time
BIG = 200_000  # octets: more than the store keeps in the database


def identifier(message: bytes) -> str:
    """What `submit` put into the Subject; the message must be whole."""
    header, _, body = message.replace(b"\r\n", b"\n").partition(b"\n\n")
    (subject,) = (line for line in header.split(b"\n") if line.startswith(b"Subject: "))
    text = subject.removeprefix(b"Subject: ").decode()
    size = int(text.rpartition("-")[2])
    assert body == filler(size), f"{text} is not whole"
    return text


def filler(size: int) -> bytes:
    """A body of about *size* octets, LF line ends, with an end of its own."""
    return (b"y" * 63 + b"\n") * (size // 64) + b"end\n"


class Submitter(threading.Thread):
    """Submits one message after another until the server is gone.

    :ivar asked: identifiers of messages whose end was sent.
    :ivar answered: those of them that were answered 250.
    """

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._server = server
        self.asked: list[str] = []
        self.answered: list[str] = []

    def run(self) -> None:
        """Submit until it can't go on."""
        try:
            with self._server.smtp() as smtp:
                for number in range(10_000):
                    size = BIG if number % 7 == 3 else 1000
                    text = f"{self.name}-{number}-{size}"
                    body = filler(size).replace(b"\n", b"\r\n")
                    head = f"From: {LOGIN}\r\nTo: bob@example.net\r\nSubject: {text}\r\n\r\n"
                    self.asked.append(text)
                    smtp.sendmail(LOGIN, ["bob@example.net"], head.encode() + body)
                    self.answered.append(text)
        except (OSError, smtplib.SMTPException):
            pass  # killed


def wait_until_answered(submitters: list[Submitter], number: int) -> None:
    """Wait until *number* messages were answered 250."""
    wait_until("some are answered", lambda: sum(len(s.answered) for s in submitters) >= number)


def delivered(server: Server) -> Counter[str]:
    """How often each message is in the Maildir."""
    return Counter(identifier(path.read_bytes()) for path in server.mails())


def test_no_answered_message_is_lost_by_kill(make_server: Callable[..., Server]) -> None:
    """Killed at random instants, the server has every message it answered 250 after a restart.

    What is delivered twice was under way at the kill, and nothing is left half done.
    """
    server = make_server(
        tables={"queue": f"concurrency = {CONCURRENCY}\nconcurrency_per_next_hop = {CONCURRENCY}"}
    )
    seconds = random.Random(7)
    asked: set[str] = set()
    answered: set[str] = set()
    for turn in range(ROUNDS):
        with server.running():
            submitters = [Submitter(server, f"{turn}-{n}") for n in range(CLIENTS)]
            for submitter in submitters:
                submitter.start()
            wait_until_answered(submitters, seconds.randint(1, 60))
            # The instant of the kill is what is random here.
            threading.Event().wait(seconds.uniform(0, 0.05))
            server.kill()
            for submitter in submitters:
                submitter.join(30)
                asked.update(submitter.asked)
                answered.update(submitter.answered)
    with server.running():
        wait_until("all is delivered", lambda: answered <= set(delivered(server)), 60)
        assert server.terminate() == STOPPED
    found = delivered(server)
    assert answered
    assert answered <= set(found)
    assert set(found) <= asked
    assert sum(found.values()) - len(found) <= CONCURRENCY * ROUNDS
    assert not any(path.stat().st_size > BIG for path in (server.site / "spool").rglob("*.part"))
