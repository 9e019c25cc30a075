"""Reports about deliveries: who is told, about whom, when and what."""

import email
import email.policy
from email.message import EmailMessage
from itertools import chain, combinations
from typing import Literal, get_args

import attrs
import pytest

from submitd.mail.address import Mailbox
from submitd.mail.envelope import DeliverBy, Envelope, Notify, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.queue import reports
from submitd.testing import DELIVERED, envelope
from tests.support.delivery import BUSY, CONTENT, NOW_S, REFUSED, Bench, with_options

RELAYED = DeliveryStatus(Action.RELAYED, "2.0.0", "250 Ok", "mx.example.net", True)
PASSED_ON = attrs.evolve(RELAYED, dsn_passed_on=True, deliver_by_passed_on=True)
EXPANDED = DeliveryStatus(Action.EXPANDED, "2.0.0", "passed to 40 members", "list")
BOB = Mailbox("bob", "example.net")

WORDS: tuple[Notify, ...] = ("SUCCESS", "FAILURE", "DELAY")
# RFC 3461 §4.1: absent, NEVER, or any of the others.
NOTIFY: list[frozenset[Notify] | None] = [
    None,
    frozenset({"NEVER"}),
    *map(frozenset, chain.from_iterable(combinations(WORDS, count) for count in (1, 2, 3))),
]


def asking(
    notify: frozenset[Notify] | None = None, by: DeliverBy | None = None, sender: bool = True
) -> Envelope:
    """An envelope for bob that asks for reports."""
    reverse_path = Mailbox("ann", "example.org") if sender else None
    return Envelope(reverse_path, (Recipient(BOB, notify),), deliver_by=by)


def made(bench: Bench) -> list[EmailMessage]:
    """The reports that were delivered, parsed."""
    parsed = []
    for delivered in bench.backend.delivered:
        if delivered.message.login is None:
            report = email.message_from_bytes(delivered.content, policy=email.policy.default)
            assert isinstance(report, EmailMessage)
            parsed.append(report)
    return parsed


def actions(report: EmailMessage) -> dict[str, tuple[str, str]]:
    """Of each recipient in a report: action and status."""
    _whole, *recipients = list(report.iter_parts())[1].iter_parts()
    return {
        str(part["Final-Recipient"]): (str(part["Action"]), str(part["Status"]))
        for part in recipients
    }


# ---- which reports there are ------------------------------------------------------


def is_wanted(
    status: DeliveryStatus, notify: frozenset[Notify] | None, trace: bool, sender: bool
) -> bool:
    """RFC 3461 §4.1 and §5.2, RFC 2852 §4, RFC 5321 §4.5.5, in words as plain as can be."""
    if not sender or notify == {"NEVER"}:
        return False
    if status is REFUSED:
        return notify is None or "FAILURE" in notify
    if status is BUSY:
        return notify is None or "DELAY" in notify
    if status in (RELAYED, PASSED_ON) and trace:
        return True
    if status is PASSED_ON:
        return False
    return notify is not None and "SUCCESS" in notify


@pytest.mark.parametrize("sender", [True, False])
@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("notify", NOTIFY, ids=lambda one: "+".join(sorted(one or ("absent",))))
@pytest.mark.parametrize(
    "status",
    [RELAYED, PASSED_ON, DELIVERED, EXPANDED, REFUSED, BUSY],
    ids=["relayed", "passed on", "delivered", "expanded", "failed", "delayed"],
)
@with_options(delay_notice_s=1, retry_schedule_s=(60,))
def test_all_combinations(
    bench: Bench,
    status: DeliveryStatus,
    notify: frozenset[Notify] | None,
    trace: bool,
    sender: bool,
) -> None:
    """For each outcome and each wish there is one report, or none, to the sender alone."""
    bench.backend.answers["bob@example.net"] = status
    by = DeliverBy(NOW_S + 1e6, "N", trace=True) if trace else None
    bench.send(asking(notify, by, sender))
    bench.pass_time(200)
    found = made(bench)
    assert len(found) == is_wanted(status, notify, trace, sender)
    for report in found:
        assert actions(report) == {"rfc822; bob@example.net": (status.action.value, status.status)}
        assert report["To"] == "ann@example.org"
    assert len(bench.store) == (status is BUSY)
    assert len(bench.lines("report")) == len(found)


def test_every_wish_is_covered() -> None:
    """The table above has every combination of NOTIFY."""
    assert set(chain.from_iterable(one or () for one in NOTIFY)) == set(get_args(Notify))
    assert len(set(NOTIFY)) == 9


