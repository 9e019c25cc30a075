"""Listening sockets: by address, by name, from systemd."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from submitd.transport.options import ListenerOptions
from submitd.transport.sockets import CannotListen, listening_sockets

Listen = Callable[..., list[socket.socket]]
ROOT = Path(__file__).parents[2]


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


NO_IPV6 = "this machine has no IPv6"
IPV6 = (pytest.mark.skipif(not _has_ipv6(), reason=NO_IPV6), pytest.mark.may_skip(reason=NO_IPV6))


def needs_ipv6(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that needs IPv6, which not every machine has."""
    for mark in IPV6:
        test = mark(test)
    return test


def _options(**changes: Any) -> ListenerOptions:
    return ListenerOptions(**{"port": 0, "tls": "implicit", **changes})


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Sets listeners up, and closes their sockets at the end."""
    made: list[socket.socket] = []

    def set_up(
        environment: Mapping[str, str] | None = None, process_id: int = 1, **changes: Any
    ) -> list[socket.socket]:
        found = listening_sockets(_options(**changes), environment or {}, process_id)
        made.extend(found)
        return found

    yield set_up
    for each in made:
        each.close()


def _reaches(address: str, listening: socket.socket) -> bool:
    port = listening.getsockname()[1]
    try:
        with socket.create_connection((address, port), timeout=5):
            return True
    except ConnectionRefusedError:
        return False


@needs_ipv6
def test_any_address_is_both_families_on_one_socket(listen: Listen) -> None:
    """ "::" is one socket, which takes connections by IPv6 and by IPv4."""
    [only] = listen(address="::")
    assert only.family == socket.AF_INET6
    assert _reaches("::1", only)
    assert _reaches("127.0.0.1", only)
    assert not only.getblocking()


def test_any_ipv4_address(listen: Listen) -> None:
    """ "0.0.0.0" is IPv4 alone."""
    [only] = listen(address="0.0.0.0")
    assert only.family == socket.AF_INET
    assert _reaches("127.0.0.1", only)


@needs_ipv6
def test_an_ipv6_address_is_that_alone(listen: Listen) -> None:
    """A listener on one IPv6 address does not take connections by IPv4."""
    [only] = listen(address="::1")
    assert only.getsockname()[0] == "::1"
    assert only.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    assert not _reaches("127.0.0.1", only)


@needs_ipv6
def test_both_families_by_two_listeners(listen: Listen) -> None:
    """The same port can be had for one IPv6 and one IPv4 address side by side."""
    [first] = listen(address="::1")
    port = first.getsockname()[1]
    [second] = listen(address="127.0.0.1", port=port)
    assert second.getsockname() == ("127.0.0.1", port)


@needs_ipv6
@pytest.mark.parametrize("spelling", ["0::0", "0:0:0:0:0:0:0:0"])
def test_other_spellings_of_any_address(listen: Listen, spelling: str) -> None:
    """Another spelling of "::" means the same."""
    [only] = listen(address=spelling)
    assert _reaches("127.0.0.1", only)


def test_a_name_with_several_addresses(listen: Listen) -> None:
    """A host name gets a socket for each of its addresses."""
    wanted = {place[0] for *_, place in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    found = listen(address="localhost")
    assert {each.getsockname()[0] for each in found} == wanted
    for each in found:
        assert _reaches(each.getsockname()[0], each)


def test_an_address_can_be_taken_again_at_once(listen: Listen) -> None:
    """After a restart the port is there again, though old connections linger in the kernel."""
    [first] = listen(address="127.0.0.1")
    place = first.getsockname()
    first.setblocking(True)
    with socket.create_connection(place):
        first.accept()[0].close()
        first.close()
    [second] = listen(address="127.0.0.1", port=place[1])
    assert second.getsockname() == place


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("127.0.0.1", "127.0.0.1:{port}"),
        pytest.param("::1", "[::1]:{port}", marks=IPV6),
        pytest.param("::", "[::]:{port}", marks=IPV6),
    ],
)
def test_a_port_that_is_taken(listen: Listen, address: str, written: str) -> None:
    """A taken port is told with the listener, the address and the reason."""
    [first] = listen(address=address)
    port = first.getsockname()[1]
    with pytest.raises(CannotListen) as caught:
        listen(address=address, port=port, tls="starttls")
    place = written.format(port=port)
    assert str(caught.value) == (
        f"starttls:{port}: cannot listen on {place}: Address already in use"
    )


def test_an_address_that_is_not_ours(listen: Listen) -> None:
    """An address of another machine is refused with its name and the reason."""
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1:0: Cannot assign"):
        listen(address="192.0.2.1")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("fe80::1%no-such-one", ""), ("mail..example.org", "not a host name$")],
)
def test_a_name_that_is_none(listen: Listen, name: str, reason: str) -> None:
    """A host name without an address, or that can't be one, is refused with its name."""
    with pytest.raises(CannotListen, match=rf"^implicit:0: {name}: {reason}"):
        listen(address=name)


