"""Delivery from the queue, against the store in memory and a backend that records."""

import email
import email.policy
import gc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from submitd.interfaces import QueuedMessage, StoreFull
from submitd.mail.address import Mailbox
from submitd.queue import delivery as delivery_module
from submitd.queue import lookout
from submitd.testing import envelope, now
from tests.support.delivery import BUSY, CONTENT, NOW_S, REFUSED, Bench, with_options

# ---- at once ----------------------------------------------------------------------


def test_delivered_at_once(bench: Bench) -> None:
    """A submitted message is delivered in the same turn, without reading it back."""
    looks = bench.store.looks
    bench.submit()
    assert bench.recipients == ["bob@example.net"]
    assert bench.backend.delivered[0].content == CONTENT
    assert len(bench.store) == 0
    assert bench.store.looks == looks


def test_recipients_are_grouped_by_next_hop(bench: Bench) -> None:
    """Recipients with the same next hop share a delivery, others have their own."""
    bench.submit("a@example.net", "b@example.com", "c@EXAMPLE.net")
    assert sorted(bench.recipients) == ["a@example.net,c@EXAMPLE.net", "b@example.com"]
    assert len(bench.store) == 0


def test_start_takes_up_the_queue() -> None:
    """What an earlier process left in the queue is delivered at start, however much it is."""
    bench = Bench()
    for number in range(350):
        bench.store.add(envelope(f"user{number}@example.net"), "ann", CONTENT)
    bench.delivery.start()
    bench.clock.pump([0] * 5)
    assert bench.recipients == [f"user{number}@example.net" for number in range(350)]
    assert len(bench.store) == 0


def test_log_line(bench: Bench) -> None:
    """Each outcome at a next hop has one line in the log, with what joins it to others."""
    bench.backend.answers["c@example.net"] = BUSY
    message = bench.submit("a@example.net", "b@example.net", "c@example.net")
    done, delayed = bench.lines("delivery")
    expected = {
        "queue_id": message.id,
        "login": "ann",
        "recipients": "a@example.net, b@example.net",
        "recipients_count": 2,
        "action": "delivered",
        "status": "2.0.0",
        "next_hop": "recorder",
        "attempt": 1,
        "delay_s": 0.0,
    }
    assert {key: done[key] for key in expected} == expected
    assert (delayed["recipients"], delayed["diagnostic"]) == ("c@example.net", "450 4.2.1 busy")


# ---- again ------------------------------------------------------------------------


@with_options(retry_schedule_s=(60, 600), expire_s=100_000)
def test_retries_follow_the_schedule(bench: Bench) -> None:
    """A delayed message is tried again after each wait of the schedule, the last repeating."""
    bench.backend.answers["bob@example.net"] = BUSY
    bench.submit()
    times = []
    for _ in range(2200):
        if len(bench.recipients) > len(times):
            times.append(bench.clock.seconds() - NOW_S)
        bench.clock.advance(1)
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert 60 <= waits[0] <= 68
    assert all(600 <= wait <= 662 for wait in waits[1:])
    assert len(times) == 5
    assert [line["attempt"] for line in bench.lines("delivery")] == [1, 2, 3, 4, 5]


def test_partial_outcomes(bench: Bench) -> None:
    """Only recipients that were delayed are tried again."""
    bench.backend.answers["b@example.net"] = BUSY
    bench.backend.answers["c@example.com"] = REFUSED
    bench.submit("a@example.net", "b@example.net", "c@example.com", sender=None)
    del bench.backend.answers["b@example.net"]
    bench.clock.advance(70)
    assert bench.recipients == ["a@example.net,b@example.net", "c@example.com", "b@example.net"]
    assert len(bench.store) == 0


def test_outcome_is_recorded_once(bench: Bench) -> None:
    """Nothing is recorded before all next hops of a message have answered, then all at once."""
    first, second = bench.hold(2)
    bench.submit("a@example.net", "b@example.com")
    first.callback(None)
    assert len(bench.store) == 1
    second.callback(BUSY)
    bench.clock.advance(70)
    assert bench.recipients[2:] == ["b@example.com"]


