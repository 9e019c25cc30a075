"""A real Postfix for tests: its own configuration, queue and ports, as root alone can start it.

Nothing of the system's own Postfix is read or touched.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest

from tests.support.clients import needed
from tests.support.server import free_ports, wait_until

COMMAND_S = 60

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
{services}
"""


@attrs.define
class Postfix:
    """One instance, in a directory of its own.

    :ivar directory: `main.cf`, `master.cf`, `spool/`, `data/`, `log`.
    :ivar port: its SMTP server listens there, on loopback.
    """

    directory: Path
    port: int

    @classmethod
    def make(cls, directory: Path, settings: Mapping[str, str], services: str = "") -> "Postfix":
        """Write the configuration of one that takes mail from loopback for everybody.

        :param settings: more of `main.cf`.
        :param services: more lines of `master.cf`.
        """
        (port,) = free_ports(1)
        daemons = _default("daemon_directory")
        own = {
            "compatibility_level": "3.6",
            "queue_directory": f"{directory}/spool",
            "data_directory": f"{directory}/data",
            "daemon_directory": daemons,
            "maillog_file": f"{directory}/log",
            "maillog_file_prefixes": str(directory),
            "myhostname": "postfix.example",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "mydestination": "",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "smtp_host_lookup": "native",
            "smtp_dns_support_level": "disabled",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "smtputf8_enable": "yes",
            **settings,
        }
        lines = [f"{name} = {value}\n" for name, value in own.items()]
        (directory / "main.cf").write_text("".join(lines))
        (directory / "master.cf").write_text(_MASTER.format(port=port, services=services))
        for name in ("spool", "data"):
            (directory / name).mkdir()
        shutil.chown(directory / "data", "postfix")
        return cls(directory, port)

    def _run(self, program: str, *arguments: str) -> str:
        command = [needed(program), "-c", str(self.directory), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}\n{self.log()}")
        return done.stdout

    def log(self) -> str:
        """All that it has logged."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def queue_is_empty(self) -> bool:
        """Whether it holds no message."""
        return not self._run("postqueue", "-j").strip()

    @contextlib.contextmanager
    def running(self) -> Iterator["Postfix"]:
        """Run it for the length of a `with` block; what fails in it shows the log."""
        self._run("postfix", "start")
        try:
            wait_until("Postfix serves", lambda: "daemon started" in self.log())
            yield self
        except BaseException as error:
            error.add_note(f"--- Postfix's log ---\n{self.log()[-20000:]}")
            raise
        finally:
            self._run("postfix", "stop")


def _default(name: str) -> str:
    done = subprocess.run(
        [needed("postconf"), "-dh", name],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=True,
    )
    return done.stdout.strip()


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A directory that Postfix's own user may enter, as it may not enter pytest's."""
    if os.getuid() != 0:
        pytest.skip("Postfix is started by root alone")
    needed("postfix")
    with tempfile.TemporaryDirectory(prefix="submitd-postfix-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
