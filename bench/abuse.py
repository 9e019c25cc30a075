"""What abusers cost: `python bench/abuse.py`, under two minutes, loopback alone.

Runs the real server and prints three tables: memory for each idle user, memory and
time under tiny chunks, and how long an honest session takes (connect, TLS, login, a
message of 4 KiB stored durably, QUIT) while a thousand abusers are connected.  The
server has a CPU to itself where there are two; abusers and the honest client share
the other, in processes of their own.
"""

import argparse
import contextlib
import multiprocessing
import os
import resource
import selectors
import shutil
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import quantiles

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.submit import AUTH, Client, cpu_s, message, pin, tls_context
from tests.support.server import HOSTNAME, LOGIN, Server, wait_until

LIMITS = 'connections = 8000\nexempt_networks = ["127.0.0.1/32"]\n'
RATE = "connections_per_minute = 60\n"
RELAY = 'backend = "discard"'
CHUNKS = 10_000
ENVELOPE = f"MAIL FROM:<{LOGIN}>\r\nRCPT TO:<bob@example.net>\r\n".encode()
NOOPS = b"NOOP\r\n" * 10_000
READY_S = 60


def memory_kib(pid: int, name: str = "VmRSS") -> int:
    """Memory of a process: `VmRSS` now, `VmHWM` the most it ever was."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0])


def user(server: Server, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection to the implicit TLS listener, past its login."""
    plain = socket.create_connection(("127.0.0.1", server.implicit_port), timeout=60)
    secure = context.wrap_socket(plain, server_hostname=HOSTNAME)
    secure.sendall(b"EHLO bench.example\r\nAUTH PLAIN " + AUTH + b"\r\n")
    said = b""
    while b"\n235 " not in said:
        said += secure.recv(65_536)
    return secure


# ---- memory -----------------------------------------------------------------------


def idle_users(server: Server, count: int) -> list[str]:
    """The row for *count* users that are logged in and silent."""
    context = tls_context(server)
    with contextlib.ExitStack() as stack:
        for _ in range(20):  # so that what is made once is there
            stack.enter_context(user(server, context))
        before = memory_kib(server.pid)
        for _ in range(count):
            stack.enter_context(user(server, context))
        grown = memory_kib(server.pid) - before
    return [f"{count:,} idle users", f"{grown / 1024:.1f}", f"{grown / count:.1f}"]


def tiny_chunks(server: Server, count: int) -> list[str]:
    """The row for *count* clients, each with a message of 10,000 chunks of one octet."""
    context = tls_context(server)
    header = b"From: " + LOGIN.encode() + b"\r\n\r\n"
    words = b"BDAT %d\r\n%b" % (len(header), header) + b"BDAT 1\r\nx" * CHUNKS + b"BDAT 0 LAST\r\n"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(user(server, context)) for _ in range(count)]
        before, before_cpu_s = memory_kib(server.pid, "VmHWM"), cpu_s(server.pid)
        for client in clients:
            client.sendall(ENVELOPE + words)
        for client in clients:
            said = b""
            while b" Queued as " not in said:
                said = said[-100:] + client.recv(65_536)
        grown = memory_kib(server.pid, "VmHWM") - before
        spent_s = cpu_s(server.pid) - before_cpu_s
    chunks = count * CHUNKS
    title = f"{chunks:,} chunks of one octet, {count} clients"
    return [title, f"{grown / 1024:.1f}", f"{grown / count:.1f}", f"{spent_s / chunks * 1e6:.0f}"]


# ---- abusers: each runs in a process of its own until it is ended -----------------


def slow_senders(server: Server, count: int, tell_ready: Callable[[], None]) -> None:
    """Users within a message, each of which sends an octet a second."""
    context = tls_context(server)
    clients = [user(server, context) for _ in range(count)]
    for client in clients:
        client.sendall(ENVELOPE + b"DATA\r\n")
    tell_ready()
    while True:
        for client in clients:
            with contextlib.suppress(OSError):
                client.send(b"x")
        time.sleep(1)


def half_open_handshakes(server: Server, count: int, tell_ready: Callable[[], None]) -> None:
    """Connections that stop in the middle of their ClientHello, begun anew when cut off."""
    outgoing = ssl.MemoryBIO()
    hello = tls_context(server).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOSTNAME)
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    _keep_up(server.implicit_port, outgoing.read()[:100], count, tell_ready)


def noop_floods(server: Server, count: int, tell_ready: Callable[[], None]) -> None:
    """Connections before STARTTLS that send NOOPs without end, begun anew when sent away."""
    _keep_up(server.starttls_port, NOOPS, count, tell_ready)


