"""How many threads or processes may be asked for."""

from __future__ import annotations

import os
from typing import Annotated

from .settings import Range

MOST = max(256, os.cpu_count() or 1)
"""At most this many, or as many as the machine has processors if it has more: tens of thousands end in a crash."""

_REMEDY = "more than the processor has cores does not help"
Threads = Annotated[int, Range(at_least=1, at_most=MOST, remedy=_REMEDY)]
"""Threads of one call."""
Workers = Annotated[int, Range(at_least=0, at_most=MOST, remedy=_REMEDY)]
"""Processes that read images; 0: this one does."""
