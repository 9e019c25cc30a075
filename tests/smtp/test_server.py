"""The session where a dialogue file can't say it: sizes, sequences, states, verdicts."""

import base64

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.smtp import events, replies
from submitd.smtp.commands import AUTH_OCTETS, COMMAND_OCTETS, COMMANDS
from submitd.smtp.errors import LocalProtocolError
from submitd.smtp.incoming import PIECE_OCTETS
from submitd.smtp.leniencies import LENIENCIES, Leniency
from submitd.smtp.replies import Reply
from submitd.smtp.server import NEED_DATA, PAUSED, ServerSession, Wait
from submitd.smtp.states import TRANSITIONS, State, Verb
from tests.support.server import LOGIN, PASSWORD
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


# ---- under abuse -----------------------------------------------------------------


JUNK = {
    "EHLO": b"EHLO c\r\n",
    "HELO": b"HELO c\r\n",
    "HELP": b"HELP\r\n",
    "NOOP": b"NOOP\r\n",
    "RSET": b"RSET\r\n",
    "VRFY": b"VRFY bob\r\n",
}


@pytest.mark.parametrize("command", JUNK.values(), ids=JUNK)
def test_commands_that_do_nothing_are_bounded(command: bytes) -> None:
    """The junk command over the limit gets 421 4.7.0 and the end; what follows gets nothing."""
    session = logged_in(junk_commands_per_connection=20)
    lines = session.replies(command * 19)  # the EHLO of the login was the first
    assert str(replies.TOO_MUCH_JUNK) not in lines
    assert session.replies(command * 1000) == [str(replies.TOO_MUCH_JUNK)]
    session.expect_end()


def test_each_message_begins_the_count_of_junk_anew() -> None:
    """A client that sends mail may say RSET and NOOP between its messages for ever."""
    session = logged_in(junk_commands_per_connection=20)
    for _ in range(20):
        session.send(b"RSET\r\nNOOP\r\n" * 9 + ENVELOPE + b"DATA\r\n" + HEADER + b".\r\n")
    assert len(session.messages) == 20


def test_a_message_that_is_refused_is_not_one() -> None:
    """Messages that are refused do not begin the count of junk anew."""
    session = logged_in(
        junk_commands_per_connection=20, bare_line_ends="reject", errors_per_connection=1000
    )
    for _ in range(20):
        session.send(b"NOOP\r\n" + ENVELOPE + b"DATA\r\n" + HEADER + b"\n\r\n.\r\n")
    session.send(b"NOOP\r\n")
    assert session._closed


def test_chunks_of_nothing_are_junk() -> None:
    """Empty chunks are bounded; the last one of a message may be empty."""
    session = logged_in(junk_commands_per_connection=20)
    session.send(ENVELOPE + b"BDAT 0\r\n" * 19 + b"BDAT 0 LAST\r\n")
    assert session.messages == [b""]
    session.send(ENVELOPE + b"BDAT 0\r\n" * 21)
    assert session._closed


def test_a_pipeline_of_chunks_needs_no_depth() -> None:
    """Thousands of empty chunks in one piece are read one after the other, not nested."""
    session = logged_in(junk_commands_per_connection=100_000)
    assert len(session.replies(ENVELOPE + b"BDAT 0\r\n" * 10_000)) == 10_002


