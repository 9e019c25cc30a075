"""The session where a dialogue file can't say it: sizes, sequences, states, verdicts."""

import base64

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.smtp import events, replies
from submitd.smtp.commands import AUTH_OCTETS, COMMAND_OCTETS, COMMANDS
from submitd.smtp.errors import LocalProtocolError
from submitd.smtp.replies import Reply
from submitd.smtp.server import NEED_DATA, PAUSED, ServerSession, Wait
from submitd.smtp.states import TRANSITIONS, State, Verb
from tests.support.session import SETTINGS, SPLITS, BareSession

ENVELOPE = b"MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@example.net>\r\n"
HEADER = b"From: alice@example.org\r\n\r\n"


def logged_in(**settings: object) -> BareSession:
    """A session past its login."""
    return BareSession(implicit=True, settings=attrs.evolve(SETTINGS, **settings)).log_in()  # type: ignore[arg-type]


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_content_is_kept_to_the_octet(split: object) -> None:
    """A message with dots, 8-bit octets and long lines comes out as it went in."""
    body = b".dot\r\n..dots\r\n\xe9\xff\r\n" + b"x" * 998 + b"\r\n\r\n. \r\nend\r\n"
    session = logged_in()
    session._split = split  # type: ignore[assignment]
    stuffed = (HEADER + body).replace(b"\r\n.", b"\r\n..")
    session.send(ENVELOPE + b"DATA\r\n")
    assert session.replies(stuffed + b".\r\n")[-1].startswith("250 2.0.0 Queued")
    assert session.messages == [HEADER + body]
    end = session.events[-1]
    assert end == events.EndOfData(bare_line_ends=0, eight_bit=True, refused=None)


def test_an_empty_message_is_a_message() -> None:
    """A dot at once ends a message of no octets."""
    session = logged_in()
    session.send(ENVELOPE + b"DATA\r\n.\r\n")
    assert session.messages == [b""]


def test_a_message_over_the_limit_is_read_to_its_end_and_refused() -> None:
    """Beyond the size limit nothing is handed on, and the reply comes at the end."""
    session = logged_in()
    session.send(ENVELOPE + b"DATA\r\n")
    for _ in range(2000):
        session.send(b"x" * 98 + b"\r\n")
    assert len(session._content) <= SETTINGS.message_size_bytes
    assert session.replies(b".\r\nNOOP\r\n")[-2:] == [
        "552 5.3.4 Message too big",
        "250 2.0.0 Ok",
    ]
    assert session.messages == []


def test_bare_line_ends_can_be_refused() -> None:
    """With bare_line_ends = "reject" a message with a bare LF gets 554."""
    session = logged_in(bare_line_ends="reject")
    session.send(ENVELOPE + b"DATA\r\n")
    assert session.replies(HEADER + b"a\nb\r\n.\r\n")[-1] == str(replies.BARE_LINE_END_IN_MESSAGE)


def test_bare_line_ends_are_counted() -> None:
    """By default bare CR and LF become CRLF, and the event says how many there were."""
    session = logged_in()
    session.send(ENVELOPE + b"DATA\r\n" + HEADER + b"a\nb\rc\r\n.\r\n")
    assert session.messages == [HEADER + b"a\r\nb\r\nc\r\n"]
    assert session.events[-1] == events.EndOfData(2, False, None)


def test_too_many_recipients() -> None:
    """The recipient over the limit gets 452, which counts as no error."""
    session = logged_in()
    session.send(b"MAIL FROM:<alice@example.org>\r\n")
    lines = session.replies(b"".join(b"RCPT TO:<r%d@example.net>\r\n" % n for n in range(120)))
    assert lines.count("250 2.1.5 Recipient ok") == 100
    assert lines[-20:] == ["452 4.5.3 Too many recipients"] * 20
    assert session.session.errors == 0


@pytest.mark.parametrize("split", ["whole", "random-1"])
def test_line_lengths(split: str) -> None:
    """A line of the allowed length is read, one octet more is 500."""
    session = logged_in()
    session._split = SPLITS[split]
    fits = b"NOOP " + b"x" * (COMMAND_OCTETS - 7) + b"\r\n"
    assert session.replies(fits) == ["250 2.0.0 Ok"]
    assert session.replies(b"x" + fits) == ["500 5.5.1 Unknown command"]
    assert session.replies(fits[:-2] + b"x\r\n") == ["500 5.5.2 Line too long"]
    assert session.replies(b"NOOP " + b"x" * 100_000 + b"\r\n") == ["500 5.5.2 Line too long"]


