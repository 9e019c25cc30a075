"""The running server under random octets."""

import email.parser
from pathlib import Path

from tests.fuzz.listeners import storm
from tests.support.server import STOPPED, Server, wait_until

RELAY = 'backend = "maildir"\npath = "mail"\n'


def test_a_storm_of_random_octets(tmp_path: Path) -> None:
    """Whatever is sent to the listeners, they serve the honest client and log no traceback."""
    server = Server.make(tmp_path, RELAY)
    with server.running():
        outcome = storm(server, seconds=3, seed=1)
        wanted = set(outcome.subjects)
        wait_until("all honest mail is delivered", lambda: wanted <= subjects(server))
        assert server.terminate() == STOPPED
    assert "Traceback" not in server.log()
    assert outcome.connections > 0


def subjects(server: Server) -> set[str]:
    """Of all that was delivered."""
    parser = email.parser.BytesHeaderParser()
    return {str(parser.parsebytes(path.read_bytes())["Subject"]) for path in server.mails()}