@with_options(delay_notice_s=1)
def test_one_report_covers_all(bench: Bench) -> None:
    """What an attempt came to is told in one report, about those who are to be in it."""
    everything: frozenset[Notify] = frozenset(WORDS)
    answers = {"a": RELAYED, "b": REFUSED, "c": BUSY, "d": REFUSED, "e": RELAYED, "f": PASSED_ON}
    wishes = {"a": everything, "b": None, "c": None, "d": {"SUCCESS"}, "e": None, "f": everything}
    recipients = []
    for name, status in answers.items():
        mailbox = Mailbox(name, f"{name}.example")
        bench.backend.answers[str(mailbox)] = status
        wish = wishes[name]
        recipients.append(Recipient(mailbox, None if wish is None else frozenset(wish)))
    message = bench.store.add(
        Envelope(Mailbox("ann", "example.org"), tuple(recipients)), "ann", CONTENT
    )
    bench.clock.advance(2)
    bench.delivery.submitted(message)
    (report,) = made(bench)
    assert actions(report) == {
        "rfc822; a@a.example": ("relayed", "2.0.0"),
        "rfc822; b@b.example": ("failed", "5.1.1"),
        "rfc822; c@c.example": ("delayed", "4.2.1"),
    }
    (line,) = bench.lines("report")
    assert line["actions"] == "delayed, failed, relayed"
    assert line["about"] == "a@a.example, b@b.example, c@c.example"


def test_recipient_named_twice(bench: Bench) -> None:
    """A mailbox that was named twice is reported once."""
    bench.backend.answers["bob@example.net"] = REFUSED
    bench.submit("bob@example.net", "bob@example.net")
    (report,) = made(bench)
    assert len(actions(report)) == 1


def test_report_that_cannot_be_made(bench: Bench) -> None:
    """A fault while a report is made is logged, and the outcome is recorded."""
    broken = attrs.evolve(REFUSED, diagnostic=None)
    bench.backend.answers["b@example.net"] = broken
    bench.submit("a@example.net", "b@example.net")
    assert len(bench.faults()) == 1
    assert len(bench.store) == 0


# ---- delays -----------------------------------------------------------------------


@with_options(retry_schedule_s=(60,), delay_notice_s=300, expire_s=1000)
def test_delay_is_told_once(bench: Bench) -> None:
    """The sender is told of a delay at the first attempt after the time set, and not again."""
    bench.backend.answers["bob@example.net"] = BUSY
    bench.submit()
    bench.pass_time(299)
    assert made(bench) == []
    bench.pass_time(70)
    (report,) = made(bench)
    _whole, bob = list(report.iter_parts())[1].iter_parts()
    assert bob["Action"] == "delayed"
    assert bob["Will-Retry-Until"] == "Tue, 14 Nov 2023 22:30:00 +0000"
    assert list(report.iter_parts())[2].get_content_type() == "text/rfc822-headers"
    bench.pass_time(400)
    assert len(made(bench)) == 1
    bench.pass_time(400)
    assert [actions(report).popitem()[1][0] for report in made(bench)] == ["delayed", "failed"]


@with_options(retry_schedule_s=(60,), delay_notice_s=100)
def test_delay_is_not_told_again_after_a_restart(bench: Bench) -> None:
    """That the sender was told is in the queue."""
    bench.backend.answers["bob@example.net"] = BUSY
    bench.submit()
    bench.pass_time(150)
    assert len(made(bench)) == 1
    bench.delivery.stop(1)
    bench.delivery = bench.another()
    bench.delivery.start()
    bench.pass_time(150)
    assert len(made(bench)) == 1


@with_options(retry_schedule_s=(60,), delay_notice_s=0)
def test_no_delay_is_told(bench: Bench) -> None:
    """With `delay_notice_s = 0` no delay is told."""
    bench.backend.answers["bob@example.net"] = BUSY
    bench.submit()
    bench.pass_time(1000)
    assert made(bench) == []


# ---- what goes back ---------------------------------------------------------------

LARGE = CONTENT + b"x" * 70 + b"\r\n" + b"y" * reports.SMALL_OCTETS + b"\r\n"


@pytest.mark.parametrize(
    ("ret", "content", "status", "whole"),
    [
        (None, CONTENT, REFUSED, True),
        (None, LARGE, REFUSED, False),
        ("FULL", CONTENT, REFUSED, True),
        ("FULL", LARGE, REFUSED, True),
        ("FULL", LARGE * 10, REFUSED, False),
        ("HDRS", CONTENT, REFUSED, False),
        (None, CONTENT, RELAYED, False),
        ("FULL", CONTENT, RELAYED, False),
    ],
)
@with_options(return_bytes=500_000)
def test_what_goes_back(
    bench: Bench, ret: str | None, content: bytes, status: DeliveryStatus, whole: bool
) -> None:
    """With a failure the message goes back as RET wants, within bounds; else its header does."""
    bench.backend.answers["bob@example.net"] = status
    bench.send(attrs.evolve(asking(frozenset(WORDS)), ret=ret), content)
    (report,) = made(bench)
    original = list(report.iter_parts())[2]
    kind = "message/rfc822" if whole else "text/rfc822-headers"
    assert original.get_content_type() == kind
    assert (content in bench.backend.delivered[-1].content) == whole