def test_auth_lines_may_be_long() -> None:
    """A response of 12,288 octets is read (RFC 4954 §4), a longer one is 500 5.5.6."""
    session = BareSession(implicit=True)
    session.replies(b"EHLO client.example\r\nAUTH LOGIN\r\n")
    name = base64.b64encode(b"u" * ((AUTH_OCTETS - 2) // 4 * 3))
    assert session.replies(name + b"\r\n") == ["334 UGFzc3dvcmQ6"]
    assert session.replies(b"A" * AUTH_OCTETS + b"\r\n") == [str(replies.AUTH_LINE_TOO_LONG)]
    assert session.session.state is State.GREETED


def test_a_pending_verdict_pauses() -> None:
    """While a verdict is awaited nothing is read, and replies keep their order."""
    session = ServerSession(SETTINGS, release_by="2026-12-24T12:00:00Z", implicit_tls=True)
    session.secured()
    session.receive_data(b"EHLO client.example\r\nAUTH PLAIN AGEAYg==\r\nNOOP\r\nQUIT\r\n")
    assert isinstance(session.next_event(), events.HelloReceived)
    assert isinstance(session.next_event(), events.LoginReceived)
    assert session.next_event() is PAUSED
    session.data_to_send()
    assert session.next_event() is PAUSED
    assert session.data_to_send() == b""
    session.send(replies.BAD_CREDENTIALS)
    assert isinstance(session.next_event(), events.SessionClosed)
    assert session.data_to_send().split(b"\r\n") == [
        b"535 5.7.8 Authentication failed",
        b"250 2.0.0 Ok",
        b"221 2.0.0 Bye",
        b"",
    ]
    assert session.next_event() is NEED_DATA


def test_misuse_is_our_own_error() -> None:
    """Verdicts and handshakes that are not due raise LocalProtocolError."""
    session = ServerSession(SETTINGS, release_by="2026-12-24T12:00:00Z", implicit_tls=True)
    with pytest.raises(LocalProtocolError):
        session.send(replies.OK)
    with pytest.raises(LocalProtocolError):
        session.receive_data(b"EHLO client.example\r\n")
    session.secured()
    with pytest.raises(LocalProtocolError):
        session.secured()


def test_a_password_is_not_in_the_event_s_text() -> None:
    """repr() of the credentials does not show the password."""
    event = events.LoginReceived("PLAIN", "alice", "sesame", "")
    assert "sesame" not in repr(event)


ARGUMENTS = {
    Verb.EHLO: b" client.example",
    Verb.HELO: b" client.example",
    Verb.AUTH: b" PLAIN AGEAYg==",
    Verb.MAIL: b" FROM:<alice@example.org>",
    Verb.RCPT: b" TO:<bob@example.net>",
    Verb.VRFY: b" bob",
    Verb.BDAT: b" 4\r\ntext",
}


def in_state(state: State) -> ServerSession:
    """A session that has got to *state* by the client's words."""
    session = ServerSession(
        SETTINGS, release_by="2026-12-24T12:00:00Z", implicit_tls=state is not State.CLEAR
    )
    words = {
        State.GREETED: b"EHLO c\r\n",
        State.GREETED_HELO: b"HELO c\r\n",
        State.READY: b"EHLO c\r\nAUTH PLAIN AGEAYg==\r\n",
        State.MAIL: b"EHLO c\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<>\r\n",
        State.CHUNKS: b"EHLO c\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<>\r\nRCPT TO:<b@c.de>\r\n"
        b"BDAT 4\r\ntext",
        State.RCPT: b"EHLO c\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<>\r\nRCPT TO:<b@c.de>\r\n",
    }
    if state is not State.CLEAR:
        session.secured()
        session.receive_data(words.get(state, b""))
        while session.next_event() is not NEED_DATA:
            if session.is_paused:
                session.send(replies.OK)
    session.data_to_send()
    assert session.state is state
    return session


@pytest.mark.parametrize("verb", Verb, ids=lambda verb: verb.name)
@pytest.mark.parametrize("state", TRANSITIONS)
def test_every_command_in_every_state(state: State, verb: Verb) -> None:
    """The session does what the table says: go on to the state, or refuse and stay."""
    session = in_state(state)
    line_end = b"" if verb is Verb.BDAT else b"\r\n"
    session.receive_data(verb.value + ARGUMENTS.get(verb, b"") + line_end)
    while not isinstance(session.next_event(), Wait) or session.is_paused:
        if session.is_paused:
            session.send(replies.START_MAIL_INPUT if verb is Verb.DATA else replies.OK)
    said = session.data_to_send()
    target = TRANSITIONS[state][verb]
    if isinstance(target, Reply):
        assert said == target.encoded
        assert session.state is state
    elif verb is Verb.EXPN:
        assert said == replies.NOT_IMPLEMENTED.encoded
    else:
        assert said[:1] in (b"2", b"3")
        # A chunk has been read by now, and its state with it.
        assert session.state is (State.CHUNKS if target is State.BDAT else target)


def test_every_state_knows_every_command() -> None:
    """Neither table lacks an entry."""
    assert {command.verb for command in COMMANDS.values()} == set(Verb)
    assert all(set(row) == set(Verb) for row in TRANSITIONS.values())


words = st.lists(
    st.sampled_from(
        [
            *(verb.value + ARGUMENTS.get(verb, b"") + b"\r\n" for verb in Verb),
            *(
                b"\r\n",
                b"\n",
                b"\r",
                b".",
                b".\r\n",
                b"\0",
                b"x" * 3000,
                b"AUTH LOGIN\r\n",
                b"*\r\n",
            ),
        ]
    )
    | st.binary(max_size=30)
)


@given(words, st.booleans(), st.sampled_from(list(SPLITS)))
def test_whatever_comes_the_session_stands(data: list[bytes], implicit: bool, split: str) -> None:
    """No octets make it raise, and all it says are well-formed replies."""
    session = BareSession(SPLITS[split], implicit=implicit)
    for piece in data:
        if session._tls_due:
            session._output = b""
            session.start_tls()
        if session.session.state is State.HANDSHAKE:
            break
        for line in session.replies(piece if split == "whole" else piece[:20]):
            assert line[:3].isdigit()
            assert line[3] in " -"
