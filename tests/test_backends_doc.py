"""The example in docs/backends.md works as it is written there."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from submitd.interfaces import IRelayBackendFactory, Site
from submitd.testing import ThreadedClock
from tests.contracts.relay_backend import RelayBackendContract

DOCUMENT = Path(__file__).parents[1] / "docs" / "backends.md"
_BLOCK = re.compile(r"<!-- (\S+\.py) -->\n```python\n(.*?)```", re.DOTALL)
BLOCKS = dict(_BLOCK.findall(DOCUMENT.read_text()))
EXAMPLE = "example_eml.py"
PLUGIN = "twisted/plugins/example_eml_plugin.py"


def run(name: str) -> ModuleType:
    """The module that a block of the document makes."""
    module = ModuleType(Path(name).stem)
    exec(compile(BLOCKS[name], f"{DOCUMENT.name}:{name}", "exec"), module.__dict__)
    return module


class EmlHop:
    """The example's backend and the folder it writes to."""

    keeps_content = True
    ends_last_line = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reactor = ThreadedClock()
        factory: Any = run(EXAMPLE).EmlFactory()
        assert verifyObject(IRelayBackendFactory, factory)
        options = factory.options(folder=folder)
        self.backend = factory.build(options, Site("mail.example.org", self.reactor))

    def wait(self, eventual: Any) -> Any:
        """Its value, when the threads have come to it."""
        return self.reactor.wait(eventual)

    def received(self) -> Sequence[tuple[str, bytes]]:
        """The files."""
        return [
            (unquote(path.stem.partition("-")[2]), path.read_bytes())
            for path in self.folder.iterdir()
        ]


class TestExample(RelayBackendContract):
    """The contract of relay backends."""

    @pytest.fixture
    def hop(self, tmp_path: Path) -> Iterator[EmlHop]:
        """The example with a folder of its own."""
        made = EmlHop(tmp_path)
        yield made
        made.reactor.end_threads()


def test_example_is_short() -> None:
    """A relay backend takes less than 40 lines, blank ones and the docstring left out."""
    lines = [line for line in BLOCKS[EXAMPLE].splitlines()[1:] if line.strip()]
    assert len(lines) < 40


def test_example_plugin() -> None:
    """The plugin of the example registers a factory by name without importing it."""
    plugin = run(PLUGIN).eml
    assert IPlugin.providedBy(plugin)
    assert IRelayBackendFactory.providedBy(plugin)
    assert (plugin.name, plugin.target) == ("eml", "example_eml:EmlFactory")
