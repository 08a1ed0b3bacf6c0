"""One list of things by name, to which an installed package can add: search methods, penalties, spaces."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from .errors import UserError, brief, reason


class Named(Protocol):
    """What a registry holds: a thing that knows its name."""

    @property
    def name(self) -> str:
        """What recipes call it."""


T = TypeVar("T", bound=Named)


class Registry(dict[str, T], Generic[T]):
    """Name -> thing, in the order in which they were added.

    A package of your own brings its things by an entry point of the group `group`, whose name is the thing's and whose
    value is the module that adds it. That module is loaded when the thing is asked for by a name that is not here yet.

    Example::

        from pathlib import Path  # its objects have names

        registry: Registry[Path] = Registry("compress.things")
        registry.add(Path("notes.txt"))
        registry.named("notes.txt", "things.type")  # Path("notes.txt")
    """

    def __init__(self, group: str) -> None:
        super().__init__()
        self.group = group

    def add(self, thing: T) -> T:
        """List `thing` by its name and return it. ValueError for a name that is taken."""
        if thing.name in self:
            raise ValueError(f"{self.group}: {thing.name!r} is there already; give the new one another name")
        self[thing.name] = thing
        return thing

    def find(self, name: Any) -> T | None:
        """The thing called `name`, None where there is none.

        Raises UserError for an entry point that cannot be loaded, or whose module adds nothing of that name.
        """
        if not isinstance(name, str):
            return None
        if name not in self:
            self._load(name)
        return self.get(name)

    def named(self, name: Any, argument: str) -> T:
        """The thing called `name`; UserError, beginning with `argument`, where there is none."""
        found = self.find(name)
        if found is None:
            raise UserError(
                f"{argument} = {brief(name)}: must be one of {', '.join(map(repr, self.names()))}; choose one"
            )
        return found

    def names(self) -> list[str]:
        """What can be asked for: first what is here, then what installed packages bring."""
        return [*self, *sorted({entry.name for entry in self._entries()} - self.keys())]

    def _entries(self) -> Any:
        from importlib.metadata import entry_points

        return entry_points(group=self.group)

    def _load(self, name: str) -> None:
        for entry in self._entries().select(name=name):
            whose = f"entry point {self.group}: {name} = {entry.value!r}"
            remedy = "repair or uninstall the package that brings it"
            try:
                entry.load()
            except (ImportError, AttributeError) as error:
                raise UserError(f"{whose} cannot be loaded ({reason(error)}); {remedy}") from error
            if name not in self:
                raise UserError(f"{whose} adds nothing of that name; {remedy}")
