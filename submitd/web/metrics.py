"""Counters for Prometheus, counted from the lines of the log.

Whatever is worth a line is worth a count, so that nothing else in the server knows of
metrics.  Only values from small, fixed sets become labels: never an address or a login.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.twisted import MetricsResource
from twisted.logger import ILogObserver, LogEvent
from twisted.web.resource import Resource
from twisted.web.server import Site as WebSite
from zope.interface import implementer

_DELAYS_S = (0.1, 0.5, 1, 5, 30, 60, 300, 1800, 7200, 43200, 86400)
_SIZES = tuple(4**power for power in range(5, 14))  # 1 KiB to 64 MiB


@implementer(ILogObserver)
class Metrics:
    """Counts what the log tells.

    :param connections: how many clients are connected now.
    :ivar registry: where the counters are.
    """

    def __init__(self, connections: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._sessions = self._counter(
            "sessions", "Connections that have ended.", "listener", "tls", "end"
        )
        self._logins = self._counter("logins", "Logins.", "mechanism", "outcome")
        self._messages = self._counter("messages", "Messages stored, to be delivered.")
        self._recipients = self._counter("recipients", "Recipients of the messages stored.")
        self._size = Histogram(
            "submitd_message_octets",
            "Size of the messages stored.",
            registry=self.registry,
            buckets=_SIZES,
        )
        self._refused = self._counter(
            "refused", "Envelopes and messages refused, by their reply.", "status"
        )
        self._leniencies = self._counter(
            "leniencies", "What clients did that the standards do not allow.", "leniency"
        )
        self._deliveries = self._counter(
            "deliveries", "Outcomes for recipients, one for each attempt.", "action", "status_class"
        )
        self._delay = Histogram(
            "submitd_delivery_delay_seconds",
            "From storing a message to handing it on.",
            registry=self.registry,
            buckets=_DELAYS_S,
        )
        open_now = Gauge("submitd_connections", "Clients connected now.", registry=self.registry)
        open_now.set_function(connections)
        self._handlers: dict[str, Callable[[LogEvent], None]] = {
            "session": self._session,
            "login": self._login,
            "message": self._message,
            "refused": self._refusal,
            "delivery": self._delivery,
        }

    def _counter(self, name: str, doc: str, *labels: str) -> Counter:
        return Counter(f"submitd_{name}", doc, labels, registry=self.registry)

    def __call__(self, event: LogEvent) -> None:
        """Take one event of the log."""
        handler = self._handlers.get(event.get("line", ""))
        if handler is not None:
            handler(event)

    def _session(self, event: LogEvent) -> None:
        listener = str(event["listener"]).partition(":")[0]
        self._sessions.labels(listener, event["tls"] or "none", _end(event["reason"])).inc()
        if event["login"] is not None:
            self._logins.labels(event["mechanism"], "good").inc()
        self._count_leniencies(event)

    def _count_leniencies(self, event: LogEvent) -> None:
        for leniency, times in _leniencies(event):
            self._leniencies.labels(leniency).inc(times)

    def _login(self, event: LogEvent) -> None:
        self._logins.labels(event["mechanism"], event["reason"]).inc()

    def _message(self, event: LogEvent) -> None:
        self._messages.inc()
        self._recipients.inc(event["recipients"])
        self._size.observe(event["size"])
        self._count_leniencies(event)

    def _refusal(self, event: LogEvent) -> None:
        self._refused.labels(event["status"] or "none").inc()

    def _delivery(self, event: LogEvent) -> None:
        count = event["recipients_count"]
        self._deliveries.labels(event["action"], f"{str(event['status'])[:1]}.x.x").inc(count)
        if event["action"] in ("relayed", "delivered"):
            self._delay.observe(event["delay_s"])


def _end(reason: str) -> str:
    """The reason of a session's end without what is particular to one session."""
    return reason.partition(":")[0]


def _leniencies(event: LogEvent) -> list[tuple[str, int]]:
    """`"name=times, name=times"` of a session's line, or `"name, name"` of a message's."""
    text: str = event.get("leniencies") or ""
    found = []
    for part in text.split(", ") if text else ():
        name, _, times = part.partition("=")
        found.append((name, int(times or 1)))
    return found


def metrics_site(metrics: Metrics) -> WebSite:
    """What to listen with: `GET /metrics`."""
    root = Resource()
    root.putChild(b"metrics", MetricsResource(registry=metrics.registry))
    site = WebSite(root)
    site.noisy = False
    site.displayTracebacks = False
    return site
