"""Listening sockets: bound here, or handed over by systemd (sd_listen_fds(3))."""

import errno
import socket
from collections.abc import Iterable, Mapping

from submitd.transport.options import ListenerOptions

_FIRST_FD = 3  # SD_LISTEN_FDS_START
BACKLOG = 1024  # connections that wait to be accepted; the kernel caps it at somaxconn


class CannotListen(OSError):
    """A listener can't be set up; the text names it and the reason, for the operator."""


def listening_sockets(
    options: ListenerOptions, environment: Mapping[str, str], process_id: int
) -> list[socket.socket]:
    """Bind and listen as one `[[listener]]` says.

    :param environment: where systemd says what it hands over.
    :param process_id: our own, to know that it is meant for us.
    :raises CannotListen: when an address can't be bound, or systemd handed over
        no socket of that name.
    """
    if options.systemd is not None:
        return _from_systemd(options.systemd, environment, process_id)
    address, port = options.address, options.port
    try:
        if address == "::":
            return [_any_address(port)]
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return _bind_all((family, place) for family, *_, place in found)
    except socket.gaierror as error:
        raise CannotListen(f"{options.name}: {address}: {error.strerror}") from None
    except UnicodeError:
        raise CannotListen(f"{options.name}: {address}: not a host name") from None
    except OSError as error:
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        raise CannotListen(f"{options.name}: cannot listen on {where}: {error.strerror}") from None


def _any_address(port: int | None) -> socket.socket:
    """Both families on one socket; IPv4 alone where the system has no IPv6."""
    try:
        return _bind(socket.AF_INET6, ("::", port))
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
        return _bind(socket.AF_INET, ("0.0.0.0", port))


_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def _bind_all(places: Iterable[tuple[int, object]]) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for family, place in places:
            bound.append(_bind(family, place))
    except OSError:
        for listening in bound:
            listening.close()
        raise
    return bound


def _bind(family: int, place: object) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            both = isinstance(place, tuple) and place[0] == "::"
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        listening.bind(place)  # type: ignore[arg-type]
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _from_systemd(
    name: str, environment: Mapping[str, str], process_id: int
) -> list[socket.socket]:
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(process_id) or not count.isdecimal():
        count = "0"
    names = environment.get("LISTEN_FDNAMES", "").split(":")[: int(count)]
    found = [
        _handed_over(_FIRST_FD + number, name)
        for number, given in enumerate(names)
        if given == name
    ]
    if not found:
        raise CannotListen(f"systemd handed over no socket with FileDescriptorName={name}")
    return found


def _handed_over(descriptor: int, name: str) -> socket.socket:
    """A copy of it: the original stays open, as systemd means it to."""
    try:
        original = socket.socket(fileno=descriptor)
    except OSError as error:
        raise CannotListen(f"FileDescriptorName={name}: {error.strerror}") from None
    try:
        listens = original.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if not listens or original.family not in (socket.AF_INET, socket.AF_INET6):
            raise CannotListen(f"FileDescriptorName={name}: not a listening TCP socket")
        listening = original.dup()
    finally:
        original.detach()
    listening.setblocking(False)
    return listening
