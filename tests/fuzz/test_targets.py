"""Every fuzz target over its corpus and over random changes to it, with and without atheris."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import CORPUS, DICTIONARY, TARGETS, seeds, words
from tests.fuzz.wire import read_replies

ROOT = Path(__file__).parents[2]
INPUTS = {"configuration": 400, "senders": 1500}
MOST_OCTETS = 2000


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    """No input of a corpus, each of which once showed something, fails its target."""
    for data in seeds(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_random_changes(name: str) -> None:
    """Thousands of inputs near the corpus, the same ones in each run, fail no target."""
    known = list(words())
    for data in mutated(seeds(name), known, INPUTS.get(name, 3000), MOST_OCTETS):
        TARGETS[name](data)


def test_each_corpus_has_its_target() -> None:
    """Targets and corpora belong together, and no corpus is empty or large."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    for name in TARGETS:
        assert seeds(name)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 200_000


def test_the_dictionary_is_read_by_both() -> None:
    """The dictionary is in libFuzzer's form, and its escapes are octets."""
    known = list(words())
    assert b"\r\n.\r\n" in known
    assert len(known) == len(DICTIONARY.read_text().splitlines()) - 1


@pytest.mark.parametrize(
    "octets",
    [
        b"250 2.0.0 ok\n",
        b"250 2.0.0 ok",
        b"600 no\r\n",
        b"25 no\r\n",
        b"250 4.0.0 another class\r\n",
        b"250-2.0.0 a\r\n251 2.0.0 b\r\n",
        b"250-2.0.0 a\r\n250 2.1.0 b\r\n",
        b"250-2.0.0 no end\r\n",
        b"250 2.0.0 \xff\r\n",
        b"250 2.0.0 " + b"x" * 502 + b"\r\n",
    ],
)
def test_a_bad_reply_is_seen(octets: bytes) -> None:
    """What is no well-formed reply doesn't get past the tests' own reader."""
    with pytest.raises(AssertionError):
        read_replies(octets)


@pytest.mark.may_skip(reason="atheris is optional")
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="no atheris")
def test_coverage_guided(tmp_path: Path) -> None:
    """`python -m tests.fuzz.run` fuzzes a target with atheris and reports on it."""
    command = [sys.executable, "-m", "tests.fuzz.run", f"--work={tmp_path}", "--seconds=1", "sasl"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("sasl: ok")
