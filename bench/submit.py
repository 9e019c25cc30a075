"""How much the server does: `make bench`, or `python bench/submit.py --help`.

Runs the real server and a load generator on this machine, and prints a table.  Each
message of 4 KiB is durable on disk when it counts.  The main figure is messages per
CPU-second of the server process, which says what a server costs and hardly depends
on how many cores there are; latencies are of a whole session, or of one message on a
kept connection, as a client sees them.
"""

import argparse
import base64
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles

import attrs
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.server import HOSTNAME, LOGIN, PASSWORD, Server, wait_until

SUBMITCTL = Path(sys.executable).with_name("submitctl")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
AUTH = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode())
ENVELOPE = f"MAIL FROM:<{LOGIN}>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n".encode()


def message(octets: int) -> bytes:
    """A plain message, with the dot that ends it."""
    header = f"From: {LOGIN}\r\nTo: bob@example.net\r\nSubject: bench\r\n\r\n".encode()
    line = b"The quick brown fox jumps over the lazy dog, then does it once again.\r\n"
    body = line * ((octets - len(header)) // len(line) + 1)
    return header + body[: octets - len(header) - 2] + b"\r\n.\r\n"


class Client:
    """One connection, as fast as Python can: whole replies by one read each."""

    def __init__(self, server: Server, tls: ssl.SSLContext, listener: str) -> None:
        port = server.implicit_port if listener == "implicit" else server.starttls_port
        plain = socket.create_connection(("127.0.0.1", port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain
        if listener == "starttls":
            self._read(b"220", 1)
            self._ask(b"EHLO bench.example\r\n", b"250", 1)
            self._ask(b"STARTTLS\r\n", b"220", 1)
        self._socket = tls.wrap_socket(plain, server_hostname=HOSTNAME)
        if listener == "implicit":
            self._read(b"220", 1)
        self._ask(b"EHLO bench.example\r\n", b"250", 1)
        self._ask(b"AUTH PLAIN " + AUTH + b"\r\n", b"235", 1)

    def send(self, content: bytes) -> None:
        """One message, its commands pipelined as far as SMTP allows."""
        self._ask(ENVELOPE, b"354", 3)
        self._ask(content, b"250", 1)

    def quit(self) -> None:
        """Leave, with the server's goodbye."""
        self._ask(b"QUIT\r\n", b"221", 1)
        self._socket.close()

    def _ask(self, data: bytes, code: bytes, replies: int) -> None:
        self._socket.sendall(data)
        self._read(code, replies)

    def _read(self, code: bytes, replies: int) -> None:
        """Read this many replies; the last one must have *code*."""
        data = b""
        while True:
            data += self._socket.recv(65536)
            if data.endswith(b"\r\n"):
                ends = [line for line in data.splitlines() if line[3:4] == b" "]
                if len(ends) >= replies or (ends and ends[-1][:1] in b"45"):
                    break
        if ends[-1][:3] != code:
            raise RuntimeError(f"expected {code.decode()}: {data.decode()}")


@attrs.frozen
class Case:
    """A row of the table.

    :ivar connections: how many at one time.
    :ivar messages: how many on each connection before QUIT; 0: as many as there is time for.
    :ivar relay: where messages go: `"discard"`, or `"smarthost"` for a sink beside the server.
    """

    title: str
    connections: int
    messages: int
    listener: str = "implicit"
    relay: str = "discard"


CASES = (
    Case("session, one at a time", 1, 1),
    Case("session", 32, 1),
    Case("session, STARTTLS", 32, 1, listener="starttls"),
    Case("kept connection, one", 1, 0),
    Case("kept connections", 32, 0),
    Case("kept connections, relayed", 32, 0, relay="smarthost"),
)


@attrs.frozen
class Result:
    """What a case came to; times in seconds."""

    messages: int
    wall_s: float
    cpu_s: float
    latencies_s: list[float]


def cpu_s(pid: int) -> float:
    """CPU time of a process and all its threads so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def resident_mib(pid: int) -> float:
    """Most memory a process has had resident so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def tls_context(server: Server) -> ssl.SSLContext:
    """TLS 1.3, a full handshake each time."""
    context = server.context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def sessions(server: Server, case: Case, content: bytes, end_s: float) -> Iterator[float]:
    """One connection after another until the time is over; the latency of each session."""
    tls = tls_context(server)
    while (start_s := time.perf_counter()) < end_s:
        client = Client(server, tls, case.listener)
        client.send(content)
        client.quit()
        yield time.perf_counter() - start_s


def kept(server: Server, case: Case, content: bytes, end_s: float) -> Iterator[float]:
    """One connection until the time is over; the latency of each message."""
    client = Client(server, tls_context(server), case.listener)
    while (start_s := time.perf_counter()) < end_s:
        client.send(content)
        yield time.perf_counter() - start_s
    client.quit()


def run(
    server: Server, case: Case, octets: int, seconds: float, settled: Callable[[], bool]
) -> Result:
    """Run a case once, after a warm-up that doesn't count; its deliveries are part of it."""
    content = message(octets)
    work = sessions if case.messages else kept
    for _ in work(server, case, content, time.perf_counter() + 0.3):
        pass
    wait_until("the warm-up is delivered", settled)
    start_s, start_cpu_s = time.perf_counter(), cpu_s(server.pid)
    with ThreadPoolExecutor(case.connections) as pool:
        threads = [
            pool.submit(lambda: list(work(server, case, content, start_s + seconds)))
            for _ in range(case.connections)
        ]
        latencies_s = [latency_s for thread in threads for latency_s in thread.result()]
    wall_s = time.perf_counter() - start_s
    wait_until("all is delivered", settled, 120)
    return Result(len(latencies_s), wall_s, cpu_s(server.pid) - start_cpu_s, latencies_s)


class Sink:
    """A next hop that accepts and forgets, in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("sink.py")], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def row(case: Case, result: Result, memory_mib: float) -> list[str]:
    """The cells of a row."""
    ordered = sorted(result.latencies_s)
    cuts = quantiles(ordered, n=100) if len(ordered) > 1 else ordered * 99
    return [
        case.title,
        str(case.connections),
        f"{result.messages:,}",
        f"{result.messages / result.wall_s:,.0f}",
        f"{result.messages / result.cpu_s:,.0f}",
        f"{1000 * cuts[49]:.1f}",
        f"{1000 * cuts[98]:.1f}",
        f"{memory_mib:.0f}",
    ]


def pin(pid: int, cpu: int) -> None:
    """Keep a process on one CPU, so that server and generator don't disturb each other."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) > 1:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {available[cpu]})


def measure(case: Case, directory: Path, arguments: argparse.Namespace) -> list[str]:
    """Run one case with a server of its own; the cells of its row."""
    sink = Sink() if case.relay == "smarthost" else None
    relay = 'backend = "discard"'
    if sink is not None:
        relay = f'backend = "smarthost"\nhost = "127.0.0.1"\nport = {sink.port}\ntls = "none"'
    server = Server.make(directory, relay)
    try:
        with server.running():
            pin(server.pid, 0)
            queue = Queue(directory / "spool")
            result = run(server, case, arguments.octets, arguments.seconds, queue.is_empty)
            return row(case, result, resident_mib(server.pid))
    finally:
        if sink is not None:
            sink.stop()


class Queue:
    """Looks from outside whether everything has been delivered."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool

    def is_empty(self) -> bool:
        """Whether no message is left in the queue."""
        listed = subprocess.run(
            [SUBMITCTL, "queue", "list", "--spool", self._spool, "--limit", "1"],
            capture_output=True,
            text=True,
            check=True,
        )
        return not listed.stdout.strip()


def main() -> None:
    """Run the cases that were asked for, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5, help="how long each case lasts")
    parser.add_argument("--octets", type=int, default=4096, help="size of a message")
    parser.add_argument("--case", type=int, action="append", help="number of a row, from 1")
    parser.add_argument("--directory", type=Path, help="where the queue is to be: the disk counts")
    arguments = parser.parse_args()
    chosen = [CASES[n - 1] for n in arguments.case] if arguments.case else CASES
    table = Table(title=f"submitd, TLS 1.3, messages of {arguments.octets} octets, durable")
    for heading in (
        "",
        "at once",
        "messages",
        "a second",
        "a CPU-second",
        "p50 ms",
        "p99 ms",
        "MiB",
    ):
        table.add_column(heading, justify="left" if not heading else "right")
    pin(os.getpid(), 1)
    threading.stack_size(256 * 1024)
    base = Path(tempfile.mkdtemp(prefix="submitd-bench-", dir=arguments.directory))
    try:
        for number, case in enumerate(chosen):
            table.add_row(*measure(case, base / str(number), arguments))
    finally:
        shutil.rmtree(base)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
