"""What every queue store promises (`submitd.interfaces.IQueueStore`), as one suite.

Subclass `QueueStoreContract` with a fixture `host` that gives a `StoreHost`:

    class TestMyStore(QueueStoreContract):
        @pytest.fixture
        def host(self, tmp_path):
            ...
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import attrs
import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from submitd.interfaces import (
    IContent,
    IMessageWriter,
    IQueueStore,
    QueuedMessage,
    Report,
)
from submitd.mail.address import Mailbox
from submitd.mail.envelope import DeliverBy, Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus

NOBODY: frozenset[str] = frozenset()
BOB = Mailbox("bob", "example.net")
RELAYED = DeliveryStatus(Action.RELAYED, "2.0.0", "250 2.0.0 Ok", "mx.example.net", True)
DELAYED = DeliveryStatus(Action.DELAYED, "4.4.1", "connection refused", "mx.example.net")
FAILED = DeliveryStatus(Action.FAILED, "5.1.1", "550 5.1.1 No such user", "mx.example.net", True)
SIZES = (0, 1, 4096, 65_535, 65_536, 65_537, 1_500_000)


class StoreHost(Protocol):
    """Where a store under test lives.

    :ivar durable: whether a store opened later finds what an earlier one kept.
    """

    durable: bool

    def open(self) -> IQueueStore:
        """A store not yet started; each time over the same storage."""

    def wait(self, eventual: Any) -> Any:
        """The value of *eventual*; raises what it fails with."""

    def now_s(self) -> float:
        """The time by the store's clock."""

    def advance(self, seconds: float) -> None:
        """Put the store's clock forward."""


def envelope(*recipients: str, sender: str | None = "ann@example.org") -> Envelope:
    """An envelope from addresses as text."""
    return Envelope(
        None if sender is None else Mailbox.parse(sender),
        tuple(Recipient(Mailbox.parse(text)) for text in recipients or ("bob@example.net",)),
    )