@pytest.mark.may_skip(reason="localhost may have one address only")
@needs_ipv6
def test_a_name_of_which_one_address_is_taken(listen: Listen) -> None:
    """When one address of a name can't be had, the others are given up."""
    places = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    if len(places) < 2:
        pytest.skip("localhost has one address here")
    first, last = places[0][4][0], places[-1][4][0]
    [taken] = listen(address=last)
    port = taken.getsockname()[1]
    with pytest.raises(CannotListen, match=f"cannot listen on localhost:{port}"):
        listen(address="localhost", port=port)
    [again] = listen(address=first, port=port)
    assert again.getsockname()[1] == port


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_PID": "2", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "smtps"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "0", "LISTEN_FDNAMES": "smtps"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "many", "LISTEN_FDNAMES": "smtps"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:imap"},
    ],
)
def test_nothing_of_that_name_from_systemd(listen: Listen, environment: dict[str, str]) -> None:
    """What systemd did not hand over, or not to us, is told with its name."""
    with pytest.raises(CannotListen) as caught:
        listen(environment, port=None, systemd="smtps")
    expected = "systemd handed over no socket with FileDescriptorName=smtps"
    assert str(caught.value) == expected


HANDED_OVER = """
import json, os, sys
from submitd.transport.options import ListenerOptions
from submitd.transport.sockets import CannotListen, listening_sockets
os.environ["LISTEN_PID"] = str(os.getpid())
told = []
for name in sys.argv[1:]:
    options = ListenerOptions(systemd=name, tls="implicit")
    try:
        found = listening_sockets(options, os.environ, os.getpid())
    except CannotListen as error:
        told.append(str(error))
    else:
        told.append([[each.getsockname(), each.getblocking()] for each in found])
for number in range(int(os.environ["LISTEN_FDS"])):
    os.fstat(3 + number)  # still open
print(json.dumps(told))
"""


def _hand_over(names: str, *sockets: socket.socket | IO[str], ask: list[str]) -> list[Any]:
    """Run a process with *sockets* from descriptor 3 on, as systemd does; what it has found."""
    shell = "; ".join(f'exec {3 + n}<&"${n + 1}"' for n in range(len(sockets)))
    shell += f'; shift {len(sockets)}; exec "$@"'
    done = subprocess.run(
        [
            *("bash", "-c", shell, "-", *(str(each.fileno()) for each in sockets)),
            *(sys.executable, "-c", HANDED_OVER, *ask),
        ],
        cwd=ROOT,
        env={**os.environ, "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names},
        pass_fds=[each.fileno() for each in sockets],
        capture_output=True,
        check=True,
        timeout=60,
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def test_sockets_from_systemd(listen: Listen) -> None:
    """Each listener gets the sockets of its name, several of one name together."""
    sockets = [listen(address="127.0.0.1")[0] for _ in range(3)]
    places = [[list(each.getsockname()), False] for each in sockets]
    found = _hand_over("smtps:submission:smtps", *sockets, ask=["submission", "smtps", "imaps"])
    assert found == [
        [places[1]],
        [places[0], places[2]],
        "systemd handed over no socket with FileDescriptorName=imaps",
    ]


def test_what_is_no_listening_socket_from_systemd(tmp_path: Path) -> None:
    """A socket that is of another kind or doesn't listen is refused with its name."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as silent,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unix,
    ):
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        names = ["datagram", "silent", "unix"]
        found = _hand_over(":".join(names), datagram, silent, unix, ask=names)
    assert found == [f"FileDescriptorName={name}: not a listening TCP socket" for name in names]


def test_what_is_no_socket_from_systemd(tmp_path: Path) -> None:
    """A descriptor that is no socket at all, such as a file, is refused with its name."""
    (tmp_path / "file").touch()
    with (tmp_path / "file").open() as file:
        [told] = _hand_over("file", file, ask=["file"])
    assert told.startswith("FileDescriptorName=file: ")
