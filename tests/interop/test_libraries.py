"""Mail libraries of other languages: Go, JavaScript, PHP and Perl, through both ports."""

import email
import email.policy
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import attrs
import pytest

from tests.support.clients import Port, needed, port_number, run
from tests.support.nexthop import Message, NextHop
from tests.support.server import LOGIN, PASSWORD
from tests.support.way import Way, running_way

PROGRAMS = Path(__file__).parent / "programs"
SENDER = LOGIN
SUBJECT = "Grüße"
TEXT = "Grüße, 挨拶\r\n.\r\n.. dots\r\nThe end.\r\n"
ATTACHED = b"\0\1\2 .\r\n"  # by PHPMailer's program
CONTENT = (
    f"From: {SENDER}\r\nTo: bob@example.net\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    f"Content-Transfer-Encoding: 8bit\r\n\r\n{TEXT}"
).encode()


@attrs.frozen
class Library:
    """A library with the program of ours that calls it.

    :ivar mail: parameters of MAIL that it asks for, as they come out at the next hop.
    :ivar rcpt: parameters of RCPT.
    :ivar verbatim: whether it sends CONTENT as it is, and not a message of its own.
    """

    command: Callable[[Path], list[str | Path]]
    mail: frozenset[str]
    rcpt: frozenset[str] = frozenset()
    content: bytes = CONTENT
    verbatim: bool = True


def _go(directory: Path) -> list[str | Path]:
    program = directory / "send"
    run(
        [needed("go"), "build", "-o", program, PROGRAMS / "send.go"],
        environment={"CGO_ENABLED": "0"},
    )
    return [program]


def _node(_: Path) -> list[str | Path]:
    if not Path("/usr/share/nodejs/nodemailer").exists():
        pytest.skip("nodemailer is not installed (Debian: node-nodemailer)")
    return [needed("node"), PROGRAMS / "send.js"]


def _php(_: Path) -> list[str | Path]:
    if not Path("/usr/share/php/libphp-phpmailer").exists():
        pytest.skip("PHPMailer is not installed (Debian: libphp-phpmailer)")
    return [needed("php"), PROGRAMS / "send.php"]


def _perl(_: Path) -> list[str | Path]:
    return [needed("perl"), PROGRAMS / "send.pl"]


LIBRARIES = {
    "go": Library(_go, frozenset({"BODY=8BITMIME"})),
    "nodemailer": Library(
        _node,
        frozenset({"BODY=8BITMIME", "RET=HDRS", "ENVID=node+2B1"}),
        frozenset({"NOTIFY=SUCCESS,FAILURE", f"ORCPT=rfc822;{SENDER}"}),
    ),
    "phpmailer": Library(
        _php,
        frozenset(),
        frozenset({"NOTIFY=SUCCESS,FAILURE"}),
        content=TEXT.encode(),
        verbatim=False,
    ),
    "net-smtp": Library(
        _perl,
        frozenset({"BODY=8BITMIME", "RET=FULL", "ENVID=perl+201"}),
        frozenset({"NOTIFY=FAILURE,DELAY"}),
    ),
}


@pytest.fixture(scope="module", params=LIBRARIES)
def library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Library, list[str | Path]]:
    """Each library, and the command that sends with it; made once for both ports."""
    library = LIBRARIES[request.param]
    return library, library.command(tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def way_of_old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """A server before a next hop that offers nothing at all."""
    with (
        NextHop(extensions=()) as hop,
        running_way(tmp_path_factory.mktemp("site"), hop) as way,
    ):
        yield way


def send(
    way: Way, library: tuple[Library, list[str | Path]], port: Port, recipient: str
) -> Message:
    """Send with the library; what has come out."""
    kind, command = library
    environment = {
        "PORT": str(port_number(way.server, port)),
        "TLS": port,
        "AUTHORITY": str(way.server.authority_file),
        "LOGIN": LOGIN,
        "PASSWORD": PASSWORD,
        "SENDER": SENDER,
        "RECIPIENT": recipient,
        "SUBJECT": SUBJECT,
        "NODE_PATH": "/usr/share/nodejs",
    }
    run(command, kind.content, environment)
    return way.received(recipient)


@pytest.mark.parametrize("port", ["implicit", "starttls"])
def test_library(way: Way, library: tuple[Library, list[str | Path]], port: Port) -> None:
    """Each library logs in over verified TLS; text and what it asks for come out whole."""
    kind, _ = library
    received = send(way, library, port, way.recipient())
    mail = received.mail.split()
    assert mail[0] == f"FROM:<{SENDER}>"
    assert kind.mail <= set(mail)
    assert kind.rcpt <= set(received.recipients[0].split())
    if kind.verbatim:
        assert received.content.endswith(CONTENT)
    else:
        assert_as_written(received)


def test_next_hop_without_extensions(
    way_of_old: Way, library: tuple[Library, list[str | Path]]
) -> None:
    """What a library asks for without need, such as Go's SMTPUTF8, keeps no message back."""
    received = send(way_of_old, library, "implicit", way_of_old.recipient())
    assert received.mail == f"FROM:<{SENDER}>"
    assert received.content.isascii()
    assert_as_written(received)


def assert_as_written(received: Message) -> None:
    """The message says what it was to say, in its own writing or in another encoding."""
    message = email.message_from_bytes(received.content, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    assert message["Subject"] == SUBJECT
    body = message.get_body()
    assert body is not None
    assert body.get_content().split() == TEXT.split()
    for attachment in message.iter_attachments():
        assert attachment.get_content() == ATTACHED
