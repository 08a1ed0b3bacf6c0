"""The one list of backends, which run networks: asked for by name, and loaded when they are asked for.

A backend is one object, a `compress.measure.backends.Backend`, in one file. The list stands in the lowest room because
reports name backends too, and read run folders only. An installed package brings further ones as entry points of the
group `compress.backends`, each under its backend's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from .errors import UserError, brief

GROUP = "compress.backends"
ROOM = "compress.measure.backends"
BACKENDS = {
    "pytorch": f"{ROOM}.eager:BACKEND",
    "onnxruntime": f"{ROOM}.ort:BACKEND",
    "torch-compile": f"{ROOM}.inductor:BACKEND",
    "tensorrt": f"{ROOM}.tensorrt:BACKEND",
    "tensorrt-rtx": f"{ROOM}.tensorrt:RTX",
}
"""Name -> where its object stands, as entry points say it: `module:attribute`."""


def own_backends() -> list[Any]:
    """This project's backends; importing none of what they run networks with."""
    return [_load(place) for place in BACKENDS.values()]


def every_backend() -> Iterator[Any]:
    """This project's backends, then, where they are asked for, those of other installed packages."""
    yield from own_backends()
    yield from (entry.load() for entry in _installed() if entry.name not in BACKENDS)


def find_backend(name: object) -> Any:
    """The backend called `name`; None where there is none.

    Example::

        find_backend("onnxruntime").label  # 'ONNX Runtime'
    """
    if not isinstance(name, str):
        return None
    if name in BACKENDS:
        return _load(BACKENDS[name])
    return next((entry.load() for entry in _installed() if entry.name == name), None)


def need_backend(argument: str, name: object, *, fits: Callable[[Any], object] = bool, lacks: str = "") -> Any:
    """The backend called `name`; UserError, beginning with `argument`, for an unknown one.

    One that does not fit is refused too: it `lacks`, in words, what is needed.
    """
    found = find_backend(name)
    if found is None or not fits(found):
        choices = ", ".join(each.name for each in every_backend() if fits(each))
        why = "is unknown" if found is None else lacks
        raise UserError(f"{argument}: {brief(name)} {why}; choose from {choices}")
    return found


def backend_label(name: str) -> str:
    """A backend's proper name; `name` itself where its package is not installed any more."""
    try:
        found = find_backend(name)
    except ImportError:
        return name
    return str(found.label) if found is not None else name


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def _installed() -> Any:
    from importlib.metadata import entry_points  # costs more than the backends themselves

    return entry_points(group=GROUP)
