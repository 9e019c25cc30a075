"""docs/standards.tsv, the table of what RFCs ask for, agrees with the code and the tests."""

import ast
import csv
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "standards.tsv"
LEVELS = {"MUST", "SHOULD", "MAY"}
STATUSES = {"done", "partial", "planned", "not applicable"}
# The base of SMTP and submission, then the extensions that are offered.
RFCS = {
    *("5321", "6409", "3207", "4954", "8314"),
    *("1870", "2034", "2852", "2920", "3030", "3461", "3463", "3464", "4865", "5248"),
    *("6152", "6531", "6532", "6533", "6710", "8689", "9422"),
}
# "RFC 5321 §4.5.3.1.1"; in a docstring the two may stand on two lines.
REFERENCE = re.compile(r"RFC\s+(\d+)\s+§\s?(\d+(?:\.\d+)*)")


@attrs.frozen
class Row:
    """One requirement, as the columns of the table name it."""

    rfc: str
    section: str
    requirement: str
    level: str
    status: str
    module: str
    test: str
    remark: str


def rows() -> list[Row]:
    """The table without its head."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        assert tuple(next(lines)) == tuple(field.name for field in attrs.fields(Row))
        return [Row(*line) for line in lines]


ROWS = rows()
each_row = pytest.mark.parametrize(
    "row", ROWS, ids=[f"{row.rfc}-{row.section}-{n}" for n, row in enumerate(ROWS)]
)


def test_functions(path: Path) -> set[str]:
    """The names of a test module's functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


test_functions.__test__ = False  # type: ignore[attr-defined]


def references() -> Iterator[tuple[str, str, str]]:
    """The file, RFC and section of each reference in the package's source."""
    for path in sorted((ROOT / "submitd").rglob("*.py")):
        for match in REFERENCE.finditer(path.read_text(encoding="utf-8").replace("# ", "")):
            yield str(path.relative_to(ROOT)), match[1], match[2]


@each_row
def test_row_is_well_formed(row: Row) -> None:
    """Each row has a section, a known level and status, and says why where nothing is done."""
    assert row.rfc.isdecimal()
    assert re.fullmatch(r"\d+(\.\d+)*", row.section)
    assert row.requirement
    assert row.level in LEVELS
    assert row.status in STATUSES
    assert row.remark or row.status != "not applicable"


def test_each_requirement_has_one_row() -> None:
    """No requirement stands twice, and those of an RFC stand together, by section."""
    assert len({(row.rfc, row.section, row.requirement) for row in ROWS}) == len(ROWS)
    runs = [rfc for rfc, _rows in groupby(ROWS, key=lambda row: row.rfc)]
    assert len(set(runs)) == len(runs)
    for rfc in runs:
        sections = [tuple(map(int, row.section.split("."))) for row in ROWS if row.rfc == rfc]
        assert sections == sorted(sections), rfc


def test_every_rfc_has_rows() -> None:
    """No RFC that submitd follows is left out."""
    assert {row.rfc for row in ROWS} >= RFCS


@each_row
def test_row_names_the_code_and_the_test(row: Row) -> None:
    """What is done, or partly done, names a module and a test or dialogue, and both exist."""
    if row.status in {"done", "partial"}:
        module = ROOT.joinpath(*row.module.split("."))
        assert module.with_suffix(".py").exists() or (module / "__init__.py").exists()
        path, _, name = row.test.partition("::")
        if path.endswith(".smtp"):
            assert (ROOT / path).exists()
        else:
            assert name in test_functions(ROOT / path)


@pytest.mark.parametrize("rfc", sorted({row.rfc for row in ROWS}))
def test_every_section_the_code_refers_to_is_in_the_table(rfc: str) -> None:
    """A section of an RFC in the table that the source refers to has a row, or a part of it has."""
    known = {row.section for row in ROWS if row.rfc == rfc}
    missing = {
        f"{path}: RFC {rfc} §{section}"
        for path, number, section in references()
        if number == rfc and not any(f"{row}.".startswith(f"{section}.") for row in known)
    }
    assert not missing
