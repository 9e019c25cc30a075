"""Timers when the clock is set back."""

from collections.abc import Callable

from twisted.internet.task import Clock

from submitd.timers import ClockWatch, bring_forward

DAY_S = 86_400.0


class Reactor(Clock):
    """A clock that can be set, and calls from threads that come at once."""

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        """Call it."""
        call(*args)


def test_timers_keep_their_time_when_the_clock_is_set_back() -> None:
    """What was to happen in 5 s happens in 5 s, whenever it was asked for."""
    reactor = Reactor()
    reactor.advance(10 * DAY_S)
    fired: list[str] = []
    reactor.callLater(5, fired.append, "before")
    reactor.rightNow -= DAY_S
    reactor.callLater(5, fired.append, "after")
    overdue = reactor.callLater(DAY_S - 0.5, fired.append, "overdue")
    bring_forward(reactor, DAY_S)
    assert overdue.getTime() < reactor.seconds()
    overdue.cancel()
    reactor.advance(4.9)
    assert fired == []
    reactor.advance(0.2)
    assert sorted(fired) == ["after", "before"]


def test_a_clock_set_back_is_noticed_once() -> None:
    """Only a step back counts: not time that passes, nor a clock set forward."""
    reactor = Reactor()
    reactor.advance(10 * DAY_S)
    passed_s = 100.0
    watch = ClockWatch(reactor, lambda: passed_s)
    watch.start()
    watch.stop()
    timer = reactor.callLater(1000, lambda: None)
    due_s = timer.getTime()
    passed_s += 30
    reactor.advance(30)
    watch.look()
    reactor.rightNow += 50
    watch.look()
    assert timer.getTime() == due_s
    reactor.rightNow -= 500
    watch.look()
    watch.look()
    assert timer.getTime() == due_s - 500
