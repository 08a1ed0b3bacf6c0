"""Packages that only some uses need: imported where they are used, named in one line where they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .errors import UserError, reason


def needs(module: str, *, package: str, extra: str, what: str) -> Any:
    """Import `module` of `package`, which `what` cannot do without, and return it.

    Args:
        module: what to import.
        package: its package's name, for the message.
        extra: of this project, that brings it.
        what: whose use needs it, for the message.

    Raises UserError with the `extra` of this project to install where it cannot be imported.

    Example::

        sklearn = needs("sklearn.datasets", package="scikit-learn", extra="demo", what="data.type = digits")
        sklearn.load_digits()
    """
    if fault := absent(module, package=package, extra=extra):
        raise UserError(f"{what}: {fault}")
    return import_module(module)


def absent(module: str, *, package: str, extra: str) -> str | None:
    """Why `module` of `package` cannot be imported, and the `extra` of this project to install; None where it can.

    Example::

        absent("sklearn", package="scikit-learn", extra="demo")  # None
    """
    try:
        import_module(module)
    except (ImportError, OSError) as error:  # OSError: a library that the package loads itself
        return f"needs {package}, which cannot be imported ({reason(error)}); pip install 'nncompress[{extra}]'"
    return None
