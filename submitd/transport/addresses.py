"""What counts as one client, and as one network around it."""

import ipaddress
import socket
from collections.abc import Iterable

_V4_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291 §2.5.5.2

Place = bytes | str
"""A client or a network: its first octets, which no two kinds have as many of; a text
for what is not of the Internet."""


def client_and_network(address: str) -> tuple[Place, Place]:
    """What connections and failed logins from *address* are counted under.

    An IPv6 client has a /64 to itself (RFC 6177 §2), so that is what counts as one
    client; in IPv4 it is the address.  A network is a /48, and a /24 in IPv4.

    :param address: as text, a zone (`%eth0`) left aside.
    """
    try:
        if ":" not in address:
            packed = socket.inet_pton(socket.AF_INET, address)
        else:
            packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
            if not packed.startswith(_V4_MAPPED):
                return packed[:8], packed[:6]
            packed = packed[12:]
    except (OSError, ValueError):  # not of the Internet, such as a UNIX socket
        return address, address
    return packed, packed[:3]


class Networks:
    """Networks in the notation of RFC 4632 §3.1 (`192.0.2.0/24`) and RFC 4291 §2.3.

    :raises ValueError: when a text is none.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._networks = tuple(map(ipaddress.ip_network, texts))

    def __contains__(self, address: str) -> bool:
        """Whether *address* is in one of them."""
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self._networks)
