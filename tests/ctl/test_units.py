"""etc/*.service, etc/*.socket: units that systemd takes."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "etc").glob("submitd*.s*"))


@pytest.mark.may_skip(reason="not every machine that runs the tests runs systemd")
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    """systemd-analyze verifies the units without a word."""
    for unit in UNITS:
        # The path of the installation, which need not exist here.
        text = unit.read_text().replace("/opt/submitd/bin/twistd", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    result = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / unit.name for unit in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_socket_units_name_listeners() -> None:
    """Each socket unit says which `[[listener]]` it stands for, by the name it hands over."""
    sockets = [unit for unit in UNITS if unit.suffix == ".socket"]
    assert len(sockets) == 2
    for unit in sockets:
        text = unit.read_text()
        name = text.partition("FileDescriptorName=")[2].split()[0]
        assert f'#   systemd = "{name}"' in text