def broken(*_: object) -> Any:
    """What a backend with a fault does."""
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("method", "behaviour", "faults"),
    [
        ("next_hop", broken, 1),
        ("deliver", broken, 1),
        ("deliver", lambda *_: fail(OSError("broken")), 1),
        ("deliver", lambda *_: succeed(None), 1),
        ("deliver", lambda *_: succeed({}), 0),
        ("deliver", lambda *_: succeed({Mailbox("other", "example.net"): REFUSED}), 0),
    ],
)
def test_broken_backend_delays(
    bench: Bench, method: str, behaviour: Callable[..., Any], faults: int
) -> None:
    """A backend that raises, fails or leaves a recipient out has delayed the message."""
    setattr(bench.backend, method, behaviour)
    bench.submit()
    assert len(bench.store) == 1
    assert len(bench.faults()) == faults
    delattr(bench.backend, method)
    bench.clock.advance(70)
    assert bench.recipients == ["bob@example.net"]
    assert len(bench.store) == 0


# ---- failure ----------------------------------------------------------------------


def reports(bench: Bench) -> list[Any]:
    """The reports that were delivered, parsed."""
    return [
        email.message_from_bytes(delivered.content, policy=email.policy.default)
        for delivered in bench.backend.delivered
        if delivered.message.login is None
    ]


def test_failure_is_reported_to_the_sender(bench: Bench) -> None:
    """The sender gets one report, at once, about the recipients that failed."""
    bench.backend.answers["b@example.net"] = REFUSED
    bench.backend.answers["c@example.net"] = REFUSED
    message = bench.submit("a@example.net", "b@example.net", "c@example.net")
    assert bench.recipients[1:] == ["ann@example.org"]
    assert bench.backend.delivered[1].message.envelope == envelope("ann@example.org", sender=None)
    (report,) = reports(bench)
    assert report.get_content_type() == "multipart/report"
    text = bench.backend.delivered[1].content.decode("ascii")
    assert "Final-Recipient: rfc822; b@example.net" in text
    assert "Final-Recipient: rfc822; c@example.net" in text
    assert "a@example.net" not in text
    assert "550 5.1.1 no such user" in text
    assert "Subject: hello" in text
    assert message.id in text
    assert len(bench.store) == 0
    (line,) = bench.lines("report")
    assert (line["queue_id"], line["recipients"]) == (message.id, "ann@example.org")


def test_no_report_for_the_null_reverse_path(bench: Bench) -> None:
    """A report that fails itself is dropped, and the log says so."""
    bench.backend.answers["ann@example.org"] = REFUSED
    bench.backend.answers["bob@example.net"] = REFUSED
    bench.submit()
    assert bench.recipients == ["bob@example.net", "ann@example.org"]
    assert len(bench.store) == 0
    (line,) = bench.lines("no-report")
    assert line["recipients"] == "ann@example.org"


@with_options(retry_schedule_s=(60,), expire_s=100)
def test_expiry(bench: Bench) -> None:
    """A message that is still delayed at its expiry fails with 5.4.7, and is reported."""
    bench.backend.answers["bob@example.net"] = BUSY
    bench.submit()
    for _ in range(200):
        bench.clock.advance(1)
    assert bench.recipients == ["bob@example.net"] * 3 + ["ann@example.org"]
    last = bench.lines("delivery")[2]
    assert last["delay_s"] == pytest.approx(100, abs=1.1)
    text = bench.backend.delivered[3].content.decode("ascii")
    assert "Status: 5.4.7" in text
    assert "450 4.2.1 busy" in text
    assert len(bench.store) == 0
    assert len(bench.lines("expired")) == 1


@with_options(expire_s=0)
def test_expiry_beside_success(bench: Bench) -> None:
    """Expiry fails the delayed recipients alone."""
    bench.backend.answers["b@example.net"] = BUSY
    bench.submit("a@example.net", "b@example.net")
    (text,) = (part.content.decode() for part in bench.backend.delivered[1:])
    assert "b@example.net" in text
    assert "a@example.net" not in text
    assert len(bench.store) == 0


def test_report_of_an_unreadable_message(bench: Bench) -> None:
    """A message whose header can't be read is reported without it."""

    class Broken:
        size = 10

        def read(self, offset: int, octets: int) -> Deferred[bytes]:
            return fail(OSError(5, "Input/output error"))

    message = bench.store.add(envelope(), "ann", CONTENT)
    message.content = Broken()
    bench.backend.deliver = (  # type: ignore[method-assign]
        lambda message, recipients: succeed({one.mailbox: REFUSED for one in recipients})
    )
    bench.delivery.submitted(message)
    del bench.backend.deliver
    assert bench.lines("report")
    bench.clock.advance(2)


# ---- bounds -----------------------------------------------------------------------


