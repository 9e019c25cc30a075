"""Wherever TLS records and packets are cut, the smuggling corpus gives one message each."""

import pytest

from submitd.transport.tls import ServerTls
from tests.support.dialogue import Dialogue, dialogues
from tests.support.memory import DATA, MAIL, RCPT, Client
from tests.support.session import SETTINGS
from tests.support.stage import Listener, ScriptedSubmissions, Stage

CORPUS = [each for each in dialogues() if each.name.startswith("smuggling-")]
EVIL = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\nevil\r\n.\r\n"


class MemorySide:
    """Plays `tests.support.dialogue.Side` in memory, each octet in a TLS record of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._told: list[str] = []

    def send(self, data: bytes) -> None:
        """See `Side`."""
        for value in data:
            self._client.send(bytes((value,)))

    def line(self) -> str:
        """See `Side`."""
        self._told += self._client.lines()
        return self._told.pop(0)

    def start_tls(self) -> None:
        """See `Side`."""
        self._client.start_tls()

    def expect_end(self) -> None:
        """See `Side`."""
        assert self._told + self._client.lines() == []
        assert self._client.closed


@pytest.mark.parametrize("dialogue", CORPUS, ids=lambda dialogue: dialogue.name)
def test_octet_by_octet(server_tls: ServerTls, dialogue: Dialogue) -> None:
    """Each dialogue of the corpus goes as written when each octet has a TLS record of its own."""
    submissions = ScriptedSubmissions()
    listener = Listener(server_tls, submissions, implicit=True, settings=SETTINGS)
    client = listener.connect()
    client.start_tls()
    dialogue.play(MemorySide(client))
    [submission] = submissions.made
    assert submission.names().count("mail") == 1
    assert submission.names().count("end_of_data") == 1


SEQUENCES = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\r\n.\n",
    b"\r\n.\x00\r\n",
    b"\r\n\x00.\r\n",
    b"\r\n.\r\x00\n",
    b"\xc2\x85.\xc2\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
]


@pytest.mark.parametrize("sequence", SEQUENCES, ids=repr)
def test_cut_anywhere(implicit: Stage, sequence: bytes) -> None:
    """Wherever a packet ends within the sequence, all until CRLF.CRLF is one message."""
    for cut in range(len(sequence) + 1):
        client = implicit.secure().log_in()
        client.send(MAIL + RCPT + DATA)
        client.lines()
        client.send(b"From: alice@example.org\r\n\r\ntext" + sequence[:cut])
        assert client.lines() == []
        client.send(sequence[cut:] + EVIL)
        assert len(client.lines()) == 1
        assert implicit.last.names().count("mail") == 1
        assert implicit.last.content_octets.endswith(b"DATA\r\nevil\r\n")


def test_the_one_end(implicit: Stage) -> None:
    """CRLF.CRLF is the end wherever it is cut; what follows are commands."""
    end = b"\r\n.\r\n"
    for cut in range(len(end) + 1):
        client = implicit.secure().log_in()
        client.send(MAIL + RCPT + DATA)
        client.lines()
        client.send(b"From: alice@example.org\r\n\r\ntext" + end[:cut])
        client.send(end[cut:] + b"NOOP\r\n")
        assert client.lines() == ["250 2.0.0 Queued as 1", "250 2.0.0 Ok"]
        assert implicit.last.content_octets.endswith(b"text\r\n")
