"""submitd.auth.verifier: passwords verified in bounded threads."""

import threading
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from submitd.auth.verifier import MAXIMUM_THREADS, Verifier, default_threads
from submitd.interfaces import AuthFailure
from submitd.testing import ThreadedClock, now


class Gate:
    """A check that blocks until it is opened, and counts."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.running = self.most = self.calls = 0
        self._lock = threading.Lock()

    def __call__(self, secret: str, stored: str) -> bool:
        with self._lock:
            self.calls += 1
            self.running += 1
            self.most = max(self.most, self.running)
        self.entered.release()
        assert self.opened.wait(20)
        with self._lock:
            self.running -= 1
        return secret == stored


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open at the end, come what may."""
    gate = Gate()
    yield gate
    gate.opened.set()


def test_threads_and_queue_are_bounded(gate: Gate) -> None:
    """No more run than there are threads, no more wait than may; the rest is told at once."""
    clock = ThreadedClock()
    verifier = Verifier(clock, threads=2, waiting=3, check=gate)
    answers = [verifier.verify("a", "a") for _ in range(10)]
    assert answers[5:] == [AuthFailure.UNAVAILABLE] * 5
    gate.opened.set()
    assert [clock.wait(answer) for answer in answers[:5]] == [None] * 5
    assert (gate.most, gate.calls) == (2, 5)
    assert clock.wait(verifier.verify("a", "b")) is AuthFailure.WRONG_PASSWORD
    clock.wait(verifier.stop())


def test_the_reactor_is_not_blocked(gate: Gate) -> None:
    """The check runs in another thread, the answer comes in the reactor's."""
    clock = ThreadedClock()
    verifier = Verifier(clock, threads=1, waiting=1, check=gate)
    answer = verifier.verify("a", "a")
    assert isinstance(answer, Deferred)
    assert gate.entered.acquire(timeout=20)
    assert not answer.called
    where: list[threading.Thread] = []
    answer.addCallback(lambda verdict: where.append(threading.current_thread()) or verdict)
    gate.opened.set()
    assert clock.wait(answer) is None
    assert where == [threading.current_thread()]
    clock.wait(verifier.stop())


def test_no_thread_before_the_first_login() -> None:
    """Making a verifier starts no thread: twistd forks after that."""
    before = threading.active_count()
    verifier = Verifier(ThreadedClock(), threads=4, waiting=1)
    assert threading.active_count() == before
    now(verifier.stop())


def test_stop_answers_everybody(gate: Gate) -> None:
    """Stopping lets what runs end, sends away what waits, and fires when all is done."""
    clock = ThreadedClock()
    verifier = Verifier(clock, threads=1, waiting=5, check=gate)
    running = verifier.verify("a", "a")
    assert gate.entered.acquire(timeout=20)
    waiting = verifier.verify("a", "a")
    stopped = verifier.stop()
    assert isinstance(stopped, Deferred)
    assert clock.wait(waiting) is AuthFailure.UNAVAILABLE
    assert not stopped.called
    gate.opened.set()
    clock.wait(stopped)
    assert now(running) is None
    assert verifier.verify("a", "a") is AuthFailure.UNAVAILABLE
    assert gate.calls == 1
    now(verifier.stop())


def test_a_fault_is_told_without_its_text() -> None:
    """A bad hash is a verdict, any other fault is logged by its type: its text may be secret."""

    def bad_hash(secret: str, stored: str) -> bool:
        raise ValueError("$2y$04$secret")

    def no_memory(secret: str, stored: str) -> bool:
        raise MemoryError("$2y$04$secret")

    clock = ThreadedClock()
    with capturedLogs() as events:
        verifier = Verifier(clock, 1, 1, bad_hash)
        assert clock.wait(verifier.verify("a", "a")) is AuthFailure.UNUSABLE_HASH
        clock.wait(verifier.stop())
        assert events == []
        verifier = Verifier(clock, 1, 1, no_memory)
        assert clock.wait(verifier.verify("a", "a")) is AuthFailure.UNAVAILABLE
        clock.wait(verifier.stop())
    (event,) = events
    assert event["error"] == "MemoryError"
    assert "secret" not in repr(event)


def test_a_login_given_up_harms_nothing(gate: Gate) -> None:
    """A client that leaves while its password is verified disturbs no other."""
    clock = ThreadedClock()
    verifier = Verifier(clock, threads=1, waiting=1, check=gate)
    given_up = verifier.verify("a", "a")
    assert isinstance(given_up, Deferred)
    given_up.addErrback(lambda failure: None)
    given_up.cancel()
    gate.opened.set()
    assert clock.wait(verifier.verify("a", "a")) is None
    clock.wait(verifier.stop())


def test_default_number_of_threads() -> None:
    """There is at least one thread by default, and at most four."""
    assert 1 <= default_threads() <= MAXIMUM_THREADS