def pattern(octets: int) -> bytes:
    """Content in which every place looks different from its neighbours."""
    line = b"Subject: %08d\r\n"
    text = b"".join(line % number for number in range(octets // 19 + 1))
    return text[:octets]


class Case:
    """A started store with the steps that most tests take."""

    def __init__(self, host: StoreHost, store: IQueueStore) -> None:
        self.host = host
        self.store = store

    def put(
        self,
        content: bytes = b"Subject: x\r\n\r\nhello\r\n",
        what: Envelope | None = None,
        login: str | None = "ann",
    ) -> QueuedMessage:
        """Store one message and wait until it is durable."""
        writer = self.store.new_message()
        self.host.wait(writer.write(content))
        message: QueuedMessage = self.host.wait(writer.commit(what or envelope(), login))
        return message

    def due(
        self, after_s: float = 0, limit: int = 100, busy: frozenset[str] = NOBODY
    ) -> Sequence[QueuedMessage]:
        """What is due *after_s* seconds from now."""
        found: Sequence[QueuedMessage] = self.host.wait(
            self.store.due(self.host.now_s() + after_s, limit, busy)
        )
        return found

    def ids(self, after_s: float = 0) -> list[str]:
        """The ids of what is due *after_s* seconds from now."""
        return [message.id for message in self.due(after_s)]

    def next_due_s(self, busy: frozenset[str] = NOBODY) -> float | None:
        """When the next message is due."""
        when: float | None = self.host.wait(self.store.next_due_s(busy))
        return when

    def record(
        self,
        message: QueuedMessage,
        outcome: dict[str, DeliveryStatus],
        retry_in_s: float | None = None,
        report: Report | None = None,
    ) -> QueuedMessage | None:
        """Write down an outcome given by addresses as text."""
        statuses = {Mailbox.parse(text): status for text, status in outcome.items()}
        retry_at_s = None if retry_in_s is None else self.host.now_s() + retry_in_s
        stored: QueuedMessage | None = self.host.wait(
            self.store.record(message, statuses, retry_at_s, report)
        )
        return stored

    def read(self, message: QueuedMessage) -> bytes:
        """All of a message's content, read as a backend would."""
        pieces = []
        offset = 0
        while piece := self.host.wait(message.content.read(offset, 50_000)):
            pieces.append(piece)
            offset += len(piece)
        assert offset == message.content.size
        return b"".join(pieces)


class QueueStoreContract:
    """The promises; subclasses say which store must keep them."""

    @pytest.fixture
    def host(self) -> StoreHost:
        """Where the store lives: for subclasses to give."""
        raise NotImplementedError

    @pytest.fixture
    def case(self, host: StoreHost) -> Iterator[Case]:
        """A started store, stopped at the end."""
        store = host.open()
        host.wait(store.start())
        yield Case(host, store)
        host.wait(store.stop())

    # ---- taking in ----------------------------------------------------------------

    def test_interfaces(self, case: Case) -> None:
        """Stores, writers and contents have all that their interfaces name."""
        writer = case.store.new_message()
        verifyObject(IQueueStore, case.store)
        verifyObject(IMessageWriter, writer)
        writer.abort()
        verifyObject(IContent, case.put().content)
        verifyObject(IContent, case.due()[0].content)

    def test_commit_gives_the_message(self, case: Case) -> None:
        """The message that commit gives has the writer's id and all that was said about it."""
        writer = case.store.new_message()
        case.host.wait(writer.write(b"content"))
        message = case.host.wait(writer.commit(envelope(), "ann"))
        assert message.id == writer.id
        assert message.envelope == envelope()
        assert message.login == "ann"
        assert message.attempts == 0
        assert message.arrived_s == pytest.approx(case.host.now_s(), abs=5)
        assert case.read(message) == b"content"

    @pytest.mark.parametrize(
        "what",
        [
            envelope(),
            envelope(sender=None),
            envelope('"a \\"b\\" c"@example.net', "x@[192.0.2.1]", sender="Ann.O'Nym@Example.ORG"),
            envelope(*(f"user{number}@example.net" for number in range(300))),
            envelope("twice@example.net", "TWICE@example.net", "twice@example.net"),
            Envelope(None, (Recipient(Mailbox("b", "example.net")),), "8BITMIME"),
        ],
    )
    def test_envelope_comes_back(self, case: Case, what: Envelope) -> None:
        """Envelopes come back equal, with their recipients in order."""
        case.put(what=what)
        (found,) = case.due()
        assert found.envelope == what
        assert str(found.envelope.reverse_path) == str(what.reverse_path)

    def test_parameters_come_back(self, case: Case) -> None:
        """All that MAIL and RCPT said beside addresses comes back, for those still waiting."""
        what = Envelope(
            Mailbox.parse("J\u00f6rg@b\u00fccher.example"),
            (
                Recipient(Mailbox.parse("a@example.net"), frozenset({"FAILURE", "DELAY"})),
                Recipient(Mailbox.parse("b@example.net"), frozenset(), "rfc822;b@example.org"),
                Recipient(Mailbox.parse("c@example.net")),
            ),
            "BINARYMIME",
            utf8=True,
            ret="HDRS",
            envelope_id="x+2By",
            require_tls=True,
            deliver_by=DeliverBy(1_800_000_000.5, "R", trace=True),
            priority=-3,
        )
        message = case.put(what=what)
        assert case.due()[0].envelope == what
        case.record(message, {"a@example.net": RELAYED}, retry_in_s=1)
        expected = attrs.evolve(what, recipients=what.recipients[1:])
        assert case.due(after_s=1)[0].envelope == expected

    @pytest.mark.parametrize(
        "field",
        [
            {"reverse_path": Mailbox("j\u00f6rg", "b\u00fccher.example")},
            {"reverse_path": None},
            {"body": "8BITMIME"},
            {"body": "BINARYMIME"},
            {"utf8": True},
            {"ret": "FULL"},
            {"ret": "HDRS"},
            {"envelope_id": "QQ314159"},
            {"envelope_id": ""},
            {"require_tls": True},
            {"tls_optional": True},
            {"hold_until_s": 1_600_000_000.5},
            {"deliver_by": DeliverBy(1_800_000_000.0, "N")},
            {"deliver_by": DeliverBy(1.5, "R", trace=True)},
            *({"priority": priority} for priority in (-9, -1, 1, 9)),
        ],
        ids=str,
    )
    def test_each_parameter_comes_back(self, case: Case, field: dict[str, Any]) -> None:
        """Each field of the envelope comes back by itself, after an attempt too."""
        what = attrs.evolve(envelope(), **field)
        message = case.put(what=what)
        assert message.envelope == what
        assert case.due()[0].envelope == what
        case.record(message, {"bob@example.net": DELAYED}, retry_in_s=0)
        assert case.due()[0].envelope == what

    def test_every_field_is_tried(self) -> None:
        """The tests here have all fields that an envelope and a recipient have."""
        names = {field.name for kind in (Envelope, Recipient) for field in attrs.fields(kind)}
        assert names == {
            *("reverse_path", "recipients", "body", "utf8", "ret", "envelope_id", "require_tls"),
            *("tls_optional", "hold_until_s", "deliver_by", "priority"),
            *("mailbox", "notify", "original"),
        }

    @pytest.mark.parametrize(
        "recipient",
        [
            Recipient(BOB, frozenset({"NEVER"})),
            *(Recipient(BOB, frozenset({word})) for word in ("SUCCESS", "FAILURE", "DELAY")),
            Recipient(BOB, frozenset({"SUCCESS", "FAILURE", "DELAY"})),
            Recipient(BOB, None, "rfc822;bob+40example.net"),
            Recipient(BOB, frozenset({"DELAY"}), "utf-8;b\u00f6b@example.net"),
            Recipient(Mailbox("b\u00f6b", "b\u00fccher.example")),
        ],
        ids=str,
    )
    def test_each_recipient_comes_back(self, case: Case, recipient: Recipient) -> None:
        """Each field of a recipient comes back by itself, after an attempt too."""
        what = Envelope(None, (recipient,))
        message = case.put(what=what)
        assert case.due()[0].envelope == what
        case.record(message, {str(recipient.mailbox): DELAYED}, retry_in_s=0)
        assert case.due()[0].envelope == what

    @pytest.mark.parametrize("login", ["ann", "ann@example.org", "J\u00f6rg", None])
    def test_login_comes_back(self, case: Case, login: str | None) -> None:
        """The login comes back as given, None as None."""
        case.put(login=login)
        assert case.due()[0].login == login

    @pytest.mark.parametrize("size", SIZES)
    def test_content_comes_back(self, case: Case, size: int) -> None:
        """Content of any size comes back to the octet, fresh and from the queue."""
        content = pattern(size)
        assert case.read(case.put(content)) == content
        (found,) = case.due()
        assert found.content.size == size
        assert case.read(found) == content

    @pytest.mark.parametrize("content", [b"no line end", b".\r\n..\r\n", bytes(range(256)) * 300])
    def test_content_is_opaque(self, case: Case, content: bytes) -> None:
        """Nothing in the content is changed: dots, NUL, 8-bit, no final line end."""
        case.put(content)
        assert case.read(case.due()[0]) == content

    @pytest.mark.parametrize("piece", [1, 7, 40_000])
    def test_pieces_keep_their_order(self, case: Case, piece: int) -> None:
        """Octets handed in without waiting for write's Deferred are kept in order."""
        content = pattern(400_000 if piece > 100 else 1000)
        writer = case.store.new_message()
        for start in range(0, len(content), piece):
            result = writer.write(content[start : start + piece])
            if isinstance(result, Deferred):
                result.addErrback(lambda failure: None)
        message = case.host.wait(writer.commit(envelope(), "ann"))
        assert case.read(message) == content

    @pytest.mark.parametrize("size", [1000, 300_000])
    def test_any_part_can_be_read(self, case: Case, size: int) -> None:
        """Reading gives what was asked for, less only at the end, nothing behind it."""
        content = pattern(size)
        case.put(content)
        (found,) = case.due()
        for offset, octets in [(0, 10), (500, 100), (size - 5, 100), (size, 10), (size + 9, 1)]:
            part = case.host.wait(found.content.read(offset, octets))
            assert part == content[offset : offset + octets]

    def test_nothing_written_is_an_empty_message(self, case: Case) -> None:
        """A message may be empty."""
        message = case.host.wait(case.store.new_message().commit(envelope(), "ann"))
        assert message.content.size == 0
        assert case.read(case.due()[0]) == b""

    def test_ids(self, case: Case) -> None:
        """Queue ids are short, of letters and digits, and never the same twice."""
        writers = [case.store.new_message() for _ in range(3000)]
        ids = {writer.id for writer in writers}
        assert len(ids) == 3000
        assert all(re.fullmatch("[0-9A-Za-z]{4,16}", text) for text in ids)

    @pytest.mark.parametrize("size", [10, 500_000])
    def test_abort_keeps_nothing(self, case: Case, size: int) -> None:
        """An aborted message is not in the queue; aborting twice is harmless."""
        writer = case.store.new_message()
        case.host.wait(writer.write(pattern(size)))
        writer.abort()
        writer.abort()
        assert case.ids() == []
        assert case.next_due_s() is None

    @pytest.mark.parametrize("size", [10, 500_000])
    def test_abort_after_commit_is_harmless(self, case: Case, size: int) -> None:
        """Aborting a committed message, or one being committed, does not take it away."""
        writer = case.store.new_message()
        case.host.wait(writer.write(pattern(size)))
        committed = writer.commit(envelope(), "ann")
        writer.abort()
        message = case.host.wait(committed)
        writer.abort()
        assert case.read(message) == pattern(size)
        assert case.ids() == [message.id]

    def test_many_at_once(self, case: Case) -> None:
        """Messages committed side by side are all kept, each with its own content."""
        committed = []
        for number in range(200):
            writer = case.store.new_message()
            case.host.wait(writer.write(b"%d" % number))
            committed.append(writer.commit(envelope(), str(number)))
        ids = [case.host.wait(result).id for result in committed]
        found = {message.id: message for message in case.due(limit=1000)}
        assert len(found) == 200
        for number, queue_id in enumerate(ids):
            assert case.read(found[queue_id]) == b"%d" % number
            assert found[queue_id].login == str(number)

    # ---- what is due --------------------------------------------------------------

    def test_fresh_messages_are_due(self, case: Case) -> None:
        """A message is due from the moment it is stored."""
        assert case.next_due_s() is None
        message = case.put()
        assert case.ids() == [message.id]
        when = case.next_due_s()
        assert when is not None
        assert when <= case.host.now_s()

    def test_due_is_oldest_first(self, case: Case) -> None:
        """What became due first is given first, and no more than the limit."""
        stored = []
        for _ in range(5):
            stored.append(case.put().id)
            case.host.advance(1)
        assert case.ids() == stored
        assert [message.id for message in case.due(limit=3)] == stored[:3]

    def test_due_goes_by_priority_and_age(self, case: Case) -> None:
        """Urgent messages are given first, each step of priority being worth an hour of waiting."""
        stored = {}
        for waited_s, priority in [(0, -3), (5400, -2), (0, 0), (0, 9), (0, 1), (0, 0)]:
            case.host.advance(waited_s)
            message = case.put(what=attrs.evolve(envelope(), priority=priority))
            stored[message.id] = f"{priority} {len(stored)}"
        order = [stored[queue_id] for queue_id in case.ids()]
        assert order == ["9 3", "1 4", "0 2", "0 5", "-3 0", "-2 1"]
        assert [stored[message.id] for message in case.due(limit=2)] == order[:2]
        assert [message.envelope.priority for message in case.due()] == [9, 1, 0, 0, -3, -2]

    def test_low_priorities_have_their_turn(self, case: Case) -> None:
        """What has waited long enough goes before what is more urgent and fresh."""
        low = case.put(what=attrs.evolve(envelope(), priority=-4)).id
        case.host.advance(4 * 3600 - 10)
        usual = case.put().id
        assert case.ids() == [usual, low]
        case.host.advance(20)
        later = case.put().id
        assert case.ids() == [usual, low, later]

    def test_next_due_is_of_any_priority(self, case: Case) -> None:
        """What is due next is so whatever its priority."""
        first, second = (
            case.put(what=attrs.evolve(envelope(), priority=priority)) for priority in (4, -4)
        )
        case.record(first, {"bob@example.net": DELAYED}, retry_in_s=60)
        case.record(second, {"bob@example.net": DELAYED}, retry_in_s=30)
        assert case.next_due_s() == pytest.approx(case.host.now_s() + 30)
        assert case.next_due_s(frozenset([second.id])) == pytest.approx(case.host.now_s() + 60)
        assert case.ids(after_s=30) == [second.id]
        assert case.ids(after_s=60) == [first.id, second.id]

    def test_due_when_it_may_be_released(self, case: Case) -> None:
        """A message to be sent later is due at that time (RFC 4865), or at once if it is past."""
        now_s = case.host.now_s()
        past = case.put(what=attrs.evolve(envelope(), hold_until_s=now_s - 10))
        later = case.put(what=attrs.evolve(envelope(), hold_until_s=now_s + 3600))
        assert case.ids() == [past.id]
        assert case.ids(after_s=3599) == [past.id]
        assert case.next_due_s(frozenset([past.id])) == now_s + 3600
        assert later.id in case.ids(after_s=3600)
        (found,) = case.due(after_s=3600, busy=frozenset([past.id]))
        assert found.envelope.hold_until_s == now_s + 3600

    def test_due_leaves_out_what_is_busy(self, case: Case) -> None:
        """Messages under way are neither due nor next, and don't count for the limit."""
        first, second = case.put().id, case.put().id
        busy = frozenset([first])
        assert [message.id for message in case.due(limit=1, busy=busy)] == [second]
        assert case.due(busy=frozenset([first, second])) == []
        assert case.next_due_s(frozenset([first, second])) is None
        assert case.next_due_s(busy) is not None
        assert case.next_due_s(frozenset(["unknown"])) is not None

    # ---- outcomes -----------------------------------------------------------------

    @pytest.mark.parametrize("size", [10, 500_000])
    @pytest.mark.parametrize("status", [RELAYED, FAILED])
    def test_final_outcome_removes(self, case: Case, status: DeliveryStatus, size: int) -> None:
        """A message is gone once every recipient has a final status."""
        message = case.put(pattern(size))
        assert case.record(message, {"bob@example.net": status}) is None
        assert case.ids(after_s=1e9) == []
        assert case.next_due_s() is None

    @pytest.mark.parametrize("size", [10, 500_000])
    def test_delayed_is_due_again(self, case: Case, size: int) -> None:
        """A delayed message is due again at the time given, with one attempt more."""
        message = case.put(pattern(size))
        case.record(message, {"bob@example.net": DELAYED}, retry_in_s=60)
        assert case.ids(after_s=59) == []
        assert case.next_due_s() == pytest.approx(case.host.now_s() + 60)
        (found,) = case.due(after_s=60)
        assert (found.id, found.attempts) == (message.id, 1)
        assert found.arrived_s == pytest.approx(message.arrived_s)
        assert case.read(found) == pattern(size)
        case.record(found, {"bob@example.net": DELAYED}, retry_in_s=120)
        assert case.ids(after_s=119) == []
        assert case.due(after_s=120)[0].attempts == 2

    def test_told_delays_are_kept(self, case: Case) -> None:
        """When the sender was told of a delay is kept with the outcome."""
        message = case.put()
        assert message.delay_told_s is None
        case.record(message, {"bob@example.net": DELAYED}, retry_in_s=0)
        (found,) = case.due()
        assert found.delay_told_s is None
        found.delay_told_s = 1_700_000_000.25
        case.record(found, {"bob@example.net": DELAYED}, retry_in_s=0)
        (again,) = case.due()
        assert again.delay_told_s == 1_700_000_000.25
        case.record(again, {"bob@example.net": DELAYED}, retry_in_s=0)
        assert case.due()[0].delay_told_s == 1_700_000_000.25

    def test_partial_outcome(self, case: Case) -> None:
        """Recipients that are done with don't come back, the others do in their order."""
        what = envelope("a@example.net", "b@example.net", "c@example.com", "d@example.net")
        message = case.put(what=what)
        case.record(
            message,
            {
                "a@example.net": RELAYED,
                "b@example.net": DELAYED,
                "c@example.com": DELAYED,
                "d@example.net": FAILED,
            },
            retry_in_s=10,
        )
        (found,) = case.due(after_s=10)
        assert found.envelope == envelope("b@example.net", "c@example.com")
        case.record(found, {"b@example.net": DELAYED, "c@example.com": RELAYED}, retry_in_s=10)
        (found,) = case.due(after_s=10)
        assert found.envelope == envelope("b@example.net")
        case.record(found, {"b@example.net": FAILED})
        assert case.ids(after_s=1e9) == []

    def test_outcome_covers_every_mention_of_a_mailbox(self, case: Case) -> None:
        """One status settles a mailbox, however often and in what case its domain was given."""
        what = envelope("bob@example.net", "bob@EXAMPLE.net", "cid@example.net")
        message = case.put(what=what)
        case.record(message, {"bob@Example.net": RELAYED, "cid@example.net": DELAYED}, retry_in_s=1)
        assert case.due(after_s=1)[0].envelope == envelope("cid@example.net")

    def test_recipients_without_an_outcome_stay(self, case: Case) -> None:
        """Recipients that the outcome does not name are due again with the delayed ones."""
        message = case.put(what=envelope("a@example.net", "b@example.net"))
        case.record(message, {"a@example.net": RELAYED}, retry_in_s=5)
        assert case.ids(after_s=4) == []
        assert case.due(after_s=5)[0].envelope == envelope("b@example.net")

    def test_delay_needs_a_time(self, case: Case) -> None:
        """Recipients left without a time to retry are a caller's error, and nothing changes."""
        message = case.put()
        with pytest.raises(ValueError):
            case.record(message, {"bob@example.net": DELAYED}, retry_in_s=None)
        assert case.due()[0].attempts == 0

    @pytest.mark.parametrize("size", [10, 300_000])
    def test_report_enters_with_the_outcome(self, case: Case, size: int) -> None:
        """A report is stored with the outcome it reports: given back, due at once, no login."""
        message = case.put(what=envelope("a@example.net", "b@example.net"))
        report = Report(envelope("ann@example.org", sender=None), pattern(size))
        stored = case.record(
            message, {"a@example.net": FAILED, "b@example.net": DELAYED}, 30, report
        )
        assert stored is not None
        assert stored.id != message.id
        assert (stored.login, stored.attempts) == (None, 0)
        assert stored.envelope == report.envelope
        assert case.read(stored) == report.content
        (found,) = case.due()
        assert (found.id, found.envelope, found.login) == (stored.id, report.envelope, None)
        assert case.read(found) == report.content
        assert sorted(case.ids(after_s=30)) == sorted([stored.id, message.id])

    def test_report_of_the_last_recipient(self, case: Case) -> None:
        """A report outlives the message it is about."""
        message = case.put()
        report = Report(envelope("ann@example.org", sender=None), b"Subject: failed\r\n\r\n")
        stored = case.record(message, {"bob@example.net": FAILED}, None, report)
        assert stored is not None
        assert case.ids(after_s=1e9) == [stored.id]

    def test_outcome_of_a_message_that_is_gone(self, case: Case) -> None:
        """An outcome that comes after the message was removed does no harm."""
        message, other = case.put(), case.put()
        case.record(message, {"bob@example.net": RELAYED})
        assert case.record(message, {"bob@example.net": DELAYED}, retry_in_s=1) is None
        assert case.record(message, {"bob@example.net": RELAYED}) is None
        assert case.ids(after_s=10) == [other.id]

    # ---- coming and going ---------------------------------------------------------

    def test_nothing_changed_elsewhere(self, case: Case) -> None:
        """What this process does itself is no change from elsewhere."""
        case.host.wait(case.store.changed_elsewhere())
        message = case.put()
        case.due()
        case.record(message, {"bob@example.net": RELAYED})
        assert case.host.wait(case.store.changed_elsewhere()) is False

    def test_stop_finishes_what_was_asked(self, host: StoreHost) -> None:
        """All that was asked for before stop is done when stop has ended."""
        store = host.open()
        host.wait(store.start())
        committed = []
        for size in (10, 400_000) * 10:
            writer = store.new_message()
            result = writer.write(pattern(size))
            if isinstance(result, Deferred):
                result.addErrback(lambda failure: None)
            committed.append(writer.commit(envelope(), "ann"))
        host.wait(store.stop())
        assert all(result.called for result in committed)
        ids = {host.wait(result).id for result in committed}
        assert len(ids) == 20
        if host.durable:
            again = host.open()
            host.wait(again.start())
            found = host.wait(again.due(host.now_s(), 100, NOBODY))
            assert {message.id for message in found} == ids
            host.wait(again.stop())

    def test_restart_finds_everything(self, host: StoreHost) -> None:
        """A store opened again has every message, its outcomes and its schedule."""
        if not host.durable:
            pytest.skip("this store forgets when it is stopped")
        case = Case(host, host.open())
        host.wait(case.store.start())
        kept = case.put(pattern(200_000), envelope("a@example.net", "b@example.net"))
        gone = case.put()
        case.record(kept, {"a@example.net": RELAYED, "b@example.net": DELAYED}, retry_in_s=60)
        case.record(gone, {"bob@example.net": RELAYED})
        host.wait(case.store.stop())

        again = Case(host, host.open())
        host.wait(again.store.start())
        (found,) = again.due(after_s=60)
        assert (found.id, found.attempts, found.login) == (kept.id, 1, "ann")
        assert found.envelope == envelope("b@example.net")
        assert again.read(found) == pattern(200_000)
        assert again.next_due_s() == pytest.approx(host.now_s() + 60)
        fresh = again.put()
        assert fresh.id not in (kept.id, gone.id)
        host.wait(again.store.stop())
