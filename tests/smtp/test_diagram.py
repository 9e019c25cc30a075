"""submitd.smtp.diagram: the page about the protocol says what the tables say, and they hold."""

import base64
from pathlib import Path

import pytest

from submitd.smtp import diagram
from submitd.smtp.states import ENDS, TRANSITIONS, State
from tests.support.server import LOGIN, PASSWORD
from tests.support.session import BareSession

ROOT = Path(__file__).parents[2]

GOOD = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode())
ENVELOPE = f"MAIL FROM:<{LOGIN}>\r\nRCPT TO:<bob@example.net>\r\n".encode()
# What to say for each end of a state that ENDS knows: before it, and to come to it.
PLAYS = {
    (State.AUTH, "logged in"): (b"AUTH PLAIN\r\n", GOOD + b"\r\n"),
    (State.AUTH, "refused"): (b"AUTH PLAIN\r\n", b"*\r\n"),
    (State.DATA, "end of data"): (ENVELOPE + b"DATA\r\n", b"\r\n.\r\n"),
    (State.BDAT, "end of chunk"): (ENVELOPE + b"BDAT 4\r\n", b"\r\n\r\n"),
    (State.BDAT, "end of last chunk"): (ENVELOPE + b"BDAT 4 LAST\r\n", b"\r\n\r\n"),
}


def test_the_page_is_fresh() -> None:
    """docs/protocol.md is what the tables make now."""
    text = (ROOT / diagram.PAGE).read_text("utf-8")
    assert text == diagram.page(), "run python -m submitd.smtp.diagram"


def test_every_state_is_reached() -> None:
    """An arrow of the diagram leads to every state but the first ones and the last."""
    reached = {target for _, target in diagram.arrows()}
    assert reached == set(State) - {State.CLEAR, State.CLOSED}


def test_every_state_has_a_way_on() -> None:
    """Each state either reads commands or has its ends in the tables, never both."""
    assert TRANSITIONS.keys() | ENDS.keys() == set(State) - {State.CLOSED}
    assert not TRANSITIONS.keys() & ENDS.keys()


@pytest.mark.parametrize(("state", "end"), PLAYS, ids=lambda value: str(value))
def test_ends(state: State, end: str) -> None:
    """What the table says to end a state does end it, and leads where the table says."""
    bare = BareSession(implicit=True)
    if state is State.AUTH:
        bare.send(b"EHLO client.example\r\n")
    else:
        bare.log_in()
    before, ending = PLAYS[state, end]
    bare.send(before)
    assert bare.session.state is state
    bare.send(ending)
    assert bare.session.state is ENDS[state][end]


def test_a_refused_chunk_ends_the_message() -> None:
    """A chunk that is too big is read to its end, and the transaction is over."""
    bare = BareSession(implicit=True).log_in()
    bare.send(ENVELOPE + b"BDAT 4\r\nabcd")
    bare.send(b"BDAT 200000 LAST\r\n" + b"x" * 200_000)
    assert bare.session.state is ENDS[State.BDAT]["chunk refused"]