def test_binary_message(bench: Bench) -> None:
    """Of a BINARYMIME message the header goes back: few next hops would take the rest."""
    bench.backend.answers["bob@example.net"] = REFUSED
    what = attrs.evolve(asking(), body="BINARYMIME", ret="FULL")
    bench.send(what, CONTENT + b"\0\n\r\xff")
    assert bench.backend.delivered[-1].content.isascii()
    assert bench.backend.delivered[-1].message.envelope.body == "7BIT"


def test_envelope_of_a_report(bench: Bench) -> None:
    """A report is carried as its message was to be: secure, urgent, in 8 bits and UTF-8."""
    bench.backend.answers["bob@example.net"] = REFUSED
    sender = Mailbox("j\u00f6rg", "example.org")
    what = attrs.evolve(
        asking(), reverse_path=sender, utf8=True, require_tls=True, priority=4, body="8BITMIME"
    )
    bench.send(what, "Subject: Gr\u00fc\u00dfe\r\n\r\n".encode())
    assert bench.backend.delivered[-1].message.envelope == Envelope(
        None, (Recipient(sender),), "8BITMIME", utf8=True, require_tls=True, priority=4
    )


def test_report_on_a_secure_message(bench: Bench) -> None:
    """With REQUIRETLS only the header goes back, whatever RET asks for (RFC 8689 §5)."""
    bench.backend.answers["bob@example.net"] = REFUSED
    for ret in (None, "FULL"):
        bench.send(attrs.evolve(asking(), require_tls=True, ret=ret))
    parts = [list(report.iter_parts())[2] for report in made(bench)]
    assert [part.get_content_type() for part in parts] == ["text/rfc822-headers"] * 2
    assert all(one.message.envelope.require_tls for one in bench.backend.delivered)


def test_envelope_id_and_original_recipient(bench: Bench) -> None:
    """What the sender gave to find its message and recipient by comes back decoded."""
    bench.backend.answers["bob@example.net"] = REFUSED
    one = Recipient(BOB, original="rfc822;Bob+2Bx@example.com")
    bench.send(attrs.evolve(asking(), envelope_id="id+3D1", recipients=(one,)))
    (report,) = made(bench)
    whole, bob = list(report.iter_parts())[1].iter_parts()
    assert whole["Original-Envelope-Id"] == "id=1"
    assert bob["Original-Recipient"] == "rfc822; Bob+x@example.com"


# ---- RFC 2852, RFC 4865 -----------------------------------------------------------


@with_options(retry_schedule_s=(60,))
def test_returned_at_the_time(bench: Bench) -> None:
    """In mode R a message goes back at the time set, after a last attempt just before it."""
    bench.backend.answers["bob@example.net"] = BUSY
    bench.send(asking(by=DeliverBy(NOW_S + 100, "R")))
    bench.pass_time(99)
    assert bench.recipients == ["bob@example.net"] * 3
    assert made(bench) == []
    bench.pass_time(2)
    assert bench.recipients == ["bob@example.net"] * 3 + ["ann@example.org"]
    assert actions(made(bench)[0]) == {"rfc822; bob@example.net": ("failed", "5.4.7")}
    assert len(bench.store) == 0


def test_not_begun_after_the_time(bench: Bench) -> None:
    """A message found after its time in mode R is not delivered, but goes back."""
    bench.store.add(asking(by=DeliverBy(NOW_S + 1, "R")), "ann", CONTENT)
    bench.store.changed = True
    bench.clock.advance(2)
    assert bench.recipients == ["ann@example.org"]
    assert actions(made(bench)[0]) == {"rfc822; bob@example.net": ("failed", "5.4.7")}


@pytest.mark.parametrize("notify", [None, frozenset({"FAILURE"})])
@with_options(retry_schedule_s=(1000,), delay_notice_s=1500, expire_s=5000)
def test_told_at_the_time(bench: Bench, notify: frozenset[Notify] | None) -> None:
    """In mode N the sender is told at the time set, once, and delivery goes on."""
    bench.backend.answers["bob@example.net"] = BUSY
    bench.send(asking(notify, DeliverBy(NOW_S + 100, "N")))
    bench.pass_time(99)
    assert made(bench) == []
    bench.pass_time(2)
    assert actions(made(bench)[0]) == {"rfc822; bob@example.net": ("delayed", "4.4.7")}
    bench.pass_time(1300)
    assert len(made(bench)) == 1
    bench.pass_time(1000)
    assert len(made(bench)) == (2 if notify is None else 1)
    del bench.backend.answers["bob@example.net"]
    bench.pass_time(1200)
    assert len(bench.store) == 0


