"""The stand-ins for users' own tests keep the contracts of what they stand for."""

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from submitd.interfaces import AuthFailure, AuthResult
from submitd.mail.address import Mailbox
from submitd.mail.status import Action, DeliveryStatus
from submitd.testing import (
    DELIVERED,
    RecordingBackend,
    StaticUsers,
    ThreadedClock,
    envelope,
    now,
    queued,
)
from tests.contracts.relay_backend import RelayBackendContract

BUSY = DeliveryStatus(Action.DELAYED, "4.2.1", "450 4.2.1 busy", "mx.example.net", True)


class RecordingHop:
    """A recording backend, which is its own next hop."""

    keeps_content = True
    ends_last_line = False

    def __init__(self) -> None:
        self.backend = RecordingBackend()

    def wait(self, eventual: Any) -> Any:
        """Its value, there at once."""
        return now(eventual)

    def received(self) -> Sequence[tuple[str, bytes]]:
        """What was recorded."""
        return [
            (address, delivered.content)
            for delivered in self.backend.delivered
            for address in delivered.addresses
        ]


class TestRecordingBackend(RelayBackendContract):
    """The contract of relay backends."""

    @pytest.fixture
    def hop(self) -> RecordingHop:
        """A fresh one."""
        return RecordingHop()


def test_scripted_answers() -> None:
    """The recording backend answers as scripted: for all, by address, by a fault, later."""
    backend = RecordingBackend()
    message = queued(what=envelope("a@example.net", "b@example.net"))
    a, b = (recipient.mailbox for recipient in message.envelope.recipients)
    later: Deferred[Any] = Deferred()
    backend.answers["b@example.net"] = BUSY
    backend.script = [BUSY, {"a@example.net": BUSY}, OSError("broken"), later]

    def deliver() -> Deferred[Any]:
        return backend.deliver(message, message.envelope.recipients)

    assert now(deliver()) == {a: BUSY, b: BUSY}
    assert now(deliver()) == {a: BUSY, b: DELIVERED}
    with pytest.raises(OSError, match="broken"):
        now(deliver())
    waiting = deliver()
    assert (waiting.called, backend.under_way) == (False, 1)
    later.callback(None)
    assert now(waiting) == {a: DELIVERED, b: BUSY}
    assert now(deliver()) == {a: DELIVERED, b: BUSY}
    assert backend.under_way == 0
    assert len(backend.delivered) == 5


def test_next_hop_can_be_chosen() -> None:
    """The next hop is the domain, or what the test says."""
    (recipient,) = envelope("bob@Example.NET").recipients
    assert RecordingBackend().next_hop(recipient) == "example.net"
    assert RecordingBackend(lambda recipient: "one").next_hop(recipient) == "one"
    assert recipient.mailbox == Mailbox("bob", "example.net")


def test_static_users() -> None:
    """Static users are checked as a real database does it."""
    users = StaticUsers({"ann": "secret", "bob": "hidden", "cid": ""}, disabled=["bob"])
    assert users.verify_password("ann", "secret") == AuthResult("ann")
    for login, password, failure in [
        ("ann", "Secret", AuthFailure.WRONG_PASSWORD),
        ("ann", "", AuthFailure.WRONG_PASSWORD),
        ("cid", "", AuthFailure.WRONG_PASSWORD),
        ("bob", "hidden", AuthFailure.DISABLED),
        ("dan", "secret", AuthFailure.UNKNOWN_USER),
    ]:
        assert users.verify_password(login, password) == AuthResult(None, failure)
    users.stop()


def test_now_and_wait_say_when_nothing_came() -> None:
    """Waiting for what never comes fails the test, and does not hang it."""
    clock = ThreadedClock()
    with pytest.raises(AssertionError):
        now(Deferred())
    with pytest.raises(AssertionError):
        clock.wait(Deferred(), limit_s=0.01)
    assert clock.wait("at once") == "at once"
