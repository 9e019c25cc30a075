"""What a SIGKILL leaves behind."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

from tests.contracts.queue_store import Case
from tests.support.sqlite_host import SqliteHost

ROUNDS = 6
ROOT = Path(__file__).parents[2]


def run_and_kill(spool: Path, lines: int) -> list[list[str]]:
    """Store messages in another process, kill it after so many lines; all it said."""
    command = [sys.executable, "-m", "tests.support.storing", str(spool)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.readlines()
    return [line.split() for line in said if line.endswith("\n")]


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """A message whose commit was reported survives SIGKILL whole; half a message leaves nothing."""
    host = SqliteHost(tmp_path)
    spool = host.options.path
    digests: dict[str, str] = {}
    relayed: set[str] = set()
    for _ in range(ROUNDS):
        for what, queue_id, *digest in run_and_kill(spool, random.randint(1, 300)):
            if what == "stored":
                (digests[queue_id],) = digest
            else:
                relayed.add(queue_id)
        store = host.open()
        host.wait(store.start())
        case = Case(host, store)
        found = {message.id: message for message in case.due(after_s=1e9, limit=100_000)}
        for queue_id, expected in digests.items():
            if queue_id in found:
                assert hashlib.sha256(case.read(found[queue_id])).hexdigest() == expected
            else:
                assert queue_id in relayed
        # Messages that were durable before they could be reported are whole, too.
        files = {path.name for path in (spool / "bodies").iterdir()}
        large = {key for key, message in found.items() if message.content.size > 65_536}
        assert files == large
        for message in found.values():
            assert len(case.read(message)) == message.content.size
        host.wait(store.stop())
    assert len(digests) > ROUNDS
