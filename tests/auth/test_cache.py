"""submitd.auth.cache: successes remembered without their secrets."""

from twisted.internet.task import Clock

from submitd.auth.cache import SuccessCache


def cache(clock: Clock, entries: int = 3) -> SuccessCache:
    """A small cache whose entries live for a minute."""
    return SuccessCache(clock.seconds, entries, 60)


def test_tokens_tell_all_parts_apart() -> None:
    """Tokens differ when any part does, however the parts are cut, and between processes."""
    one, other = cache(Clock()), cache(Clock())
    tokens = [
        one.token("ann", "secret", "hash"),
        one.token("ann", "secret", "hash2"),
        one.token("ann", "secre", "thash"),
        one.token("ann", "secret"),
        one.token("ann\0secret", "hash"),
        one.token("\ud800"),
        other.token("ann", "secret", "hash"),
    ]
    assert len(set(tokens)) == len(tokens)
    assert one.token("ann", "secret", "hash") == tokens[0]


def test_a_success_counts_for_its_lifetime() -> None:
    """A success is known for its lifetime from the verification on, used or not."""
    clock = Clock()
    successes = cache(clock)
    token = successes.token("ann")
    assert not successes.knows(token)
    successes.remember(token)
    for _ in range(3):
        assert successes.knows(token)
        clock.advance(20)
    assert not successes.knows(token)


def test_a_clock_set_back_prolongs_nothing() -> None:
    """A clock that is set back does not make a success count for longer."""
    clock = Clock()
    clock.advance(1_000_000)
    successes = cache(clock)
    token = successes.token("ann")
    successes.remember(token)
    clock.rightNow = 0
    assert not successes.knows(token)


def test_the_number_of_entries_is_bounded() -> None:
    """When there are too many, the one longest unused goes first."""
    successes = cache(Clock())
    tokens = [successes.token(str(number)) for number in range(4)]
    for token in tokens[:3]:
        successes.remember(token)
    assert successes.knows(tokens[0])
    successes.remember(tokens[3])
    assert [successes.knows(token) for token in tokens] == [True, False, True, True]


def test_nothing_secret_is_kept() -> None:
    """Neither password nor hash can be found in what is kept."""
    successes = cache(Clock())
    successes.remember(successes.token("ann", "the password", "the hash"))
    assert "the password" not in repr(vars(successes))
    assert "the hash" not in repr(vars(successes))


def test_a_lifetime_of_nothing_remembers_nothing() -> None:
    """With a lifetime of 0 every login is verified."""
    successes = SuccessCache(Clock().seconds, 3, 0)
    token = successes.token("ann")
    successes.remember(token)
    assert not successes.knows(token)
