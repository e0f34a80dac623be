"""Things that are found by name: one module of a package each, and those that other packages add."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from likra.errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """Instances of classes by name.

    A package's modules are read when they are asked for. A name's module registers it; another package registers its
    own by the same decorator, in a module that its user imports.

    Args:
        kind: What is registered, for messages.
        package: The package whose modules are the built-in ones. Its `ORDER` names them; a module that it does not
            name comes after those. Modules whose name begins with an underscore register nothing.

    >>> greetings: Registry[object] = Registry("greeting", "likra.lab.world")
    >>> @greetings.register("hello")
    ... class Hello: pass
    >>> type(greetings["hello"]).__name__
    'Hello'
    """

    def __init__(self, kind: str, package: str) -> None:
        self._kind, self._package = kind, package
        self._known: dict[str, T] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """A decorator that registers an instance of a class, and tells the instance its `name`."""

        def decorate(cls: type[T]) -> type[T]:
            instance = cls()
            instance.name = name  # type: ignore[attr-defined]
            self._known[name] = instance
            return cls

        return decorate

    def forget(self, name: str) -> None:
        """Take a name out again."""
        self._known.pop(name, None)

    def names(self) -> list[str]:
        """All names: those of the package in its order, then the others in the order of their registration."""
        package = importlib.import_module(self._package)
        found = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")]
        order = [name for name in getattr(package, "ORDER", ()) if name in found]
        return list(dict.fromkeys([*order, *found, *self._known]))

    def __getitem__(self, name: str) -> T:
        """What a name stands for.

        Raises:
            InputError: Nothing of that name is known.
        """
        if name not in self._known:
            if name not in self.names():
                raise InputError(f"{name}: is not a {self._kind}; known are {', '.join(self.names())}.")
            importlib.import_module(f"{self._package}.{name}")
        return self._known[name]
