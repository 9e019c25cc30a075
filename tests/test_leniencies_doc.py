"""docs/leniencies.md names all that is taken, and nothing else."""

import re
from pathlib import Path

from submitd.message.headers import HeaderLeniency
from submitd.smtp.leniencies import Leniency

DOCUMENT = Path(__file__).parents[1] / "docs" / "leniencies.md"


def test_each_leniency_has_its_row() -> None:
    """Each leniency of sessions and headers has a row in the manual, and each row is one."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted([*Leniency, *HeaderLeniency])
