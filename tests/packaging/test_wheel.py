"""What a user installs: the wheel, in an environment of its own, run from elsewhere."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its end, without this environment's variables for Python."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the tracked files alone."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if name and (ROOT / name).exists():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    run(sys.executable, "-m", "build", "--wheel", cwd=checkout)
    (built,) = (checkout / "dist").iterdir()
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a fresh environment with the wheel in it."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", environment, cwd=environment)
    pip = environment / "bin" / "pip"
    run(pip, "install", "--quiet", "--disable-pip-version-check", wheel, cwd=environment)
    return environment / "bin"


def test_wheel_holds_the_package_and_one_twisted_plugin(wheel: Path) -> None:
    """The wheel puts `submitd` and `twisted/plugins/submitd_plugin.py` in place, nothing else."""
    names = [n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n]
    outside = [n for n in names if not n.startswith("submitd/")]
    assert outside == ["twisted/plugins/submitd_plugin.py"]
    tracked = run("git", "ls-files", "submitd", cwd=ROOT).split()
    assert sorted(n for n in names if n not in outside) == sorted(
        n for n in tracked if (ROOT / n).exists()
    )


def test_wheel_offers_one_command(wheel: Path) -> None:
    """`submitctl` is the only command the wheel brings."""
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = (n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt"))
    assert archive.read(entry_points).decode().split() == [
        "[console_scripts]",
        "submitctl",
        "=",
        "submitd.ctl.main:main",
    ]


def test_twistd_finds_the_server_from_any_directory(installed: Path, tmp_path: Path) -> None:
    """`twistd submitd --help` works with the installed wheel, in a directory without it."""
    assert "--config" in run(installed / "twistd", "submitd", "--help", cwd=tmp_path)


def test_submitctl_runs_from_any_directory(installed: Path, tmp_path: Path) -> None:
    """`submitctl --help` works with the installed wheel and names its commands."""
    output = run(installed / "submitctl", "--help", cwd=tmp_path)
    for command in ("check", "init", "queue", "user"):
        assert command in output


def test_every_module_can_be_imported(installed: Path, tmp_path: Path) -> None:
    """The dependencies that the metadata names are all that the package's modules import."""
    script = (
        "import importlib, pkgutil, submitd\n"
        "for m in pkgutil.walk_packages(submitd.__path__, 'submitd.'):\n"
        "    if not m.name.endswith('__main__'):\n"
        "        try:\n"
        "            importlib.import_module(m.name)\n"
        "        except ModuleNotFoundError as error:\n"
        "            assert error.name == 'prometheus_client', error  # the extra `metrics`\n"
        "print(submitd.__file__)\n"
    )
    output = run(installed / "python", "-c", script, cwd=tmp_path)
    assert output.startswith(str(installed.parent))


def test_development_environment_finds_the_server_from_any_directory(tmp_path: Path) -> None:
    """In the environment of `make venv` too, the plugin is found from elsewhere."""
    twistd = Path(sys.executable).with_name("twistd")
    assert "--config" in run(twistd, "submitd", "--help", cwd=tmp_path)