@pytest.mark.parametrize("split", ["whole", "each-octet"])
def test_tiny_chunks_are_joined(split: str) -> None:
    """10,000 chunks of one octet are handed on in few pieces, none is held for long."""
    session = logged_in()
    session._split = SPLITS[split]
    session.send(ENVELOPE)
    pieces: list[int] = []
    bare = session.session
    body = HEADER + b"x" * 10_000
    for piece in SPLITS[split](b"".join(b"BDAT 1\r\n%c" % octet for octet in body)):
        bare.receive_data(piece)
        while not isinstance(event := bare.next_event(), Wait):
            if isinstance(event, events.DataRequested):
                bare.send(replies.START_MAIL_INPUT)
            elif isinstance(event, events.ContentReceived):
                pieces.append(len(event.data))
        assert bare.buffered < 10
        assert bare._message is None or len(bare._message._piece) < PIECE_OCTETS
        bare.data_to_send()
    assert pieces == [PIECE_OCTETS] * (len(body) // PIECE_OCTETS)


def test_data_octet_by_octet_is_joined() -> None:
    """Content that comes in tiny pieces is handed on in few, to the octet as it was."""
    session = logged_in()
    session._split = SPLITS["each-octet"]
    session.send(ENVELOPE + b"DATA\r\n")
    body = HEADER + b"y" * 10_000 + b"\r\n"
    session.send(body + b".\r\n")
    assert session.messages == [body]
    assert session.pieces <= len(body) // PIECE_OCTETS + 1


def test_a_dropped_chunk_takes_its_pieces_along() -> None:
    """What was held of a message that RSET drops is not found in the next one."""
    session = logged_in()
    session.send(ENVELOPE + b"BDAT 5\r\nstaleRSET\r\n")
    session.send(ENVELOPE + b"BDAT 5 LAST\r\nfresh")
    assert session.messages == [b"fresh"]


def test_recipients_without_end_end_the_session() -> None:
    """Up to twice as many recipients as allowed are put off; who goes on is sent away."""
    session = logged_in(junk_commands_per_connection=20)
    session.send(b"MAIL FROM:<alice@example.org>\r\n")
    lines = session.replies(b"".join(b"RCPT TO:<r%d@example.net>\r\n" % n for n in range(100_000)))
    assert lines[:2] == ["250 2.1.0 Sender ok", "250 2.1.5 Recipient ok"]
    assert lines.count(str(replies.TOO_MANY_RECIPIENTS)) == 100 + SETTINGS.errors_per_connection
    assert lines[-1] == str(replies.TOO_MANY_ERRORS)
    session.expect_end()


def test_a_message_without_end_ends_the_session() -> None:
    """A message of over twice the limit gets its 552 at once, and nothing more is read."""
    session = logged_in()
    session.send(ENVELOPE + b"DATA\r\n")
    session.replies(b"")
    for _ in range(30):
        session.send(b"x" * 9_998 + b"\r\n")
    assert session.replies(b"") == [str(replies.MESSAGE_TOO_BIG)]
    session.expect_end()


@pytest.mark.parametrize(
    "command", [*JUNK.values(), b"BDAT 0\r\n", b"BDAT 1\r\nx", b"X\r\n", b"\n", b"MAIL FROM:<>\r\n"]
)
def test_what_is_said_is_in_proportion(command: bytes) -> None:
    """No command makes 64 KiB of pipelined octets into more than 300 KiB of replies."""
    session = ServerSession(
        attrs.evolve(SETTINGS, junk_commands_per_connection=100, errors_per_connection=50),
        release_by="2026-12-24T12:00:00Z",
        implicit_tls=True,
    )
    session.secured()
    session.receive_data(b"EHLO c\r\nAUTH PLAIN AGEAYg==\r\n" + ENVELOPE)
    session.receive_data(command * (65_536 // len(command)))
    while not isinstance(session.next_event(), Wait) or session.is_paused:
        if session.is_paused:
            session.send(replies.OK)
    assert len(session.data_to_send()) < 300 * 1024
    assert session.buffered < len(command) or session.state is State.CLOSED


# ---- other protocols -------------------------------------------------------------


@pytest.mark.parametrize("split", ["whole", "each-octet"])
@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\nEHLO c\r\nSTARTTLS\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT a.example:25 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n\r\n" * 9,
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
    ],
    ids=["GET", "POST", "HTTP-2", "CONNECT", "TLS", "SSL-2"],
)
def test_what_is_no_smtp_ends_the_session(words: bytes, split: str) -> None:
    """Web browsers, and TLS where STARTTLS comes first, are told once; nothing else is read."""
    session = BareSession(SPLITS[split], implicit=False)
    session.line()
    assert session.replies(words) == [str(replies.NOT_SMTP)]
    session.expect_end()


@pytest.mark.parametrize("split", SPLITS)
def test_only_what_comes_first_is_another_protocol(split: str) -> None:
    """A line that begins with an octet above 127 is an unknown command, however it is cut."""
    session = BareSession(SPLITS[split], implicit=False)
    session.line()
    lines = session.replies(b"NOOP\r\n\xc9HLO c.example\r\n\x16\r\n")
    assert lines == [str(replies.OK), *[str(replies.STARTTLS_FIRST)] * 2]


@pytest.mark.parametrize("split", SPLITS)
def test_the_last_error_may_be_a_refused_chunk(split: str) -> None:
    """A session that ends with the reply to a refused BDAT says so at once."""
    session = logged_in(errors_per_connection=1)
    session._split = SPLITS[split]
    assert session.replies(b"BDAT 3\r\nabc")[-1] == str(replies.TOO_MANY_ERRORS)
    session.expect_end()


# ---- leniencies ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (b"MAIL FROM:<alice@example.org> SIZE=1\r\n", {}),
        (b"MAIL FROM: <alice@example.org>\r\n", {"space-after-colon": 1}),
        (b"MAIL FROM:<>\r\nRCPT TO:  <b@c.example>\r\n", {"space-after-colon": 1}),
        (b"MAIL  FROM:<alice@example.org>\r\n", {"extra-spaces": 1}),
        (b"MAIL FROM:<alice@example.org> \r\n", {"trailing-space": 1}),
        (b"RSET\t\r\nNOOP \r\n", {"trailing-space": 2}),
        (b"MAIL FROM:alice@example.org\r\nRCPT TO:b@c.example\r\n", {"missing-brackets": 2}),
        (
            b"MAIL FROM: alice@example.org SIZE=9\r\n",
            {"missing-brackets": 1, "space-after-colon": 1},
        ),
        (ENVELOPE + b"DATA\r\na\nb\nc\r\n.\r\n", {"bare-line-end": 1}),
    ],
)
def test_leniencies_are_counted(words: bytes, expected: dict[str, int]) -> None:
    """What the grammar does not have is taken, and counted by name."""
    session = logged_in(missing_angle_brackets=True)
    assert all(line[0] in "23" for line in session.replies(words))
    assert session.session.leniencies == expected


