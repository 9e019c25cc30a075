"""SMTP smuggling: what a gullible next hop would take for a second message never reaches it.

The next hop is a real Postfix, told to take bare LF for a line end and to put up with
pipelining out of turn, as all of them did before 2023 (CVE-2023-51764).  Behind it stands
the recording next hop, which sees the messages that Postfix made of what it was sent.
"""

import itertools
import smtplib
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.support import postfix
from tests.support.dialogue import Dialogue, dialogues
from tests.support.live import LiveSide
from tests.support.nexthop import Message, NextHop
from tests.support.postfix import Postfix
from tests.support.server import LOGIN, Server, wait_until

CORPUS = [each for each in dialogues() if each.name.startswith("smuggling-")]
_numbers = itertools.count(1)


@attrs.frozen
class Chain:
    """submitd, the gullible Postfix behind it, and what comes out of that."""

    server: Server
    postfix: Postfix
    hop: NextHop

    def messages_until_now(self) -> list[Message]:
        """All that has come out, once both queues are empty and one last message is through."""
        marker = f"marker{next(_numbers)}@example.net"
        with self.server.smtp() as smtp:
            smtp.sendmail(LOGIN, [marker], f"From: {LOGIN}\r\n\r\nlast\r\n")
        wait_until("the marker is through", lambda: self._has_come(marker))
        wait_until("Postfix's queue is empty", self.postfix.queue_is_empty)
        return [each for each in self.hop.messages if "marker" not in each.recipients[0]]

    def _has_come(self, recipient: str) -> bool:
        return any(each.recipients == [f"TO:<{recipient}>"] for each in self.hop.messages)


@pytest.fixture(scope="module", params=["DATA", "BDAT"])
def chain(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chain]:
    """submitd with Postfix as its smarthost, which is sent messages by DATA or by BDAT."""
    site: Path = tmp_path_factory.mktemp("smuggling")
    with postfix.directory() as directory, NextHop() as hop:
        settings = {
            "relayhost": f"[127.0.0.1]:{hop.port}",
            "smtpd_forbid_bare_newline": "no",
            "smtpd_forbid_unauth_pipelining": "no",
        }
        if request.param == "DATA":
            settings["smtpd_discard_ehlo_keywords"] = "chunking"
        with Postfix.make(directory, settings).running() as gullible:
            relay = (
                f'backend = "smarthost"\nhost = "127.0.0.1"\nport = {gullible.port}\ntls = "none"'
            )
            with Server.make(site, relay).running() as server:
                yield Chain(server, gullible, hop)


def test_the_next_hop_is_gullible(chain: Chain) -> None:
    """Spoken to without submitd in between, this next hop does make two messages of one."""
    before = len(chain.messages_until_now())
    with smtplib.SMTP("127.0.0.1", chain.postfix.port, timeout=30) as smtp:
        smtp.ehlo()
        smtp.mail(LOGIN)
        smtp.rcpt("bob@example.net")
        smtp.docmd("DATA")
        smtp.send(
            b"From: alice@example.org\r\n\r\ntext\n.\n"
            b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n"
            b"From: evil@example.com\r\n.\r\n"
        )
        for _ in range(5):
            smtp.getreply()
    senders = [each.mail.split()[0] for each in chain.messages_until_now()[before:]]
    assert senders == ["FROM:<alice@example.org>", "FROM:<evil@example.com>"]


@pytest.mark.parametrize("dialogue", CORPUS, ids=lambda dialogue: dialogue.name)
def test_no_second_message(chain: Chain, dialogue: Dialogue) -> None:
    """What hides an end of data, in DATA or in BDAT, comes out as one message, or as none."""
    before = len(chain.messages_until_now())
    accepted = sum(step.value.startswith("250 2.0.0 Queued") for step in dialogue.steps)
    side = LiveSide(chain.server, dialogue.listener)
    try:
        dialogue.play(side)
    finally:
        side.close()
    came = chain.messages_until_now()[before:]
    # A next hop that can't have it as it is gets it encoded, or the sender a report.
    senders = {each.mail.split()[0] for each in came}
    assert len(came) == accepted
    assert senders <= {"FROM:<alice@example.org>", "FROM:<>"}
