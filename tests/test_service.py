"""The server as a whole: how it starts, why it doesn't, and how it ends."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, formatEvent
from twisted.python import usage

from submitd.config.load import load
from submitd.queue.memory import MemoryStore
from submitd.service import SubmissionServer, make_server
from submitd.tap import Options, makeService
from submitd.testing import RecordingBackend, StaticUsers
from tests.support.server import Server
from tests.support.stage import logged

RELAY = 'backend = "discard"'


class Store(MemoryStore):
    """A store that opens when it is told, and notes when it is closed."""

    def __init__(self, clock: Any, notes: list[str]) -> None:
        super().__init__(clock)
        self.opened: Deferred[None] = Deferred()
        self._notes = notes

    def start(self) -> Deferred[None]:
        """Wait for `opened`."""
        return self.opened

    def stop(self) -> Deferred[None]:
        """Note it."""
        self._notes.append("store")
        return super().stop()


@attrs.frozen
class Built:
    """Gives what was built already, in place of a plugin's factory."""

    part: Any

    def build(self, _options: object, _site: object) -> Any:
        """See `IPluginFactory`."""
        return self.part


@attrs.frozen
class Scene:
    """A server on a reactor in memory, with stand-ins for its plugins.

    :ivar notes: the parts that were stopped, in order.
    """

    server: SubmissionServer
    reactor: MemoryReactorClock
    store: Store
    site: Server
    notes: list[str]
    events: list[LogEvent]

    def messages(self) -> list[str | None]:
        """What was logged, in words."""
        return [formatEvent(event) for event in self.events]


@pytest.fixture
def make_scene(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """Makes scenes; stops their servers at the end and gives SIGHUP its old meaning."""
    before = signal.getsignal(signal.SIGHUP)
    scenes: list[Scene] = []
    with logged() as events:

        def make() -> Scene:
            site = Server.make(tmp_path / "site", RELAY)
            configuration = load(site.site / "submitd.toml")
            reactor = MemoryReactorClock()
            notes: list[str] = []
            store = Store(reactor, notes)

            class Users(StaticUsers):
                def stop(self) -> None:
                    notes.append("users")

            class Backend(RecordingBackend):
                def stop(self) -> None:
                    notes.append("backend")

            parts = {"queue": store, "users": Users({}), "relay": Backend()}
            tables = {
                name: attrs.evolve(getattr(configuration, name), factory=Built(part))
                for name, part in parts.items()
            }
            server = make_server(attrs.evolve(configuration, **tables), reactor)
            scenes.append(Scene(server, reactor, store, site, notes, events))
            return scenes[-1]

        yield make
    for scene in scenes:
        if scene.server.running:
            if not scene.store.opened.called:
                scene.store.opened.callback(None)
            scene.server.stopService()
    signal.signal(signal.SIGHUP, before)


def _accepts(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


# ---- the command line -------------------------------------------------------------


def test_a_bad_configuration_is_a_usage_error(tmp_path: Path) -> None:
    """`twistd submitd` tells all faults of the configuration, each with its key."""
    file = tmp_path / "submitd.toml"
    file.write_text('hostname = "x"\nworkers = 0\ncolour = "red"\n')
    with pytest.raises(usage.UsageError) as caught:
        Options().parseOptions(["--config", str(file)])
    for key in ("hostname", "workers", "colour", "listener"):
        assert key in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_configuration_is_a_usage_error(tmp_path: Path) -> None:
    """A configuration file that isn't there is told by its path."""
    with pytest.raises(usage.UsageError, match=str(tmp_path / "none.toml")):
        Options().parseOptions(["-c", str(tmp_path / "none.toml")])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tls/fullchain.pem", "submitd: tls: certificate "),
        ("tls/privkey.pem", "submitd: tls: key "),
        ("users.htpasswd", "submitd: "),
    ],
)
def test_a_file_that_is_missing_ends_the_start(tmp_path: Path, name: str, expected: str) -> None:
    """A file that the configuration names and that isn't there ends the start with its path."""
    site = Server.make(tmp_path / "site", RELAY)
    (site.site / name).unlink()
    options = Options()
    options.parseOptions(["--config", str(site.site / "submitd.toml")])
    with pytest.raises(SystemExit) as caught:
        makeService(options)
    assert str(caught.value).startswith(expected)
    assert str(site.site / name) in str(caught.value)


# ---- start and stop ---------------------------------------------------------------


def test_a_taken_port_ends_the_start(make_scene: Callable[..., Scene]) -> None:
    """A port that is taken ends the start with listener, address and reason, and binds nothing."""
    scene = make_scene()
    port = scene.site.starttls_port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(SystemExit) as caught:
        scene.server.privilegedStartService()
    assert str(caught.value) == (
        f"submitd: starttls:{port}: cannot listen on 127.0.0.1:{port}: Address already in use"
    )
    assert not _accepts(scene.site.implicit_port)


def test_a_daemon_that_can_not_start_says_so(tmp_path: Path) -> None:
    """`twistd submitd` as a daemon tells the terminal of a taken port, and ends with status 1."""
    site = Server.make(tmp_path / "site", RELAY, {"log": 'file = "log"'})
    twistd = Path(sys.executable).with_name("twistd")
    command = [str(twistd), f"--pidfile={tmp_path / 'pid'}", "submitd"]
    with socket.create_server(("127.0.0.1", site.starttls_port)):
        ended = subprocess.run(
            [*command, "--config", str(site.site / "submitd.toml")],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"submitd: starttls:{site.starttls_port}: cannot listen on ")
    assert not (tmp_path / "pid").exists()


