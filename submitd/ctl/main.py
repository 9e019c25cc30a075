"""`submitctl`: the operator's command. Each subcommand is imported when it is called."""

import functools
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

import submitd

if TYPE_CHECKING:
    from submitd.config.model import Configuration

# Only this place, wherever the command is called: run by root, it must not obey a
# file that lies about in the current directory.
DEFAULT = Path("/etc/submitd/submitd.toml")

COMMANDS = {
    "init": ("submitd.ctl.init:init", "Write a new site: configuration, users, certificate."),
    "check": ("submitd.ctl.check:check", "Check the configuration, files and running server."),
    "user": ("submitd.ctl.user:user", "Add, change, list and remove users."),
    "queue": ("submitd.ctl.queue:queue", "List, show, retry, hold, release, delete messages."),
    "demo": ("submitd.ctl.demo:demo", "Run a demo server on loopback."),
}
"""Each subcommand: where its click command is, and its line in the help."""


@attrs.define(slots=False)
class Context:
    """What subcommands find in `ctx.obj`.

    :ivar path: the configuration file, whether or not there is one.
    """

    path: Path

    @functools.cached_property
    def configuration(self) -> "Configuration":
        """The configuration, read when first asked for.

        :raises click.ClickException: with every fault in it.
        """
        from submitd.config.errors import ConfigurationError
        from submitd.config.load import load

        try:
            return load(self.path)
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from None


class LazyGroup(click.Group):
    """A group that imports a subcommand only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all subcommands, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The subcommand *name*, or None when there is none."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of subcommands in the help, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="SUBMITD_CONFIG",
    default=DEFAULT,
    show_default=True,
    show_envvar=True,
    help="The server's configuration file.",
)
@click.version_option(submitd.__version__, prog_name="submitd")
@click.pass_context
def cli(ctx: click.Context, path: Path) -> None:
    """Set up, check and look after submitd, a mail submission server."""
    ctx.obj = Context(path)


def main() -> None:
    """The entry point of `submitctl`."""
    cli(prog_name="submitctl")


if __name__ == "__main__":
    main()
