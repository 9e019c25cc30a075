"""The whole configuration as one value, and what only shows when it is seen whole."""

import ipaddress
from typing import Any

import attrs
from zope.interface import Interface

from submitd.config.errors import Fault
from submitd.interfaces import IQueueStoreFactory, IRelayBackendFactory, IUserDatabaseFactory
from submitd.logs import LogOptions
from submitd.mail.address import DOMAIN
from submitd.message.completion import CompletionOptions
from submitd.options import not_empty, option
from submitd.policy.senders import SendersOptions
from submitd.queue.schedule import DeliveryOptions
from submitd.transport.options import LimitsOptions, ListenerOptions, TlsOptions
from submitd.web.options import MetricsOptions

_DOMAIN_OCTETS = 253  # RFC 1035 §2.3.4, less the length octets that text does not show


@attrs.frozen
class PluginTable:
    """A table whose keys depend on the plugin that one of them chooses.

    :ivar factory: the plugin's factory (`submitd.interfaces.IPluginFactory`).
    :ivar options: the rest of the table, an instance of `factory.options`.
    """

    factory: Any
    options: Any


@attrs.frozen
class PluginChoice:
    """How a `PluginTable` is read: metadata of its field.

    :ivar kind: the interface of the factories to choose from.
    :ivar key: the key that holds the plugin's name.
    :ivar default: the name taken when the key is missing, or None when it must be there.
    """

    kind: type[Interface]
    key: str
    default: str | None = None


def _fully_qualified(name: str) -> str | None:
    labels = name.split(".")
    is_name = DOMAIN.fullmatch(name) and "_" not in name and not labels[-1].isdigit()
    if is_name and len(labels) > 1 and len(name) <= _DOMAIN_OCTETS:
        return None
    return "a fully qualified host name in ASCII letters, such as mail.example.org"


def _one_worker(number: int) -> str | None:
    return None if number == 1 else "1: several processes come with a later version"


@attrs.frozen(kw_only=True)
class Configuration:
    """The whole file: each table under its own name, but for `delivery`, a part of `[queue]`."""

    hostname: str = option(
        "The server's own name: in the greeting, EHLO, Received and Message-ID.",
        check=_fully_qualified,
    )
    workers: int = option(
        "Worker processes; 1 is all there is in this version.", default=1, check=_one_worker
    )
    tls: TlsOptions
    listener: tuple[ListenerOptions, ...] = option(
        "One table for each port that clients connect to.", check=not_empty
    )
    users: PluginTable = attrs.field(
        metadata={"plugin": PluginChoice(IUserDatabaseFactory, "backend")}
    )
    senders: SendersOptions
    limits: LimitsOptions
    completion: CompletionOptions
    queue: PluginTable = attrs.field(
        metadata={"plugin": PluginChoice(IQueueStoreFactory, "store", "sqlite")}
    )
    delivery: DeliveryOptions = attrs.field(metadata={"table": "queue"})
    relay: PluginTable = attrs.field(
        metadata={"plugin": PluginChoice(IRelayBackendFactory, "backend")}
    )
    log: LogOptions
    metrics: MetricsOptions


def _same_socket(one: ListenerOptions, other: ListenerOptions) -> bool:
    """Whether the second of two listeners could not be bound beside the first."""
    if one.systemd is not None or other.systemd is not None:
        return one.systemd == other.systemd
    if one.port != other.port or one.port == 0:
        return False
    if one.address == other.address or "::" in (one.address, other.address):
        return True
    try:
        first, second = map(ipaddress.ip_address, (one.address, other.address))
    except ValueError:  # a host name: binding will tell
        return False
    return first.version == second.version and (first.is_unspecified or second.is_unspecified)


def cross_check(configuration: Configuration) -> list[Fault]:
    """The faults that no key has by itself."""
    faults = []
    listeners = configuration.listener
    for number, listener in enumerate(listeners, 1):
        for before, other in enumerate(listeners[: number - 1], 1):
            if _same_socket(other, listener):
                key = "port" if listener.systemd is None else "systemd"
                text = f"taken by listener[{before}] already"
                faults.append(Fault(("listener", number, key), text, getattr(listener, key)))
    seen: dict[str, int] = {}
    for number, sni in enumerate(configuration.tls.sni, 1):
        for name in map(str.lower, sni.names):
            first = seen.setdefault(name, number)
            if first != number:
                text = f"served by tls.sni[{first}] already"
                faults.append(Fault(("tls", "sni", number, "names"), text, name))
    return faults