@with_options(concurrency=4, concurrency_per_next_hop=2)
def test_concurrency_bounds(bench: Bench) -> None:
    """No more deliveries are under way than allowed, in all and for one next hop."""
    waiting = bench.hold(30)
    for number in range(5):
        for hop in ("a", "b", "c"):
            bench.submit(f"{number}@{hop}.example")
    assert bench.recipients == ["0@a.example", "0@b.example", "0@c.example", "1@a.example"]
    for done, later in enumerate(waiting[:15]):
        assert bench.backend.under_way == min(4, 15 - done)
        under_way = bench.recipients[done:]
        later.callback(None)
        assert len({one.split("@")[1] for one in under_way}) >= len(under_way) / 2
    assert len(bench.recipients) == 15
    assert len(bench.store) == 0


@with_options(concurrency=10, concurrency_per_next_hop=3)
def test_dead_next_hop_does_not_starve_others(bench: Bench) -> None:
    """Mail for other next hops flows, however much waits for one that never answers."""
    bench.hold(3)
    for number in range(500):
        bench.submit(f"{number}@dead.example")
    assert len(bench.recipients) == 3
    bench.submit("bob@example.net")
    bench.submit("1@dead.example", "cid@example.net")
    assert bench.recipients[3:] == ["bob@example.net", "cid@example.net"]
    assert len(bench.store) == 501


@with_options(concurrency_per_next_hop=3)
def test_backlog_of_dead_next_hops_leaves_room(bench: Bench) -> None:
    """Retries for other next hops are found behind thousands for dead ones; none is lost."""
    stuck = bench.hold(6)
    for number in range(6000):
        bench.store.add(envelope(f"{number}@dead{number % 2}.example"), "ann", CONTENT)
    for number in range(50):
        bench.store.add(envelope(f"{number}@alive.example"), "ann", CONTENT)
    bench.store.changed = True
    bench.clock.advance(2)
    bench.clock.pump([0] * 80)
    assert bench.recipients[6:] == [f"{number}@alive.example" for number in range(50)]
    for one in stuck:
        one.callback(None)
    bench.clock.pump([0] * 200)
    assert len(bench.recipients) == len(set(bench.recipients)) == 6050
    assert len(bench.store) == 0


@with_options(concurrency_per_next_hop=1, memory_bytes=20 * len(CONTENT))
def test_backlog_and_little_memory(bench: Bench) -> None:
    """With little memory too, all of a backlog is delivered, once, and beside a dead next hop."""
    (stuck,) = bench.hold(1)
    for number in range(300):
        bench.store.add(envelope(f"{number}@dead.example"), "ann", CONTENT)
    bench.store.add(envelope(), "ann", CONTENT)
    bench.store.changed = True
    bench.clock.advance(2)
    bench.clock.pump([0] * 20)
    stuck.callback(None)
    bench.clock.pump([0] * 400)
    assert len(bench.recipients) == len(set(bench.recipients)) == 301
    assert len(bench.store) == 0


@with_options(concurrency_per_next_hop=1)
def test_stop_with_a_backlog(bench: Bench) -> None:
    """What was left aside for a dead next hop does not keep `stop` waiting, nor a change away."""
    bench.hold(1)
    for number in range(3000):
        bench.store.add(envelope(f"{number}@dead.example"), "ann", CONTENT)
    bench.store.changed = True
    bench.clock.advance(2)
    bench.clock.pump([0] * 50)
    bench.store.changed = True
    bench.clock.advance(2)
    bench.clock.pump([0] * 50)
    stopped = bench.delivery.stop(5)
    bench.clock.advance(5)
    now(stopped)
    assert len(bench.recipients) == 1
    assert len(bench.store) == 3000


@with_options(concurrency_per_next_hop=1)
def test_busy_next_hop_is_no_reason_to_look(bench: Bench) -> None:
    """Messages that wait for their next hop are not read from the store again and again."""
    bench.hold(1)
    for number in range(50):
        bench.store.add(envelope(f"{number}@example.net"), "ann", CONTENT)
    looks = bench.store.looks
    bench.submit()
    for _ in range(100):
        bench.clock.advance(1)
    assert bench.store.looks == looks
    bench.store.changed = True
    for _ in range(100):
        bench.clock.advance(1)
    assert bench.store.looks == looks + 1


