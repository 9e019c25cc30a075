"""Plugins are found by kind and name, from wherever they are installed."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from zope.interface import Interface
from zope.interface.verify import verifyObject

import twisted.plugins
from submitd.interfaces import IQueueStoreFactory, IRelayBackendFactory, IUserDatabaseFactory
from submitd.plugins import KINDS, LazyFactory, PluginError, find, names

BUILT_IN = [
    (IUserDatabaseFactory, "htpasswd"),
    (IQueueStoreFactory, "sqlite"),
    (IRelayBackendFactory, "smarthost"),
    (IRelayBackendFactory, "maildir"),
    (IRelayBackendFactory, "discard"),
]


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_built_in(kind: type[Interface], name: str) -> None:
    """Each built-in plugin is found under its own name and has what its interface names."""
    factory = find(kind, name)
    assert factory.name == name
    assert verifyObject(kind, factory)
    assert name in names(kind)


def test_unknown_name() -> None:
    """A name that nobody has is refused with the names that there are."""
    with pytest.raises(PluginError) as refusal:
        find(IRelayBackendFactory, "smart-host")
    assert str(refusal.value).startswith('no relay backend is called "smart-host"; there are: ')
    assert all(f'"{name}"' in str(refusal.value) for name in names(IRelayBackendFactory))


def test_kinds_are_apart() -> None:
    """A name of one kind is unknown among the others, and each kind is named in words."""
    with pytest.raises(PluginError, match='no queue store is called "maildir"'):
        find(IQueueStoreFactory, "maildir")
    assert set(KINDS) == {kind for kind, _ in BUILT_IN}


def test_service_maker() -> None:
    """`twistd` finds the server under the name `submitd`."""
    (maker,) = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "submitd"]
    assert maker.module == "submitd.tap"


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Twisted looks into for plugins."""
    folder = tmp_path / "twisted" / "plugins"
    folder.mkdir(parents=True)
    monkeypatch.setattr(twisted.plugins, "__path__", [*twisted.plugins.__path__, str(folder)])
    yield folder
    for file in folder.glob("*.py"):
        sys.modules.pop(f"twisted.plugins.{file.stem}", None)


def register(folder: Path, module: str, name: str, target: str) -> None:
    """Write a plugin file as somebody else would."""
    text = f"""
from submitd.interfaces import IRelayBackendFactory
from submitd.plugins import LazyFactory
factory = LazyFactory(IRelayBackendFactory, {name!r}, {target!r})
"""
    (folder / f"{module}.py").write_text(text)


def test_someone_elses(plugins: Path) -> None:
    """A plugin of somebody else is found like a built-in one."""
    register(plugins, "other_plugin", "other", "submitd.relay.discard:DiscardFactory")
    assert "other" in names(IRelayBackendFactory)
    assert verifyObject(IRelayBackendFactory, find(IRelayBackendFactory, "other"))


def test_part_that_is_missing(plugins: Path) -> None:
    """A plugin that lacks a module is refused with its name; all others are still found."""
    register(plugins, "lacking_plugin", "lacking", "no_such_module:Factory")
    with pytest.raises(PluginError, match=r'"lacking" can\'t be loaded: .*no_such_module'):
        find(IRelayBackendFactory, "lacking")
    assert find(IRelayBackendFactory, "discard").name == "discard"


def test_name_that_two_have(plugins: Path) -> None:
    """A name that two different plugins have is refused."""
    register(plugins, "copy_plugin", "discard", "submitd.relay.discard:DiscardFactory")
    with pytest.raises(PluginError, match="more than one installed relay backend is called"):
        find(IRelayBackendFactory, "discard")


def test_lazy_factory_is_a_factory() -> None:
    """What stands for a factory has its options and builds what it builds."""
    lazy = LazyFactory(IRelayBackendFactory, "discard", "submitd.relay.discard:DiscardFactory")
    assert verifyObject(IRelayBackendFactory, lazy)
    assert lazy.options is lazy.load().options
    backend = lazy.build(lazy.options(), None)
    assert type(backend).__name__ == "DiscardBackend"


def test_registering_imports_nothing() -> None:
    """The plugin file imports no backend: `twistd` reads it for whatever it runs."""
    check = (
        "import sys, runpy; runpy.run_path(sys.argv[1]);"
        "print([name for name in sys.modules if name.startswith('submitd.')])"
    )
    plugin = importlib.util.find_spec("twisted.plugins.submitd_plugin")
    assert plugin is not None
    result = subprocess.run(
        [sys.executable, "-c", check, str(plugin.origin)],
        capture_output=True,
        text=True,
        check=True,
    )
    for part in ("relay", "queue", "auth", "message", "tap"):
        assert f"submitd.{part}" not in result.stdout
