"""How many messages a second the SQLite queue makes durable: `python bench/store.py`.

Messages of 4 KiB, one recipient each, stored by so many writers at a time, each of
which begins its next message when its last is durable.  Once they only pile up; once
each is recorded as relayed as soon as it is stored, as in a server whose next hop
keeps up.
"""

import itertools
import os
import tempfile
import time
from pathlib import Path

import click
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import react

from submitd.interfaces import IQueueStore, IReactor
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.queue.sqlite import SqliteOptions, SqliteStore

ENVELOPE = Envelope(
    Mailbox.parse("ann@example.org"), (Recipient(Mailbox.parse("bob@example.net")),)
)
OUTCOME = {
    ENVELOPE.recipients[0].mailbox: DeliveryStatus(
        Action.RELAYED, "2.0.0", "250 2.0.0 Ok", "mx.example.net", True
    )
}
CONTENT = os.urandom(4096)
HEADING = " " * 16 + " writers    messages/s  CPU us/message    p50 ms    p99 ms"


async def writer(
    store: IQueueStore, numbers: "itertools.islice[int]", relay: bool, took_s: list[float]
) -> None:
    """Store messages one after the other for as long as there are *numbers*."""
    for _ in numbers:
        begun = time.perf_counter()
        intake = store.new_message()
        intake.write(CONTENT)
        message = await intake.commit(ENVELOPE, "ann")
        took_s.append(time.perf_counter() - begun)
        if relay:
            store.record(message, OUTCOME, None)


async def measure(
    reactor: IReactor, directory: Path, messages: int, writers: int, relay: bool
) -> str:
    """One line of the table."""
    store: IQueueStore = SqliteStore(SqliteOptions(path=directory), reactor)
    await store.start()
    numbers = itertools.islice(itertools.count(), messages)
    took_s: list[float] = []
    begun, cpu = time.perf_counter(), time.process_time()
    await DeferredList(
        [Deferred.fromCoroutine(writer(store, numbers, relay, took_s)) for _ in range(writers)],
        fireOnOneErrback=True,
    )
    elapsed, cpu = time.perf_counter() - begun, time.process_time() - cpu
    await store.stop()
    took_s.sort()
    p50, p99 = (took_s[int(len(took_s) * part)] * 1000 for part in (0.5, 0.99))
    what = "stored, relayed" if relay else "stored"
    return (
        f"{what:16}{writers:8}{messages / elapsed:14,.0f}"
        f"{cpu / messages * 1e6:16.0f}{p50:10.2f}{p99:10.2f}"
    )


@click.command()
@click.option("--messages", default=20_000, show_default=True, help="For each line of the table.")
@click.option("--directory", type=click.Path(path_type=Path), help="Where; a temporary one if not.")
def main(messages: int, directory: Path | None) -> None:
    """Measure the SQLite queue and print a table."""

    async def run(reactor: IReactor) -> None:
        print(HEADING)
        for relay in (False, True):
            for writers in (1, 32, 128):
                with tempfile.TemporaryDirectory(dir=directory) as spool:
                    count = messages if writers > 1 else messages // 5
                    print(await measure(reactor, Path(spool), count, writers, relay), flush=True)

    react(run)


if __name__ == "__main__":
    main()