@with_options(memory_bytes=len(CONTENT) * 2, concurrency_per_next_hop=1)
def test_memory_bound(bench: Bench) -> None:
    """What does not fit into memory is forgotten, and read from the store when there is room."""
    waiting = bench.hold(1)
    for number in range(250):
        bench.submit(f"{number}@example.net")
    looks = bench.store.looks
    bench.clock.advance(1)
    assert bench.store.looks == looks
    waiting[0].callback(None)
    for _ in range(5):
        bench.clock.advance(0)
    assert sorted(bench.recipients) == sorted(f"{number}@example.net" for number in range(250))
    assert len(bench.store) == 0


@with_options(memory_bytes=0)
def test_no_memory_at_all(bench: Bench) -> None:
    """With no memory to spare, messages go one by one, and none is left behind."""
    (waiting,) = bench.hold(1)
    for number in range(5):
        bench.submit(f"{number}@example.net")
    assert bench.recipients == ["0@example.net"]
    waiting.callback(None)
    bench.clock.pump([0] * 3)
    assert len(bench.recipients) == 5
    assert len(bench.store) == 0


def messages_in_memory() -> int:
    """How many messages there are, those of the store in memory among them."""
    return sum(isinstance(each, QueuedMessage) for each in gc.get_objects())


@with_options(concurrency_per_next_hop=1)
def test_number_of_messages_is_bounded(bench: Bench) -> None:
    """A long queue is worked off in order with a bounded number of messages in hand."""
    total = delivery_module.ROOM + 3 * lookout.PAGE
    gc.collect()
    before = messages_in_memory()
    (waiting,) = bench.hold(1)
    for number in range(total):
        bench.store.add(envelope(f"{number}@example.net"), "ann", CONTENT)
    bench.store.changed = True
    bench.clock.advance(2)
    bench.clock.pump([0] * 50)
    assert bench.store.looks <= total // lookout.PAGE + 2
    in_hand = messages_in_memory() - before - total
    assert 0 < in_hand <= delivery_module.ROOM // 2 + lookout.PAGE
    waiting.callback(None)
    bench.clock.pump([0] * 50)
    assert bench.recipients == [f"{number}@example.net" for number in range(total)]


# ---- never twice ------------------------------------------------------------------


def test_never_two_attempts_at_once(bench: Bench) -> None:
    """A message under way is not begun again by the clock, by a change or by a second call."""
    bench.hold(1)
    message = bench.submit()
    bench.delivery.submitted(message)
    bench.store.changed = True
    for _ in range(1000):
        bench.clock.advance(1)
    assert len(bench.recipients) == 1


def test_message_read_before_it_was_delivered(bench: Bench) -> None:
    """A look that read a message before it was delivered does not deliver it a second time."""
    message = bench.store.add(envelope(), "ann", CONTENT)
    bench.store.late = []
    bench.store.changed = True
    bench.clock.advance(2)
    (look,) = bench.store.late
    bench.store.late = None
    bench.delivery.submitted(message)
    assert bench.recipients == ["bob@example.net"]
    look.callback(None)
    bench.clock.advance(5)
    assert len(bench.recipients) == 1


def test_unrecorded_outcome_is_recorded_later(bench: Bench) -> None:
    """While the store can't record an outcome, the message stays and is not delivered again."""
    bench.store.faults = [StoreFull(), OSError(5, "Input/output error")]
    bench.submit()
    for _ in range(14):
        bench.clock.advance(1)
    assert len(bench.store) == 1
    for _ in range(200):
        bench.clock.advance(1)
    assert len(bench.store) == 0
    assert len(bench.recipients) == 1
    assert len(bench.faults()) == 2


def test_killed_before_the_record(bench: Bench) -> None:
    """A message whose outcome was never recorded is delivered again by the next process."""
    bench.store.faults = [OSError(5, "Input/output error")] * 2
    bench.submit()
    now(bench.delivery.stop(1))
    assert len(bench.store) == 1
    bench.delivery = bench.another()
    bench.delivery.start()
    assert bench.recipients == ["bob@example.net"] * 2
    assert len(bench.store) == 0


# ---- the operator's tools ---------------------------------------------------------


def test_changes_are_noticed(bench: Bench) -> None:
    """What the operator's tools change is seen within two seconds."""
    bench.store.add(envelope(), "ann", CONTENT)
    bench.store.changed = True
    bench.clock.advance(1.9)
    assert bench.recipients == []
    bench.clock.advance(0.1)
    assert bench.recipients == ["bob@example.net"]


