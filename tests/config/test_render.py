"""submitd.config.render: the sample and the manual say what the code does."""

import re
from pathlib import Path

import pytest

from submitd.config import render
from submitd.config.load import load

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "text"), [(render.SAMPLE, render.sample()), (render.MANUAL, render.manual())]
)
def test_documents_are_fresh(name: str, text: str) -> None:
    """The files in the tree are what the options' definitions make now."""
    assert (ROOT / name).read_text("utf-8") == text, "run python -m submitd.config.render"


def test_the_sample_loads(tmp_path: Path) -> None:
    """The sample is a configuration without a fault."""
    file = tmp_path / "submitd.toml"
    file.write_text(render.sample(), "utf-8")
    configuration = load(file)
    assert configuration.relay.options.password_file == tmp_path / "relay.password"


def test_every_default_in_the_sample_loads(tmp_path: Path) -> None:
    """With every key that has a default taken out of its comment, the sample means the same."""
    file = tmp_path / "submitd.toml"
    file.write_text(render.sample(), "utf-8")
    expected = load(file)
    commented = re.compile(r'^# (?=\w+ = (?!"\.\.\."|\.\.\.|\["\.\.\."\]))', re.MULTILINE)
    text, count = commented.subn("", render.sample())
    assert count > 30
    file.write_text(text, "utf-8")
    assert load(file) == expected


def test_every_option_is_in_the_manual() -> None:
    """The manual has a row for each option of each table."""
    manual = render.manual()
    for table in render.tables():
        for name in table.options:
            assert f"| `{name}` |" in manual, f"{table.name}.{name}"


def test_the_manual_tells_the_range_of_a_number() -> None:
    """Whoever reads the manual need not try which numbers a key takes."""
    rows = render.manual().splitlines()
    assert any(row.startswith("| `port` | a whole number, from 1 to 65535 |") for row in rows)
    assert any(row.startswith("| `threads` | a whole number, from 1 to 64 |") for row in rows)