def test_clients_are_let_in_once_the_store_is_open(make_scene: Callable[..., Scene]) -> None:
    """The ports are bound early, while root may; nobody is served before the store is open."""
    scene = make_scene()
    scene.server.privilegedStartService()
    assert _accepts(scene.site.implicit_port)
    assert _accepts(scene.site.starttls_port)
    scene.server.startService()
    assert scene.reactor.adoptedPorts == []
    scene.store.opened.callback(None)
    assert len(scene.reactor.adoptedPorts) == 2
    assert scene.messages()[-1].endswith("is serving")  # type: ignore[union-attr]


def test_parts_stop_in_the_order_of_the_way_of_a_message(make_scene: Callable[..., Scene]) -> None:
    """The store, which all others write to, is closed last."""
    scene = make_scene()
    scene.server.privilegedStartService()
    scene.server.startService()
    scene.store.opened.callback(None)
    stopped = scene.server.stopService()
    assert stopped.called
    assert scene.notes == ["backend", "users", "store"]
    assert scene.messages()[-1] == "submitd has stopped"


def test_a_stop_while_the_store_is_being_opened(make_scene: Callable[..., Scene]) -> None:
    """A server stopped before its store was open serves nobody, and closes the store."""
    scene = make_scene()
    scene.server.privilegedStartService()
    scene.server.startService()
    stopped = scene.server.stopService()
    assert not stopped.called
    assert not _accepts(scene.site.implicit_port)
    scene.store.opened.callback(None)
    assert stopped.called
    assert scene.reactor.adoptedPorts == []
    assert scene.notes[-1] == "store"


def test_a_stop_before_the_store_turns_out_bad(make_scene: Callable[..., Scene]) -> None:
    """A store that can't be opened, while the server stops already, does not stop it twice."""
    scene = make_scene()
    scene.server.startService()
    stopped = scene.server.stopService()
    scene.store.opened.errback(OSError(13, "Permission denied"))
    assert stopped.called
    assert not scene.reactor.hasStopped


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (BlockingIOError("spool: locked"), "the queue is in use by another process: spool: locked"),
        (OSError(13, "Permission denied"), "the server can't start: [Errno 13] Permission denied"),
    ],
)
def test_a_store_that_does_not_open(
    make_scene: Callable[..., Scene], fault: Exception, told: str
) -> None:
    """A store that can't be opened stops the server, with the reason and no traceback."""
    scene = make_scene()
    scene.server.privilegedStartService()
    scene.server.startService()
    scene.store.opened.errback(fault)
    assert scene.reactor.hasStopped
    assert scene.messages() == [told]
    assert scene.server.stopService().called
    assert not _accepts(scene.site.implicit_port)


def test_a_fault_at_the_start_is_not_survived(make_scene: Callable[..., Scene]) -> None:
    """Should letting clients in fail, the server stops and says why: it never idles unheard."""
    scene = make_scene()
    scene.server.privilegedStartService()
    scene.server.startService()

    def adopt(*_arguments: object) -> None:
        raise ValueError("no such family")

    scene.reactor.adoptStreamPort = adopt  # type: ignore[method-assign,assignment]
    scene.store.opened.callback(None)
    assert scene.reactor.hasStopped
    [event] = [event for event in scene.events if event.get("log_failure")]
    assert formatEvent(event) == "the server can't start"


def test_sighup_reads_the_certificates_again(make_scene: Callable[..., Scene]) -> None:
    """SIGHUP, once the server serves, has the certificates read again."""
    scene = make_scene()
    scene.server.privilegedStartService()
    scene.server.startService()
    scene.store.opened.callback(None)
    scene.reactor.callFromThread = lambda call, *rest: call(*rest)  # type: ignore[attr-defined]
    signal.raise_signal(signal.SIGHUP)
    assert scene.messages()[-1] == "certificates read again"


def test_certificates_are_looked_at_now_and_then(make_scene: Callable[..., Scene]) -> None:
    """New certificate files are noticed without a signal, and left alone when they are the same."""
    scene = make_scene()
    scene.server.privilegedStartService()
    scene.server.startService()
    scene.store.opened.callback(None)
    scene.reactor.advance(60)
    assert scene.messages()[-1].endswith("is serving")  # type: ignore[union-attr]
    chain = scene.site.site / "tls" / "fullchain.pem"
    chain.write_bytes(chain.read_bytes() + b"\n")
    scene.reactor.advance(6)
    assert scene.messages()[-1] == "certificates read again"


def test_a_queue_in_use_ends_twistd_with_status_1(tmp_path: Path) -> None:
    """The real twistd, with a queue that another one has, ends with status 1 and says so."""
    first = Server.make(tmp_path / "first", RELAY, spool=tmp_path / "spool")
    second = Server.make(tmp_path / "second", RELAY, spool=tmp_path / "spool")
    with first.running():
        with pytest.raises(RuntimeError, match="the server has ended"):
            second.start()
        assert second.process is not None
        assert second.wait() == 1
        assert "the queue is in use by another process" in second.log()
        assert "Traceback" not in second.log()