@with_options(concurrency_per_next_hop=1)
def test_deleted_messages_are_not_delivered(bench: Bench) -> None:
    """A message deleted while it waited for its next hop is not delivered."""
    (waiting,) = bench.hold(1)
    bench.submit("a@example.net")
    deleted = bench.submit("b@example.net")
    bench.submit("c@example.net", "d@example.com")
    bench.store.remove(deleted.id)
    bench.store.changed = True
    bench.clock.advance(2)
    waiting.callback(None)
    assert sorted(bench.recipients) == ["a@example.net", "c@example.net", "d@example.com"]
    assert len(bench.store) == 0


def test_faults_of_the_store_pass(bench: Bench) -> None:
    """A store that can't be read, or asked, is tried again later."""

    def unreadable(*_: object) -> Any:
        return fail(OSError(5, "Input/output error"))

    bench.store.add(envelope(), "ann", CONTENT)
    bench.store.changed = True
    bench.store.due = unreadable  # type: ignore[method-assign]
    bench.clock.advance(2)
    bench.store.changed_elsewhere = unreadable  # type: ignore[method-assign]
    bench.clock.advance(2)
    assert len(bench.faults()) == 2
    del bench.store.due
    bench.clock.advance(10)
    assert len(bench.store) == 0


# ---- stopping ---------------------------------------------------------------------


def test_stop_waits_for_what_is_under_way(bench: Bench) -> None:
    """`stop` fires when what was under way is recorded; nothing is begun after it."""
    (waiting,) = bench.hold(1)
    bench.submit()
    stopped = bench.delivery.stop(30)
    bench.submit("a@example.net")
    assert not stopped.called
    waiting.callback(None)
    now(stopped)
    assert bench.recipients == ["bob@example.net"]
    assert len(bench.store) == 1
    assert bench.clock.getDelayedCalls() == []


def test_stop_gives_up_at_its_limit(bench: Bench) -> None:
    """`stop` fires at its limit; an outcome that comes later is still recorded."""
    (waiting,) = bench.hold(1)
    bench.submit()
    stopped = bench.delivery.stop(30)
    bench.clock.advance(29.9)
    assert not stopped.called
    bench.clock.advance(0.1)
    now(stopped)
    waiting.callback(None)
    assert len(bench.store) == 0
    assert bench.clock.getDelayedCalls() == []


@with_options(concurrency_per_next_hop=1)
def test_stop_leaves_what_waits_in_the_queue(bench: Bench) -> None:
    """What waited when `stop` came is due at the next start, without a lost or second delivery."""
    first, second = bench.hold(2)
    bench.submit("a@example.net")
    bench.submit("b@example.net")
    bench.submit("c@example.net", "d@example.com")
    stopped = bench.delivery.stop(30)
    first.callback(None)
    assert not stopped.called
    second.callback(None)
    now(stopped)
    assert bench.recipients == ["a@example.net", "d@example.com"]
    bench.delivery = bench.another()
    bench.delivery.start()
    bench.clock.advance(1)
    assert sorted(bench.recipients[2:]) == ["b@example.net", "c@example.net"]
    assert len(bench.store) == 0


@with_options(concurrency_per_next_hop=1)
def test_stop_records_what_was_answered(bench: Bench) -> None:
    """Of a message that was delivered in part when `stop` came, the rest alone is due again."""
    bench.hold(1)
    bench.submit("a@example.net")
    bench.submit("b@example.net", "c@example.com")
    assert bench.recipients == ["a@example.net", "c@example.com"]
    bench.delivery.stop(30)
    bench.delivery = bench.another()
    bench.delivery.start()
    bench.clock.advance(1)
    assert bench.recipients[2:] == ["a@example.net", "b@example.net"]
    assert bench.faults() == []


def test_stop_waits_for_a_look(bench: Bench) -> None:
    """`stop` does not fire while the store is being read, and what was read is not begun."""
    bench.store.late = []
    bench.store.add(envelope(), "ann", CONTENT)
    bench.store.changed = True
    bench.clock.advance(2)
    stopped = bench.delivery.stop(30)
    assert not stopped.called
    bench.store.late[0].callback(None)
    now(stopped)
    assert bench.recipients == []
    assert len(bench.store) == 1


def test_stop_of_an_idle_delivery(bench: Bench) -> None:
    """With nothing under way `stop` fires at once and leaves no timer behind."""
    now(bench.delivery.stop(30))
    assert bench.clock.getDelayedCalls() == []
