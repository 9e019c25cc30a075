"""Stores messages until it is killed: `python -m tests.support.storing SPOOL`.

Prints a line for each message once it is durable, `stored ID SHA256`, and for some of
them `relayed ID` before it records that they are relayed.
"""

import hashlib
import os
import random
import sys
from pathlib import Path

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import react

from submitd.interfaces import IQueueStore, IReactor
from submitd.queue.sqlite import SqliteOptions, SqliteStore
from tests.contracts.queue_store import RELAYED, envelope

SIZES = (100, 5000, 60_000, 70_000, 400_000)
WRITERS = 8


def say(line: str) -> None:
    """Print a line for sure, whatever happens next."""
    os.write(1, f"{line}\n".encode())


async def store_messages(store: IQueueStore) -> None:
    """Store one message after the other."""
    while True:
        content = random.randbytes(random.choice(SIZES))
        writer = store.new_message()
        for start in range(0, len(content), 40_000):
            pause = writer.write(content[start : start + 40_000])
            if pause is not None:
                await pause
        message = await writer.commit(envelope(), "ann")
        say(f"stored {message.id} {hashlib.sha256(content).hexdigest()}")
        if random.random() < 0.5:
            say(f"relayed {message.id}")
            await store.record(message, {envelope().recipients[0].mailbox: RELAYED}, None)


async def main(reactor: IReactor) -> None:
    """Store with several writers at a time."""
    store: IQueueStore = SqliteStore(
        SqliteOptions(path=Path(sys.argv[1]), reserve_bytes=0), reactor
    )
    await store.start()
    writers = [Deferred.fromCoroutine(store_messages(store)) for _ in range(WRITERS)]
    await DeferredList(writers, fireOnOneErrback=True)


if __name__ == "__main__":
    react(main)
