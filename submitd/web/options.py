"""The options of what is shown over HTTP (`[metrics]`)."""

import attrs

from submitd.options import between, not_empty, option


@attrs.frozen(kw_only=True)
class MetricsOptions:
    """`[metrics]`: counters for Prometheus, at `http://ADDRESS:PORT/metrics`."""

    address: str = option(
        "The address to serve them on; whoever reaches it can read them.",
        default="127.0.0.1",
        check=not_empty,
    )
    port: int | None = option(
        "The port to serve them on; without it there are none."
        " Needs the extra `metrics` (prometheus_client).",
        default=None,
        check=between(0, 65535),
    )