@pytest.mark.parametrize(
    ("mode", "status", "notify", "told"),
    [
        ("N", RELAYED, None, True),
        ("N", RELAYED, frozenset({"FAILURE"}), True),
        ("N", attrs.evolve(RELAYED, dsn_passed_on=True), None, True),
        ("N", RELAYED, frozenset({"NEVER"}), False),
        ("N", PASSED_ON, None, False),
        ("N", DELIVERED, None, False),
        ("R", RELAYED, None, False),
    ],
)
def test_told_that_nobody_watches_the_time(
    bench: Bench,
    mode: Literal["N", "R"],
    status: DeliveryStatus,
    notify: frozenset[Notify] | None,
    told: bool,
) -> None:
    """In mode N the sender learns that a next hop took the message without DELIVERBY."""
    bench.backend.answers["bob@example.net"] = status
    bench.send(asking(notify, DeliverBy(NOW_S + 100, mode)))
    assert [actions(report).popitem()[1][0] for report in made(bench)] == ["relayed"] * told


def test_the_time_is_in_the_report(bench: Bench) -> None:
    """A report says by when the message was wanted; there is no such field without a time."""
    bench.backend.answers["bob@example.net"] = REFUSED
    for by in (DeliverBy(NOW_S + 100, "R"), None):
        bench.send(asking(by=by))
    dates = []
    for report in made(bench):
        whole, _bob = list(report.iter_parts())[1].iter_parts()
        dates.append(whole["Deliver-By-Date"])
    assert dates == ["Tue, 14 Nov 2023 22:15:00 +0000", None]


def test_no_report_at_the_time_when_never(bench: Bench) -> None:
    """NOTIFY=NEVER is kept in mode N and in mode R."""
    bench.backend.answers["bob@example.net"] = BUSY
    for mode in ("N", "R"):
        bench.send(asking(frozenset({"NEVER"}), DeliverBy(NOW_S + 10, mode)))  # type: ignore[arg-type]
    bench.pass_time(100)
    assert made(bench) == []
    assert len(bench.store) == 1


@with_options(retry_schedule_s=(60,), expire_s=100)
def test_held_until_its_time(bench: Bench) -> None:
    """A message to be sent later is not touched before, and its expiry counts from then."""
    bench.backend.answers["bob@example.net"] = BUSY
    bench.send(attrs.evolve(envelope(), hold_until_s=NOW_S + 1000))
    bench.pass_time(999)
    assert bench.recipients == []
    bench.pass_time(2)
    assert bench.recipients == ["bob@example.net"]
    bench.pass_time(97)
    assert made(bench) == []
    bench.pass_time(10)
    assert len(made(bench)) == 1


def test_held_over_a_restart(bench: Bench) -> None:
    """A message to be sent later is sent at its time by a later process."""
    bench.send(attrs.evolve(envelope(), hold_until_s=NOW_S + 1000))
    bench.delivery.stop(1)
    bench.clock.advance(500)
    bench.delivery = bench.another()
    bench.delivery.start()
    bench.pass_time(499)
    assert bench.recipients == []
    bench.pass_time(2)
    assert bench.recipients == ["bob@example.net"]


def test_cancelled_while_held(bench: Bench) -> None:
    """A message to be sent later that was deleted is not sent."""
    message = bench.send(attrs.evolve(envelope(), hold_until_s=NOW_S + 1000))
    bench.store.remove(message.id)
    bench.store.changed = True
    bench.pass_time(1100)
    assert bench.recipients == []


# ---- RFC 6710 ---------------------------------------------------------------------


@with_options(concurrency=1)
def test_urgent_mail_first(bench: Bench) -> None:
    """Among messages that wait for a slot, those of higher priority go first."""
    (waiting,) = bench.hold(1)
    bench.submit("first@example.net")
    for priority in (0, -4, 4, 2):
        bench.send(attrs.evolve(envelope(f"p{priority}@example.net"), priority=priority))
    waiting.callback(None)
    assert bench.recipients[1:] == [f"p{priority}@example.net" for priority in (4, 2, 0, -4)]


def test_urgent_mail_first_from_the_store() -> None:
    """Messages that are due in the store are taken by priority, and old ones are not forgotten."""
    bench = Bench(concurrency=1)
    bench.store.add(attrs.evolve(envelope("old@example.net"), priority=-2), "ann", CONTENT)
    bench.clock.advance(5 * 3600)
    for priority in (-1, 0, 2):
        bench.store.add(
            attrs.evolve(envelope(f"p{priority}@example.net"), priority=priority), "ann", CONTENT
        )
    bench.delivery.start()
    assert [name.partition("@")[0] for name in bench.recipients] == ["old", "p2", "p0", "p-1"]
