"""--backend: the backends that a command can use, this project's and those of installed packages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .parser import Parser


def backend_argument(parser: Parser, fits: Callable[[Any], bool], *, help: str) -> None:  # noqa: A002
    """--backend: one of the backends that fit, those of installed packages too; by its name or its short one."""
    parser.add_argument("--backend", type=full_name, choices=BackendNames(fits), help=help)


def engine_backends() -> list[str]:
    """The backends whose files are engines."""
    from ..plan.backends import BACKENDS

    return [each.name for each in BACKENDS.own() if each.suffix == ".engine"]


def full_name(text: str) -> str:
    """The name of the backend whose short name is `text`, or `text`."""
    from ..plan.backends import BACKENDS

    return next((each.name for each in BACKENDS.own() if each.alias == text), text)


class BackendNames:
    """Names of the backends that fit, as choices of an argument; packages are looked at where a name is not ours."""

    def __init__(self, fits: Callable[[Any], bool]) -> None:
        self.fits = fits

    def __iter__(self) -> Iterator[str]:
        from ..plan.backends import BACKENDS

        return (each.alias or each.name for each in BACKENDS.own() if self.fits(each))

    def __contains__(self, name: str) -> bool:
        from ..plan.backends import BACKENDS

        found = BACKENDS.find(name)
        return found is not None and self.fits(found)
