"""tests/badconfig: configurations that must be refused, each with the words it is refused with."""

from pathlib import Path

import pytest

from submitd.config.errors import ConfigurationError
from submitd.config.load import load

CASES = sorted((Path(__file__).parents[1] / "badconfig").glob("*.toml"))


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_refused_with_every_fault(file: Path) -> None:
    """A faulty file is refused with all its faults: their lines, keys and what to write instead."""
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert caught.value.lines == file.with_suffix(".expected").read_text("utf-8").splitlines()


def test_there_are_enough_of_them() -> None:
    """The folder is found where this test looks for it."""
    assert len(CASES) > 50


def test_each_case_is_one_change() -> None:
    """Every expectation belongs to a configuration."""
    expectations = {file.stem for file in CASES[0].parent.glob("*.expected")}
    assert expectations == {file.stem for file in CASES}
