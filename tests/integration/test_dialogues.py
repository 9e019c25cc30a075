"""The golden dialogues against the listeners of a running server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dialogue import Dialogue, dialogues
from tests.support.live import LiveSide
from tests.support.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that throws all mail away, with the limits that the dialogues know."""
    limits = "failed_logins_per_connection = 3\nerrors_per_connection = 10"
    site: Path = tmp_path_factory.mktemp("dialogues")
    with Server.make(site, 'backend = "discard"', {"limits": limits}).running() as server:
        yield server


@pytest.mark.parametrize("dialogue", dialogues(), ids=lambda dialogue: dialogue.name)
def test_dialogue(server: Server, dialogue: Dialogue) -> None:
    """Each dialogue goes over a socket, with real TLS, as it is written."""
    side = LiveSide(server, dialogue.listener)
    try:
        dialogue.play(side)
    finally:
        side.close()
