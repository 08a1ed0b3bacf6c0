"""The one list of backends, which run networks.

It stands in the lowest room because reports name backends too, and reports read run folders only. A backend is one
object, a `compress.measure.backends.Backend`, in one file, which adds it to the list; the file is loaded when its
backend is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from importlib import import_module
from typing import Any

from .errors import UserError
from .registry import Registry

ROOM = "compress.measure.backends"
OWN = {
    "pytorch": f"{ROOM}.eager",
    "onnxruntime": f"{ROOM}.ort",
    "openvino": f"{ROOM}.openvino",
    "torch-compile": f"{ROOM}.inductor",
    "tensorrt": f"{ROOM}.tensorrt",
    "tensorrt-rtx": f"{ROOM}.tensorrt",
}
"""This project's backends and the modules that add them: light ones, which import what they run networks with later."""


FIRST = "onnxruntime"
"""Whose speed is told first, where several are measured."""


class Backends(Registry[Any]):
    """Name -> backend. An installed package adds further ones by entry points of the group `compress.backends`.

    Example::

        BACKENDS.find("onnxruntime").label  # 'ONNX Runtime'
    """

    def own(self) -> list[Any]:
        """This project's backends."""
        return [self.find(name) for name in OWN]

    def every(self) -> Iterator[Any]:
        """This project's backends, then, as far as they are asked for, those of installed packages."""
        yield from self.own()
        yield from (self.find(name) for name in self.names() if name not in OWN)

    def names(self) -> list[str]:
        """What can be asked for."""
        return [*OWN, *(name for name in super().names() if name not in OWN)]

    def need(
        self, argument: str, name: object, *, fits: Callable[[Any], object] = lambda _: True, lacks: str = ""
    ) -> Any:
        """The backend called `name`; UserError for an unknown one, or one that does not fit.

        Args:
            argument: what it was given for: the message begins with it.
            name: a backend's.
            fits: whether a backend can be taken.
            lacks: what one that cannot has not, in words.
        """
        found = self.find(name)
        if found is None or not fits(found):
            choices = ", ".join(each.name for each in self.every() if fits(each))
            why = "is unknown" if found is None else lacks
            raise UserError(why, argument=argument, value=name, remedy=f"choose from {choices}")
        return found

    def here(self, argument: str, name: object) -> Any:
        """The backend called `name`, as `need` finds it; UserError where it cannot run here.

        Example::

            BACKENDS.here("backend", "onnxruntime")
        """
        found = self.need(argument, name)
        if reason := found.missing():
            raise UserError(reason, argument=argument, value=name)
        return found

    def first(self, names: Collection[str]) -> str | None:
        """Of the backends that a run measures the one whose speed is told first; None without any.

        Example::

            BACKENDS.first(("pytorch", "onnxruntime"))  # 'onnxruntime'
        """
        return FIRST if FIRST in names else next(iter(names), None)

    def label(self, name: str) -> str:
        """A backend's proper name; `name` itself where its package is not installed any more, or broken."""
        try:
            found = self.find(name)
        except UserError:
            return name
        return str(found.label) if found is not None else name

    def _load(self, name: str) -> None:
        if name in OWN:
            import_module(OWN[name])
        else:
            super()._load(name)


BACKENDS = Backends("compress.backends")
