"""Fuzz targets: AUTH exchanges, and next hops that say anything at all."""

from collections.abc import Iterator

import attrs

from submitd.mail.address import Mailbox
from submitd.mail.envelope import DeliverBy, Envelope, Recipient
from submitd.smtp import client_events
from submitd.smtp.client import ClientSession
from submitd.smtp.client_extensions import Unfit
from submitd.smtp.client_replies import RawReply, ReplyReader, diagnostic
from submitd.smtp.errors import RemoteProtocolError
from submitd.smtp.sasl import MECHANISMS, Challenge, MalformedResponse
from tests.fuzz.splits import pieces

_STEPS = 10  # no mechanism asks so often
_NOW_S = 1_700_000_000.0
_CONTENT = (b".a\r\n", b".", b"\r\n.\r\n", b"")
_BOB = Recipient(Mailbox("bob", "example.net"), frozenset({"FAILURE", "DELAY"}), "rfc822;b+40c")
_QUOTED = Recipient(Mailbox("c d", "example.net"))
_INTERNATIONAL = Recipient(Mailbox("dörte", "exämple.net"))
_PLAIN = Envelope(Mailbox("alice", "example.org"), (_BOB, _QUOTED))
_ENVELOPES = (
    _PLAIN,
    attrs.evolve(_PLAIN, body="8BITMIME", ret="HDRS", envelope_id="Q+2B1"),
    attrs.evolve(_PLAIN, body="BINARYMIME", priority=-3),
    attrs.evolve(_PLAIN, utf8=True, recipients=(_BOB, _INTERNATIONAL)),
    attrs.evolve(_PLAIN, require_tls=True, recipients=(_BOB, _INTERNATIONAL, _QUOTED)),
    attrs.evolve(_PLAIN, deliver_by=DeliverBy(_NOW_S + 60, "R", trace=True)),
    Envelope(None, (_BOB,), tls_optional=True),
    Envelope(Mailbox("äda", "example.org"), (_BOB,), utf8=True, body="8BITMIME"),
)


def sasl(data: bytes) -> None:
    """One exchange of any mechanism.  First octet: which one; then responses, each behind its
    length; 255 stands for none, which only the first can be."""
    names = tuple(MECHANISMS)
    exchange = MECHANISMS[names[(data[0] if data else 0) % len(names)]]()
    rest = data[1:]
    for step in range(_STEPS):
        octets = rest[0] if rest else 0
        response: bytes | None = rest[1 : 1 + octets]
        if octets == 255 and step == 0:
            octets, response = 0, None
        rest = rest[1 + octets :]
        try:
            answer = exchange.respond(response)
        except MalformedResponse:
            return
        if not isinstance(answer, Challenge):
            assert answer.login
            assert "\0" not in answer.login + answer.password + answer.authorization
            (answer.login + answer.password + answer.authorization).encode()
            return
        assert isinstance(answer.data, bytes)
    raise AssertionError("an exchange without an end")


def replies(data: bytes) -> None:
    """Replies of a next hop.  First octet: how they are cut; the cut must not matter."""
    pattern, stream = data[0] if data else 0, data[1:]
    whole = _read(stream, 0)
    assert _read(stream, pattern) == whole
    for raw in whole[0]:
        text = diagnostic(raw)
        assert text.isprintable()
        assert text.startswith(str(raw[0]))
        assert 200 <= raw[0] <= 599


def _read(stream: bytes, pattern: int) -> tuple[list[RawReply], bool]:
    reader = ReplyReader()
    found: list[RawReply] = []
    for piece in pieces(stream, pattern):
        reader.feed(piece)
        try:
            while (raw := reader.next_reply()) is not None:
                found.append(raw)
        except RemoteProtocolError:
            return found, True
    return found, False


def client(data: bytes) -> None:
    """A client's session.  Two octets: what we do, and how their words are cut; then these."""
    choices, pattern, stream = data[0] if data else 0, data[1] if len(data) > 1 else 0, data[2:]
    driver = _Driver(choices)
    for piece in _lines(stream, 1 + pattern) if pattern < 4 else pieces(stream, pattern):
        if driver.session.has_ended:
            break
        driver.session.receive(piece)
        driver.run()
    if not driver.session.has_ended:
        driver.session.receive_eof()
        driver.run()
    assert driver.session.has_ended
    assert driver.ended
    assert driver.under_way == 0
    assert driver.session.next_event() is None


def _lines(stream: bytes, together: int) -> Iterator[bytes]:
    """So many lines *together*: a reply has its place only behind its command."""
    lines = stream.splitlines(keepends=True)
    for start in range(0, len(lines), together):
        yield b"".join(lines[start : start + together])


class _Driver:
    """Does whatever the session lets it do."""

    def __init__(self, choices: int) -> None:
        self.session = ClientSession("mail.example.org", "mx.example.net", verified=True)
        self.ended = False
        self.under_way = 0
        self._choices = choices
        self._begun = 0
        self._seen: set[type] = set()

    def run(self) -> None:
        session = self.session
        while event := session.next_event():
            assert not self.ended, "an event behind the end"
            self._act(event)
            if session.is_ready and not self.under_way:
                self._go_on()
        said = session.data_to_send()
        assert b"\r" not in said.replace(b"\r\n", b"")
        assert b"\n" not in said.replace(b"\r\n", b"")

    def _act(self, event: client_events.Event) -> None:
        session = self.session
        self._seen.add(type(event))
        match event:
            case client_events.StartTls():
                session.secured(verified=True)
            case client_events.InspectionWanted():
                session.inspected(Unfit("5.6.3", "no") if self._choices & 64 else None)
            case client_events.ContentWanted():
                for piece in _CONTENT:
                    session.content(piece)
                session.end_of_content()
            case client_events.Finished(outcome=outcome):
                assert len(outcome) == self.under_way, outcome
                assert all(status.status[:1] in "245" for status in outcome.values())
                self.under_way = 0
            case client_events.Ended():
                self.ended = True

    def _go_on(self) -> None:
        session, choices = self.session, self._choices
        if choices & 1 and client_events.StartTls not in self._seen:
            self._choices &= ~1
            session.starttls()
        elif choices & 2:
            self._choices &= ~2
            session.authenticate("org", "sésame")
        elif self._begun < 1 + (choices >> 2 & 1):
            self._begun += 1
            envelope = _ENVELOPES[choices >> 3 & 7]
            self.under_way = len(envelope.recipients)
            size = sum(map(len, _CONTENT))
            session.begin(envelope, envelope.recipients, size, _NOW_S)
        else:
            session.quit()
