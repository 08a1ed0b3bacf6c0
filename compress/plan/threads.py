"""How many threads or processes may be asked for."""

from __future__ import annotations

import os
from typing import Any

from .errors import UserError

MOST = max(256, os.cpu_count() or 1)
"""At most this many, or as many as the machine has processors if it has more: tens of thousands end in a crash."""


def check_threads(name: str, value: Any, *, at_least: int = 1) -> None:
    """Raise UserError, naming `name`, unless `value` is a whole number from `at_least` to MOST.

    Example::

        check_threads("threads", 8)
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise UserError(f"{name}={value!r}: must be a whole number of at least {at_least}")
    if value > MOST:
        raise UserError(f"{name}={value}: must be at most {MOST}; more than the processor has cores does not help")
