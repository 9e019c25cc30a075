"""submitd.ctl.main: the frame of the operator's command."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import submitd
from submitd.ctl.main import COMMANDS, Context, cli


def test_help_lists_every_command() -> None:
    """The help names each subcommand with what it does."""
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name, (_, text) in COMMANDS.items():
        assert name in result.output
        assert text in result.output


def test_help_is_quick() -> None:
    """The help comes without importing Twisted or any subcommand."""
    script = (
        "import sys\nfrom submitd.ctl.main import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "sys.exit(any(name in sys.modules for name in ('twisted', 'rich', 'cryptography')))"
    )
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_there(name: str) -> None:
    """Each subcommand of the table can be imported and has a help of its own."""
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output


def test_version() -> None:
    """`--version` names the version of the package."""
    assert submitd.__version__ in CliRunner().invoke(cli, ["--version"]).output


def test_unknown_command_is_a_usage_fault() -> None:
    """A command that is not there is a usage fault: exit status 2."""
    assert CliRunner().invoke(cli, ["frobnicate"]).exit_code == 2


def test_faulty_configuration_is_told_without_a_traceback(tmp_path: Path) -> None:
    """A command that needs the configuration tells the operator what is wrong with it."""
    file = tmp_path / "submitd.toml"
    file.write_text("workers = true\n")
    with pytest.raises(click.ClickException, match="line 1: workers = true"):
        _ = Context(file).configuration
