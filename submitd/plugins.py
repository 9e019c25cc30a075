"""Finding plugins by kind and name, and registering them without importing them.

A plugin is an object in a module under `twisted/plugins/` that provides `IPlugin` and
one of the factory interfaces of `submitd.interfaces`.  `LazyFactory` is such an object
for a factory that lives elsewhere: asking which plugins exist then imports none of them.
"""

import importlib
from typing import Any

import attrs
from twisted.plugin import IPlugin, getPlugins
from zope.interface import Interface, directlyProvides

from submitd.interfaces import IQueueStoreFactory, IRelayBackendFactory, IUserDatabaseFactory

KINDS: dict[type[Interface], str] = {
    IUserDatabaseFactory: "user database",
    IQueueStoreFactory: "queue store",
    IRelayBackendFactory: "relay backend",
}
"""The kinds of plugin, with the words for them in messages to the operator."""


class PluginError(ValueError):
    """No usable plugin of this name; the text is for the operator."""


@attrs.define(slots=False, eq=False)
class LazyFactory:
    """A plugin that stands for a factory and imports it when it is first used.

    :ivar kind: the interface the factory implements, one of `KINDS`.
    :ivar name: the factory's own name.
    :ivar target: where its class is, `"package.module:Class"`; called without arguments.
    """

    kind: type[Interface]
    name: str
    target: str
    _factory: Any = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        directlyProvides(self, IPlugin, self.kind)

    def load(self) -> Any:
        """The factory itself.

        :raises ImportError: when its module, or a package that needs, is not installed.
        """
        if self._factory is None:
            module, _, name = self.target.partition(":")
            self._factory = getattr(importlib.import_module(module), name)()
        return self._factory

    @property
    def options(self) -> type[Any]:
        """The attrs class of the factory's table."""
        options: type[Any] = self.load().options
        return options

    def build(self, options: Any, site: Any) -> Any:
        """What the factory's own `build` gives."""
        return self.load().build(options, site)


def _installed(kind: type[Interface]) -> list[Any]:
    return list(getPlugins(kind))


def names(kind: type[Interface]) -> tuple[str, ...]:
    """The names of all plugins of one *kind*, in alphabetical order; imports none of them."""
    return tuple(sorted({plugin.name for plugin in _installed(kind)}))


def find(kind: type[Interface], name: str) -> Any:
    """The factory of one *kind*, a key of `KINDS`, that is called *name*.

    :raises PluginError: when there is none, more than one, or it can't be imported.
    """
    # One module seen through two directories of the path gives one object twice.
    found = {id(plugin): plugin for plugin in _installed(kind) if plugin.name == name}
    if not found:
        there = ", ".join(f'"{other}"' for other in names(kind)) or "none"
        raise PluginError(f'no {KINDS[kind]} is called "{name}"; there are: {there}')
    if len(found) > 1:
        raise PluginError(f'more than one installed {KINDS[kind]} is called "{name}"')
    (plugin,) = found.values()
    if not isinstance(plugin, LazyFactory):
        return plugin
    try:
        return plugin.load()
    except ImportError as error:
        raise PluginError(f'the {KINDS[kind]} "{name}" can\'t be loaded: {error}') from error
