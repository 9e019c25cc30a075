"""`twistd submitd`."""

from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.logger import ILogObserver
from twisted.python import usage

from submitd.config.errors import ConfigurationError
from submitd.config.load import load
from submitd.config.model import Configuration
from submitd.logs import LogOptions, observer_factory


class Options(usage.Options):
    """The command line; all else is in the configuration file."""

    synopsis = "[options]"
    longdesc = "Serves mail submission (RFC 6409) as the configuration file says."
    optParameters: ClassVar = [
        ["config", "c", "/etc/submitd/submitd.toml", "The configuration file."],
    ]

    configuration: Configuration
    log: ClassVar[LogOptions]

    def postOptions(self) -> None:
        """Read the configuration.

        :raises usage.UsageError: with all its faults.
        """
        try:
            self.configuration = load(Path(self["config"]))
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from None
        # twistd makes its logger once all options are read; one named on its own
        # command line goes first.
        parent = getattr(self, "parent", None)
        if parent is not None and not parent.get("logger") and not parent.get("syslog"):
            Options.log = self.configuration.log
            parent["logger"] = f"{__name__}.{log_observer.__name__}"


def log_observer() -> ILogObserver:
    """The logger: twistd takes it by name alone, so that its options wait in `Options.log`."""
    return observer_factory(Options.log)()


def makeService(options: Options) -> IService:
    """What twistd runs, its ports bound.

    :raises SystemExit: with the reason, when a file that the configuration names
        can't be used, or a port can't be bound.
    """
    from twisted.internet import reactor

    from submitd.service import make_server

    server: Any
    try:
        server = make_server(options.configuration, reactor)
    except ValueError as error:
        raise SystemExit(f"submitd: {error}") from None
    server.bind()
    return server  # type: ignore[no-any-return]