def _keep_up(port: int, words: bytes, count: int, tell_ready: Callable[[], None]) -> None:
    selector = selectors.DefaultSelector()

    def connect(number: int) -> None:
        # An address in a network of its own for each: limits by address see many clients.
        source = f"127.{1 + number // 250}.{1 + number % 250}.1"
        client = socket.create_connection(("127.0.0.1", port), 60, (source, 0))
        client.setblocking(False)
        with contextlib.suppress(OSError):
            client.send(words)
        selector.register(client, selectors.EVENT_READ, number)

    for number in range(count):
        connect(number)
    tell_ready()
    while True:
        for key, _ in selector.select():
            client = key.fileobj
            assert isinstance(client, socket.socket)
            try:
                over = not client.recv(65_536)
            except BlockingIOError:
                continue
            except OSError:
                over = True
            if over:
                selector.unregister(client)
                client.close()
                connect(key.data)


FLOODS = "NOOP floods, back at once when sent away"
ABUSERS = {
    "nobody else": None,
    "slow senders, an octet a second each": slow_senders,
    "half-open handshakes": half_open_handshakes,
    FLOODS: noop_floods,
}


# ---- an honest client -------------------------------------------------------------


def sessions(server: Server, seconds: float) -> Iterator[float]:
    """Honest sessions one after another; how long each took, in seconds."""
    tls = tls_context(server)
    content = message(4096)
    end_s = time.perf_counter() + seconds
    while (start_s := time.perf_counter()) < end_s:
        client = Client(server, tls, "implicit")
        client.send(content)
        client.quit()
        yield time.perf_counter() - start_s


def honest(server: Server, title: str, count: int, seconds: float) -> list[str]:
    """The row for an honest client beside *count* abusers of one kind."""
    abuse = ABUSERS[title]
    fork = multiprocessing.get_context("fork")
    started = fork.Event()
    process = None
    if abuse is not None:
        process = fork.Process(target=abuse, args=(server, count, started.set))
        process.start()
        if not started.wait(READY_S):
            process.kill()
            raise TimeoutError(f"{title}: not all are connected within {READY_S} s")
    try:
        before_s, before_cpu_s = time.perf_counter(), cpu_s(server.pid)
        took_s = list(sessions(server, seconds))
        load = (cpu_s(server.pid) - before_cpu_s) / (time.perf_counter() - before_s)
    finally:
        if process is not None:
            process.kill()
            process.join()
            wait_until("the abusers are gone", lambda: not connections(server.pid))
    cuts = quantiles(took_s, n=100) if len(took_s) > 1 else took_s * 99
    return [
        title if abuse is None else f"{count:,} {title}",
        f"{len(took_s):,}",
        f"{1000 * cuts[49]:.1f}",
        f"{1000 * cuts[98]:.1f}",
        f"{100 * load:.0f} %",
    ]


def connections(pid: int) -> bool:
    """Whether a process has more than a few dozen files and sockets open."""
    return len(os.listdir(f"/proc/{pid}/fd")) > 60


def table(title: str, *headings: str) -> Table:
    """An empty table; all columns but the first hold numbers."""
    made = Table(title=title)
    for number, heading in enumerate(headings):
        made.add_column(heading, justify="right" if number else "left")
    return made


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--abusers", type=int, default=1000, help="how many of each kind")
    parser.add_argument("--seconds", type=float, default=6, help="for each row of sessions")
    parser.add_argument("--directory", type=Path, help="where the queue is to be: the disk counts")
    arguments = parser.parse_args()
    count = arguments.abusers
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    pin(os.getpid(), 1)
    base = Path(tempfile.mkdtemp(prefix="submitd-abuse-", dir=arguments.directory))
    memory = table("Memory of the server", "", "MiB more", "KiB each", "CPU us a chunk")
    latency = table(
        "An honest session, one at a time",
        "beside",
        "a minute",
        "sessions",
        "p50 ms",
        "p99 ms",
        "server CPU",
    )
    try:
        server = Server.make(base / "memory", RELAY, {"limits": LIMITS})
        with server.running():
            pin(server.pid, 0)
            for clients in (1, 20):
                memory.add_row(*tiny_chunks(server, clients))
            memory.add_row(*idle_users(server, count))
        for rate, titles in (("", list(ABUSERS)), (RATE, [FLOODS])):
            server = Server.make(base / f"rate{len(rate)}", RELAY, {"limits": LIMITS + rate})
            with server.running():
                pin(server.pid, 0)
                for title in titles:
                    row = honest(server, title, count, arguments.seconds)
                    latency.add_row(row[0], rate and "60", *row[1:])
    finally:
        shutil.rmtree(base)
    console = Console(width=110)
    console.print(memory)
    console.print(latency)


if __name__ == "__main__":
    main()