def test_two_spaces_after_the_mechanism() -> None:
    """AUTH PLAIN, two spaces and a response is a login, and counted."""
    session = BareSession(implicit=True)
    plain = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode())
    assert session.replies(b"EHLO c\r\nAUTH PLAIN  " + plain + b"\r\n")[-1].startswith("235 ")
    assert session.session.leniencies == {"spaces-in-auth": 1}


@pytest.mark.parametrize(
    "path",
    [
        b"alice@example.org",
        b"alice",
        b"",
        b"<alice@example.org",
        b"alice@example.org>",
        b"alice@example.org@example.com",
        b'"a b"@example.org',
        b"a,b@example.org",
        b"@example.org:alice@example.org",
    ],
)
def test_missing_brackets_are_an_option(path: bytes) -> None:
    """Without the option no path goes without its brackets; with it, plain addresses alone do."""
    words = b"MAIL FROM:" + path + b"\r\n"
    assert logged_in().replies(words) == [str(replies.BAD_MAIL_SYNTAX)]
    told = logged_in(missing_angle_brackets=True).replies(words)
    assert told[0].startswith("250 " if path == b"alice@example.org" else "501 ")


def test_every_leniency_has_its_rule() -> None:
    """Each name says what is taken, instead of what, and who needs it."""
    assert set(LENIENCIES) == set(Leniency)
    assert all(rule.takes and rule.instead_of and rule.needed_by for rule in LENIENCIES.values())
